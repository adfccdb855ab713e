// SPDX-License-Identifier: Apache-2.0
//
// The core's behaviours one by one: directly where a single node shows them, in a simulated set
// where it takes several.
#include "consensus/core.h"

#include "consensus/simulated_set.h"
#include <gtest/gtest.h>

namespace tessera::consensus {
namespace {

OpTime op(std::uint32_t seconds, Term term) {
    return {{seconds, 1}, term};
}

/// One core whose peers are played by the test.
struct Alone {
    Random random{7};
    Instant now{100s};
    Core core;

    explicit Alone(const ReplicaSetConfig& config, Ballot ballot = {}, OpTime last = op(5, 1))
        : core({"rs", {"n0", 1}, true}, {config, 0, ballot, {last, {}}}, random, now) {
        (void)core.set_follower_mode(MemberState::secondary, now);
    }
    VoteRequest ask(Term term, OpTime last) {
        VoteRequest request;
        request.set_name = "rs";
        request.term = term;
        request.candidate_id = 1;
        request.candidate_index = 1;
        request.config = core.config()->config_version();
        request.last_applied = last;
        return request;
    }
    /// The answer, if one went out at once.
    std::optional<VoteReply> vote(const VoteRequest& request) {
        (void)core.take_output();
        core.receive({{"n1", 1}, 77, request, {}}, now);
        for (const auto& envelope : core.take_output().send)
            if (const auto* reply = std::get_if<VoteReply>(&envelope.message)) return *reply;
        return std::nullopt;
    }
};

TEST(Core, AnswersAVoteOnlyWhenItsBallotIsDurable) {
    Alone node(SimulatedSet::make_config(3));
    (void)node.core.take_output();
    node.core.receive({{"n1", 1}, 77, node.ask(4, op(5, 1)), {}}, node.now);
    auto out = node.core.take_output();
    ASSERT_TRUE(out.save);
    EXPECT_EQ(out.save->term, 4);
    EXPECT_EQ(out.save->candidate_id, 1);
    for (const auto& envelope : out.send)
        EXPECT_FALSE(std::holds_alternative<VoteReply>(envelope.message));
    node.core.ballot_saved(*out.save, node.now);
    out = node.core.take_output();
    ASSERT_EQ(out.send.size(), 1U);
    EXPECT_TRUE(std::get<VoteReply>(out.send[0].message).granted);
    EXPECT_EQ(out.send[0].id, 77U);
}

TEST(Core, RefusesASecondVoteInATerm) {
    Alone node(SimulatedSet::make_config(3), Ballot{4, 2, 2});
    const auto reply = node.vote(node.ask(4, op(9, 4)));
    ASSERT_TRUE(reply);
    EXPECT_FALSE(reply->granted);
    EXPECT_NE(reply->reason.find("already voted"), std::string::npos);
}

TEST(Core, RefusesVotesInTheProtocolsOrder) {
    Alone node(SimulatedSet::make_config(3), Ballot{4, 2, 2});
    auto request = node.ask(3, op(1, 1));
    EXPECT_NE(node.vote(request)->reason.find("lower than mine"), std::string::npos);
    request.term = 5;
    request.config = {0, 0};
    EXPECT_NE(node.vote(request)->reason.find("config"), std::string::npos);
    EXPECT_EQ(node.core.term(), 5);  // The term is adopted first, whatever the answer.
    request.config = node.core.config()->config_version();
    EXPECT_NE(node.vote(request)->reason.find("staler"), std::string::npos);
    request.last_applied = op(5, 1);
    request.set_name = "other";
    EXPECT_NE(node.vote(request)->reason.find("set name"), std::string::npos);
}

TEST(Core, ADryRunCostsNoVote) {
    Alone node(SimulatedSet::make_config(3));
    auto request = node.ask(1, op(5, 1));
    request.dry_run = true;
    EXPECT_TRUE(node.vote(request)->granted);
    EXPECT_TRUE(node.vote(request)->granted);
    EXPECT_EQ(node.core.ballot().term, term_uninitialized);
}

TEST(Core, AnUninitializedNodeSaysSo) {
    Random random(1);
    Core core({"rs", {"n0", 1}, true}, {}, random, Instant{1s});
    EXPECT_EQ(core.status(Instant{1s}).error().code(), ErrorCode::not_yet_initialized);
    EXPECT_EQ(core.status(Instant{1s}).error().reason(), "no replset config has been received");
    EXPECT_FALSE(core.topology().is_initialized);
    EXPECT_EQ(core.next_deadline(), Instant::max());
}

TEST(Core, ASingleNodeSetElectsItselfAtOnceAndCommits) {
    SimulatedSet set(1, SimulatedSet::make_config(1));
    set.start_all();
    EXPECT_TRUE(set.run_until(50ms, [&] { return set.writable_primary().has_value(); }));
    ASSERT_TRUE(set.write(0));
    EXPECT_TRUE(set.run_until(
        50ms, [&] { return set.core(0).commit_point().optime == set.node(0).log.back(); }));
}

struct Three : testing::Test {
    SimulatedSet set{3, SimulatedSet::make_config(3)};
    std::size_t primary() { return set.writable_primary().value_or(99); }
    void elect() {
        set.start_all();
        ASSERT_TRUE(set.run_until(3s, [&] { return set.writable_primary().has_value(); }));
        set.run_for(1s);
    }
    void TearDown() override { EXPECT_TRUE(set.violations().empty()); }
};

TEST_F(Three, ASetJustInitiatedElectsWithoutWaitingATimeout) {
    const auto config = SimulatedSet::make_config(3);
    set.initiate(0, config);
    EXPECT_TRUE(set.run_until(300ms, [&] { return primary() == 0; }));
    EXPECT_EQ(set.core(0).term(), 1);
    EXPECT_TRUE(set.run_until(2s, [&] {
        return set.core(1).state() == MemberState::secondary &&
               set.core(2).state() == MemberState::secondary;
    }));
}

TEST_F(Three, ASetRestartedWholeElectsWithoutWaitingATimeout) {
    set.start_all();
    EXPECT_TRUE(set.run_until(400ms, [&] { return set.writable_primary().has_value(); }));
}

TEST_F(Three, AMinorityOfARestartedSetWaitsTheTimeout) {
    set.start(1);
    set.start(2);
    set.run_for(900ms);
    EXPECT_FALSE(set.writable_primary());
    EXPECT_TRUE(set.run_until(600ms, [&] { return set.writable_primary().has_value(); }));
}

TEST_F(Three, AKilledPrimaryIsReplacedAfterTheTimeoutAndNotBefore) {
    elect();
    const auto old = primary();
    set.crash(old);
    set.run_for(700ms);  // The last heartbeat may be an interval old: 1 s - 250 ms, and a margin.
    EXPECT_FALSE(set.writable_primary());
    EXPECT_TRUE(set.run_until(1s, [&] { return set.writable_primary().has_value(); }));
}

TEST(Failover, IsAsQuickAsTheProtocolAllowsWhateverTheSeed) {
    int within_a_timeout = 0;
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        SimulatedSet set(seed, SimulatedSet::make_config(3));
        set.start_all();
        ASSERT_TRUE(set.run_until(3s, [&] { return set.writable_primary().has_value(); }));
        set.run_for(1s);
        const auto old = *set.writable_primary();
        if (seed % 2 == 0)
            set.crash(old);
        else
            set.freeze(old);
        const Instant begin = set.now();
        EXPECT_TRUE(set.run_until(2s, [&] { return set.writable_primary().has_value(); }))
            << "seed " << seed << "\n"
            << set.describe();
        within_a_timeout += set.now() - begin <= 1250ms ? 1 : 0;
    }
    EXPECT_GE(within_a_timeout, 30);  // The others were split votes, repeated soon.
}

TEST_F(Three, AFrozenPrimaryStepsDownWhenThawed) {
    elect();
    const auto old = primary();
    set.freeze(old);
    // Catch-up does not wait for its silence to be noticed a second time.
    ASSERT_TRUE(set.run_until(1250ms, [&] { return set.writable_primary().has_value(); }));
    EXPECT_NE(primary(), old);
    set.thaw(old);
    EXPECT_TRUE(set.run_until(1s, [&] { return !set.core(old).is_primary(); }));
}

TEST_F(Three, APrimaryCutOffStepsDownWithinTheTimeout) {
    elect();
    const auto old = primary();
    for (std::size_t i = 0; i < 3; ++i)
        if (i != old) set.cut_both(old, i);
    EXPECT_TRUE(set.run_until(1100ms, [&] { return !set.core(old).is_primary(); }));
}

TEST_F(Three, AStepDownHandsOffWellUnderASecond) {
    elect();
    const auto old = primary();
    ASSERT_TRUE(set.core(old).step_down({60s, 10s, false}, set.now()));
    EXPECT_FALSE(set.core(old).is_writable_primary());
    set.pump(old);
    EXPECT_TRUE(set.run_until(200ms, [&] { return set.writable_primary().has_value(); }));
    EXPECT_NE(primary(), old);
    EXPECT_TRUE(set.step_down_results().at(old));
    EXPECT_NE(set.core(old).unelectable_reason(set.now()), "");
}

TEST_F(Three, AStepDownWithoutASuccessorFailsAndStaysWritable) {
    elect();
    const auto old = primary();
    for (std::size_t i = 0; i < 3; ++i)
        if (i != old) set.freeze(i);
    ASSERT_TRUE(set.write(old));
    ASSERT_TRUE(set.core(old).step_down({60s, 300ms, false}, set.now()));
    set.pump(old);
    ASSERT_TRUE(set.run_until(400ms, [&] { return set.step_down_results().contains(old); }));
    EXPECT_EQ(set.step_down_results().at(old).error().code(), ErrorCode::exceeded_time_limit);
    EXPECT_TRUE(set.core(old).is_writable_primary());
    ASSERT_TRUE(set.core(old).step_down({60s, 0s, true}, set.now()));
    EXPECT_FALSE(set.core(old).is_primary());
}

TEST_F(Three, FreezeIsRefusedOnThePrimaryInTheProtocolsWords) {
    elect();
    const auto refused = set.core(primary()).freeze(5s, set.now());
    EXPECT_EQ(refused.error().code(), ErrorCode::not_secondary);
    EXPECT_EQ(refused.error().reason(),
              "Cannot freeze node when primary or running for election, state: Primary");
}

TEST_F(Three, TheMemberOfHigherPriorityTakesOver) {
    auto config = SimulatedSet::make_config(3);
    config.members[2].priority = 2;
    set.initiate(0, config);
    ASSERT_TRUE(set.run_until(1s, [&] { return primary() == 0; }));
    EXPECT_TRUE(set.run_until(5s, [&] { return primary() == 2; }));
}

TEST_F(Three, WritesBecomeCommittedEverywhere) {
    elect();
    const auto leader = primary();
    ASSERT_TRUE(set.write(leader));
    const OpTime last = set.node(leader).log.back();
    EXPECT_TRUE(
        set.run_until(200ms, [&] { return set.core(leader).commit_point().optime == last; }));
    EXPECT_TRUE(is_satisfied({"majority", {}}, last, set.core(leader).replication_progress()));
    EXPECT_TRUE(set.run_until(1s, [&] {
        return set.core((leader + 1) % 3).commit_point().optime == last &&
               set.core((leader + 2) % 3).commit_point().optime == last;
    }));
}

// Of each two members one asks and tells of itself; two secondaries do so at a third of it, and
// nobody reports positions that do not change.
TEST_F(Three, AnIdleSetSaysLittle) {
    elect();
    const std::size_t before = set.requests_sent();
    set.run_for(10s);
    EXPECT_LE(set.requests_sent() - before, 130U);
    for (std::size_t i = 0; i < 3; ++i) {
        const auto status = set.core(i).status(set.now());
        ASSERT_TRUE(status);
        for (const auto& member : status->members) EXPECT_TRUE(member.healthy);
    }
}

TEST(Chain, PositionsOfWhomThePrimaryCannotHearArrive) {
    SimulatedSet set(4, SimulatedSet::make_config(3));
    set.initiate(0, SimulatedSet::make_config(3));
    ASSERT_TRUE(set.run_until(2s, [&] { return set.writable_primary() == std::size_t{0}; }));
    set.run_for(1s);
    ASSERT_TRUE(set.core(2).sync_from({"n1", 1}, set.node(2).log.back()));
    set.run_for(200ms);
    set.cut_both(0, 2);
    ASSERT_TRUE(set.write(0));
    const OpTime entry = set.node(0).log.back();
    EXPECT_TRUE(set.run_until(5s, [&] {
        const auto status = set.core(0).status(set.now());
        return status && status->members[2].applied.optime >= entry;
    }));
}

TEST_F(Three, WithoutAMajorityNothingIsCommitted) {
    elect();
    const auto leader = primary();
    for (std::size_t i = 0; i < 3; ++i)
        if (i != leader) set.cut_both(leader, i);
    const auto before = set.core(leader).commit_point();
    ASSERT_TRUE(set.write(leader));
    set.run_for(500ms);
    EXPECT_EQ(set.core(leader).commit_point(), before);
}

TEST_F(Three, ConfigurationsCarryTheirPrimarysTermAndSpread) {
    elect();
    const auto leader = primary();
    EXPECT_TRUE(set.run_until(2s, [&] {
        return set.core(0).config()->term == set.core(leader).term() &&
               set.core(1).config() == set.core(0).config() &&
               set.core(2).config() == set.core(0).config();
    }));
    EXPECT_TRUE(set.run_until(1s, [&] { return set.core(leader).is_config_committed(); }));
    auto next = *set.core(leader).config();
    ++next.version;
    next.settings.heartbeat_interval = 200ms;
    ASSERT_TRUE(set.write(leader));
    set.run_for(200ms);
    ASSERT_TRUE(set.reconfigure(leader, next));
    EXPECT_EQ(set.core(leader).prepare_reconfig(next, leader, false).error().code(),
              ErrorCode::configuration_in_progress);
    EXPECT_TRUE(
        set.run_until(1s, [&] { return set.core((leader + 1) % 3).config()->version == 2; }));
}

TEST_F(Three, AReconfigurationWaitsForTheOneBefore) {
    elect();
    const auto leader = primary();
    for (std::size_t i = 0; i < 3; ++i)
        if (i != leader) set.cut_both(leader, i);
    auto next = *set.core(leader).config();
    ++next.version;
    ASSERT_TRUE(set.reconfigure(leader, next));
    set.run_for(50ms);
    ++next.version;
    EXPECT_EQ(set.core(leader).prepare_reconfig(next, leader, false).error().code(),
              ErrorCode::current_config_not_committed_yet);
}

TEST_F(Three, EveryVisibleChangeBumpsTheTopologyVersion) {
    set.start_all();
    const auto before = set.core(0).topology_version();
    ASSERT_TRUE(set.run_until(3s, [&] { return set.core(0).primary_id() != no_member; }));
    EXPECT_GT(set.core(0).topology_version(), before);
    set.run_for(1s);
    const auto settled = set.core(0).topology_version();
    set.run_for(3s);
    EXPECT_EQ(set.core(0).topology_version(), settled);
    const auto view = set.core(primary()).topology();
    EXPECT_TRUE(view.is_writable_primary);
    EXPECT_EQ(view.hosts.size(), 3U);
    EXPECT_EQ(view.primary, view.me);
    EXPECT_EQ(view.election_term, set.core(primary()).term());
}

TEST_F(Three, StatusShowsEveryMember) {
    elect();
    const auto leader = primary();
    set.run_for(1s);
    const auto status = set.core(leader).status(set.now());
    ASSERT_TRUE(status);
    EXPECT_EQ(status->my_state, MemberState::primary);
    EXPECT_EQ(status->majority_vote_count, 2);
    ASSERT_EQ(status->members.size(), 3U);
    for (const auto& member : status->members) {
        EXPECT_TRUE(member.healthy);
        EXPECT_EQ(member.applied.optime, set.node(leader).log.back());
        EXPECT_EQ(member.is_self, member.id == static_cast<MemberId>(leader));
    }
    ASSERT_TRUE(status->candidate);
    EXPECT_EQ(status->candidate->votes_needed, 2);
    const auto other = set.core((leader + 1) % 3).status(set.now());
    EXPECT_EQ(other->sync_source_id, static_cast<MemberId>(leader));
    EXPECT_FALSE(other->candidate);
}

TEST(Arbiter, VotesButNeverLeadsAndKeepsAHealthyPrimary) {
    auto config = SimulatedSet::make_config(3);
    config.members[2].priority = 0;
    config.members[2].arbiter_only = true;
    SimulatedSet set(5, config);
    set.start_all();
    ASSERT_TRUE(set.run_until(3s, [&] { return set.writable_primary().has_value(); }));
    set.run_for(1s);
    EXPECT_EQ(set.core(2).state(), MemberState::arbiter);
    const auto old = *set.writable_primary();
    set.crash(old);
    EXPECT_TRUE(set.run_until(3s, [&] { return set.writable_primary().has_value(); }));
    EXPECT_NE(set.writable_primary(), old);
}

TEST(Removed, ANodeOutOfTheConfigurationShowsIt) {
    auto config = SimulatedSet::make_config(3);
    SimulatedSet set(6, config);
    set.start_all();
    ASSERT_TRUE(set.run_until(3s, [&] { return set.writable_primary().has_value(); }));
    set.run_for(1s);
    const auto leader = *set.writable_primary();
    ASSERT_TRUE(set.write(leader));
    set.run_for(500ms);
    auto next = *set.core(leader).config();
    ++next.version;
    const auto gone = (leader + 1) % 3;
    std::erase_if(next.members,
                  [&](const auto& member) { return member.id == static_cast<MemberId>(gone); });
    ASSERT_TRUE(set.reconfigure(leader, next));
    EXPECT_TRUE(set.run_until(2s, [&] { return set.core(gone).state() == MemberState::removed; }));
    EXPECT_EQ(set.core(gone).status(set.now()).error().code(),
              ErrorCode::invalid_replica_set_config);
    EXPECT_TRUE(set.core(leader).is_writable_primary());
}

}  // namespace
}  // namespace tessera::consensus
