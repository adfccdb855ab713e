// SPDX-License-Identifier: Apache-2.0
#include "query/plan/interval.h"

#include <algorithm>

#include "bson/arena.h"
#include "bson/compare.h"
#include "bson/json.h"

namespace tessera::query {

using bson::Value;

namespace {

/// Whether one ends before two starts with a gap or an excluded value between them.
bool is_apart(const Interval& one, const Interval& two) {
    const int order = bson::compare(one.end, two.start);
    return order < 0 || (order == 0 && !one.has_end && !two.has_start);
}

bool starts_before(const Interval& one, const Interval& two) {
    const int order = bson::compare(one.start, two.start);
    return order != 0 ? order < 0 : one.has_start && !two.has_start;
}

bool ends_before(const Interval& one, const Interval& two) {
    const int order = bson::compare(one.end, two.end);
    return order != 0 ? order < 0 : !one.has_end && two.has_end;
}

}  // namespace

bool Interval::is_point() const {
    return has_start && has_end && bson::equal(start, end);
}

std::string Interval::to_string() const {
    return (has_start ? "[" : "(") + bson::to_json(start, bson::JsonMode::message) + ", " +
           bson::to_json(end, bson::JsonMode::message) + (has_end ? "]" : ")");
}

Intervals all_values() {
    return {{bson::Arena::make_min_key(), bson::Arena::make_max_key(), true, true}};
}

Intervals point(const Value& value) {
    return {{value, value, true, true}};
}

Intervals range(const Interval& interval) {
    const int order = bson::compare(interval.start, interval.end);
    if (order > 0 || (order == 0 && !(interval.has_start && interval.has_end))) return {};
    return {interval};
}

Intervals unite(const Intervals& one, const Intervals& two) {
    Intervals all = one;
    all.insert(all.end(), two.begin(), two.end());
    std::stable_sort(all.begin(), all.end(), starts_before);
    Intervals result;
    for (const Interval& next : all) {
        if (result.empty() || is_apart(result.back(), next)) {
            result.push_back(next);
        } else if (ends_before(result.back(), next)) {
            result.back().end = next.end;
            result.back().has_end = next.has_end;
        }
    }
    return result;
}

Intervals intersect(const Intervals& one, const Intervals& two) {
    Intervals result;
    for (std::size_t i = 0, j = 0; i < one.size() && j < two.size();) {
        const Interval& later = starts_before(one[i], two[j]) ? two[j] : one[i];
        const bool one_ends = ends_before(one[i], two[j]);
        const Interval& sooner = one_ends ? one[i] : two[j];
        const Intervals common = range({later.start, sooner.end, later.has_start, sooner.has_end});
        result.insert(result.end(), common.begin(), common.end());
        ++(one_ends ? i : j);
    }
    return result;
}

Intervals complement(const Intervals& intervals) {
    Intervals result;
    Interval gap = all_values()[0];
    for (const Interval& interval : intervals) {
        gap.end = interval.start;
        gap.has_end = !interval.has_start;
        const Intervals before = range(gap);
        result.insert(result.end(), before.begin(), before.end());
        gap.start = interval.end;
        gap.has_start = !interval.has_end;
    }
    gap.end = bson::Arena::make_max_key();
    gap.has_end = true;
    const Intervals last = range(gap);
    result.insert(result.end(), last.begin(), last.end());
    return result;
}

bool is_all(const Intervals& intervals) {
    return intervals.size() == 1 && intervals[0].has_start && intervals[0].has_end &&
           intervals[0].start.type() == bson::Type::min_key &&
           intervals[0].end.type() == bson::Type::max_key;
}

bool are_points(const Intervals& intervals) {
    return std::all_of(intervals.begin(), intervals.end(), [](const Interval& interval) {
        return interval.is_point();
    });
}

bool is_one_point(const Intervals& intervals) {
    return intervals.size() == 1 && intervals[0].is_point();
}

bool contains(const Intervals& intervals, const Value& value) {
    return is_within(point(value), intervals);
}

bool is_within(const Intervals& inner, const Intervals& outer) {
    for (const Interval& one : inner) {
        const bool has = std::any_of(outer.begin(), outer.end(), [&](const Interval& two) {
            return !starts_before(one, two) && !ends_before(two, one);
        });
        if (!has) return false;
    }
    return true;
}

}  // namespace tessera::query
