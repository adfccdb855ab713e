// SPDX-License-Identifier: Apache-2.0
//
// Bytes of a key: each field's encoding one after the other (KeyBuilder::append), then an ending
// (KeyBuilder::finish). A range's low and high are prefixes of a key with the ending `before` or
// `after`, so that [low, high) needs no flags: {a > 5} is [5 after, ...). An inclusive low is the
// smallest full key there, {a: 5, b: MinKey}, so that it equals the bound of a chunk that ends
// there.
#include "routing/key_range.h"

#include <algorithm>
#include <array>
#include <limits>

#include "bson/builder.h"
#include "bson/compare.h"
#include "bson/hashed.h"
#include "routing/limits.h"

namespace tessera::routing {
namespace {

using bson::Type;
using bson::Value;

std::string encoded(const Value& value) {
    bson::KeyBuilder builder;
    builder.append(value);
    return std::string(builder.key());
}

const Value min_key_value(Type::min_key, "", 0);
const Value max_key_value(Type::max_key, "", 0);

using Ending = bson::KeyBuilder::Ending;
std::string ending(Ending which) {
    bson::KeyBuilder builder;
    builder.finish(which);
    return std::string(builder.key());
}

/// Ends prefixes of keys that have `missing` fields less than the full key.
class Ender {
public:
    explicit Ender(std::size_t missing) {
        const std::string lowest = encoded(min_key_value);
        for (std::size_t i = 0; i < missing; ++i)
            smallest_ += lowest;
        smallest_ += ending(Ending::exact);
    }
    std::string low(std::string prefix, bool inclusive) const {
        return std::move(prefix.append(inclusive ? smallest_ : after_));
    }
    std::string high(std::string prefix, bool inclusive) const {
        return std::move(prefix.append(inclusive ? after_ : before_));
    }

private:
    std::string smallest_;
    std::string before_ = ending(Ending::before);
    std::string after_ = ending(Ending::after);
};

/// Sorts by low end and joins what touches.
KeyRanges joined(KeyRanges ranges) {
    std::erase_if(ranges, [](const KeyRange& range) { return range.low >= range.high; });
    std::sort(ranges.begin(), ranges.end(), [](const KeyRange& one, const KeyRange& two) {
        return one.low < two.low;
    });
    KeyRanges result;
    for (KeyRange& range : ranges) {
        if (!result.empty() && range.low <= result.back().high) {
            if (range.high > result.back().high) result.back().high = std::move(range.high);
        } else {
            result.push_back(std::move(range));
        }
    }
    return result;
}

/// The lowest and the highest value of a type class; `high_inclusive` false when `high` is the
/// lowest value of the next class.
struct ClassBounds {
    std::string low;
    std::string high;
    bool high_inclusive = true;
};

/// Unset where a class has no simple bounds: what compares there says nothing about the key.
std::optional<ClassBounds> class_bounds(Type type) {
    const bson::Document empty;
    const std::string lowest_object = encoded(empty.view().as_object_value());
    switch (type) {
        case Type::number_double:
        case Type::int32:
        case Type::int64:
        case Type::decimal128: {
            const bson::Document numbers = bson::make("n",
                                                      std::numeric_limits<double>::quiet_NaN(),
                                                      "i",
                                                      std::numeric_limits<double>::infinity());
            return ClassBounds{encoded(numbers["n"]), encoded(numbers["i"])};
        }
        case Type::string:
        case Type::symbol: {
            const bson::Document text = bson::make("s", "");
            return ClassBounds{encoded(text["s"]), lowest_object, false};
        }
        case Type::object:
            return ClassBounds{lowest_object, encoded(empty.view().as_array_value()), false};
        case Type::object_id: {
            bson::ObjectId high;
            high.bytes.fill(0xff);
            const bson::Document ids = bson::make("l", bson::ObjectId{}, "h", high);
            return ClassBounds{encoded(ids["l"]), encoded(ids["h"])};
        }
        case Type::boolean: {
            const bson::Document flags = bson::make("l", false, "h", true);
            return ClassBounds{encoded(flags["l"]), encoded(flags["h"])};
        }
        case Type::date: {
            const bson::Document dates =
                bson::make("l",
                           WallTime{std::numeric_limits<std::int64_t>::min()},
                           "h",
                           WallTime{std::numeric_limits<std::int64_t>::max()});
            return ClassBounds{encoded(dates["l"]), encoded(dates["h"])};
        }
        case Type::timestamp: {
            const bson::Document times =
                bson::make("l", Timestamp{}, "h", Timestamp::unpack(~std::uint64_t{0}));
            return ClassBounds{encoded(times["l"]), encoded(times["h"])};
        }
        default:
            return std::nullopt;
    }
}

/// The ranges of keys that start with one of the prefixes, then have a value in the intervals.
KeyRanges with_last_field(const std::vector<std::string>& prefixes,
                          const FieldIntervals& field,
                          const Ender& ender) {
    KeyRanges ranges;
    for (const std::string& prefix : prefixes) {
        for (const FieldInterval& interval : field) {
            ranges.push_back({ender.low(prefix + interval.low, interval.low_inclusive),
                              ender.high(prefix + interval.high, interval.high_inclusive)});
        }
    }
    return joined(std::move(ranges));
}

}  // namespace

KeyRanges everything() {
    return {{std::string(), encoded(max_key_value) + ending(Ending::after)}};
}

KeyRanges unite(const KeyRanges& one, const KeyRanges& two) {
    KeyRanges both = one;
    both.insert(both.end(), two.begin(), two.end());
    return joined(std::move(both));
}

KeyRanges intersect(const KeyRanges& one, const KeyRanges& two) {
    KeyRanges result;
    auto a = one.begin();
    auto b = two.begin();
    while (a != one.end() && b != two.end()) {
        const std::string& low = std::max(a->low, b->low);
        const std::string& high = std::min(a->high, b->high);
        if (low < high) result.push_back({low, high});
        if (a->high < b->high) {
            ++a;
        } else {
            ++b;
        }
    }
    return result;
}

FieldInterval FieldInterval::point(const Value& value) {
    std::string bytes = encoded(value);
    return {bytes, bytes, true, true};
}

FieldInterval FieldInterval::between(const Value& low,
                                     bool low_inclusive,
                                     const Value& high,
                                     bool high_inclusive) {
    return {encoded(low), encoded(high), low_inclusive, high_inclusive};
}

FieldInterval FieldInterval::all() {
    static const FieldInterval whole = between(min_key_value, true, max_key_value, true);
    return whole;
}

FieldInterval FieldInterval::above(const Value& value, bool inclusive) {
    const auto bounds = class_bounds(value.type());
    if (!bounds) return all();
    return {encoded(value), bounds->high, inclusive, bounds->high_inclusive};
}

FieldInterval FieldInterval::below(const Value& value, bool inclusive) {
    const auto bounds = class_bounds(value.type());
    if (!bounds) return all();
    return {bounds->low, encoded(value), true, inclusive};
}

FieldIntervals normalized(FieldIntervals intervals) {
    std::erase_if(intervals, [](const FieldInterval& interval) { return interval.is_empty(); });
    std::sort(
        intervals.begin(), intervals.end(), [](const FieldInterval& one, const FieldInterval& two) {
            if (one.low != two.low) return one.low < two.low;
            return one.low_inclusive && !two.low_inclusive;
        });
    FieldIntervals result;
    for (FieldInterval& next : intervals) {
        if (!result.empty()) {
            FieldInterval& last = result.back();
            const bool touches =
                next.low < last.high ||
                (next.low == last.high && (next.low_inclusive || last.high_inclusive));
            if (touches) {
                if (next.high > last.high) {
                    last.high = std::move(next.high);
                    last.high_inclusive = next.high_inclusive;
                } else if (next.high == last.high) {
                    last.high_inclusive = last.high_inclusive || next.high_inclusive;
                }
                continue;
            }
        }
        result.push_back(std::move(next));
    }
    return result;
}

FieldIntervals intersect(const FieldIntervals& one, const FieldIntervals& two) {
    FieldIntervals result;
    auto a = one.begin();
    auto b = two.begin();
    while (a != one.end() && b != two.end()) {
        FieldInterval both;
        both.low = std::max(a->low, b->low);
        both.low_inclusive =
            (a->low != both.low || a->low_inclusive) && (b->low != both.low || b->low_inclusive);
        both.high = std::min(a->high, b->high);
        both.high_inclusive = (a->high != both.high || a->high_inclusive) &&
                              (b->high != both.high || b->high_inclusive);
        if (!both.is_empty()) result.push_back(std::move(both));
        const bool a_ends_first =
            a->high < b->high || (a->high == b->high && !a->high_inclusive && b->high_inclusive);
        if (a_ends_first) {
            ++a;
        } else {
            ++b;
        }
    }
    return result;
}

void FieldBounds::narrow(std::size_t field, const FieldIntervals& intervals) {
    auto& slot = fields_[field];
    slot = slot ? intersect(*slot, intervals) : intervals;
}

void FieldBounds::narrow_to_points(const ShardKeyPattern& pattern,
                                   std::size_t field,
                                   const std::vector<Value>& values) {
    FieldIntervals points;
    for (const Value& value : values) {
        if (pattern.fields()[field].is_hashed) {
            const std::int64_t hash = bson::shard_hash(value);
            points.push_back(FieldInterval::point(
                Value(Type::int64, reinterpret_cast<const char*>(&hash), sizeof hash)));
        } else {
            points.push_back(FieldInterval::point(value));
        }
    }
    narrow(field, normalized(std::move(points)));
}

bool FieldBounds::is_contradiction() const {
    return std::any_of(
        fields_.begin(), fields_.end(), [](const auto& field) { return field && field->empty(); });
}

std::optional<Key> FieldBounds::single_key() const {
    Key key;
    for (const auto& field : fields_) {
        if (!field || field->size() != 1 || !field->front().is_point()) return std::nullopt;
        key += field->front().low;
    }
    key += ending(Ending::exact);
    return key;
}

KeyRanges FieldBounds::to_ranges() const {
    if (is_contradiction()) return {};
    std::vector<std::string> prefixes{{}};  // Every combination of points so far.
    std::size_t used = 0;
    for (const auto& field : fields_) {
        const bool is_open = !field || prefixes.size() * field->size() > limits::key_ranges;
        if (is_open) break;
        const bool all_points = std::all_of(
            field->begin(), field->end(), [](const auto& interval) { return interval.is_point(); });
        if (!all_points) {
            return with_last_field(prefixes, *field, Ender(fields_.size() - used - 1));
        }
        std::vector<std::string> longer;
        longer.reserve(prefixes.size() * field->size());
        for (const std::string& prefix : prefixes) {
            for (const FieldInterval& point : *field)
                longer.push_back(prefix + point.low);
        }
        prefixes = std::move(longer);
        ++used;
    }
    if (used == 0) return everything();
    const Ender ender(fields_.size() - used);
    KeyRanges ranges;
    ranges.reserve(prefixes.size());
    for (const std::string& prefix : prefixes) {
        ranges.push_back({ender.low(prefix, true), ender.high(prefix, true)});
    }
    return joined(std::move(ranges));
}

}  // namespace tessera::routing
