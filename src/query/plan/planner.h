// SPDX-License-Identifier: Apache-2.0
//
// Decides how a request can be read: pure, from the filter and facts about indexes to plans. With
// several left the executor tries them (executor.h).
#pragma once

#include <vector>

#include "base/result.h"
#include "bson/arena.h"
#include "query/plan/plan.h"

namespace tessera::query {

/// Returns at least one plan, the most promising first. They refer to `request` and `arena`. Fails
/// with BadValue as MongoDB's planner does ("error processing query: ns=...").
Result<std::vector<PlanNodePtr>> make_plans(const ReadRequest& request,
                                            const CollectionSource& source,
                                            bson::Arena& arena);

}  // namespace tessera::query
