// SPDX-License-Identifier: Apache-2.0
//
// Members that come late: initial sync while others write and fail, oplogs that are cut, members
// too stale to catch up, members that lag on purpose.
#include <functional>

#include <gtest/gtest.h>

#include "replication/replication.h"
#include "replication/test_set.h"

namespace tessera::replication {
namespace {

using consensus::MemberState;

const Namespace items{"shop", "items"};

bson::Document item(std::int32_t id, std::size_t bytes = 10) {
    return bson::make("_id", id, "text", std::string(bytes, 'x'));
}

Status await_majority(TestSet& set, TestMember& member, OpTime at) {
    return set.run(member.replication->await_write_concern(
        at, WriteConcern{}, async::no_deadline, async::Cancellation::none()));
}

/// The present configuration with one more member, or with `change` made to one there is.
bson::Document next_config(TestSet& set,
                           const std::function<void(bson::Builder&, std::int64_t)>& change,
                           TestMember* added = nullptr) {
    const auto present = set.primary()->replication->config_document();
    bson::Builder next;
    for (const bson::Element& field : present->view()) {
        if (field.name == "version") {
            next.append("version", field.value.to_int64() + 1);
        } else if (field.name == "members") {
            auto list = next.array("members");
            std::int64_t count = 0;
            for (const bson::Element& each : field.value.as_view()) {
                bson::Builder member = list.object();
                member.append_all(each.value.as_view());
                ++count;
            }
            if (added != nullptr) {
                bson::Builder member = list.object();
                member.append("_id", static_cast<std::int32_t>(count));
                member.append("host", added->host.to_string());
                change(member, count);
            }
        } else {
            next.append(field);
        }
    }
    return std::move(next).finish();
}

bool add_member(TestSet& set, TestMember& added, bool votes) {
    const auto reply = set.run(set.primary()->replication->reconfig(
        next_config(
            set,
            [votes](bson::Builder& member, std::int64_t) {
                if (!votes) member.append("votes", 0).append("priority", 0);
            },
            &added),
        false,
        async::no_deadline));
    return reply.has_value();
}

HostAndPort sync_source(TestSet& set, TestMember& member) {
    const auto status = set.run(member.replication->status());
    if (!status) return {};
    const auto host = HostAndPort::parse((*status)["syncSourceHost"].as_string());
    return host ? *host : HostAndPort();
}

std::string own_message(TestSet& set, TestMember& member) {
    const auto status = set.run(member.replication->status());
    if (!status) return {};
    for (const bson::Element& each : (*status)["members"].as_view())
        if (each.value.as_view()["self"].is_truthy())
            return std::string(each.value.as_view()["infoMessage"].as_string());
    return {};
}

// The source keeps so little of its log that the clone's beginning is gone long before its end.
TEST(InitialSync, KeepsUpWithASourceThatCutsItsOplog) {
    TestSet set(2);
    ASSERT_TRUE(set.initiate(1));
    TestMember& primary = set[0];
    for (int i = 0; i < 60; ++i)
        ASSERT_TRUE(primary.insert({"shop", "c" + std::to_string(i)}, item(1)));
    ASSERT_TRUE(add_member(set, set[1], false));
    std::int32_t next = 0;
    const auto is_done = [&] {
        return set[1].replication->state() == MemberState::secondary;
    };
    for (int i = 0; i < 5'000 && !is_done(); ++i) {
        ASSERT_TRUE(primary.insert(items, item(next++)));
        primary.shorten_oplog(20);
        (void)set.wait(is_done, 1ms);
    }
    EXPECT_TRUE(is_done());
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    EXPECT_EQ(set[1].count(items), static_cast<std::size_t>(next));
    for (int i = 0; i < 60; ++i)
        EXPECT_EQ(set[1].count({"shop", "c" + std::to_string(i)}), 1U);
    EXPECT_EQ(set[1].oplog().back(), primary.oplog().back());
}

TEST(InitialSync, BeginsAnewElsewhereWhenItsSourceDies) {
    TestSet set(4);
    ASSERT_TRUE(set.initiate(3));
    ASSERT_TRUE(set.wait([&] { return set.has_converged() || set.primary() != nullptr; }));
    for (int i = 0; i < 60; ++i)
        ASSERT_TRUE(set.primary()->insert({"shop", "c" + std::to_string(i)}, item(1)));
    ASSERT_TRUE(add_member(set, set[3], false));
    const Namespace middle{"shop", "c30"};
    ASSERT_TRUE(set.wait([&] { return set[3].catalog->find(middle) != nullptr; }));
    ASSERT_EQ(set[3].replication->state(), MemberState::startup2);
    // Whoever it copies from, this is the one.
    std::size_t source = 9;
    for (std::size_t i = 0; i < 3; ++i)
        if (set[i].handling > 0 && &set[i] == set.primary()) source = i;
    ASSERT_LT(source, 3U);
    ASSERT_TRUE(set.primary()->insert(items, item(1)));
    ASSERT_TRUE(await_majority(set, *set.primary(), set.primary()->replication->last_applied()));
    set.kill(source);
    ASSERT_TRUE(set.wait([&] { return set.primary() != nullptr; }));
    ASSERT_TRUE(set.primary()->insert(items, item(2)));
    ASSERT_TRUE(set.wait([&] {
        return set[3].replication->state() == MemberState::secondary && set.has_converged();
    }));
    EXPECT_EQ(set[3].count(items), 2U);
    for (int i = 0; i < 60; ++i)
        EXPECT_EQ(set[3].count({"shop", "c" + std::to_string(i)}), 1U);
}

TEST(Stale, AMemberTooFarBehindStaysInRecoveringAndSaysWhy) {
    TestSet set(3);
    ASSERT_TRUE(set.initiate(3));
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    TestMember& primary = *set.primary();
    std::size_t late = 0;
    while (&set[late] == &primary)
        ++late;
    set.isolate(late);
    OpTime last;
    for (int i = 0; i < 50; ++i)
        last = *primary.insert(items, item(i));
    ASSERT_TRUE(await_majority(set, primary, last));
    for (std::size_t i = 0; i < 3; ++i)
        if (i != late) set[i].shorten_oplog(10);
    set.heal();
    ASSERT_TRUE(set.wait(
        [&] { return set[late].replication->state() == MemberState::recovering; }));
    EXPECT_NE(own_message(set, set[late]).find("too stale"), std::string::npos);
    (void)set.wait([] { return false; }, 5s);
    EXPECT_EQ(set[late].replication->state(), MemberState::recovering);
    EXPECT_EQ(set[late].count(items), 0U);  // It keeps what it had.
    const auto status = set.run(primary.replication->status());
    ASSERT_TRUE(status);
    bool is_told = false;
    for (const bson::Element& each : (*status)["members"].as_view()) {
        const bson::View member = each.value.as_view();
        if (member["_id"].to_int64() != static_cast<std::int64_t>(late)) continue;
        EXPECT_EQ(member["stateStr"].as_string(), "RECOVERING");
        is_told = member["lastHeartbeatMessage"].as_string().find("too stale") !=
                  std::string_view::npos;
    }
    EXPECT_TRUE(is_told);
    // Maintenance does not bring it out.
    ASSERT_TRUE(set.run(set[late].replication->set_maintenance(true)));
    ASSERT_TRUE(set.run(set[late].replication->set_maintenance(false)));
    EXPECT_EQ(set[late].replication->state(), MemberState::recovering);
}

TEST(Oplog, IsCutToItsSizeButNotBeyondWhatARollbackNeeds) {
    TestSet set(0);
    set.oplog_bytes_max = 64 * 1024;
    for (int i = 0; i < 3; ++i)
        set.add();
    ASSERT_TRUE(set.initiate(3));
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    TestMember& primary = *set.primary();
    for (int i = 0; i < 200; ++i)
        ASSERT_TRUE(primary.insert(items, item(i, 1024)));
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    const auto bytes = [](TestMember& member) {
        std::size_t sum = 0;
        for (const auto& entry : member.oplog())
            sum += entry.size();
        return sum;
    };
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_TRUE(set.wait([&] { return bytes(set[i]) <= 64 * 1024; })) << i;
        EXPECT_GT(bytes(set[i]), 48U * 1024);
        EXPECT_EQ(set[i].count(items), 200U);
    }
    // Not committed: whatever its size, it stays.
    std::size_t index = 0;
    while (&set[index] != &primary)
        ++index;
    set.isolate(index);
    const OpTime common = primary.replication->commit_point();
    for (int i = 200; i < 400; ++i)
        ASSERT_TRUE(primary.insert(items, item(i, 1024)));
    (void)set.wait([] { return false; }, 30s);
    ASSERT_FALSE(primary.oplog().empty());
    EXPECT_LE(primary.oplog().front()["ts"].as_timestamp(), common.timestamp);
    ASSERT_NE(set.primary(), nullptr);
    ASSERT_TRUE(set.primary()->insert(items, item(1'000)));
    set.heal();
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    EXPECT_EQ(primary.replication->rollback_id(), 2);
    EXPECT_EQ(primary.count(items), 201U);
}

TEST(Delay, ADelayedMemberShowsAnEntryOnlyWhenItIsDue) {
    TestSet set(3);
    bson::Builder config;
    config.append("_id", "rs").append("version", 1);
    {
        auto list = config.array("members");
        for (int i = 0; i < 3; ++i) {
            bson::Builder member = list.object();
            member.append("_id", i).append("host",
                                           set[static_cast<std::size_t>(i)].host.to_string());
            if (i == 2)
                member.append("priority", 0).append("votes", 0).append("secondaryDelaySecs", 8);
        }
    }
    config.object("settings")
        .append("electionTimeoutMillis", 1000)
        .append("heartbeatIntervalMillis", 250);
    ASSERT_TRUE(set.run(set[0].replication->initiate(std::move(config).finish())));
    ASSERT_TRUE(set.wait([&] { return set.primary() != nullptr; }));
    ASSERT_TRUE(set.wait([&] { return set[2].replication->state() == MemberState::secondary; }));
    TestMember& primary = *set.primary();
    const auto at = primary.insert(items, item(1));
    ASSERT_TRUE(at);
    const Instant written = set.clock.now();
    ASSERT_TRUE(await_majority(set, primary, *at));
    EXPECT_LT(set.clock.now() - written, 1s);
    (void)set.wait([] { return false; }, 7s);
    EXPECT_FALSE(set[2].find(items, 1));
    ASSERT_TRUE(set.wait([&] { return set[2].find(items, 1).has_value(); }, 3s));
    EXPECT_GE(set.clock.now() - written, 8s);
}

TEST(Maintenance, IsCountedAndRefusedOnAPrimary) {
    TestSet set(3);
    ASSERT_TRUE(set.initiate(3));
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    TestMember& primary = *set.primary();
    EXPECT_EQ(set.run(primary.replication->set_maintenance(true)).error().code(),
              ErrorCode::not_secondary);
    TestMember& other = &set[0] == &primary ? set[1] : set[0];
    EXPECT_EQ(set.run(other.replication->set_maintenance(false)).error().code(),
              ErrorCode::operation_failed);
    ASSERT_TRUE(set.run(other.replication->set_maintenance(true)));
    ASSERT_TRUE(set.run(other.replication->set_maintenance(true)));
    EXPECT_EQ(other.replication->state(), MemberState::recovering);
    // It goes on applying, and reads are refused.
    const auto at = primary.insert(items, item(1));
    ASSERT_TRUE(set.wait([&] { return other.find(items, 1).has_value(); }));
    EXPECT_FALSE(other.replication->check_readable(items, {true, true}));
    ASSERT_TRUE(set.run(other.replication->set_maintenance(false)));
    EXPECT_EQ(other.replication->state(), MemberState::recovering);
    ASSERT_TRUE(set.run(other.replication->set_maintenance(false)));
    EXPECT_EQ(other.replication->state(), MemberState::secondary);
}

TEST(SyncFrom, ASecondaryFollowsWhomItIsTold) {
    TestSet set(3);
    ASSERT_TRUE(set.initiate(3));
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    TestMember& primary = *set.primary();
    std::vector<TestMember*> others;
    for (std::size_t i = 0; i < 3; ++i)
        if (&set[i] != &primary) others.push_back(&set[i]);
    const auto reply = set.run(others[0]->replication->sync_from(others[1]->host));
    ASSERT_TRUE(reply) << reply.error().to_string();
    EXPECT_EQ((*reply)["syncFromRequested"].as_string(), others[1]->host.to_string());
    EXPECT_EQ((*reply)["prevSyncTarget"].as_string(), primary.host.to_string());
    EXPECT_FALSE(set.run(primary.replication->sync_from(others[1]->host)));
    EXPECT_FALSE(set.run(others[0]->replication->sync_from(others[0]->host)));
    EXPECT_FALSE(set.run(others[0]->replication->sync_from({"nobody", 1})));
    ASSERT_TRUE(set.wait([&] { return sync_source(set, *others[0]) == others[1]->host; }, 2s));
    ASSERT_TRUE(primary.insert(items, item(1)));
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    EXPECT_EQ(sync_source(set, *others[0]), others[1]->host);
}

TEST(Arbiter, HoldsNoDataAndGivesTheSecondaryItsMajority) {
    TestSet set(3);
    bson::Builder config;
    config.append("_id", "rs").append("version", 1);
    {
        auto list = config.array("members");
        for (int i = 0; i < 3; ++i) {
            bson::Builder member = list.object();
            member.append("_id", i).append("host",
                                           set[static_cast<std::size_t>(i)].host.to_string());
            if (i == 2) member.append("arbiterOnly", true).append("priority", 0);
        }
    }
    config.object("settings").append("electionTimeoutMillis", 1000);
    ASSERT_TRUE(set.run(set[0].replication->initiate(std::move(config).finish())));
    ASSERT_TRUE(set.wait([&] { return set.primary() != nullptr; }));
    ASSERT_TRUE(set.wait([&] { return set[2].replication->state() == MemberState::arbiter; }));
    const auto at = set.primary()->insert(items, item(1));
    ASSERT_TRUE(at);
    ASSERT_TRUE(await_majority(set, *set.primary(), *at));
    const std::size_t old = set.primary() == &set[0] ? 0 : 1;
    ASSERT_TRUE(set.wait([&] { return set[1 - old].replication->last_applied() == *at; }));
    set.kill(old);
    ASSERT_TRUE(set.wait([&] { return set.primary() == &set[1 - old]; }));
    EXPECT_TRUE(set.primary()->find(items, 1));
    EXPECT_EQ(set[2].catalog->find(items), nullptr);
    EXPECT_TRUE(set[2].oplog().empty());
    EXPECT_EQ(set.run(set[2].replication->set_maintenance(true)).has_value(), true);
    EXPECT_EQ(set[2].replication->state(), MemberState::arbiter);
}

TEST(Reconfig, ForcedMakesALastSurvivorAPrimary) {
    TestSet set(3);
    ASSERT_TRUE(set.initiate(3));
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    const auto at = set.primary()->insert(items, item(1));
    ASSERT_TRUE(await_majority(set, *set.primary(), *at));
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    set.kill(0);
    set.kill(1);
    (void)set.wait([] { return false; }, 3s);
    ASSERT_EQ(set.primary(), nullptr);
    const auto present = set[2].replication->config_document();
    ASSERT_TRUE(present);
    bson::Builder next;
    for (const bson::Element& field : present->view()) {
        if (field.name == "members") {
            auto list = next.array("members");
            list.object().append("_id", 2).append("host", set[2].host.to_string());
        } else {
            next.append(field);
        }
    }
    const bson::Document alone = std::move(next).finish();
    EXPECT_FALSE(set.run(set[2].replication->reconfig(alone, false, async::no_deadline)));
    const auto forced = set.run(set[2].replication->reconfig(alone, true, async::no_deadline));
    ASSERT_TRUE(forced) << forced.error().to_string();
    ASSERT_TRUE(set.wait([&] { return set.primary() == &set[2]; }));
    EXPECT_TRUE(set[2].find(items, 1));
    EXPECT_TRUE(set[2].insert(items, item(2)));
}

}  // namespace
}  // namespace tessera::replication
