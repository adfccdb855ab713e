// SPDX-License-Identifier: Apache-2.0
#include "routing/initial_chunks.h"

#include <algorithm>
#include <limits>

#include "bson/builder.h"
#include "routing/limits.h"

namespace tessera::routing {
namespace {

/// A bound of a key that starts with the hashed field.
bson::Document hash_bound(const ShardKeyPattern& pattern, std::int64_t hash) {
    bson::Builder bound;
    bool is_first = true;
    for (const auto& field : pattern.fields()) {
        if (is_first) {
            bound.append(field.path, hash);
        } else {
            bound.append_min_key(field.path);
        }
        is_first = false;
    }
    return std::move(bound).finish();
}

/// [min, p1), [p1, p2), ... , [pn, max).
std::vector<Range> cut(bson::Document min,
                       const std::vector<bson::Document>& points,
                       bson::Document max) {
    std::vector<Range> ranges;
    for (const bson::Document& point : points) {
        ranges.push_back({std::move(min), point});
        min = point;
    }
    ranges.push_back({std::move(min), std::move(max)});
    return ranges;
}

/// One chunk a zone range, one a gap: zones' shards take turns, so do all shards for the gaps.
Result<std::vector<PlannedChunk>> plan_by_zones(const ShardKeyPattern& pattern,
                                                const InitialChunksRequest& request) {
    std::map<std::string_view, std::vector<ShardName>> shards_of_zone;
    for (const ShardName& shard : request.shards) {
        const auto zones = request.zones_of_shard.find(shard);
        if (zones == request.zones_of_shard.end()) continue;
        for (const std::string& zone : zones->second)
            shards_of_zone[zone].push_back(shard);
    }
    std::map<std::string_view, std::size_t> turns;
    std::vector<PlannedChunk> plan;
    bson::Document reached = pattern.min_bound();
    TRY(Key reached_key, pattern.encode_bound(reached));
    const auto add_gap = [&](const bson::Document& end) {
        plan.push_back({{reached, end}, request.shards[turns[""]++ % request.shards.size()]});
    };
    for (const ZoneRange& range : request.zones.ranges()) {
        if (reached_key < range.min_key) add_gap(range.range.min);
        const auto& shards = shards_of_zone[range.zone];
        if (shards.empty()) {
            return Error(
                ErrorCode::bad_value,
                "zone " + range.zone + " has no shard, but a range " + to_string(range.range));
        }
        plan.push_back({range.range, shards[turns[range.zone]++ % shards.size()]});
        reached = range.range.max;
        reached_key = range.max_key;
    }
    if (!pattern.is_max_bound(reached)) add_gap(pattern.max_bound());
    return plan;
}

Status check_request(const ShardKeyPattern& pattern, const InitialChunksRequest& request) {
    if (request.shards.empty()) {
        return Error(ErrorCode::shard_not_found, "there is no shard that can receive chunks");
    }
    if (request.presplit_hashed_zones) {
        return Error(ErrorCode::not_implemented, "presplitHashedZones is not supported");
    }
    if (request.num_initial_chunks == 0) return ok();
    if (!pattern.is_hashed_first() || !request.is_empty || !request.zones.is_empty()) {
        return Error(
            ErrorCode::invalid_options,
            "numInitialChunks is only supported when the collection is empty, its shard key "
            "starts with a hashed field and it has no zones");
    }
    const auto shards = static_cast<std::int64_t>(request.shards.size());
    const std::int64_t max =
        std::min(limits::initial_chunks_per_shard * shards, limits::initial_chunks);
    if (request.num_initial_chunks < 0 || request.num_initial_chunks > max) {
        return Error(ErrorCode::invalid_options,
                     "numInitialChunks must be between 1 and " + std::to_string(max));
    }
    return ok();
}

}  // namespace

std::vector<std::int64_t> hash_split_points(std::int64_t chunks) {
    std::vector<std::int64_t> points;
    if (chunks < 2) return points;
    const std::int64_t interval = std::numeric_limits<std::int64_t>::max() / chunks * 2;
    std::int64_t at = 0;
    if (chunks % 2 == 0) {
        points.push_back(0);
        at = interval;
    } else {
        at = interval / 2;
    }
    for (std::int64_t i = 0; i < (chunks - 1) / 2; ++i) {
        points.push_back(at);
        points.push_back(-at);
        at += interval;
    }
    std::sort(points.begin(), points.end());
    return points;
}

Result<std::vector<PlannedChunk>> plan_initial_chunks(const ShardKeyPattern& pattern,
                                                      const InitialChunksRequest& request) {
    TRY_OK(check_request(pattern, request));
    if (!request.is_empty) {
        // The data is where it is; the balancer splits and moves it.
        return std::vector<PlannedChunk>{
            {{pattern.min_bound(), pattern.max_bound()}, request.primary}};
    }
    if (!request.zones.is_empty()) return plan_by_zones(pattern, request);
    if (!pattern.is_hashed_first()) {
        return std::vector<PlannedChunk>{
            {{pattern.min_bound(), pattern.max_bound()}, request.primary}};
    }
    const auto shards = static_cast<std::int64_t>(request.shards.size());
    const std::int64_t count =
        request.num_initial_chunks != 0 ? request.num_initial_chunks : shards;
    std::vector<bson::Document> points;
    for (const std::int64_t point : hash_split_points(count)) {
        points.push_back(hash_bound(pattern, point));
    }
    // Neighbours go to one shard: chunks i * shards / count, so that every shard gets its share.
    std::vector<PlannedChunk> plan;
    std::int64_t index = 0;
    for (Range& range : cut(pattern.min_bound(), points, pattern.max_bound())) {
        const auto shard = static_cast<std::size_t>(index * shards / count);
        plan.push_back({std::move(range), request.shards[shard]});
        ++index;
    }
    return plan;
}

Result<std::vector<Chunk>> make_initial_chunks(const ShardKeyPattern& pattern,
                                               const std::vector<PlannedChunk>& plan,
                                               Timestamp valid_after,
                                               IdContext context) {
    std::vector<Chunk> chunks;
    chunks.reserve(plan.size());
    for (const PlannedChunk& planned : plan) {
        TRY(Chunk chunk, Chunk::make(pattern, planned.range));
        chunk.id = context.ids.next(context.now);
        chunk.shard = planned.shard;
        chunk.placement = {1, static_cast<std::uint32_t>(chunks.size())};
        chunk.on_shard_since = valid_after;
        chunk.history = {{valid_after, planned.shard}};
        chunks.push_back(std::move(chunk));
    }
    return chunks;
}

}  // namespace tessera::routing
