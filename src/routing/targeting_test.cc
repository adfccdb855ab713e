// SPDX-License-Identifier: Apache-2.0
#include "routing/targeting.h"

#include "routing/test_support.h"

namespace tessera::routing {
namespace {

using testing::json;
using testing::map_of;

RoutingInfo sharded() {
    RoutingInfo routing;
    routing.database = {"shop", "s1", {}};
    routing.chunks = map_of({0, 10, 20}, {"s1", "s2", "s1", "s3"});
    return routing;
}
RoutingInfo unsharded() {
    RoutingInfo routing = sharded();
    routing.chunks = nullptr;
    return routing;
}

std::string names(const std::vector<ShardTarget>& targets) {
    std::string result;
    for (const auto& target : targets)
        result += (result.empty() ? "" : ",") + target.shard;
    return result;
}
std::string query(std::string_view filter) {
    return names(target_query(sharded(), json(filter)));
}

TEST(Targeting, AnUnshardedCollectionIsOnThePrimaryShard) {
    const auto targets = target_query(unsharded(), json(R"({"a":5})"));
    ASSERT_EQ(targets.size(), 1U);
    EXPECT_EQ(targets[0].shard, "s1");
    EXPECT_TRUE(targets[0].shard_version.is_unsharded());
    EXPECT_TRUE(targets[0].database_version.has_value());
    bson::Builder command;
    targets[0].append_versions(command);
    const auto document = std::move(command).finish();
    EXPECT_TRUE(ShardVersion::parse(document["shardVersion"])->is_unsharded());
    EXPECT_TRUE(DatabaseVersion::parse(document["databaseVersion"]).has_value());
}

TEST(Targeting, QueriesGoWhereMatchesMayBe) {
    EXPECT_EQ(query(R"({"a":5})"), "s2");
    EXPECT_EQ(query(R"({"a":{"$in":[5,25]}})"), "s2,s3");
    EXPECT_EQ(query(R"({"a":{"$gte":10}})"), "s1,s3");
    EXPECT_EQ(query(R"({"a":{"$lt":10,"$gte":0}})"), "s2");
    EXPECT_EQ(query(R"({"b":5})"), "s1,s2,s3");
    EXPECT_EQ(query(R"({"a":"text"})"), "s3");
    EXPECT_EQ(query(R"({"a":null})"), "s1");
    EXPECT_EQ(query(R"({"$or":[{"a":1},{"a":30}]})"), "s2,s3");
    // Nothing can match, still somebody answers.
    EXPECT_EQ(query(R"({"a":{"$in":[]}})"), "s1");
}

TEST(Targeting, QueriesOnCompoundKeysStopAtChunkEdges) {
    const CollectionEntry entry = testing::collection(R"({"a":1,"b":1})");
    std::vector<Chunk> chunks;
    bson::Document low = entry.key.min_bound();
    int shard = 1;
    for (const char* point : {R"({"a":10,"b":{"$minKey":1}})", R"({"a":10,"b":5})", ""}) {
        const auto high = *point == 0 ? entry.key.max_bound() : json(point);
        chunks.push_back(*Chunk::make(entry.key, {low, high}));
        chunks.back().shard = "s" + std::to_string(shard);
        chunks.back().placement = {1, static_cast<std::uint32_t>(shard++)};
        low = high;
    }
    RoutingInfo routing = sharded();
    routing.chunks = *ChunkMap::make(entry, chunks);
    const auto of = [&](std::string_view filter) {
        return names(target_query(routing, json(filter)));
    };
    EXPECT_EQ(of(R"({"a":{"$lt":10}})"), "s1");
    EXPECT_EQ(of(R"({"a":{"$gte":10}})"), "s2,s3");
    EXPECT_EQ(of(R"({"a":10})"), "s2,s3");
    EXPECT_EQ(of(R"({"a":10,"b":{"$gte":5}})"), "s3");
    EXPECT_EQ(of(R"({"a":10,"b":{"$lt":5}})"), "s2");
    EXPECT_EQ(of(R"({"a":10,"b":{"$lte":5}})"), "s2,s3");
    EXPECT_EQ(of(R"({"a":{"$gt":10}})"), "s3");
    EXPECT_EQ(of(R"({"b":5})"), "s1,s2,s3");
}

TEST(Targeting, CarriesEachShardsOwnVersion) {
    const auto routing = sharded();
    for (const auto& target : target_all(routing)) {
        EXPECT_EQ(target.shard_version, ShardVersion(routing.chunks->version_of(target.shard)));
        EXPECT_FALSE(target.database_version.has_value());
    }
    EXPECT_EQ(names(target_all(routing)), "s1,s2,s3");
}

TEST(Targeting, InsertsGoToOneShard) {
    EXPECT_EQ(target_insert(sharded(), json(R"({"_id":1,"a":15})"))->shard, "s1");
    EXPECT_EQ(target_insert(sharded(), json(R"({"_id":1})"))->shard, "s1");
    EXPECT_EQ(target_insert(sharded(), json(R"({"a":[1]})")).error().code(),
              ErrorCode::shard_key_not_found);
}

WriteTarget write(std::string_view filter,
                  bool is_multi = false,
                  bool is_upsert = false,
                  bool is_in_transaction = false) {
    const auto document = json(filter);
    WriteStatement statement;
    statement.kind = WriteStatement::Kind::update_operators;
    statement.filter = document;
    statement.is_multi = is_multi;
    statement.is_upsert = is_upsert;
    statement.is_in_transaction = is_in_transaction;
    return *target_write(sharded(), statement);
}

TEST(Targeting, ASingleWriteGoesByShardKeyThenByIdThenInTwoPhases) {
    EXPECT_EQ(write(R"({"a":5})").kind, WriteKind::one_shard);
    EXPECT_EQ(names(write(R"({"a":5})").shards), "s2");
    // Any match is on one shard, though the key is not fixed.
    EXPECT_EQ(write(R"({"a":{"$gt":1,"$lt":4}})").kind, WriteKind::one_shard);
    EXPECT_EQ(write(R"({"_id":5})").kind, WriteKind::by_id);
    EXPECT_EQ(names(write(R"({"_id":5})").shards), "s1,s2,s3");
    EXPECT_EQ(names(write(R"({"_id":5,"a":{"$gte":10}})").shards), "s1,s3");
    EXPECT_EQ(write(R"({"b":5})").kind, WriteKind::two_phase);
}

TEST(Targeting, AnUpsertWithoutTheKeyTakesTwoPhases) {
    EXPECT_EQ(write(R"({"a":5})", false, true).kind, WriteKind::one_shard);
    EXPECT_EQ(write(R"({"_id":5})", false, true).kind, WriteKind::two_phase);
    EXPECT_TRUE(write(R"({"_id":5})", false, true).is_upsert);
    EXPECT_EQ(write(R"({"a":{"$gt":1,"$lt":4}})", false, true).kind, WriteKind::two_phase);
    WriteStatement statement;
    const auto filter = json(R"({"b":5})");
    statement.filter = filter;
    statement.is_multi = statement.is_upsert = true;
    EXPECT_EQ(target_write(sharded(), statement).error().code(), ErrorCode::shard_key_not_found);
}

TEST(Targeting, AMultiWriteToSeveralShardsIsNotVersioned) {
    const auto several = write(R"({"b":5})", true);
    EXPECT_EQ(several.kind, WriteKind::multi);
    for (const auto& target : several.shards)
        EXPECT_TRUE(target.shard_version.is_ignored());
    const auto one = write(R"({"a":{"$lt":5,"$gt":1}})", true);
    EXPECT_EQ(one.kind, WriteKind::one_shard);
    EXPECT_FALSE(one.shards[0].shard_version.is_ignored());
    for (const auto& target : write(R"({"b":5})", true, false, true).shards) {
        EXPECT_FALSE(target.shard_version.is_ignored());
    }
}

TEST(Targeting, ASnapshotReadGoesWhereTheDataWas) {
    const auto routing = sharded();
    EXPECT_EQ(names(*target_query_at(routing, json(R"({"a":5})"), {200, 0})), "s2");
    EXPECT_EQ(target_query_at(routing, json(R"({"a":5})"), {50, 0}).error().code(),
              ErrorCode::stale_chunk_history);
}

TEST(Targeting, ASnapshotBeforeAnUnshardedCollectionMovedIsGone) {
    RoutingInfo routing;
    routing.database.name = "db";
    routing.database.primary = "s1";
    EXPECT_EQ(names(*target_query_at(routing, {}, {50, 0})), "s1");
    routing.database.moved_at = {100, 1};
    EXPECT_EQ(names(*target_query_at(routing, {}, {100, 1})), "s1");
    EXPECT_EQ(target_query_at(routing, {}, {100, 0}).error().code(),
              ErrorCode::snapshot_unavailable);
}

}  // namespace
}  // namespace tessera::routing
