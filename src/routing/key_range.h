// SPDX-License-Identifier: Apache-2.0
//
// What a query says about the shard key, as bytes. A FieldInterval is an interval of one field's
// encoded values; FieldBounds is a list of them for each field of the key; KeyRanges is what the
// whole filter leaves of the key space: sorted, disjoint, half-open ranges of keys. Building ranges
// from fields follows the order of the key: points multiply, the first true interval ends a range.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bson/value.h"
#include "routing/shard_key.h"

namespace tessera::routing {

/// [low, high) in key space; `low` and `high` may be prefixes of keys, with an ending.
struct KeyRange {
    std::string low;
    std::string high;
    bool operator==(const KeyRange&) const = default;
};

/// Sorted, disjoint, not empty each. An empty list is the empty set.
using KeyRanges = std::vector<KeyRange>;

/// Every key.
KeyRanges everything();
KeyRanges unite(const KeyRanges& one, const KeyRanges& two);
KeyRanges intersect(const KeyRanges& one, const KeyRanges& two);

/// An interval of one field's values, as the bytes KeyBuilder writes for a value.
struct FieldInterval {
    std::string low;
    std::string high;
    bool low_inclusive = true;
    bool high_inclusive = true;
    bool operator==(const FieldInterval&) const = default;

    bool is_point() const { return low_inclusive && high_inclusive && low == high; }
    bool is_empty() const { return low > high || (low == high && !is_point()); }

    static FieldInterval point(const bson::Value& value);
    static FieldInterval between(const bson::Value& low,
                                 bool low_inclusive,
                                 const bson::Value& high,
                                 bool high_inclusive);
    /// MinKey to MaxKey.
    static FieldInterval all();
    /// The values of the type class of `value` that are on that side of it: {$gt: 5} is the numbers
    /// above 5. Never narrower than what matches; all() where the class has no simple bounds.
    static FieldInterval above(const bson::Value& value, bool inclusive);
    static FieldInterval below(const bson::Value& value, bool inclusive);
};

/// Sorted and disjoint; empty means that no value matches.
using FieldIntervals = std::vector<FieldInterval>;

/// Sorts, drops empty intervals and joins those that overlap.
FieldIntervals normalized(FieldIntervals intervals);
FieldIntervals intersect(const FieldIntervals& one, const FieldIntervals& two);

/// For each field of the key, what conjunctive conditions leave of it; unset: no condition.
/// A hashed field's intervals are of hashes, so only narrow_to_points() may narrow it.
class FieldBounds {
public:
    explicit FieldBounds(const ShardKeyPattern& pattern) : fields_(pattern.fields().size()) {}

    /// Narrows a field: what was there and `intervals` must both hold.
    void narrow(std::size_t field, const FieldIntervals& intervals);
    /// As narrow(), for equality with one of the values; hashes them for a hashed field.
    void narrow_to_points(const ShardKeyPattern& pattern,
                          std::size_t field,
                          const std::vector<bson::Value>& values);
    const std::optional<FieldIntervals>& operator[](std::size_t field) const {
        return fields_[field];
    }
    /// Whether some field can hold no value.
    bool is_contradiction() const;
    /// The one full key these conditions allow: every field is a single point.
    std::optional<Key> single_key() const;
    KeyRanges to_ranges() const;

private:
    std::vector<std::optional<FieldIntervals>> fields_;
};

}  // namespace tessera::routing
