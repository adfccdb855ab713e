// SPDX-License-Identifier: Apache-2.0
//
// Projection: the compiled form of find's projection. Parsed once for a query, then applied to many
// documents, each written straight at the end of a byte string (a reply's batch, for instance).
//
//     TRY(auto projection, query::Projection::parse(document, options));
//     query::ProjectionContext context;
//     TRY_OK(projection.apply(view, {.matched_index = match.matched_index}, context, out));
//
// Included and sliced fields keep the document's order; $elemMatch, $meta and computed fields
// follow in the projection's order.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "bson/arena.h"
#include "bson/view.h"
#include "query/match/expression_hook.h"
#include "query/match/filter.h"

namespace tessera::query {

struct ProjectionNode;

struct ProjectionOptions {
    /// For computed fields; without one those are refused.
    const ExpressionCompiler* expressions = nullptr;
    /// The query, which a positional projection needs; null where there is none.
    const Filter* query = nullptr;
};

/// What a projection shows besides the document.
struct ProjectionInput {
    std::int32_t matched_index = -1;  // MatchContext::matched_index, for "a.$".
    bson::Value sort_key;             // {$meta: "sortKey"}; missing leaves the field out.
    bson::Value record_id;            // {$meta: "recordId"}
};

/// What one thread needs to apply projections; reusable for any number of them.
struct ProjectionContext {
    bson::Arena arena;
    MatchContext match;
};

class Projection {
public:
    /// Levels of nested objects a projection may have.
    static constexpr int nesting_max = 100;

    Projection(Projection&&) noexcept;
    Projection& operator=(Projection&&) noexcept;
    ~Projection();

    /// Copies what it needs. Fails with the reference's codes: 31254, 31253, 31250, ...
    static Result<Projection> parse(bson::View projection, const ProjectionOptions& options);

    /// Writes the projected document at the end of `out`. Fails when an expression does, or when
    /// a positional projection finds no matched element (51246); `out` is then as before.
    Status apply(bson::View document,
                 const ProjectionInput& input,
                 ProjectionContext& context,
                 std::string& out) const;

    /// Whether it changes nothing ({}).
    bool is_empty() const { return is_empty_; }
    bool is_inclusion() const { return is_inclusion_; }
    bool needs_matched_index() const { return needs_matched_index_; }
    bool needs_sort_key() const { return needs_sort_key_; }
    bool needs_record_id() const { return needs_record_id_; }
    /// Whether it only includes whole fields at any depth and computes nothing, so that an index
    /// holding its paths can answer it.
    bool is_simple_inclusion() const { return is_inclusion_ && is_simple_; }
    /// Adds the paths it reads; "" when it needs the whole document.
    void add_dependencies(std::vector<std::string>& paths) const;

private:
    friend class ProjectionParser;
    Projection();

    std::unique_ptr<bson::Document> source_;
    std::unique_ptr<ProjectionNode> root_;
    bool is_empty_ = false;
    bool is_inclusion_ = false;
    bool is_simple_ = true;
    bool needs_matched_index_ = false;
    bool needs_sort_key_ = false;
    bool needs_record_id_ = false;
};

}  // namespace tessera::query
