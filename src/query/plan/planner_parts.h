// SPDX-License-Identifier: Apache-2.0
//
// Parts of the planner that need none of its state.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "query/plan/plan.h"

namespace tessera::query {

/// The error as MongoDB words it: "error processing query: ns=...Tree: ... planner returned error".
Error planning_error(const ReadRequest& request,
                     const CollectionSource& source,
                     ErrorCode code,
                     std::string_view reason);

/// Whether two key patterns are the same but for the numeric types of their directions.
bool is_same_pattern(bson::View one, bson::View two);

/// Narrows an oplog's scan by what `conjuncts` demand of "ts".
void bound_by_timestamp(const std::vector<const Node*>& conjuncts, PlanNode& scan);

/// Copies an index scan (which has no children).
PlanNodePtr copy_scan(const PlanNode& scan);

/// Whether one of the paths leads through another ("a" and "a.b"): no document has both as values.
bool are_nested(const std::vector<std::string>& paths);

/// Whether the scan's keys hold what is needed to make documents with `paths`.
bool can_make_documents(const PlanNode& scan, const std::vector<std::string>& paths);

/// Whether a scan's matches can be counted as keys of one range.
bool can_count_keys(const PlanNode& node);

/// The scan between a request's min and max on index `index`. Fails as MongoDB does when they do
/// not fit the index.
Result<PlanNodePtr> make_min_max_scan(const ReadRequest& request,
                                      const CollectionSource& source,
                                      std::size_t index);

}  // namespace tessera::query
