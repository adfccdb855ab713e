// SPDX-License-Identifier: Apache-2.0
#include "routing/versions.h"

#include "routing/retry.h"
#include "routing/test_support.h"

namespace tessera::routing {
namespace {

ChunkVersion version(std::uint32_t major, std::uint32_t minor, std::uint32_t generation = 100) {
    ChunkVersion result;
    result.generation.epoch.bytes.fill(static_cast<std::uint8_t>(generation));
    result.generation.timestamp = {generation, 0};
    result.placement = {major, minor};
    return result;
}

TEST(Versions, OrderByGenerationThenPlacement) {
    EXPECT_TRUE(version(1, 9).is_older_than(version(2, 0)));
    EXPECT_FALSE(version(2, 0).is_older_than(version(2, 0)));
    EXPECT_TRUE(version(9, 0, 100).is_older_than(version(1, 0, 101)));
}

TEST(Versions, SurviveTheWire) {
    for (const ShardVersion& each :
         {ShardVersion(version(5, 7)), ShardVersion::unsharded(), ShardVersion::ignored()}) {
        bson::Builder builder;
        each.append_to(builder, "shardVersion");
        const auto document = std::move(builder).finish();
        EXPECT_EQ(*ShardVersion::parse(document["shardVersion"]), each);
    }
    bson::Builder old;
    {
        auto array = old.array("v");
        array.append(Timestamp{5, 7});
        array.append(version(5, 7).generation.epoch);
        array.append(version(5, 7).generation.timestamp);
    }
    const auto document = std::move(old).finish();
    EXPECT_EQ(*ShardVersion::parse(document["v"]), ShardVersion(version(5, 7)));
    EXPECT_FALSE(ShardVersion::parse(bson::make("v", 5)["v"]).has_value());
}

TEST(Versions, AShardAcceptsItsOwnMajorAndWhatIsNotToBeChecked) {
    EXPECT_TRUE(is_compatible(version(5, 1), version(5, 9)));
    EXPECT_FALSE(is_compatible(version(4, 9), version(5, 0)));
    EXPECT_FALSE(is_compatible(version(5, 0), version(4, 9)));
    EXPECT_FALSE(is_compatible(version(5, 0, 100), version(5, 0, 101)));
    EXPECT_FALSE(is_compatible(ShardVersion::unsharded(), version(5, 0)));
    EXPECT_TRUE(is_compatible(ShardVersion::unsharded(), ShardVersion::unsharded()));
    EXPECT_TRUE(is_compatible(ShardVersion::ignored(), version(5, 0)));
    // A shard without chunks of this generation is not the same as an unsharded collection.
    EXPECT_FALSE(is_compatible(ShardVersion::unsharded(), version(0, 0)));
}

TEST(Versions, StaleErrorsCarryThemAndAskForARefresh) {
    const StaleConfigInfo info{"a.b", version(1, 0), ShardVersion(version(2, 0)), "s1"};
    const Error error = info.to_error("version mismatch");
    EXPECT_EQ(error.code(), ErrorCode::stale_config);
    const auto request = refresh_for(error, "x.y");
    ASSERT_TRUE(request.has_value());
    EXPECT_EQ(request->collection, "a.b");
    EXPECT_EQ(*request->wanted_collection, ShardVersion(version(2, 0)));

    DatabaseVersion db;
    db.last_mod = 3;
    const Error of_database = StaleDatabaseInfo{"a", db, std::nullopt}.to_error("moved");
    EXPECT_EQ(refresh_for(of_database, "a.b")->database, "a");
    EXPECT_FALSE(refresh_for({ErrorCode::bad_value, "no"}, "a.b").has_value());
    EXPECT_EQ(refresh_for({ErrorCode::stale_config, "bare"}, "a.b")->collection, "a.b");
}

TEST(Versions, ARouterGivesUpAfterTenRounds) {
    StaleRetry retry;
    int rounds = 0;
    while (retry.may_retry())
        ++rounds;
    EXPECT_EQ(rounds, 10);
}

}  // namespace
}  // namespace tessera::routing
