// SPDX-License-Identifier: Apache-2.0
//
// Replica sets of whole members: elect, write, replicate, fail over, roll back, join.
#include "replication/replication.h"

#include <gtest/gtest.h>

#include "bson/json.h"
#include "query/update/diff.h"
#include "replication/test_set.h"

namespace tessera::replication {
namespace {

const Namespace items{"shop", "items"};

WriteConcern majority() {
    return {};
}

bson::Document item(std::int32_t id, std::int32_t value) {
    return bson::make("_id", id, "value", value);
}

Status await(TestSet& set, TestMember& member, OpTime at, WriteConcern concern = majority()) {
    return set.run(member.replication->await_write_concern(
        at, std::move(concern), async::no_deadline, async::Cancellation::none()));
}

TEST(Replication, OneMemberSetElectsItselfAndAcknowledges) {
    TestSet set(1);
    EXPECT_FALSE(set[0].insert(items, item(1, 1)));
    ASSERT_TRUE(set.initiate(1));
    const auto at = set[0].insert(items, item(1, 1));
    ASSERT_TRUE(at) << at.error().to_string();
    EXPECT_TRUE(await(set, set[0], *at));
    EXPECT_EQ(set[0].replication->commit_point(), *at);
    EXPECT_EQ(set[0].oplog().front()["o"].as_view()["msg"].as_string(), "initiating set");
    const auto again = set.run(set[0].replication->initiate(set.config(1)));
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code(), ErrorCode::already_initialized);
}

TEST(Replication, InitiateWithoutAnswerOfAMemberFails) {
    TestSet set(2);
    set.kill(1);
    const auto reply = set.run(set[0].replication->initiate(set.config(2)));
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().code(), ErrorCode::node_not_found);
}

TEST(Replication, ThreeMembersReplicateEverything) {
    TestSet set(3);
    ASSERT_TRUE(set.initiate(3));
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    TestMember& primary = *set.primary();
    for (int i = 0; i < 20; ++i)
        ASSERT_TRUE(primary.insert(items, item(i, i)));
    const bson::Document change =
        bson::from_json(R"({"$v": 2, "diff": {"u": {"value": 99}}})").value();
    ASSERT_TRUE(primary.update(items, 3, item(3, 99), change));
    const auto at = primary.remove(items, 4);
    ASSERT_TRUE(at);
    ASSERT_TRUE(await(set, primary, *at));
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(set[i].count(items), 19U);
        EXPECT_EQ((*set[i].find(items, 3))["value"].to_int64(), 99);
        EXPECT_FALSE(set[i].find(items, 4));
        EXPECT_EQ(set[i].oplog().back(), primary.oplog().back());
    }
    ASSERT_TRUE(primary.drop(items));
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    for (std::size_t i = 0; i < 3; ++i)
        EXPECT_EQ(set[i].catalog->find(items), nullptr);
}

// Of two threads that write, the first has made the log grow and is about to say so when the second
// grows it further and says so: what is said last is not what is newest. Nobody writes after them,
// until the next periodic no-op.
TEST(Replication, TheNewestOfTwoConcurrentWritesIsAcknowledgedWithoutAThird) {
    TestSet set(3);
    ASSERT_TRUE(set.initiate(3));
    TestMember& primary = *set.primary();
    ASSERT_TRUE(primary.insert(items, item(0, 0)));
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    const OpTime before = primary.replication->last_applied();
    bool is_second_due = true;
    Result<OpTime> second = Error(ErrorCode::illegal_operation, "the log did not grow by then");
    set.clock.on_wall_read = [&] {
        if (!is_second_due || primary.replication->last_applied() == before) return;
        is_second_due = false;
        second = primary.insert(items, item(2, 2));
    };
    ASSERT_TRUE(primary.insert(items, item(1, 1)));
    set.executor.run();
    ASSERT_TRUE(second) << second.error().to_string();
    const auto acknowledged = set.run(primary.replication->await_write_concern(
        *second, majority(), set.clock.now() + 1s, async::Cancellation::none()));
    EXPECT_TRUE(acknowledged) << acknowledged.error().to_string();
}

TEST(Replication, SessionsAreKnownOnSecondaries) {
    TestSet set(3);
    ASSERT_TRUE(set.initiate(3));
    TestMember& primary = *set.primary();
    Session session(SessionId{primary.replication->make_uuid(), std::string(32, 'u')});
    const auto at = primary.insert_in_session(items, item(1, 1), session);
    ASSERT_TRUE(at) << at.error().to_string();
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    for (std::size_t i = 0; i < 3; ++i) {
        const auto record = read_session_record(*set[i].catalog, *set[i].engine, session.id());
        ASSERT_TRUE(record);
        ASSERT_TRUE(*record);
        EXPECT_EQ((*record)->last_write, *at);
    }
}

TEST(Replication, ABatchOfInsertsIsOneEntryAndIsKnownStatementByStatement) {
    TestSet set(3);
    ASSERT_TRUE(set.initiate(3));
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    TestMember& primary = *set.primary();
    const SessionId id{primary.replication->make_uuid(), std::string(32, 'u')};
    ASSERT_TRUE(primary.insert(items, item(100, 0)));
    ASSERT_TRUE(primary.sessions->ensure_collections());
    const std::size_t before = primary.oplog().size();
    OpTime last;
    {
        const auto lease = set.run(
            primary.sessions->check_out(id, 7, async::no_deadline, async::Cancellation::none()));
        ASSERT_TRUE(lease);
        const std::vector<bson::Document> batch{item(1, 1), item(2, 2), item(3, 3)};
        const auto at = primary.insert_batch(items, batch, *lease->get());
        ASSERT_TRUE(at) << at.error().to_string();
        last = *at;
        EXPECT_EQ((*lease)->executed(2), last);
    }
    EXPECT_EQ(primary.oplog().size(), before + 1);
    ASSERT_TRUE(await(set, primary, last));
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    const std::size_t index = set.index_of(primary);
    set.kill(index);
    ASSERT_TRUE(set.wait([&] { return set.primary() != nullptr; }));
    TestMember& heir = *set.primary();
    EXPECT_EQ(heir.count(items), 4U);
    EXPECT_EQ(heir.replication->applied_counts().inserts, 4);
    const auto lease =
        set.run(heir.sessions->check_out(id, 7, async::no_deadline, async::Cancellation::none()));
    ASSERT_TRUE(lease) << lease.error().to_string();
    for (StatementId statement = 0; statement < 3; ++statement)
        EXPECT_EQ((*lease)->executed(statement), last);
    EXPECT_FALSE((*lease)->executed(3));
}

TEST(Replication, AcknowledgedWritesSurviveThePrimary) {
    TestSet set(3);
    ASSERT_TRUE(set.initiate(3));
    for (int round = 0; round < 2; ++round) {
        if (round == 1) break;
        TestMember& primary = *set.primary();
        const auto at = primary.insert(items, item(round, round));
        ASSERT_TRUE(at);
        ASSERT_TRUE(await(set, primary, *at));
        std::size_t index = 0;
        while (&set[index] != &primary)
            ++index;
        set.kill(index);
        ASSERT_TRUE(set.wait([&] { return set.primary() != nullptr; }));
        EXPECT_TRUE(set.primary()->find(items, round));
    }
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
}

TEST(Replication, WaitersFailWhenTheirPrimaryStepsDown) {
    TestSet set(3);
    ASSERT_TRUE(set.initiate(3));
    TestMember& primary = *set.primary();
    const std::size_t index = set.index_of(primary);
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    set.isolate(index);
    const auto at = primary.insert(items, item(1, 1));
    ASSERT_TRUE(at);
    const Status status = await(set, primary, *at);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code(), ErrorCode::primary_stepped_down);
}

TEST(Replication, WriteConcernTimesOut) {
    TestSet set(3);
    ASSERT_TRUE(set.initiate(3));
    TestMember& primary = *set.primary();
    WriteConcern three;
    three.concern.w = 3;
    three.timeout = 100ms;
    for (std::size_t i = 0; i < 3; ++i) {
        if (&set[i] == &primary) continue;
        set.kill(i);
        break;
    }
    const auto at = primary.insert(items, item(1, 1));
    ASSERT_TRUE(at);
    const Status status = await(set, primary, *at, three);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code(), ErrorCode::write_concern_timeout);
}

TEST(Replication, ADivergedMemberRollsBack) {
    TestSet set(3);
    ASSERT_TRUE(set.initiate(3));
    TestMember& old = *set.primary();
    const std::size_t index = set.index_of(old);
    const auto kept = old.insert(items, item(1, 1));
    ASSERT_TRUE(kept);
    ASSERT_TRUE(await(set, old, *kept));
    set.isolate(index);
    ASSERT_TRUE(old.insert(items, item(2, 2)));  // Nobody else will ever have it.
    ASSERT_TRUE(old.drop(items));
    ASSERT_TRUE(set.wait([&] { return set.primary() != nullptr && set.primary() != &old; }));
    const auto fresh = set.primary()->insert(items, item(3, 3));
    ASSERT_TRUE(fresh);
    ASSERT_TRUE(await(set, *set.primary(), *fresh));
    set.heal();
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    EXPECT_EQ(old.replication->rollback_id(), 2);
    EXPECT_TRUE(old.find(items, 1));
    EXPECT_FALSE(old.find(items, 2));
    EXPECT_TRUE(old.find(items, 3));
}

// A member whose process ended before its first checkpoint had no stable timestamp any more, and an
// engine without one takes nothing back.
TEST(Replication, ARollbackRightAfterARestartBeforeTheFirstCheckpoint) {
    TestSet set(3, "rs", {.is_durable = true});
    ASSERT_TRUE(set.initiate(3));
    TestMember& old = *set.primary();
    const std::size_t index = set.index_of(old);
    ASSERT_TRUE(await(set, old, *old.insert(items, item(1, 1))));
    set.isolate(index);
    ASSERT_TRUE(old.insert(items, item(2, 2)));  // Nobody else will ever have these.
    const bson::Document change =
        bson::from_json(R"({"$v": 2, "diff": {"u": {"value": 5}}})").value();
    ASSERT_TRUE(old.update(items, 1, item(1, 5), change));
    set.kill(index);
    ASSERT_TRUE(set.wait([&] { return set.primary() != nullptr; }));
    ASSERT_TRUE(await(set, *set.primary(), *set.primary()->insert(items, item(3, 3))));
    set.restart(index);
    EXPECT_TRUE(set[index].find(items, 2));
    set.heal();
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    EXPECT_EQ(set[index].replication->rollback_id(), 2);
    EXPECT_TRUE(set[index].find(items, 1) == item(1, 1));
    EXPECT_FALSE(set[index].find(items, 2));
    EXPECT_TRUE(set[index].find(items, 3));
}

// A unit of several statements of which the first alone reached a majority: the rollback keeps that
// one, and with it the knowledge that it was executed.
TEST(Replication, ARollbackIntoAUnitKeepsWhatItsStatementsDid) {
    TestSet set(3);
    ASSERT_TRUE(set.initiate(3));
    TestMember& old = *set.primary();
    const std::size_t index = set.index_of(old);
    ASSERT_TRUE(await(set, old, *old.insert(items, item(100, 0))));
    ASSERT_TRUE(old.sessions->ensure_collections());
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    const SessionId id{old.replication->make_uuid(), std::string(32, 'u')};
    OpTime last;
    {
        auto lease = set.run(
            old.sessions->check_out(id, 7, async::no_deadline, async::Cancellation::none()));
        ASSERT_TRUE(lease);
        const std::vector<bson::Document> documents{item(0, 0), item(1, 1), item(2, 2)};
        const auto at = old.insert_in_session(items, documents, *lease->get());
        ASSERT_TRUE(at) << at.error().to_string();
        last = *at;
        old.served_upto = Timestamp::unpack(last.timestamp.packed() - 2);
    }
    const OpTime first{*old.served_upto, last.term};
    ASSERT_TRUE(set.wait([&] { return old.replication->commit_point() == first; }));
    set.isolate(index);
    ASSERT_TRUE(set.wait([&] { return set.primary() != nullptr && set.primary() != &old; }));
    ASSERT_TRUE(await(set, *set.primary(), *set.primary()->insert(items, item(101, 0))));
    old.served_upto.reset();
    set.heal();
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    ASSERT_EQ(old.replication->rollback_id(), 2);
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_TRUE(set[i].find(items, 0));
        EXPECT_FALSE(set[i].find(items, 1));
        const auto lease = set.run(
            set[i].sessions->check_out(id, 7, async::no_deadline, async::Cancellation::none()));
        ASSERT_TRUE(lease) << lease.error().to_string();
        EXPECT_FALSE((*lease)->is_incomplete());
        EXPECT_EQ((*lease)->executed(0), first) << "member " << i;
        EXPECT_FALSE((*lease)->executed(1)) << "member " << i;
    }
}

TEST(Replication, AMemberAddedGetsEverything) {
    TestSet set(3);
    ASSERT_TRUE(set.initiate(3));
    TestMember& primary = *set.primary();
    for (int i = 0; i < 100; ++i)
        ASSERT_TRUE(primary.insert(items, item(i, i)));
    TestMember& added = set.add();
    const auto present = primary.replication->config_document();
    ASSERT_TRUE(present);
    bson::Builder next;
    for (const bson::Element& field : present->view()) {
        if (field.name == "version") {
            next.append("version", field.value.to_int64() + 1);
        } else if (field.name == "members") {
            auto list = next.array("members");
            for (const bson::Element& each : field.value.as_view())
                list.append(each.value.as_view());
            list.object().append("_id", 3).append("host", added.host.to_string());
        } else {
            next.append(field);
        }
    }
    const auto reply =
        set.run(primary.replication->reconfig(std::move(next).finish(), false, async::no_deadline));
    ASSERT_TRUE(reply) << reply.error().to_string();
    ASSERT_TRUE(primary.insert(items, item(100, 100)));
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    EXPECT_EQ(added.count(items), 101U);
    EXPECT_EQ(added.replication->state(), consensus::MemberState::secondary);
}

TEST(Replication, StepDownHandsOver) {
    TestSet set(3);
    ASSERT_TRUE(set.initiate(3));
    TestMember& old = *set.primary();
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    const Instant before = set.clock.now();
    ASSERT_TRUE(set.run(old.replication->step_down({})));
    ASSERT_TRUE(set.wait([&] { return set.primary() != nullptr; }));
    EXPECT_NE(set.primary(), &old);
    EXPECT_LT(set.clock.now() - before, 500ms);
}

TEST(Replication, CausalReadsWaitAndMajorityReadsAreCommitted) {
    TestSet set(3);
    ASSERT_TRUE(set.initiate(3));
    TestMember& primary = *set.primary();
    const auto at = primary.insert(items, item(1, 1));
    ASSERT_TRUE(at);
    for (std::size_t i = 0; i < 3; ++i) {
        ASSERT_TRUE(set[i].logical_clock.advance(at->timestamp, set.clock.wall_now()));
        ReadConcern concern;
        concern.level = ReadLevel::majority;
        concern.after_cluster_time = at->timestamp;
        const auto read_at = set.run(set[i].replication->await_read_concern(
            concern, async::no_deadline, async::Cancellation::none()));
        ASSERT_TRUE(read_at) << read_at.error().to_string();
        EXPECT_GE(*read_at, at->timestamp);
        EXPECT_TRUE(set[i].find(items, 1));
    }
}

TEST(Replication, StatusNamesEveryMember) {
    TestSet set(3);
    const auto none = set.run(set[0].replication->status());
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code(), ErrorCode::not_yet_initialized);
    ASSERT_TRUE(set.initiate(3));
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }));
    const auto status = set.run(set.primary()->replication->status());
    ASSERT_TRUE(status);
    EXPECT_EQ((*status)["myState"].to_int64(), 1);
    EXPECT_EQ((*status)["members"].as_view().count(), 3U);
}

}  // namespace
}  // namespace tessera::replication
