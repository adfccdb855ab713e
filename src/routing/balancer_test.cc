// SPDX-License-Identifier: Apache-2.0
#include "routing/balancer.h"

#include "routing/chunk_changes.h"
#include "routing/test_support.h"

namespace tessera::routing {
namespace {

using testing::bound;
using testing::collection;
using testing::highest;
using testing::lowest;
using testing::map_of;
using testing::range;

constexpr std::int64_t unit = 100;  // The chunk size of these tests.

BalancerInput input_of(std::vector<BalancerShard> shards,
                       ChunkMap::Pointer map,
                       std::map<ShardName, std::int64_t> bytes) {
    BalancerInput input;
    input.shards = std::move(shards);
    input.chunk_bytes_max = unit;
    BalancerCollection of;
    of.chunks = std::move(map);
    of.bytes = std::move(bytes);
    input.collections.push_back(std::move(of));
    return input;
}
BalancerShard shard(const char* name, std::set<std::string> zones = {}) {
    BalancerShard result;
    result.name = name;
    result.zones = std::move(zones);
    return result;
}

TEST(Balancer, LeavesSmallDifferencesAlone) {
    const auto input =
        input_of({shard("s1"), shard("s2")}, map_of({0}, {"s1", "s1"}), {{"s1", 299}});
    const auto plan = plan_round(input);
    EXPECT_TRUE(plan.migrations.empty());
    EXPECT_EQ(
        plan.idle.at("shop.items"),
        "s1 has 299 bytes, s2 0 bytes: they differ by 299 bytes, under the threshold of 300 bytes");
    EXPECT_EQ(first_compliance_violation(input, input.collections[0]), "");
}

TEST(Balancer, MovesFromTheFullestToTheEmptiest) {
    auto input = input_of({shard("s1"), shard("s2"), shard("s3")},
                          map_of({0, 10}, {"s1", "s1", "s2"}),
                          {{"s1", 500}, {"s2", 200}});
    auto plan = plan_round(input);
    ASSERT_EQ(plan.migrations.size(), 1U);
    EXPECT_EQ(plan.migrations[0].from, "s1");
    EXPECT_EQ(plan.migrations[0].to, "s3");
    EXPECT_EQ(plan.migrations[0].bytes_max, unit);
    EXPECT_EQ(plan.migrations[0].why,
              "s1 has 500 bytes, s3 0 bytes: they differ by 500 bytes, the threshold is 300 bytes");
    EXPECT_EQ(first_compliance_violation(input, input.collections[0]), "chunksImbalance");
    input.busy = {"s3"};
    plan = plan_round(input);
    ASSERT_EQ(plan.migrations.size(), 1U);
    EXPECT_EQ(plan.migrations[0].to, "s2");
    input.busy = {"s1"};
    EXPECT_TRUE(plan_round(input).migrations.empty());
}

TEST(Balancer, PrefersChunksWithDataAndSkipsJumboAndFailedOnes) {
    const auto entry = collection();
    std::vector<Chunk> chunks = {testing::chunk(entry, lowest, 0, "s1", {1, 0}),
                                 testing::chunk(entry, 0, 10, "s1", {1, 1}),
                                 testing::chunk(entry, 10, 20, "s1", {1, 2}),
                                 testing::chunk(entry, 20, highest, "s1", {1, 3})};
    chunks[0].is_jumbo = true;
    auto input =
        input_of({shard("s1"), shard("s2")}, *ChunkMap::make(entry, chunks), {{"s1", 500}});
    input.collections[0].chunk_bytes = {{chunks[1].min_key, 0}, {chunks[2].min_key, 80}};
    EXPECT_EQ(to_string(plan_round(input).migrations.at(0).chunk), to_string(range(10, 20)));
    input.failed = {{"shop.items", chunks[2].min_key}};
    EXPECT_EQ(to_string(plan_round(input).migrations.at(0).chunk), to_string(range(20, highest)));
}

TEST(Balancer, DrainsFirstAndForcesJumboLast) {
    const auto entry = collection();
    std::vector<Chunk> chunks = {testing::chunk(entry, lowest, 0, "s1", {1, 0}),
                                 testing::chunk(entry, 0, highest, "s1", {1, 1})};
    chunks[0].is_jumbo = true;
    auto input = input_of(
        {shard("s1"), shard("s2"), shard("s3")}, *ChunkMap::make(entry, chunks), {{"s3", 10}});
    input.shards[0].is_draining = true;
    auto plan = plan_round(input);
    ASSERT_EQ(plan.migrations.size(), 1U);
    EXPECT_EQ(plan.migrations[0].reason, MoveReason::draining);
    EXPECT_EQ(plan.migrations[0].to, "s2");
    EXPECT_FALSE(plan.migrations[0].force_jumbo);
    input.failed = {{"shop.items", chunks[1].min_key}};
    EXPECT_TRUE(plan_round(input).migrations.at(0).force_jumbo);
    EXPECT_EQ(first_compliance_violation(input, input.collections[0]), "draining");
    input.shards[1].is_draining = input.shards[2].is_draining = true;
    plan = plan_round(input);
    EXPECT_TRUE(plan.migrations.empty());
    EXPECT_EQ(plan.idle.at("shop.items"), "no shard may receive chunks");
}

TEST(Balancer, SplitsAtZoneEdgesThenMovesIntoTheZone) {
    const auto key = collection().key;
    auto input = input_of({shard("s1"), shard("s2", {"eu"})}, map_of({}, {"s1"}), {});
    input.collections[0].zones = *Zones().with(key, range(0, 10), "eu");
    auto plan = plan_round(input);
    EXPECT_TRUE(plan.migrations.empty());
    ASSERT_EQ(plan.splits.size(), 1U);
    EXPECT_EQ(plan.splits[0].points.size(), 2U);
    EXPECT_EQ(first_compliance_violation(input, input.collections[0]), "zoneViolation");
    input.collections[0].chunks = map_of({0, 10}, {"s1", "s1", "s1"});
    plan = plan_round(input);
    ASSERT_EQ(plan.migrations.size(), 1U);
    EXPECT_EQ(plan.migrations[0].reason, MoveReason::zone_violation);
    EXPECT_EQ(to_string(plan.migrations[0].chunk), to_string(range(0, 10)));
    EXPECT_EQ(plan.migrations[0].to, "s2");
}

TEST(Balancer, LeavesCollectionsThatAreSwitchedOff) {
    auto entry = collection();
    entry.no_balance = true;
    auto input =
        input_of({shard("s1"), shard("s2")}, map_of({0}, {"s1", "s1"}, entry), {{"s1", 9999}});
    EXPECT_TRUE(plan_round(input).migrations.empty());
    entry.no_balance = false;
    entry.chunk_bytes_max = 5000;  // The collection's own chunk size counts.
    input = input_of({shard("s1"), shard("s2")}, map_of({0}, {"s1", "s1"}, entry), {{"s1", 9999}});
    EXPECT_TRUE(plan_round(input).migrations.empty());
}

/// A cluster of numbers: each key 0..999 weighs some bytes; plans are carried out on a real map.
class Cluster {
public:
    explicit Cluster(std::uint64_t seed) : random_(seed), ids_(random_) {
        const std::size_t shards = 2 + random_.below(4);
        for (std::size_t i = 0; i < shards; ++i) {
            shards_.push_back(shard(("s" + std::to_string(i)).c_str()));
            if (random_.below(3) == 0) shards_.back().zones.insert("eu");
        }
        shards_[0].zones.insert("eu");  // At least one shard for the zone.
        if (shards > 2 && random_.below(2) == 0) shards_[1].is_draining = true;
        if (random_.below(2) == 0) zones_ = *zones_.with(collection().key, range(200, 400), "eu");
        std::vector<std::int64_t> points;
        std::vector<ShardName> owners{random_shard()};
        for (std::int64_t at = 0; at < 1000;
             at += 1 + static_cast<std::int64_t>(random_.below(90))) {
            points.push_back(at);
            owners.push_back(random_shard());
        }
        map_ = map_of(points, owners);
        for (auto& weight : weights_)
            weight = static_cast<std::int64_t>(random_.below(20));
    }

    void run() {
        std::set<std::string> seen;
        int rounds = 0;
        for (; rounds < 3000; ++rounds) {
            const auto input = this->input();
            const auto plan = plan_round(input);
            check(plan);
            if (plan.migrations.empty() && plan.splits.empty()) break;
            for (const auto& split : plan.splits) {
                map_ = *applied(*map_, *split_chunk(*map_, split.chunk, split.points, {ids_, {0}}));
            }
            for (const auto& migration : plan.migrations)
                carry_out(migration);
            EXPECT_TRUE(seen.insert(picture()).second) << "it came back to where it was";
            if (::testing::Test::HasFailure()) return;
        }
        EXPECT_LT(rounds, 3000) << "it does not end";
        check_end();
    }

private:
    ShardName random_shard() { return shards_[random_.below(shards_.size())].name; }
    const BalancerShard& shard_named(const ShardName& name) const {
        for (const auto& each : shards_) {
            if (each.name == name) return each;
        }
        return shards_[0];
    }
    std::int64_t weight(const Chunk& chunk) const {
        std::int64_t sum = 0;
        for (std::size_t i = 0; i < weights_.size(); ++i) {
            if (chunk.contains(keys_[i])) sum += weights_[i];
        }
        return sum;
    }
    std::map<ShardName, std::int64_t> bytes() const {
        std::map<ShardName, std::int64_t> result;
        for (const auto& chunk : map_->chunks())
            result[chunk->shard] += weight(*chunk);
        return result;
    }
    BalancerInput input() const {
        auto result = input_of(shards_, map_, bytes());
        result.collections[0].zones = zones_;
        return result;
    }
    std::string picture() const {
        std::string result;
        for (const auto& chunk : map_->chunks())
            result += chunk->min_key + "=" + chunk->shard + ";";
        return result;
    }

    void check(const BalancerPlan& plan) {
        std::set<ShardName> used;
        for (const auto& migration : plan.migrations) {
            EXPECT_TRUE(used.insert(migration.from).second);
            EXPECT_TRUE(used.insert(migration.to).second);
            EXPECT_FALSE(shard_named(migration.to).is_draining);
            const Chunk* chunk = map_->chunk_with(migration.chunk);
            ASSERT_NE(chunk, nullptr);
            EXPECT_EQ(chunk->shard, migration.from);
            const std::string zone(zones_.zone_of(*chunk));
            EXPECT_TRUE(zone.empty() || shard_named(migration.to).zones.contains(zone));
            EXPECT_FALSE(migration.why.empty());
        }
    }

    /// Moves at most bytes_max from the chunk's start, as a donor does.
    void carry_out(const Migration& migration) {
        Range moved = migration.chunk;
        const Chunk& chunk = *map_->chunk_with(migration.chunk);
        std::int64_t sum = 0;
        for (std::size_t i = 0; i < weights_.size(); ++i) {
            if (!chunk.contains(keys_[i])) continue;
            sum += weights_[i];
            if (sum > migration.bytes_max) {
                moved.max = bound(static_cast<std::int64_t>(i));
                break;
            }
        }
        const auto changes =
            move_range(*map_, {moved, migration.from, migration.to, {500, 0}, {}}, {ids_, {0}});
        ASSERT_TRUE(changes.has_value()) << changes.error().to_string();
        map_ = *applied(*map_, *changes);
    }

    void check_end() {
        const auto bytes = this->bytes();
        for (const auto& each : shards_) {
            EXPECT_FALSE(each.is_draining && map_->owns_any(each.name));
        }
        for (const auto& chunk : map_->chunks()) {
            const std::string zone(zones_.zone_of(*chunk));
            EXPECT_TRUE(zone.empty() || shard_named(chunk->shard).zones.contains(zone));
        }
        if (!zones_.is_empty()) return;
        std::int64_t low = INT64_MAX;
        std::int64_t high = 0;
        for (const auto& each : shards_) {
            if (each.is_draining) continue;
            const auto found = bytes.find(each.name);
            const std::int64_t of = found == bytes.end() ? 0 : found->second;
            low = std::min(low, of);
            high = std::max(high, of);
        }
        EXPECT_LT(high - low, 3 * unit);
    }

    static std::vector<Key> make_keys() {
        std::vector<Key> keys;
        const auto key = collection().key;
        for (int i = 0; i < 1000; ++i)
            keys.push_back(*key.key_of(bson::make("a", i)));
        return keys;
    }

    Random random_;
    bson::ObjectIdSource ids_;
    std::vector<BalancerShard> shards_;
    Zones zones_;
    ChunkMap::Pointer map_;
    std::vector<Key> keys_ = make_keys();
    std::vector<std::int64_t> weights_ = std::vector<std::int64_t>(1000);
};

TEST(Balancer, RandomClustersConvergeDrainAndKeepTheirZones) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        Cluster(seed).run();
        if (::testing::Test::HasFailure()) return;
    }
}

}  // namespace
}  // namespace tessera::routing
