// SPDX-License-Identifier: Apache-2.0
//
// Plans and their execution as documents, in the shapes of MongoDB's explain
// (reference/observed.md).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/namespace.h"
#include "bson/builder.h"
#include "query/plan/stage.h"

namespace tessera::query {

/// "IXSCAN", "COLLSCAN", ...
std::string_view stage_name(const PlanNode& node);

/// Adds "queryPlanner"; the first plan is the winner.
void explain_plan(bson::Builder& out,
                  const Namespace& ns,
                  const ReadRequest& request,
                  const std::vector<const PlanNode*>& plans);

struct ExecutionSummary {
    bool is_success = true;
    std::string error_message;
    std::int32_t error_code = 0;
    std::uint64_t returned = 0;
    std::int64_t milliseconds = 0;
    std::uint64_t keys_examined = 0;
    std::uint64_t docs_examined = 0;
};
/// Fills the object "executionStats".
void explain_stats(bson::Builder& out, const ExecutionSummary& summary, const PlanStage& root);
/// Fills an element of "allPlansExecution".
void explain_trial(bson::Builder& out, const PlanStage& root, std::uint64_t returned, double score);

/// Adds a plan's tree: {stage: ..., inputStage: ...}, without statistics.
void append_plan(bson::Builder& out, const PlanNode& node);

}  // namespace tessera::query
