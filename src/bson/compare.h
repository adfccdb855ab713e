// SPDX-License-Identifier: Apache-2.0
//
// The one order of all BSON values: canonical type first (MinKey, numbers, text, ...), then value;
// numbers of all four types compare by exact numeric value, NaN below every other number.
// Source: the manual's "Comparison/Sort Order".
#pragma once

#include <cstdint>

#include "bson/view.h"

namespace tessera::bson {

/// The rank of a type in the order: missing and undefined 0 (below null), null 5, numbers 10,
/// string and symbol 15, object 20, array 25, binary 30, objectId 35, boolean 40, date 45,
/// timestamp 47, regex 50, dbPointer 55, code 60, codeWithScope 65; MinKey -1, MaxKey 127.
int canonical_type(Type type);

/// Compares two values: negative, zero, positive.
int compare(const Value& one, const Value& two);
/// Compares field by field: type rank, name (unless `with_names` is false), value; shorter first.
int compare(View one, View two, bool with_names = true);

/// Whether the values compare equal (1, 1.0 and NumberLong(1) do).
bool equal(const Value& one, const Value& two);
/// A hash under which values that compare equal hash equal.
std::uint64_t hash(const Value& value, std::uint64_t seed = 0);

}  // namespace tessera::bson
