// SPDX-License-Identifier: Apache-2.0
//
// Sets of BSON values as lists of intervals in BSON order: what a predicate leaves of an index's
// field.
#pragma once

#include <string>
#include <vector>

#include "bson/view.h"

namespace tessera::query {

struct Interval {
    bson::Value start;
    bson::Value end;
    bool has_start = true;  // The start itself belongs to it.
    bool has_end = true;

    bool is_point() const;
    /// As explain shows it: "[3, 5)".
    std::string to_string() const;
};

/// Ascending, disjoint, none empty.
using Intervals = std::vector<Interval>;

Intervals all_values();
Intervals point(const bson::Value& value);
/// The interval, or nothing when it is empty.
Intervals range(const Interval& interval);
Intervals unite(const Intervals& one, const Intervals& two);
Intervals intersect(const Intervals& one, const Intervals& two);
Intervals complement(const Intervals& intervals);

bool is_all(const Intervals& intervals);
bool are_points(const Intervals& intervals);
bool is_one_point(const Intervals& intervals);
bool contains(const Intervals& intervals, const bson::Value& value);
/// Whether every value of `inner` is one of `outer`.
bool is_within(const Intervals& inner, const Intervals& outer);

}  // namespace tessera::query
