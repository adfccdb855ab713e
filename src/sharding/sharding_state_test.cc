// SPDX-License-Identifier: Apache-2.0
//
// ShardingState over a config server that is a table: versions, critical sections of collections
// and databases, and who waits for them.
#include "sharding/sharding_state.h"

#include <gtest/gtest.h>

#include "async/manual.h"
#include "routing/test_support.h"

namespace tessera::sharding {
namespace {

using Access = ShardingState::Access;
using Section = ShardingState::Section;
using routing::testing::highest;
using routing::testing::lowest;

// One sharded collection, shop.items; database "shop" lives on shard A.
class TableReader : public ConfigReader {
public:
    routing::ChunkMap::Pointer map = routing::testing::map_of({10}, {"A", "B"});
    routing::DatabaseEntry shop;
    int old_reads = 0;  // So many reads of the database still show the version before.
    // What happens while an answer is on its way, once.
    std::function<void()> after_database;
    std::function<void()> before_collection;

    TableReader() {
        shop.name = "shop";
        shop.primary = "A";
        shop.version.timestamp = {50, 1};
        shop.version.last_mod = 1;
    }
    async::Task<Result<std::optional<routing::DatabaseEntry>>> database(std::string db,
                                                                        Instant) override {
        if (db != "shop") co_return std::optional<routing::DatabaseEntry>();
        routing::DatabaseEntry shown = shop;
        if (old_reads > 0) --shown.version.last_mod, --old_reads;
        if (const auto event = std::exchange(after_database, nullptr)) event();
        co_return std::optional<routing::DatabaseEntry>(shown);
    }
    async::Task<Result<std::optional<routing::CollectionEntry>>> collection(std::string ns,
                                                                            Instant) override {
        if (const auto event = std::exchange(before_collection, nullptr)) event();
        if (ns != "shop.items") co_return std::optional<routing::CollectionEntry>();
        co_return std::optional<routing::CollectionEntry>(map->collection());
    }
    async::Task<Result<std::vector<bson::Document>>> chunks(bson::Uuid collection,
                                                            routing::Placement since,
                                                            Instant) override {
        std::vector<bson::Document> result;
        for (const auto& each : map->chunks())
            if (each->placement >= since) result.push_back(each->to_document(collection));
        co_return result;
    }
    async::Task<Result<std::vector<bson::Document>>> tags(std::string, Instant) override {
        co_return std::vector<bson::Document>();
    }
};

class State : public ::testing::Test {
protected:
    State() {
        ShardIdentity identity;
        identity.name = "A";
        EXPECT_TRUE(state_.set_identity(identity).has_value());
        for (const char* ns : {"shop.items", "shop.plain"})
            EXPECT_TRUE(run(state_.refresh(ns, async::no_deadline)).has_value());
    }
    template <class T>
    T run(async::Task<T> task) {
        return async::run_task(executor_, clock_, std::move(task));
    }
    ReceivedVersions sharded() const {
        ReceivedVersions received;
        received.shard = routing::ShardVersion(reader_.map->version_of("A"));
        return received;
    }
    ReceivedVersions unsharded() const {
        ReceivedVersions received;
        received.shard = routing::ShardVersion::unsharded();
        received.database = reader_.shop.version;
        return received;
    }
    static ReceivedVersions internal() {
        ReceivedVersions received;
        received.is_internal = true;
        return received;
    }
    bool may(const std::string& ns, const ReceivedVersions& received, Access access) {
        return state_.check(ns, received, access).has_value();
    }

    async::ManualExecutor executor_;
    async::VirtualClock clock_;
    TableReader reader_;
    RoutingCache cache_{clock_, reader_};
    ShardingState state_{clock_, cache_};
};

TEST_F(State, ServesTheVersionItKnowsAndNoOther) {
    EXPECT_TRUE(may("shop.items", sharded(), Access::write));
    EXPECT_TRUE(may("shop.plain", unsharded(), Access::write));
    EXPECT_FALSE(may("shop.items", unsharded(), Access::read));
    ReceivedVersions moved = unsharded();
    ++moved.database->last_mod;
    const auto refused = state_.check("shop.plain", moved, Access::read);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), ErrorCode::stale_db_version);
    EXPECT_FALSE(is_sender_behind(refused.error()));
    --moved.database->last_mod;
    --moved.database->last_mod;
    const auto behind = state_.check("shop.plain", moved, Access::read);
    ASSERT_FALSE(behind.has_value());
    EXPECT_TRUE(is_sender_behind(behind.error()));
}

TEST_F(State, ASenderWhoThinksThatNothingIsOwnedHereMayBeAhead) {
    ReceivedVersions received = sharded();
    received.shard = routing::ShardVersion(
        routing::ChunkVersion{received.shard->version().generation, routing::Placement{}});
    const auto refused = state_.check("shop.items", received, Access::read);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), ErrorCode::stale_config);
    EXPECT_FALSE(is_sender_behind(refused.error()));
}

TEST_F(State, ASectionHoldsBackClientsButNotWhatRunsInIt) {
    state_.enter_critical_section("shop.items", Section::writes, async::no_deadline);
    EXPECT_FALSE(may("shop.items", sharded(), Access::write));
    EXPECT_FALSE(may("shop.items", {}, Access::write));
    EXPECT_TRUE(may("shop.items", sharded(), Access::read));
    EXPECT_TRUE(may("shop.items", internal(), Access::write));
    state_.enter_critical_section("shop.items", Section::reads_too, async::no_deadline);
    EXPECT_FALSE(may("shop.items", sharded(), Access::read));
    EXPECT_TRUE(may("shop.items", {}, Access::read));
    EXPECT_FALSE(state_.is_readable("shop.items"));
    state_.leave_critical_section("shop.items");
    EXPECT_TRUE(may("shop.items", {}, Access::write));
}

TEST_F(State, AClientsDirectWriteIsHeldToWhatIsOwned) {
    const auto direct = state_.check("shop.items", {}, Access::write);
    ASSERT_TRUE(direct.has_value());
    EXPECT_TRUE(direct->is_filtered && direct->chunks);
    EXPECT_FALSE(state_.check("shop.items", internal(), Access::write)->is_filtered);
    EXPECT_FALSE(state_.check("shop.items", {}, Access::read)->is_filtered);
}

TEST_F(State, ADatabasesSectionLeavesShardedCollectionsAlone) {
    ASSERT_TRUE(state_.begin_database_section("shop").has_value());
    EXPECT_FALSE(may("shop.plain", unsharded(), Access::write));
    EXPECT_TRUE(may("shop.plain", unsharded(), Access::read));
    EXPECT_FALSE(may("shop.fresh", {}, Access::write));
    EXPECT_TRUE(may("shop.items", sharded(), Access::write));
    EXPECT_TRUE(may("shop.items", {}, Access::write));
    EXPECT_TRUE(may("other.plain", {}, Access::write));
    state_.enter_database_section("shop", Section::reads_too);
    EXPECT_FALSE(may("shop.plain", unsharded(), Access::read));
    state_.enter_database_section("shop", Section::direct_writes);
    EXPECT_TRUE(may("shop.plain", unsharded(), Access::write));
    EXPECT_FALSE(may("shop.plain", {}, Access::write));
    state_.leave_database_section("shop");
    EXPECT_TRUE(may("shop.plain", {}, Access::write));
}

TEST_F(State, ChangesOfOneCollectionAndOfItsDatabaseExcludeEachOther) {
    const Instant lease = clock_.now() + std::chrono::seconds(30);
    ASSERT_TRUE(state_.begin_change("shop.plain", Section::reads_too, lease, 1).has_value());
    const auto refused = state_.begin_database_section("shop");
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), ErrorCode::conflicting_operation_in_progress);
    state_.end_change("shop.plain", 1);
    ASSERT_TRUE(state_.begin_database_section("shop").has_value());
    EXPECT_FALSE(state_.begin_change("shop.plain", Section::reads_too, lease, 1).has_value());
}

TEST_F(State, EndingAChangeDoesNotEndAMigrationsSection) {
    state_.enter_critical_section("shop.items", Section::writes, async::no_deadline);
    const Instant lease = clock_.now() + std::chrono::seconds(30);
    EXPECT_FALSE(state_.begin_change("shop.items", Section::reads_too, lease, 1).has_value());
    state_.end_change("shop.items", 1);
    EXPECT_TRUE(state_.is_in_critical_section("shop.items"));
}

TEST_F(State, AChangeThatIsForgottenEndsByItself) {
    const Instant lease = clock_.now() + std::chrono::seconds(30);
    ASSERT_TRUE(state_.begin_change("shop.plain", Section::reads_too, lease, 1).has_value());
    EXPECT_FALSE(may("shop.plain", unsharded(), Access::read));
    clock_.advance(std::chrono::seconds(31));
    EXPECT_TRUE(may("shop.plain", unsharded(), Access::read));
}

TEST_F(State, AChangeIsTakenOverByALaterConfigPrimaryAndNotEndedByAnEarlierOne) {
    const Instant lease = clock_.now() + std::chrono::seconds(30);
    ASSERT_TRUE(state_.begin_change("shop.items", Section::reads_too, lease, 2).has_value());
    EXPECT_FALSE(state_.begin_change("shop.items", Section::reads_too, lease, 1).has_value());
    ASSERT_TRUE(state_.begin_change("shop.items", Section::reads_too, lease, 3).has_value());
    state_.end_change("shop.items", 2);
    EXPECT_FALSE(may("shop.items", sharded(), Access::read));
    state_.end_change("shop.items", 3);
    EXPECT_TRUE(may("shop.items", sharded(), Access::read));
}

TEST_F(State, DrainingADatabaseWaitsForItsUnshardedRequests) {
    auto sharded_write = state_.check("shop.items", sharded(), Access::write);
    auto read = state_.check("shop.plain", unsharded(), Access::read);
    auto write = state_.check("shop.plain", unsharded(), Access::write);
    ASSERT_TRUE(sharded_write && read && write);
    const auto soon = [&] { return clock_.now() + std::chrono::seconds(1); };
    EXPECT_FALSE(run(state_.drain_database("shop", Access::write, soon())).has_value());
    write = Error(ErrorCode::interrupted, "");
    EXPECT_TRUE(run(state_.drain_database("shop", Access::write, soon())).has_value());
    EXPECT_FALSE(run(state_.drain_database("shop", Access::read, soon())).has_value());
    read = Error(ErrorCode::interrupted, "");
    EXPECT_TRUE(run(state_.drain_database("shop", Access::read, soon())).has_value());
}

TEST_F(State, ANewPrimaryRefusesUntilItKnowsWhatItInherits) {
    state_.set_recovering(true);
    EXPECT_FALSE(may("shop.items", sharded(), Access::read));
    EXPECT_FALSE(may("shop.items", {}, Access::write));
    state_.set_recovering(false);
    EXPECT_TRUE(may("shop.items", sharded(), Access::read));
}

TEST_F(State, ARangeIsInUseWhileARequestGoesByAMapThatOwnsIt) {
    auto use = state_.check("shop.items", sharded(), Access::read);
    ASSERT_TRUE(use.has_value());
    EXPECT_TRUE(state_.is_range_in_use("shop.items", routing::testing::range(lowest, 10)));
    EXPECT_FALSE(state_.is_range_in_use("shop.items", routing::testing::range(10, highest)));
    use = Error(ErrorCode::interrupted, "");
    EXPECT_FALSE(state_.is_range_in_use("shop.items", routing::testing::range(lowest, 10)));
}

TEST_F(State, AReadThatWasUnderWayDoesNotBringBackWhatWasForgotten) {
    const ReceivedVersions before = unsharded();
    reader_.after_database = [&] {
        ++reader_.shop.version.last_mod;  // It moves, and this shard is told.
        state_.forget_database("shop");
    };
    ASSERT_TRUE(run(state_.refresh("shop.plain", async::no_deadline)).has_value());
    EXPECT_FALSE(may("shop.plain", before, Access::write));
    EXPECT_TRUE(may("shop.plain", unsharded(), Access::write));
    reader_.before_collection = [&] { state_.forget("shop.plain"); };
    ASSERT_TRUE(run(state_.refresh("shop.plain", async::no_deadline)).has_value());
    EXPECT_TRUE(may("shop.plain", unsharded(), Access::write));
    reader_.after_database = [&] { state_.forget_all(); };
    ASSERT_TRUE(run(state_.refresh("shop.plain", async::no_deadline)).has_value());
    EXPECT_TRUE(may("shop.plain", unsharded(), Access::write));
}

// A read of one collection's placement takes long; its database moves, which another has seen.
TEST_F(State, AReadThatBeganEarlierDoesNotReplaceWhatALaterOneHasShown) {
    const ReceivedVersions before = unsharded();
    reader_.before_collection = [&] {
        ++reader_.shop.version.last_mod;
        reader_.shop.primary = "B";
        ASSERT_TRUE(run(state_.refresh("shop.other", async::no_deadline)).has_value());
        ASSERT_EQ(state_.known_database("shop")->primary, "B");
    };
    ASSERT_TRUE(run(state_.refresh("shop.plain", async::no_deadline)).has_value());
    EXPECT_EQ(state_.known_database("shop")->primary, "B");
    EXPECT_FALSE(may("shop.plain", before, Access::write));
}

// A config primary that has just been elected.
TEST_F(State, AnOlderVersionOfADatabaseDoesNotReplaceANewerOne) {
    const ReceivedVersions before = unsharded();
    ++reader_.shop.version.last_mod;
    ASSERT_TRUE(run(state_.refresh("shop.plain", async::no_deadline)).has_value());
    reader_.old_reads = 1;
    ASSERT_TRUE(run(state_.refresh("shop.plain", async::no_deadline)).has_value());
    EXPECT_EQ(reader_.old_reads, 0);
    EXPECT_FALSE(may("shop.plain", before, Access::write));
    EXPECT_TRUE(may("shop.plain", unsharded(), Access::write));
}

TEST_F(State, WhatIsOwnedIsWorkedOutOnceAVersion) {
    const auto first = state_.check("shop.items", sharded(), Access::read);
    const auto second = state_.check("shop.items", {}, Access::write);
    ASSERT_TRUE(first && second);
    ASSERT_TRUE(first->owned);
    EXPECT_EQ(first->owned, second->owned);
    EXPECT_EQ(first->owned->size(), 1U);
    auto anew = routing::testing::collection();
    ++anew.generation.timestamp.seconds;
    reader_.map = routing::testing::map_of({10}, {"B", "B"}, anew);
    ASSERT_TRUE(run(state_.refresh("shop.items", async::no_deadline)).has_value());
    const auto moved = state_.check("shop.items", {}, Access::write);
    ASSERT_TRUE(moved && moved->owned);
    EXPECT_TRUE(moved->owned->empty());
    EXPECT_FALSE(state_.check("shop.plain", unsharded(), Access::read)->owned);
}

TEST_F(State, ARefreshWaitsForWhatAShardHasBeenToldAlready) {
    routing::RefreshRequest request;
    request.database = "shop";
    request.wanted_database = reader_.shop.version;
    ++request.wanted_database->last_mod;
    reader_.shop.version = *request.wanted_database;
    reader_.old_reads = 3;
    cache_.mark_stale(request);
    const auto caught_up = run(cache_.get_database("shop", async::no_deadline));
    ASSERT_TRUE(caught_up.has_value());
    EXPECT_EQ(caught_up->version, reader_.shop.version);
    EXPECT_EQ(reader_.old_reads, 0);

    // But not for ever: the shard that said so may be wrong.
    ++request.wanted_database->last_mod;
    cache_.mark_stale(request);
    const auto given_up = run(cache_.get_database("shop", async::no_deadline));
    ASSERT_TRUE(given_up.has_value());
    EXPECT_EQ(given_up->version, reader_.shop.version);
}

}  // namespace
}  // namespace tessera::sharding
