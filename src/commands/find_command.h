// SPDX-License-Identifier: Apache-2.0
//
// find's arguments, taken apart the same way on members and routers.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "commands/command.h"
#include "query/expression/compiler.h"
#include "query/match/filter.h"
#include "query/plan/plan.h"
#include "query/projection/projection.h"

namespace tessera::commands {

/// $$NOW, $$CLUSTER_TIME and the command's `let`, evaluated.
Result<query::ExpressionContext> make_expression_context(Node& node, const Request& request);

struct FindArguments {
    Namespace ns;
    bson::View filter;
    bson::View projection;
    bson::View sort;
    query::Hint hint;
    bson::View min;
    bson::View max;
    bson::Value collation;
    std::int64_t skip = 0;
    std::int64_t limit = 0;
    std::int64_t batch_size = 101;
    bool is_single_batch = false;
    bool returns_key = false;
    bool shows_record_id = false;
    bool is_tailable = false;
    bool awaits_data = false;
    bool never_times_out = false;
    bool allows_partial_results = false;
    bool wants_sort_key = false;          // A router merges: documents carry $sortKey.

    static Result<FindArguments> parse(const Request& request);
};

/// A query ready to run over a collection, with what its parts refer to.
struct CompiledFind {
    query::ReadRequest request;
    std::unique_ptr<query::AggregationCompiler> expressions;
    std::optional<query::Projection> projection;  // None: whole documents.
    std::optional<query::Filter> positional;      // The filter again, for "a.$".
    bool returns_key = false;
    bool shows_record_id = false;
    bool wants_sort_key = false;
};
Result<CompiledFind> compile_find(Node& node, const Request& request, const FindArguments& args);

/// Parses a hint: a name, a key pattern, or nothing.
Result<query::Hint> parse_hint(const bson::Value& hint);
/// Checks {field: 1 | -1 | {$meta: ...}}. Fails as find and findAndModify do.
Status check_sort(bson::View sort);

extern const Command find_documents_command;

}  // namespace tessera::commands
