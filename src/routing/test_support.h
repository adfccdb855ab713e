// SPDX-License-Identifier: Apache-2.0
//
// What this module's tests share: documents from JSON, a collection, a chunk map that can grow.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "bson/builder.h"
#include "bson/ids.h"
#include "bson/json.h"
#include "routing/chunk_changes.h"
#include "routing/chunk_map.h"

namespace tessera::routing::testing {

inline bson::Document json(std::string_view text) {
    auto document = bson::from_json(text);
    EXPECT_TRUE(document.has_value()) << text;
    return document ? *document : bson::Document();
}

inline ShardKeyPattern pattern(std::string_view text) {
    auto result = ShardKeyPattern::parse(json(text));
    EXPECT_TRUE(result.has_value()) << text;
    return *result;
}

inline CollectionEntry collection(std::string_view key = R"({"a":1})") {
    CollectionEntry entry;
    entry.ns = "shop.items";
    entry.uuid.bytes.fill(7);
    entry.generation.epoch.bytes.fill(9);
    entry.generation.timestamp = {100, 1};
    entry.key = pattern(key);
    return entry;
}

/// {"a": low} to {"a": high}; INT64_MIN and INT64_MAX stand for MinKey and MaxKey.
inline bson::Document bound(std::int64_t value) {
    bson::Builder builder;
    if (value == INT64_MIN) {
        builder.append_min_key("a");
    } else if (value == INT64_MAX) {
        builder.append_max_key("a");
    } else {
        builder.append_integer("a", value);
    }
    return std::move(builder).finish();
}
inline Range range(std::int64_t low, std::int64_t high) {
    return {bound(low), bound(high)};
}
inline constexpr std::int64_t lowest = INT64_MIN;
inline constexpr std::int64_t highest = INT64_MAX;

inline Chunk chunk(const CollectionEntry& entry,
                   std::int64_t low,
                   std::int64_t high,
                   const ShardName& shard,
                   Placement placement) {
    Chunk result = *Chunk::make(entry.key, range(low, high));
    result.id.bytes[11] = static_cast<std::uint8_t>(placement.minor);
    result.id.bytes[10] = static_cast<std::uint8_t>(placement.major);
    result.shard = shard;
    result.placement = placement;
    result.on_shard_since = {100, 1};
    result.history = {{{100, 1}, shard}};
    return result;
}

/// A map over `a` cut at the points, chunk i on shards[i].
inline ChunkMap::Pointer map_of(const std::vector<std::int64_t>& points,
                                const std::vector<ShardName>& shards,
                                const CollectionEntry& entry = collection()) {
    std::vector<Chunk> chunks;
    std::int64_t low = lowest;
    for (std::size_t i = 0; i < shards.size(); ++i) {
        const std::int64_t high = i < points.size() ? points[i] : highest;
        chunks.push_back(chunk(entry, low, high, shards[i], {1, static_cast<std::uint32_t>(i)}));
        low = high;
    }
    auto map = ChunkMap::make(entry, std::move(chunks));
    EXPECT_TRUE(map.has_value());
    return *map;
}

}  // namespace tessera::routing::testing
