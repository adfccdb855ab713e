// SPDX-License-Identifier: Apache-2.0
//
// What one index can do for a conjunction of predicates: the bounds it takes from them, which are
// thereby settled, and the order its keys come in.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bson/arena.h"
#include "query/plan/plan.h"
#include "query/plan/predicate_bounds.h"

namespace tessera::query {

/// One leaf (or negated leaf) of a conjunction, those inside $elemMatch included.
struct Predicate {
    struct Group {
        const Node* element_match;
        std::size_t prefix;  // Components of the path before the element.
    };
    const Node* node;
    const Node* conjunct;  // The child of the conjunction it belongs to.
    std::string path;
    std::size_t components;
    bool has_number = false;    // A path such as "a.0", whose meaning depends on the document.
    std::vector<Group> groups;  // The $elemMatch it is in, outermost first.
};

/// Lists the predicates of a conjunction's children.
std::vector<Predicate> list_predicates(const std::vector<const Node*>& conjuncts);

struct IndexCandidate {
    PlanNodePtr scan;                   // Its filter is what can be asked of keys.
    std::vector<const Node*> residual;  // What must be asked of documents.
    std::vector<const Node*> used;      // Conjuncts that gave bounds.
    std::size_t points = 0;             // Leading fields with one value each.
    std::size_t bounded = 0;            // Fields with any bounds.
    bool is_empty = false;              // No key can match.
    bool is_usable = true;              // False: the index may lack matching documents.
};

/// Builds the scan of one index; without any bounds it is a scan of the whole index.
IndexCandidate make_index_scan(const CollectionSource& source,
                               std::size_t index,
                               const std::vector<const Node*>& conjuncts,
                               const std::vector<Predicate>& predicates,
                               bson::Arena& arena);

enum class SortOrder : std::uint8_t { none, forward, backward };
/// The direction in which a scan gives keys in the order of `sort`; none when neither does.
SortOrder sort_order(const PlanNode& scan, bson::View sort);

/// Whether a partial index holds every document `conjuncts` match.
bool covers_query(const IndexInfo& index,
                  const std::vector<const Node*>& conjuncts,
                  bson::Arena& arena);

}  // namespace tessera::query
