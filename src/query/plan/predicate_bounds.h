// SPDX-License-Identifier: Apache-2.0
//
// Which values an index's field must have for a document to match one predicate. The intervals may
// always hold more than needed: the tightness says what is left to check.
#pragma once

#include <optional>

#include "bson/arena.h"
#include "query/match/filter.h"
#include "query/plan/interval.h"

namespace tessera::query {

enum class Tightness : std::uint8_t {
    exact,            // Every key within belongs to a match.
    inexact_covered,  // The predicate must be asked, and can be asked of the key's value.
    inexact_fetch,    // It must be asked of the document.
};

struct FieldBounds {
    Intervals intervals;
    Tightness tightness = Tightness::exact;
};

struct FieldFacts {
    bool is_hashed = false;
    bool is_multikey = false;  // Some component of the path is.
};

/// Bounds of a leaf or of the negation of a leaf, on a field with the predicate's path; none when
/// an index does not help. Values come from the filter or are made in `arena`.
std::optional<FieldBounds> bounds_of(const Node& node, FieldFacts facts, bson::Arena& arena);

/// Whether every document that matches `query` matches `demanded` (a partial index's filter).
bool implies(const Node& query, const Node& demanded, bson::Arena& arena);

}  // namespace tessera::query
