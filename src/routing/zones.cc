// SPDX-License-Identifier: Apache-2.0
#include "routing/zones.h"

#include <algorithm>

#include "bson/builder.h"

namespace tessera::routing {
namespace {

Result<ZoneRange> make_range(const ShardKeyPattern& pattern,
                             const Range& range,
                             std::string_view zone) {
    ZoneRange result;
    result.zone = zone;
    TRY(result.range.min, pattern.extend_bound(range.min));
    TRY(result.range.max, pattern.extend_bound(range.max));
    // The end of the key space is {a: MaxKey, b: MaxKey}, also for a prefix {a: MaxKey}.
    if (!range.max.is_empty()) {
        bool is_end = true;
        for (const auto& element : range.max.view()) {
            is_end = is_end && element.value.type() == bson::Type::max_key;
        }
        if (is_end) result.range.max = pattern.max_bound();
    }
    TRY(result.min_key, pattern.encode_bound(result.range.min));
    TRY(result.max_key, pattern.encode_bound(result.range.max));
    if (result.min_key >= result.max_key) {
        return Error(ErrorCode::bad_value,
                     "max key must be greater than min key: " + to_string(result.range));
    }
    return result;
}

}  // namespace

Result<Zones> Zones::parse(const ShardKeyPattern& pattern,
                           const std::vector<bson::Document>& tags) {
    Zones zones;
    for (const bson::Document& tag : tags) {
        if (!tag["min"].is_object() || !tag["max"].is_object() || !tag["tag"].is_string()) {
            return Error(ErrorCode::no_such_key, "config.tags document without min, max or tag");
        }
        const Range range{bson::Document(tag["min"].as_view()),
                          bson::Document(tag["max"].as_view())};
        TRY(zones, zones.with(pattern, range, tag["tag"].as_string()));
    }
    return zones;
}

Result<Zones> Zones::with(const ShardKeyPattern& pattern,
                          const Range& range,
                          std::string_view zone) const {
    TRY(ZoneRange added, make_range(pattern, range, zone));
    // The first range that ends behind the new one's start is the only one that may overlap first.
    const auto at = std::upper_bound(
        ranges_.begin(), ranges_.end(), added.min_key, [](const Key& key, const ZoneRange& r) {
            return key < r.max_key;
        });
    if (at != ranges_.end() && at->min_key < added.max_key) {
        const bool is_same =
            at->min_key == added.min_key && at->max_key == added.max_key && at->zone == added.zone;
        if (is_same) return *this;
        return Error(ErrorCode::range_overlap_conflict,
                     "Zone range: " + to_string(added.range) + " is overlapping with existing: " +
                         to_string(at->range) + " of zone " + at->zone);
    }
    Zones result = *this;
    result.ranges_.insert(result.ranges_.begin() + (at - ranges_.begin()), std::move(added));
    return result;
}

Result<Zones> Zones::without(const ShardKeyPattern& pattern, const Range& range) const {
    TRY(const ZoneRange removed, make_range(pattern, range, ""));
    Zones result = *this;
    std::erase_if(result.ranges_, [&](const ZoneRange& r) {
        return r.min_key == removed.min_key && r.max_key == removed.max_key;
    });
    return result;
}

std::string_view Zones::zone_of(const Chunk& chunk) const {
    const auto at = std::upper_bound(
        ranges_.begin(), ranges_.end(), chunk.min_key, [](const Key& key, const ZoneRange& r) {
            return key < r.max_key;
        });
    const bool holds_all =
        at != ranges_.end() && at->min_key <= chunk.min_key && chunk.max_key <= at->max_key;
    return holds_all ? std::string_view(at->zone) : std::string_view();
}

std::string_view Zones::zone_of(std::string_view key) const {
    const auto at = std::upper_bound(
        ranges_.begin(), ranges_.end(), key, [](std::string_view one, const ZoneRange& r) {
            return one < r.max_key;
        });
    return at != ranges_.end() && at->min_key <= key ? std::string_view(at->zone)
                                                     : std::string_view();
}

std::vector<bson::Document> Zones::split_points(const Chunk& chunk) const {
    std::vector<bson::Document> points;
    const auto is_inside = [&](const Key& key) {
        return chunk.min_key < key && key < chunk.max_key;
    };
    const Key* last = nullptr;
    for (const ZoneRange& range : ranges_) {
        if (is_inside(range.min_key) && (last == nullptr || *last != range.min_key)) {
            points.push_back(range.range.min);
        }
        if (is_inside(range.max_key)) points.push_back(range.range.max);
        last = &range.max_key;
    }
    return points;
}

bool Zones::uses(std::string_view zone) const {
    return std::any_of(
        ranges_.begin(), ranges_.end(), [&](const ZoneRange& range) { return range.zone == zone; });
}

bson::Document zone_document(std::string_view ns, const ZoneRange& range) {
    bson::Builder document;
    {
        auto id = document.object("_id");
        id.append("ns", ns);
        id.append("min", range.range.min);
    }
    document.append("ns", ns);
    document.append("min", range.range.min);
    document.append("max", range.range.max);
    document.append("tag", range.zone);
    return std::move(document).finish();
}

}  // namespace tessera::routing
