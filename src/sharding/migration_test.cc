// SPDX-License-Identifier: Apache-2.0
//
// Moves of ranges and of databases, both sides and the config servers for real, with every call
// lost in turn: before it is carried out, and after. Whatever happens, each document has one owner
// that has it, nobody stays blocked, and a later move works.
#include "sharding/migration.h"

#include <numeric>

#include <gtest/gtest.h>

#include "sharding/test_cluster.h"

namespace tessera::sharding {
namespace {

using testing::Fault;
using testing::TestCluster;
using testing::TestNode;

const std::string items = "shop.items";

std::vector<std::int64_t> numbers(std::int64_t from, std::int64_t to) {
    std::vector<std::int64_t> result(static_cast<std::size_t>(to - from));
    std::iota(result.begin(), result.end(), from);
    return result;
}

MoveRangeRequest request_for(std::int32_t from, const ShardName& to) {
    MoveRangeRequest request;
    request.ns = items;
    request.min = bson::make("a", from);
    request.max = bson::make("a", from + 5);
    request.from = to == "B" ? "A" : "B";
    request.to = to;
    return request;
}

Status move_items(TestCluster& cluster, std::int32_t from, const ShardName& to) {
    MoveRangeRequest request = request_for(from, to);
    TestNode& donor = cluster.shard(request.from);
    return cluster.run(donor.source.move_range(std::move(request),
                                               cluster.catalog->new_uuid(),
                                               cluster.set.clock.now() + std::chrono::hours(1)));
}

// Runs `body` with each call lost in turn, until one run has fewer calls than that.
template <class Body>
void with_every_call_lost(const Body& body) {
    for (const Fault::Kind kind : {Fault::Kind::lost_before, Fault::Kind::lost_after}) {
        int last = 0;
        for (int call = 0;; ++call) {
            SCOPED_TRACE(std::string(kind == Fault::Kind::lost_before ? "lost before" : "after") +
                         ", call " + std::to_string(call));
            TestCluster cluster;
            cluster.fault = {kind, call};
            const bool was_hit = body(cluster);
            last = call;
            if (!was_hit || ::testing::Test::HasFailure()) break;
        }
        EXPECT_GT(last, 5);
    }
}

TEST(Migration, MovesWhatIsThereAndWhatChangesMeanwhile) {
    TestCluster cluster;
    cluster.make_items();
    const Namespace ns = Namespace::split(items);
    bool has_changed = false;
    cluster.on_handled = [&](const std::string& name) {
        if (name != "_migrateClone" || std::exchange(has_changed, true)) return;
        const bson::Document added = bson::make("_id", 100, "a", 7);
        ASSERT_TRUE(cluster.a->member.insert(ns, added).has_value());
        cluster.a->source.on_write(items, added);
        ASSERT_TRUE(cluster.a->member.remove(ns, 6).has_value());
        cluster.a->source.on_write(items, bson::make("_id", 6, "a", 6));
    };
    ASSERT_TRUE(move_items(cluster, 5, "B").has_value());
    EXPECT_TRUE(has_changed);
    const std::vector<std::int64_t> moved = {5, 7, 7, 8, 9};
    const auto of_b = cluster.owned(*cluster.b, items);
    EXPECT_EQ(std::vector(of_b.begin(), of_b.begin() + 5), moved);
    EXPECT_EQ(cluster.owned(*cluster.a, items), numbers(0, 5));
    ASSERT_TRUE(cluster.delete_orphans());
    EXPECT_EQ(cluster.held(*cluster.a, items), numbers(0, 5));
}

// Runs `body` with each member's process ended at each call in turn, before the call is carried out
// and after; it says whether that was reached.
template <class Body>
void with_every_crash(const Body& body) {
    for (const ShardName& victim : {ShardName("A"), ShardName("B"), config_shard}) {
        for (const Fault::Kind kind : {Fault::Kind::crash_before, Fault::Kind::crash_after}) {
            int last = 0;
            for (int call = 0;; ++call) {
                SCOPED_TRACE(victim + " ends at call " + std::to_string(call) +
                             (kind == Fault::Kind::crash_before ? ", before" : ", after"));
                TestCluster cluster;
                const bool was_hit = body(cluster, Fault{kind, call, victim});
                last = call;
                if (!was_hit || ::testing::Test::HasFailure()) break;
            }
            EXPECT_GT(last, 5);
        }
    }
}

// Runs until `condition` or the call at which the victim's process ends, which then starts anew;
// whether it came to that.
template <class Condition>
bool crash_before(TestCluster& cluster, Fault fault, const Condition& condition) {
    fault.call += cluster.calls;
    cluster.fault = fault;
    EXPECT_TRUE(cluster.wait([&] { return condition() || cluster.has_crashed(fault.victim); }));
    cluster.fault = {};
    if (!cluster.has_crashed(fault.victim)) return false;
    EXPECT_TRUE(cluster.restart(fault.victim));
    return true;
}

async::Task<void> move_range_of(TestCluster& cluster, bool& has_ended) {
    MoveRangeRequest request = request_for(5, "B");
    const Instant deadline = cluster.set.clock.now() + std::chrono::hours(1);
    [[maybe_unused]] const auto status = co_await cluster.a->source.move_range(
        std::move(request), cluster.catalog->new_uuid(), deadline);
    has_ended = true;
}

async::Task<void> move_database(TestCluster& cluster, bool& has_ended) {
    const Instant deadline = cluster.set.clock.now() + std::chrono::hours(1);
    const ShardName to = "B";
    [[maybe_unused]] const auto status =
        co_await cluster.a->move_source.move("shop", to, cluster.catalog->new_uuid(), deadline);
    has_ended = true;
}

// Whoever has ended meanwhile: `all` is there once, and the next move is not in anybody's way.
void expect_one_owner(TestCluster& cluster, const std::vector<std::int64_t>& all) {
    const std::vector<std::string> namespaces = {items};
    EXPECT_TRUE(cluster.wait([&] { return cluster.is_settled(namespaces); }));
    EXPECT_EQ(cluster.all_owned(items), all);
    const bool has_moved = cluster.owned(*cluster.a, items) == numbers(0, 5);
    EXPECT_TRUE(cluster.delete_orphans());
    const auto middle = all.begin() + (has_moved ? 5 : 10);
    EXPECT_EQ(cluster.held(*cluster.a, items), std::vector(all.begin(), middle));
    EXPECT_EQ(cluster.held(*cluster.b, items), std::vector(middle, all.end()));
    const auto next = move_items(cluster, 5, has_moved ? "A" : "B");
    EXPECT_TRUE(next.has_value()) << next.error().reason();
    EXPECT_EQ(cluster.all_owned(items), all);
}

TEST(Migration, AProcessThatEndsLeavesOneOwnerAndNobodyBlocked) {
    with_every_crash([](TestCluster& cluster, const Fault& fault) {
        cluster.make_items();
        const Namespace ns = Namespace::split(items);
        bool has_changed = false;
        cluster.on_handled = [&](const std::string& name) {
            if (name != "_migrateClone" || cluster.has_crashed("A")) return;
            if (std::exchange(has_changed, true)) return;
            const bson::Document added = bson::make("_id", 100, "a", 7);
            ASSERT_TRUE(cluster.a->member.insert(ns, added).has_value());
            cluster.a->source.on_write(items, added);
            ASSERT_TRUE(cluster.a->member.remove(ns, 6).has_value());
            cluster.a->source.on_write(items, bson::make("_id", 6, "a", 6));
            ASSERT_TRUE(cluster.a->member.engine->flush_journal().has_value());
        };
        bool has_ended = false;
        cluster.spawn(*cluster.a, move_range_of(cluster, has_ended));
        const bool was_hit = crash_before(cluster, fault, [&] { return has_ended; });
        EXPECT_TRUE(cluster.wait([&] { return has_ended; }));
        cluster.on_handled = {};
        auto all = numbers(0, 20);
        if (has_changed) all[6] = 7;
        expect_one_owner(cluster, all);
        return was_hit;
    });
}

// And another one, or the same again, while the first is being dealt with.
TEST(Migration, TwoProcessesThatEndLeaveOneOwnerAndNobodyBlocked) {
    int second_hits = 0;
    with_every_crash([&](TestCluster&, const Fault& fault) {
        bool was_hit = false;
        for (const ShardName& victim : {ShardName("A"), ShardName("B"), config_shard}) {
            bool was_hit_again = true;
            for (int call = 0; was_hit_again && !::testing::Test::HasFailure(); ++call) {
                SCOPED_TRACE("then " + victim + ", call " + std::to_string(call));
                TestCluster cluster;
                cluster.make_items();
                bool has_ended = false;
                cluster.spawn(*cluster.a, move_range_of(cluster, has_ended));
                was_hit = crash_before(cluster, fault, [&] { return has_ended; });
                const std::vector<std::string> namespaces = {items};
                const Fault again{Fault::Kind::crash_after, call, victim};
                was_hit_again = was_hit && crash_before(cluster, again, [&] {
                                    return has_ended && cluster.is_settled(namespaces);
                                });
                EXPECT_TRUE(cluster.wait([&] { return has_ended; }));
                expect_one_owner(cluster, numbers(0, 20));
                second_hits += was_hit_again ? 1 : 0;
            }
        }
        return was_hit;
    });
    EXPECT_GT(second_hits, 300);
}

TEST(Migration, ALostCallLeavesOneOwnerAndNobodyBlocked) {
    with_every_call_lost([](TestCluster& cluster) {
        const int call = cluster.fault.call;
        cluster.make_items();
        const auto status = move_items(cluster, 5, "B");
        const bool was_hit = cluster.calls > call;
        cluster.fault = {};
        const std::vector<std::string> namespaces = {items};
        EXPECT_TRUE(cluster.wait([&] { return cluster.is_settled(namespaces); }));
        EXPECT_EQ(cluster.all_owned(items), numbers(0, 20));
        const bool has_moved = cluster.owned(*cluster.b, items) == numbers(5, 20);
        EXPECT_EQ(status.has_value(), has_moved);
        EXPECT_TRUE(cluster.delete_orphans());
        EXPECT_EQ(cluster.held(*cluster.a, items), numbers(0, has_moved ? 5 : 10));
        EXPECT_EQ(cluster.held(*cluster.b, items), numbers(has_moved ? 5 : 10, 20));
        // The next one is not in its way.
        const auto next = move_items(cluster, 5, has_moved ? "A" : "B");
        EXPECT_TRUE(next.has_value()) << next.error().reason();
        EXPECT_EQ(cluster.all_owned(items), numbers(0, 20));
        return was_hit;
    });
}

// It goes in batches: what is made anew under the name in between keeps its documents.
TEST(Migration, DeletingARangeEndsWithItsCollection) {
    TestCluster cluster;
    cluster.make_items();
    const Namespace ns = Namespace::split(items);
    const auto insert_many = [&] {
        for (std::int32_t i = 100; i < 300; ++i)
            ASSERT_TRUE(cluster.a->member.insert(ns, bson::make("_id", i, "a", 7)).has_value());
    };
    insert_many();
    ASSERT_TRUE(move_items(cluster, 5, "B").has_value());
    ASSERT_EQ(cluster.held(*cluster.a, items).size(), 210U);

    bool has_ended = false;
    ASSERT_TRUE(cluster.begin_deletion(*cluster.a, items, has_ended));
    ASSERT_TRUE(cluster.a->member.drop(ns).has_value());
    insert_many();
    ASSERT_TRUE(cluster.wait([&] { return has_ended; }));
    EXPECT_EQ(cluster.held(*cluster.a, items).size(), 200U);
    // The next look finds that there is nothing left to do.
    ASSERT_TRUE(cluster.delete_orphans());
    EXPECT_EQ(cluster.held(*cluster.a, items).size(), 200U);
}

// A config primary that has just been elected may show less than has been committed.
TEST(Migration, ADonorGoesOnOnlyWhenItSeesWhatWasCommitted) {
    TestCluster cluster;
    cluster.make_items();
    const auto entry = *cluster.catalog->collection(items);
    cluster.old_chunks =
        *cluster.config->store.find(config_ns("chunks"), bson::make("uuid", entry->uuid));
    cluster.on_handled = [&](const std::string& name) {
        if (name == "_configsvrCommitChunkMigration") cluster.old_reads = 3;
    };
    ASSERT_TRUE(move_items(cluster, 5, "B").has_value());
    EXPECT_EQ(cluster.old_reads, 0);
    const auto known = cluster.a->state.known(items);
    ASSERT_NE(known, nullptr);
    EXPECT_EQ(known->version(), (*cluster.catalog->chunks(items))->version());
}

TEST(Migration, DoesNotEndAnotherChangeThatIsInItsWay) {
    TestCluster cluster;
    cluster.make_items();
    using Section = ShardingState::Section;
    const Instant later = cluster.set.clock.now() + std::chrono::hours(1);
    cluster.on_handled = [&](const std::string& name) {
        if (name != "_recvChunkStart") return;
        EXPECT_TRUE(cluster.a->state.begin_change(items, Section::reads_too, later).has_value());
    };
    const auto status = move_items(cluster, 5, "B");
    ASSERT_FALSE(status.has_value());
    EXPECT_EQ(status.error().code(), ErrorCode::conflicting_operation_in_progress);
    EXPECT_TRUE(cluster.a->state.is_in_critical_section(items));
    cluster.on_handled = {};
    EXPECT_FALSE(move_items(cluster, 0, "B").has_value());
    EXPECT_TRUE(cluster.a->state.is_in_critical_section(items));
    cluster.a->state.end_change(items);
    ASSERT_TRUE(cluster.delete_orphans());
    EXPECT_TRUE(move_items(cluster, 5, "B").has_value());
}

TEST(Migration, ANewPrimaryResolvesWhatItInherits) {
    for (const char* last : {"_recvChunkStart",
                             "_recvChunkCommit",
                             "_configsvrCommitChunkMigration",
                             "_recvChunkRelease"}) {
        SCOPED_TRACE(last);
        TestCluster cluster;
        cluster.make_items();
        std::vector<MigrationDocument> inherited;
        cluster.on_handled = [&](const std::string& name) {
            if (name != last || !inherited.empty()) return;
            cluster.a->state.set_recovering(true);
            cluster.a->state.forget_all();
            inherited = *cluster.a->source.inherited();
            cluster.a->state.set_recovering(false);
            EXPECT_TRUE(cluster.a->state.is_in_critical_section(items));
            async::spawn(cluster.set.executor, cluster.a->source.resolve_inherited(inherited));
        };
        [[maybe_unused]] const auto status = move_items(cluster, 5, "B");
        EXPECT_EQ(inherited.size(), 1U);
        const std::vector<std::string> namespaces = {items};
        EXPECT_TRUE(cluster.wait([&] { return cluster.is_settled(namespaces); }));
        EXPECT_EQ(cluster.all_owned(items), numbers(0, 20));
        EXPECT_TRUE(cluster.delete_orphans());
        EXPECT_EQ(cluster.held(*cluster.a, items), cluster.owned(*cluster.a, items));
        EXPECT_EQ(cluster.held(*cluster.b, items), cluster.owned(*cluster.b, items));
    }
}

TEST(Migration, WhatWaitsForOthersEndsWithTheProcess) {
    // Not even the outcome is to be had: each call in turn is the first that nobody answers.
    int ended_by_shutdown = 0;
    for (int call = 0; call < 12; ++call) {
        SCOPED_TRACE(call);
        TestCluster cluster;
        cluster.make_items();
        cluster.fault = {Fault::Kind::silent, cluster.calls + call};
        bool has_ended = false;
        auto& donor = *cluster.a;
        const auto move = [](TestCluster& all, TestNode& from, bool& ended) -> async::Task<void> {
            MoveRangeRequest request = request_for(5, "B");
            [[maybe_unused]] const auto status = co_await from.source.move_range(
                std::move(request), all.catalog->new_uuid(), async::no_deadline);
            ended = true;
        };
        async::spawn(cluster.set.executor, move(cluster, donor, has_ended));
        if (cluster.wait([&] { return has_ended; }, 5s)) continue;
        for (TestNode* each : {cluster.a.get(), cluster.b.get()})
            each->registry.shut_down();
        EXPECT_TRUE(cluster.wait([&] { return has_ended; }, 2s));
        ++ended_by_shutdown;
    }
    EXPECT_GT(ended_by_shutdown, 3);
}

TEST(DatabaseMove, ALostCallLeavesOnePrimaryShardThatHasEverything) {
    with_every_call_lost([](TestCluster& cluster) {
        const int call = cluster.fault.call;
        const Namespace plain{"shop", "plain"};
        for (std::int32_t i = 0; i < 10; ++i)
            EXPECT_TRUE(cluster.a->member.insert(plain, bson::make("_id", i, "a", i)).has_value());
        const auto move = [&](const ShardName& to) {
            TestNode& donor = cluster.shard(to == "B" ? "A" : "B");
            return cluster.run(
                donor.move_source.move("shop",
                                       to,
                                       cluster.catalog->new_uuid(),
                                       cluster.set.clock.now() + std::chrono::hours(1)));
        };
        const auto status = move("B");
        const bool was_hit = cluster.calls > call;
        cluster.fault = {};
        const std::vector<std::string> namespaces = {plain.to_string()};
        EXPECT_TRUE(cluster.wait([&] { return cluster.is_settled(namespaces); }));
        const bool has_moved = (*cluster.catalog->database("shop"))->primary == "B";
        EXPECT_EQ(status.has_value(), has_moved);
        TestNode& owner = cluster.shard(has_moved ? "B" : "A");
        TestNode& other = cluster.shard(has_moved ? "A" : "B");
        EXPECT_EQ(cluster.held(owner, plain.to_string()), numbers(0, 10));
        EXPECT_FALSE(other.data.uuid_of(plain).has_value());
        const auto next = move(has_moved ? "A" : "B");
        EXPECT_TRUE(next.has_value()) << next.error().reason();
        EXPECT_EQ(cluster.held(other, plain.to_string()), numbers(0, 10));
        return was_hit;
    });
}

TEST(DatabaseMove, AProcessThatEndsLeavesOnePrimaryShardThatHasEverything) {
    with_every_crash([](TestCluster& cluster, const Fault& fault) {
        const Namespace plain{"shop", "plain"};
        for (std::int32_t i = 0; i < 10; ++i)
            EXPECT_TRUE(cluster.a->member.insert(plain, bson::make("_id", i, "a", i)).has_value());
        EXPECT_TRUE(cluster.a->member.engine->flush_journal().has_value());
        bool has_ended = false;
        cluster.spawn(*cluster.a, move_database(cluster, has_ended));
        const bool was_hit = crash_before(cluster, fault, [&] { return has_ended; });
        EXPECT_TRUE(cluster.wait([&] { return has_ended; }));
        const std::vector<std::string> namespaces = {plain.to_string()};
        EXPECT_TRUE(cluster.wait([&] { return cluster.is_settled(namespaces); }));
        const bool has_moved = (*cluster.catalog->database("shop"))->primary == "B";
        TestNode& owner = cluster.shard(has_moved ? "B" : "A");
        TestNode& other = cluster.shard(has_moved ? "A" : "B");
        EXPECT_EQ(cluster.held(owner, plain.to_string()), numbers(0, 10));
        EXPECT_FALSE(other.data.uuid_of(plain).has_value());
        const auto next =
            cluster.run(owner.move_source.move("shop",
                                               has_moved ? "A" : "B",
                                               cluster.catalog->new_uuid(),
                                               cluster.set.clock.now() + std::chrono::hours(1)));
        EXPECT_TRUE(next.has_value()) << next.error().reason();
        EXPECT_EQ(cluster.held(other, plain.to_string()), numbers(0, 10));
        return was_hit;
    });
}

}  // namespace
}  // namespace tessera::sharding
