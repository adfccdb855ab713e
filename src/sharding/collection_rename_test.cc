// SPDX-License-Identifier: Apache-2.0
//
// Renames of a sharded collection: the catalogue's unit, a shard's part, and a config primary that
// is gone after each step in turn. Both shards end with the name that the catalogue has.
#include "sharding/collection_rename.h"

#include <gtest/gtest.h>

#include <numeric>

#include "routing/test_support.h"
#include "sharding/limits.h"
#include "sharding/test_cluster.h"

namespace tessera::sharding {
namespace {

using testing::Fault;
using testing::TestCluster;
using testing::TestNode;

const std::string items = "shop.items";
const std::string goods = "shop.goods";

std::vector<std::int64_t> twenty() {
    std::vector<std::int64_t> result(20);
    std::iota(result.begin(), result.end(), 0);
    return result;
}

CollectionRename rename_of(TestCluster& cluster) {
    CollectionRename rename;
    rename.id = cluster.catalog->new_uuid();
    rename.from = items;
    rename.to = goods;
    rename.uuid = (*cluster.catalog->collection(items))->uuid;
    return rename;
}

Instant in_an_hour(TestCluster& cluster) {
    return cluster.set.clock.now() + std::chrono::hours(1);
}

// What is at 5 and above on A goes to B.
Status move_from_five(TestCluster& cluster) {
    MoveRangeRequest request;
    request.ns = items;
    request.from = "A";
    request.to = "B";
    request.min = routing::testing::bound(5);
    return cluster.run(cluster.a->source.move_range(
        std::move(request), cluster.catalog->new_uuid(), in_an_hour(cluster)));
}

async::Task<Status> ask(TestCluster& cluster,
                        ShardName shard,
                        CollectionRename rename,
                        std::optional<bool> is_committed) {
    bson::Builder command;
    command.append(is_committed ? "_shardsvrEndRename" : "_shardsvrBeginRename", rename.from);
    command.append("to", rename.to).append("id", rename.id);
    if (is_committed) RenameOutcome{*is_committed, rename.uuid, "A"}.append_to(command);
    command.append("$db", "admin");
    CallOptions options;
    options.is_retryable = true;
    options.deadline = cluster.set.clock.now() + 60s;
    bson::Document body = std::move(command).finish();
    CO_TRY([[maybe_unused]] const auto reply,
           co_await cluster.config->registry.call_ok(
               std::move(shard), std::move(body), std::move(options)));
    co_return Status();
}

// What a config primary does, which is gone after so many steps.
async::Task<Status> coordinate(TestCluster& cluster, CollectionRename rename, int steps) {
    const Error gone(ErrorCode::interrupted_at_shutdown, "gone");
    if (steps-- == 0) co_return gone;
    CO_TRY_OK(co_await cluster.catalog->begin_rename(rename));
    for (const char* shard : {"A", "B"}) {
        if (steps-- == 0) co_return gone;
        CO_TRY_OK(co_await ask(cluster, shard, rename, std::nullopt));
    }
    if (steps-- == 0) co_return gone;
    CO_TRY_OK(co_await cluster.catalog->commit_rename(rename));
    for (const char* shard : {"A", "B"}) {
        if (steps-- == 0) co_return gone;
        CO_TRY_OK(co_await ask(cluster, shard, rename, true));
    }
    if (steps-- == 0) co_return gone;
    co_return co_await cluster.catalog->end_rename(rename);
}

// Everything has the one name, here and there; returns which.
std::string settled_name(TestCluster& cluster) {
    const std::vector<std::string> namespaces = {items, goods};
    EXPECT_TRUE(cluster.wait([&] { return cluster.is_settled(namespaces); }));
    const bool is_new = (*cluster.catalog->collection(goods)).has_value();
    EXPECT_NE(is_new, (*cluster.catalog->collection(items)).has_value());
    const std::string& name = is_new ? goods : items;
    const std::string& other = is_new ? items : goods;
    EXPECT_EQ(cluster.all_owned(name), twenty());
    for (TestNode* each : {cluster.a.get(), cluster.b.get()})
        EXPECT_FALSE(each->data.uuid_of(Namespace::split(other)).has_value());
    return name;
}

TEST(Rename, TheCatalogueChangesInOneUnitWithZonesAndWithoutWhatMadeWay) {
    TestCluster cluster;
    cluster.make_items();
    auto& catalog = *cluster.catalog;
    const auto before = **catalog.collection(items);
    ASSERT_TRUE(cluster.run(catalog.add_shard_to_zone("A", "east")).has_value());
    ASSERT_TRUE(cluster
                    .run(catalog.update_zone_key_range(
                        items, routing::testing::range(0, 5), std::string("east")))
                    .has_value());
    routing::CollectionEntry target = before;
    target.ns = goods;
    target.uuid = catalog.new_uuid();
    std::vector<routing::Chunk> chunks;
    const auto placed = routing::testing::map_of({50}, {"A", "B"});
    for (const auto& each : placed->chunks()) {
        chunks.push_back(*each);
        chunks.back().id = catalog.new_id();
    }
    ASSERT_TRUE(cluster.run(catalog.create_collection(target, chunks)).has_value());

    const CollectionRename rename = rename_of(cluster);
    ASSERT_TRUE(cluster.run(catalog.begin_rename(rename)).has_value());
    ASSERT_TRUE(cluster.run(catalog.commit_rename(rename)).has_value());
    ASSERT_TRUE(cluster.run(catalog.commit_rename(rename)).has_value());
    EXPECT_FALSE((*catalog.collection(items)).has_value());
    const auto after = **catalog.collection(goods);
    EXPECT_EQ(after.uuid, before.uuid);
    EXPECT_LT(before.generation.timestamp, after.generation.timestamp);
    EXPECT_NE(before.generation.epoch, after.generation.epoch);
    EXPECT_EQ((*catalog.chunks(goods))->chunks().size(), 2U);
    EXPECT_EQ(cluster.config->store.find(config_ns("chunks"), {})->size(), 2U);
    EXPECT_EQ((*catalog.zones(after)).ranges().size(), 1U);
    EXPECT_EQ(cluster.config->store.find(config_ns("tags"), {})->size(), 1U);
}

TEST(Rename, WhatWasGivenUpIsNotCommittedLater) {
    TestCluster cluster;
    cluster.make_items();
    auto& catalog = *cluster.catalog;
    const CollectionRename rename = rename_of(cluster);
    ASSERT_TRUE(cluster.run(catalog.begin_rename(rename)).has_value());
    CollectionRename other = rename_of(cluster);
    EXPECT_FALSE(cluster.run(catalog.begin_rename(other)).has_value());
    EXPECT_FALSE(cluster.run(catalog.resolve_rename(rename))->is_committed);
    const auto late = cluster.run(catalog.commit_rename(rename));
    ASSERT_FALSE(late.has_value());
    EXPECT_EQ(late.error().code(), ErrorCode::conflicting_operation_in_progress);
    ASSERT_TRUE(cluster.run(catalog.begin_rename(other)).has_value());
    EXPECT_FALSE(cluster.run(catalog.commit_rename(rename)).has_value());
    EXPECT_TRUE((*catalog.collection(items)).has_value());
}

TEST(Rename, BothNamesAreBlockedUntilAShardHasDoneItsPart) {
    TestCluster cluster;
    cluster.make_items();
    const CollectionRename rename = rename_of(cluster);
    ASSERT_TRUE(cluster.run(coordinate(cluster, rename, 5)).error().code() ==
                ErrorCode::interrupted_at_shutdown);
    for (const std::string& ns : {items, goods}) {
        EXPECT_TRUE(cluster.a->state.is_readable(ns));
        EXPECT_FALSE(cluster.b->state.is_readable(ns));
    }
    EXPECT_EQ(cluster.held(*cluster.a, goods).size(), 10U);
    EXPECT_TRUE(cluster.b->renames.is_renaming("shop"));
    EXPECT_EQ(settled_name(cluster), goods);
    EXPECT_FALSE(cluster.b->renames.is_renaming("shop"));
}

TEST(Rename, AConfigPrimaryThatIsGoneAfterAnyStepLeavesOneName) {
    for (int steps = 0; steps <= 7; ++steps) {
        SCOPED_TRACE(steps);
        TestCluster cluster;
        cluster.make_items();
        const CollectionRename rename = rename_of(cluster);
        const auto status = cluster.run(coordinate(cluster, rename, steps));
        EXPECT_EQ(status.has_value(), steps == 7);
        EXPECT_EQ(settled_name(cluster), steps < 4 ? items : goods);
        // The next config primary finds what is left, and ends it.
        const auto known = cluster.run(cluster.catalog->resolve_rename(rename));
        ASSERT_TRUE(known.has_value());
        EXPECT_EQ(known->is_committed, steps >= 4 && steps < 7);
        ASSERT_TRUE(cluster.run(cluster.catalog->end_rename(rename)).has_value());
        EXPECT_TRUE(cluster.catalog->renames()->empty());
    }
}

TEST(Rename, ALostCallIsSentAgainAndDoneOnce) {
    for (const Fault::Kind kind : {Fault::Kind::lost_before, Fault::Kind::lost_after}) {
        for (int call = 0; call < 4; ++call) {
            SCOPED_TRACE(call);
            TestCluster cluster;
            cluster.make_items();
            cluster.fault = {kind, call};
            const CollectionRename rename = rename_of(cluster);
            const auto status = cluster.run(coordinate(cluster, rename, 99));
            EXPECT_TRUE(status.has_value()) << status.error().reason();
            EXPECT_EQ(settled_name(cluster), goods);
        }
    }
}

TEST(Rename, AShardsNewPrimaryBlocksWhatItInherits) {
    for (const int steps : {3, 4}) {
        TestCluster cluster;
        cluster.make_items();
        const CollectionRename rename = rename_of(cluster);
        [[maybe_unused]] const auto status = cluster.run(coordinate(cluster, rename, steps));
        TestNode& shard = *cluster.b;
        shard.state.set_recovering(true);
        shard.state.forget_all();
        const auto inherited = shard.renames.inherited();
        shard.state.set_recovering(false);
        ASSERT_TRUE(inherited.has_value());
        ASSERT_EQ(inherited->size(), 1U);
        for (const std::string& ns : {items, goods})
            EXPECT_FALSE(shard.state.is_readable(ns));
        async::spawn(cluster.set.executor, shard.renames.watch(inherited->front(), Duration()));
        EXPECT_EQ(settled_name(cluster), steps == 3 ? items : goods);
    }
}

async::Task<void> begin(TestNode& node, CollectionRename rename, Instant until, int& refused) {
    const auto status = co_await node.renames.begin(rename, std::nullopt, until);
    if (!status) ++refused;
}

TEST(Rename, AMoveOfARangeAndARenameExcludeEachOther) {
    TestCluster cluster;
    cluster.make_items();
    const CollectionRename rename = rename_of(cluster);
    const Instant later = in_an_hour(cluster);
    int refused = 0;
    cluster.on_handled = [&](const std::string& name) {
        if (name != "_migrateClone") return;
        for (TestNode* each : {cluster.a.get(), cluster.b.get()})
            async::spawn(cluster.set.executor, begin(*each, rename, later, refused));
    };
    const auto moved = move_from_five(cluster);
    EXPECT_TRUE(moved.has_value()) << moved.error().reason();
    EXPECT_EQ(refused, 2);
    cluster.on_handled = {};
    // What the move has left behind goes along.
    ASSERT_TRUE(cluster.run(coordinate(cluster, rename, 99)).has_value());
    EXPECT_EQ(settled_name(cluster), goods);
    const auto left = cluster.a->store.find(config_ns("rangeDeletions"), {});
    ASSERT_EQ(left->size(), 1U);
    EXPECT_EQ(left->front()["nss"].as_string(), goods);
    ASSERT_TRUE(cluster.delete_orphans());
    EXPECT_EQ(cluster.held(*cluster.a, goods).size(), 5U);
    EXPECT_EQ(cluster.all_owned(goods), twenty());
}

// What is left of a range is deleted under the new name.
TEST(Rename, ADeletionOfARangeGoesOnUnderTheNewName) {
    TestCluster cluster;
    cluster.make_items();
    const Namespace ns = Namespace::split(items);
    for (std::int32_t i = 100; i < 300; ++i)
        ASSERT_TRUE(cluster.a->member.insert(ns, bson::make("_id", i, "a", 7)).has_value());
    ASSERT_TRUE(move_from_five(cluster).has_value());
    bool has_ended = false;
    ASSERT_TRUE(cluster.begin_deletion(*cluster.a, items, has_ended));
    ASSERT_TRUE(cluster.run(coordinate(cluster, rename_of(cluster), 99)).has_value());
    ASSERT_TRUE(cluster.wait([&] { return has_ended; }));
    ASSERT_TRUE(cluster.delete_orphans());
    EXPECT_EQ(cluster.held(*cluster.a, goods).size(), 5U);
    EXPECT_EQ(cluster.all_owned(goods).size(), 220U);
}

// A config primary that was frozen asks for it when the next has given it up already.
TEST(Rename, WhatIsAskedForTooLateIsNotInTheNextOnesWayForLong) {
    TestCluster cluster;
    cluster.make_items();
    const CollectionRename late = rename_of(cluster);
    ASSERT_TRUE(cluster.run(ask(cluster, "B", late, std::nullopt)).has_value());
    const Instant began = cluster.set.clock.now();
    CollectionRename next = rename_of(cluster);
    const auto attempt = [&] {
        if (cluster.run(coordinate(cluster, next, 99))) return true;
        EXPECT_TRUE(cluster.run(cluster.catalog->resolve_rename(next)).has_value());
        EXPECT_TRUE(cluster.run(ask(cluster, "A", next, false)).has_value());
        next.id = cluster.catalog->new_uuid();
        return false;
    };
    while (!attempt())
        ASSERT_LT(cluster.set.clock.now() - began, limits::rename_patience);
    EXPECT_EQ(settled_name(cluster), goods);
}

}  // namespace
}  // namespace tessera::sharding
