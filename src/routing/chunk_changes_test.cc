// SPDX-License-Identifier: Apache-2.0
#include "routing/chunk_changes.h"

#include "routing/initial_chunks.h"
#include "routing/ownership.h"
#include "routing/split_points.h"
#include "routing/test_support.h"

namespace tessera::routing {
namespace {

using testing::bound;
using testing::highest;
using testing::json;
using testing::lowest;
using testing::map_of;
using testing::pattern;
using testing::range;

class ChunkChangesTest : public ::testing::Test {
protected:
    IdContext context() { return {ids_, {1000}}; }
    static std::string text(const ChunkMap& map) {
        std::string result;
        for (const auto& chunk : map.chunks()) {
            const auto low = chunk->range.min["a"];
            result += (low.is_number() ? std::to_string(low.to_int64()) : "min") + ":" +
                      chunk->shard + "@" + std::to_string(chunk->placement.major) + "|" +
                      std::to_string(chunk->placement.minor) + " ";
        }
        return result;
    }
    static std::string after(const ChunkMap& map, const Result<ChunkChanges>& changes) {
        if (!changes) return changes.error().to_string();
        return text(**applied(map, *changes));
    }

    Random random_{1};
    bson::ObjectIdSource ids_{random_};
};

TEST_F(ChunkChangesTest, ASplitRaisesMinor) {
    const auto map = map_of({0, 10}, {"s1", "s2", "s1"});
    EXPECT_EQ(after(*map, split_chunk(*map, range(0, 10), {bound(5), bound(2)}, context())),
              "min:s1@1|0 0:s2@1|3 2:s2@1|4 5:s2@1|5 10:s1@1|2 ");
}

TEST_F(ChunkChangesTest, ASplitRefusesPointsThatAreNotInside) {
    const auto map = map_of({0, 10}, {"s1", "s2", "s1"});
    const auto code = [&](const Range& of, const std::vector<bson::Document>& points) {
        return split_chunk(*map, of, points, context()).error().code();
    };
    EXPECT_EQ(code(range(0, 10), {bound(0)}), ErrorCode::cannot_split);
    EXPECT_EQ(code(range(0, 10), {bound(10)}), ErrorCode::cannot_split);
    EXPECT_EQ(code(range(0, 10), {bound(11)}), ErrorCode::bad_value);
    EXPECT_EQ(code(range(0, 10), {}), ErrorCode::bad_value);
    EXPECT_EQ(code(range(0, 10), {json(R"({"b":1})")}), ErrorCode::bad_value);
    EXPECT_EQ(code(range(0, 9), {bound(5)}), ErrorCode::conflicting_operation_in_progress);
}

TEST_F(ChunkChangesTest, AMoveOfAWholeChunkTakesAControlChunk) {
    const auto map = map_of({0, 10}, {"s1", "s2", "s1"});
    EXPECT_EQ(
        after(*map, move_range(*map, {range(10, highest), "s1", "s2", {200, 0}, {}}, context())),
        "min:s1@2|1 0:s2@1|1 10:s2@2|0 ");
    // The donor keeps nothing: no control chunk.
    EXPECT_EQ(after(*map, move_range(*map, {range(0, 10), "s2", "s3", {200, 0}, {}}, context())),
              "min:s1@1|0 0:s3@2|0 10:s1@1|2 ");
}

TEST_F(ChunkChangesTest, AMoveOfAPartSplitsTheChunk) {
    const auto map = map_of({0, 10}, {"s1", "s2", "s1"});
    EXPECT_EQ(after(*map, move_range(*map, {range(3, 5), "s2", "s1", {200, 0}, {}}, context())),
              "min:s1@1|0 0:s2@2|1 3:s1@2|0 5:s2@2|2 10:s1@1|2 ");
    EXPECT_EQ(after(*map, move_range(*map, {range(0, 5), "s2", "s1", {200, 0}, {}}, context())),
              "min:s1@1|0 0:s1@2|0 5:s2@2|1 10:s1@1|2 ");
    const auto code = [&](const Range& moved, const ShardName& from, const ShardName& to) {
        return move_range(*map, {moved, from, to, {200, 0}, {}}, context()).error().code();
    };
    EXPECT_EQ(code(range(5, 11), "s2", "s1"), ErrorCode::conflicting_operation_in_progress);
    EXPECT_EQ(code(range(0, 10), "s1", "s2"), ErrorCode::conflicting_operation_in_progress);
    EXPECT_EQ(code(range(0, 10), "s2", "s2"), ErrorCode::bad_value);
}

TEST_F(ChunkChangesTest, AMoveAddsToTheHistoryAndForgetsTheOldest) {
    auto map = map_of({}, {"s1"});
    for (std::uint32_t i = 0; i < 4; ++i) {
        const std::string from = i % 2 == 0 ? "s1" : "s2";
        const std::string to = i % 2 == 0 ? "s2" : "s1";
        map = *applied(
            *map,
            *move_range(
                *map, {range(lowest, highest), from, to, {200 + i * 10, 0}, {215, 0}}, context()));
    }
    const Chunk& chunk = *map->chunks().front();
    ASSERT_EQ(chunk.history.size(), 3U);
    EXPECT_EQ(chunk.history.front().valid_after, (Timestamp{230, 0}));
    EXPECT_EQ(*chunk.shard_at({215, 0}), "s1");  // Moved there at 210.
    EXPECT_EQ(chunk.on_shard_since, (Timestamp{230, 0}));
}

TEST_F(ChunkChangesTest, AMergeTakesNeighboursOfOneShard) {
    const auto map = map_of({0, 10, 20}, {"s1", "s1", "s1", "s2"});
    const auto changes = merge_chunks(*map, range(lowest, 20));
    EXPECT_EQ(after(*map, changes), "min:s1@1|4 20:s2@1|3 ");
    EXPECT_EQ(changes->removed.size(), 2U);
    EXPECT_TRUE(merge_chunks(*map, range(0, 10))->is_empty());
    EXPECT_EQ(merge_chunks(*map, range(10, highest)).error().code(), ErrorCode::bad_value);
    EXPECT_EQ(merge_chunks(*map, range(1, 20)).error().code(), ErrorCode::bad_value);
}

TEST_F(ChunkChangesTest, MergeAllLeavesJumboRecentAndZonedChunks) {
    const auto entry = testing::collection();
    std::vector<Chunk> chunks;
    for (std::uint32_t i = 0; i < 8; ++i) {
        const std::int64_t low = i == 0 ? lowest : i * 10;
        const std::int64_t high = i == 7 ? highest : (i + 1) * 10;
        chunks.push_back(testing::chunk(entry, low, high, "s1", {1, i}));
    }
    chunks[2].is_jumbo = true;
    chunks[5].on_shard_since = {900, 0};
    const auto map = *ChunkMap::make(entry, chunks);
    EXPECT_EQ(after(*map, merge_all_on_shard(*map, "s1", {500, 0}, 100)),
              "min:s1@1|8 20:s1@1|2 30:s1@1|9 50:s1@1|5 60:s1@1|10 ");
    EXPECT_EQ(
        after(*map,
              merge_all_on_shard(*map, "s1", {500, 0}, 100, {*entry.key.encode_bound(bound(40))})),
        "min:s1@1|8 20:s1@1|2 30:s1@1|3 40:s1@1|4 50:s1@1|5 60:s1@1|9 ");
    EXPECT_TRUE(merge_all_on_shard(*map, "s2", {500, 0}, 100)->is_empty());
    EXPECT_EQ(merge_all_on_shard(*map, "s1", {500, 0}, 1)->put.size(), 1U);
}

TEST(SplitPoints, AreSetAfterEnoughBytesAndNeverBetweenEqualKeys) {
    const auto key = pattern(R"({"a":1})");
    SplitPointPicker picker(key, 10, 100);
    for (int i = 0; i < 100; ++i)
        picker.observe(bound(i < 50 ? i : 50), 1);
    std::string points;
    for (const auto& point : std::move(picker).finish()) {
        points += std::to_string(point["a"].to_int64()) + " ";
    }
    EXPECT_EQ(points, "10 20 30 40 50 ");
    SplitPointPicker same(key, 10, 100);
    for (int i = 0; i < 100; ++i)
        same.observe(bound(7), 1);
    EXPECT_TRUE(std::move(same).finish().empty());
    SplitPointPicker few(key, 10, 2);
    for (int i = 0; i < 100; ++i)
        few.observe(bound(i), 1);
    EXPECT_EQ(std::move(few).finish().size(), 2U);
}

TEST(SplitPoints, ARangeToMoveEndsWhereItIsFull) {
    RangeEndPicker picker(pattern(R"({"a":1})"), 10);
    int seen = 0;
    while (picker.observe(bound(seen), 3))
        ++seen;
    EXPECT_EQ((*picker.end())["a"].to_int64(), 3);
    RangeEndPicker all(pattern(R"({"a":1})"), 100);
    EXPECT_TRUE(all.observe(bound(1), 3));
    EXPECT_FALSE(all.end().has_value());
}

TEST(InitialChunks, HashSplitPointsAreSymmetric) {
    EXPECT_TRUE(hash_split_points(1).empty());
    EXPECT_EQ(hash_split_points(2), (std::vector<std::int64_t>{0}));
    const std::int64_t third = INT64_MAX / 3;
    EXPECT_EQ(hash_split_points(3), (std::vector<std::int64_t>{-third, third}));
    EXPECT_EQ(hash_split_points(4),
              (std::vector<std::int64_t>{-4611686018427387902, 0, 4611686018427387902}));
    for (std::int64_t n = 2; n < 40; ++n) {
        const auto points = hash_split_points(n);
        EXPECT_EQ(points.size(), static_cast<std::size_t>(n - 1));
        for (std::size_t i = 0; i < points.size(); ++i) {
            EXPECT_EQ(points[i], -points[points.size() - 1 - i]);
        }
    }
}

std::string shards_of(const std::vector<PlannedChunk>& plan) {
    std::string result;
    for (const auto& chunk : plan)
        result += chunk.shard + " ";
    return result;
}

TEST(InitialChunks, AreOneForARangeAndOneAShardForAHash) {
    InitialChunksRequest request;
    request.primary = "s2";
    request.shards = {"s1", "s2", "s3"};
    EXPECT_EQ(shards_of(*plan_initial_chunks(pattern(R"({"a":1})"), request)), "s2 ");
    const auto hashed = pattern(R"({"a":"hashed"})");
    EXPECT_EQ(shards_of(*plan_initial_chunks(hashed, request)), "s1 s2 s3 ");
    request.num_initial_chunks = 7;
    const auto plan = *plan_initial_chunks(hashed, request);
    EXPECT_EQ(shards_of(plan), "s1 s1 s1 s2 s2 s3 s3 ");
    Random random(1);
    bson::ObjectIdSource ids(random);
    CollectionEntry entry = testing::collection(R"({"a":"hashed"})");
    const auto chunks = *make_initial_chunks(hashed, plan, {5, 0}, {ids, {0}});
    const auto map = *ChunkMap::make(entry, chunks);
    EXPECT_EQ(map->version().placement, (Placement{1, 6}));
    EXPECT_EQ(plan_initial_chunks(pattern(R"({"a":1})"), request).error().code(),
              ErrorCode::invalid_options);
    request.num_initial_chunks = 3 * 8192 + 1;
    EXPECT_EQ(plan_initial_chunks(hashed, request).error().code(), ErrorCode::invalid_options);
    request.num_initial_chunks = 0;
    request.is_empty = false;
    EXPECT_EQ(shards_of(*plan_initial_chunks(hashed, request)), "s2 ");
}

TEST(InitialChunks, FollowZonesAndFillTheGaps) {
    const auto key = pattern(R"({"a":1})");
    InitialChunksRequest request;
    request.primary = "s1";
    request.shards = {"s1", "s2", "s3"};
    request.zones_of_shard = {{"s2", {"eu"}}, {"s3", {"us"}}};
    request.zones = *request.zones.with(key, range(0, 10), "eu");
    request.zones = *request.zones.with(key, range(10, 20), "us");
    request.zones = *request.zones.with(key, range(30, 40), "eu");
    const auto plan = *plan_initial_chunks(key, request);
    EXPECT_EQ(shards_of(plan), "s1 s2 s3 s2 s2 s3 ");
    EXPECT_EQ(to_string(plan[3].range), to_string(range(20, 30)));
    request.zones = *request.zones.with(key, range(40, 50), "asia");
    EXPECT_EQ(plan_initial_chunks(key, request).error().code(), ErrorCode::bad_value);
}

TEST(Zones, RefuseOverlapsAndExtendPrefixes) {
    const auto key = pattern(R"({"a":1,"b":1})");
    Zones zones;
    zones = *zones.with(key, {json(R"({"a":0})"), json(R"({"a":10})")}, "eu");
    EXPECT_EQ(zones.ranges()[0].range.min["b"].type(), bson::Type::min_key);
    EXPECT_EQ(zones.with(key, {json(R"({"a":9})"), json(R"({"a":12})")}, "us").error().code(),
              ErrorCode::range_overlap_conflict);
    EXPECT_EQ(zones.with(key, {json(R"({"a":0})"), json(R"({"a":10})")}, "us").error().code(),
              ErrorCode::range_overlap_conflict);
    EXPECT_EQ(zones.with(key, {json(R"({"a":-5})"), json(R"({"a":12})")}, "eu").error().code(),
              ErrorCode::range_overlap_conflict);
    EXPECT_EQ(zones.with(key, {json(R"({"a":0})"), json(R"({"a":10})")}, "eu")->ranges().size(),
              1U);
    EXPECT_EQ(zones.with(key, {json(R"({"a":5})"), json(R"({"a":5})")}, "eu").error().code(),
              ErrorCode::bad_value);
    EXPECT_EQ(zones.with(key, {json(R"({"b":5})"), json(R"({"b":6})")}, "eu").error().code(),
              ErrorCode::bad_value);
    zones = *zones.with(key, {json(R"({"a":10})"), json(R"({"a":{"$maxKey":1}})")}, "us");
    EXPECT_TRUE(key.is_max_bound(zones.ranges()[1].range.max));
    const auto parsed = *Zones::parse(
        key, {zone_document("a.b", zones.ranges()[1]), zone_document("a.b", zones.ranges()[0])});
    EXPECT_EQ(parsed.ranges()[0].zone, "eu");
    EXPECT_EQ(zones.without(key, {json(R"({"a":0})"), json(R"({"a":10})")})->ranges().size(), 1U);
}

TEST(Zones, SplitChunksAtTheirEdges) {
    const auto key = pattern(R"({"a":1})");
    Zones zones;
    zones = *zones.with(key, range(0, 10), "eu");
    zones = *zones.with(key, range(10, 20), "us");
    const auto points = [&](std::int64_t low, std::int64_t high) {
        std::string result;
        for (const auto& point : zones.split_points(*Chunk::make(key, range(low, high)))) {
            result += std::to_string(point["a"].to_int64()) + " ";
        }
        return result;
    };
    EXPECT_EQ(points(lowest, highest), "0 10 20 ");
    EXPECT_EQ(points(0, 10), "");
    EXPECT_EQ(points(5, 15), "10 ");
    EXPECT_EQ(zones.zone_of(*Chunk::make(key, range(2, 10))), "eu");
    EXPECT_EQ(zones.zone_of(*Chunk::make(key, range(2, 11))), "");
    EXPECT_EQ(zones.zone_of(*Chunk::make(key, range(20, 30))), "");
}

}  // namespace
}  // namespace tessera::routing
