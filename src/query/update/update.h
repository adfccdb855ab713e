// SPDX-License-Identifier: Apache-2.0
//
// Update: the compiled form of an update (operators, replacement, pipeline). Parsed once for a
// statement, then applied to many documents. Applying walks the document once, along a tree of the
// update's paths, copying what it does not touch; the same walk notes the changes, from which the
// oplog's {$v: 2, diff: {...}} is written.
//
//     TRY(auto update, query::Update::parse(u, options));
//     query::UpdateContext context;
//     query::ApplyOptions apply{.now = ..., .matched_index = match.matched_index};
//     TRY(auto result, update.apply(before, apply, context));
//     if (!result.is_noop) store(result.after), log(result.oplog);
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "bson/arena.h"
#include "bson/view.h"
#include "query/match/filter.h"
#include "query/update/pipeline_hook.h"

namespace tessera::query {

struct UpdateNode;

enum class UpdateForm : std::uint8_t { operators, replacement, pipeline };

struct UpdateOptions {
    bool is_multi = false;
    /// The statement's arrayFilters: an array, or missing.
    bson::Value array_filters;
    /// For updates written as a pipeline; without one those are refused.
    const UpdatePipelineCompiler* pipelines = nullptr;
    /// The statement's `c`, for a pipeline.
    bson::Value constants;
};

/// What a document's update depends on besides the update.
struct ApplyOptions {
    WallTime now;         // $currentDate.
    Timestamp timestamp;  // $currentDate of type "timestamp".
    /// Where the query matched (MatchContext::matched_index), for the positional "$".
    std::int32_t matched_index = -1;
    /// Paths whose values must stay, besides _id: the shard key's fields. An update that changes
    /// one fails with ImmutableField.
    std::span<const std::string> immutable_paths = {};
    /// Whether to write the oplog entry's document.
    bool wants_oplog = true;
};

struct UpdateResult {
    bool is_noop = true;  // Nothing changes; `after` and `oplog` are then empty.
    bson::Document after;
    bson::Document oplog;  // {$v: 2, diff: {...}}, or the replacement document itself.
    bool is_everything_changed = false;       // A replacement: any field may differ.
    std::vector<std::string> changed_fields;  // Top-level fields that differ, else.

    /// Whether an index on `path` may have to change.
    bool may_affect(std::string_view path) const;
};

/// What one thread needs to apply updates; reusable for any number of them.
struct UpdateContext {
    bson::Arena arena;
    MatchContext match;  // arrayFilters and $pull.
};

class Update {
public:
    Update(Update&&) noexcept;
    Update& operator=(Update&&) noexcept;
    ~Update();

    /// Parses a statement's `u`: an object (operators or replacement) or an array (pipeline).
    /// Copies what it needs. Fails with the reference's codes (observed.md, "write errors").
    static Result<Update> parse(const bson::Value& update, const UpdateOptions& options);

    UpdateForm form() const { return form_; }
    /// Whether it holds a positional "$", which needs ApplyOptions::matched_index.
    bool needs_matched_index() const { return needs_matched_index_; }
    /// The dotted paths operators may change, as written; empty for the other forms.
    const std::vector<std::string>& paths() const { return paths_; }

    /// Applies the update to a stored document.
    Result<UpdateResult> apply(bson::View before,
                               const ApplyOptions& options,
                               UpdateContext& context) const;
    /// Builds the document an upsert inserts: the query's equalities, then this update with
    /// $setOnInsert. `new_id` becomes _id unless query or update gives one. _id comes first.
    Result<bson::Document> make_upsert(const Filter& query,
                                       const bson::Value& new_id,
                                       const ApplyOptions& options,
                                       UpdateContext& context) const;

private:
    friend class UpdateParser;
    friend class UpdateApplier;
    Update();

    struct ArrayFilter {
        std::string identifier;
        Filter filter;
        bool is_used = false;
    };

    Result<UpdateResult> replace(bson::View before, const ApplyOptions& options) const;
    Result<UpdateResult> transform(bson::View before, const ApplyOptions& options) const;

    UpdateForm form_ = UpdateForm::operators;
    bool needs_matched_index_ = false;
    std::unique_ptr<bson::Document> source_;
    std::shared_ptr<UpdateNode> root_;  // Shared with nodes merged while applying.
    std::vector<ArrayFilter> array_filters_;
    std::vector<std::string> paths_;
    std::unique_ptr<DocumentTransform> transform_;
};

}  // namespace tessera::query
