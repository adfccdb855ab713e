// SPDX-License-Identifier: Apache-2.0
//
// Elections across reconfigurations: what keeps a majority of an old configuration from electing a
// leader that lacks what was committed in a new one (docs/replication.md, quorums-meet). Each test
// fails when the rule it names is left out.
#include "consensus/core.h"
#include "consensus/simulated_set.h"
#include <gtest/gtest.h>

namespace tessera::consensus {
namespace {

OpTime op_of(std::uint32_t seconds, Term term) {
    return {{seconds, 1}, term};
}

/// Node 0 leads, everybody has its configuration and its log.
void settle(SimulatedSet& set, const ReplicaSetConfig& config) {
    set.initiate(0, config);
    ASSERT_TRUE(set.run_until(3s, [&] {
        if (set.writable_primary() != std::size_t{0} || !set.logs_agree()) return false;
        for (std::size_t i = 0; i < set.size(); ++i)
            if (!set.core(i).config() || set.core(i).config() != set.core(0).config()) return false;
        return set.core(0).is_config_committed() && set.core(0).config()->term == 1;
    }));
    set.run_for(300ms);
    ASSERT_TRUE(set.write(0));
    ASSERT_TRUE(set.run_until(1s, [&] { return set.logs_agree(); }));
    ASSERT_TRUE(set.run_until(1s, [&] { return set.core(0).is_config_oplog_committed(); }));
}

ReplicaSetConfig with_votes(const ReplicaSetConfig& config, std::size_t member, int votes) {
    auto next = config;
    ++next.version;
    next.members[member].votes = votes;
    if (votes == 0) next.members[member].priority = 0;
    return next;
}

// 1. Voters {0, 1, 2}; 2 is cut off. 2. Voters {0, 1}: on 0 and 1. 3. 1 is cut off, voters {0}; an
// entry is committed on 0 alone. 4. 2, whose configuration is the first, asks 1: their logs are
// equal, and only that 1 knows a newer configuration keeps the two from being a majority.
TEST(Reconfiguration, AVoterRefusesACandidateWhoseConfigurationIsOlder) {
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        SimulatedSet set(seed, SimulatedSet::make_config(3));
        settle(set, SimulatedSet::make_config(3));
        set.cut_both(0, 2);
        set.cut_both(1, 2);
        ASSERT_TRUE(set.reconfigure(0, with_votes(*set.core(0).config(), 2, 0)));
        set.pump(0);
        ASSERT_TRUE(set.run_until(100ms, [&] {
            return set.core(1).config()->version == set.core(0).config()->version &&
                   set.core(0).config()->version > set.core(2).config()->version &&
                   set.core(0).is_config_committed();
        }));
        set.cut_both(0, 1);
        ASSERT_TRUE(set.reconfigure(0, with_votes(*set.core(0).config(), 1, 0)));
        set.pump(0);
        ASSERT_TRUE(set.run_until(50ms, [&] { return set.core(0).config()->voter_count() == 1; }));
        ASSERT_TRUE(set.write(0));
        ASSERT_TRUE(set.run_until(
            100ms, [&] { return set.core(0).commit_point().optime == set.node(0).log.back(); }));
        set.heal();
        set.cut_both(0, 1);
        set.cut_both(0, 2);
        ASSERT_TRUE(set.core(2).step_up(true, set.now())) << "seed " << seed;
        set.pump(2);
        set.run_for(3s);
        EXPECT_EQ(set.writable_primary(), std::size_t{0});
        EXPECT_FALSE(set.core(1).is_primary() || set.core(2).is_primary());
        EXPECT_TRUE(set.violations().empty()) << set.violations().front();
    }
}

TEST(Reconfiguration, ConfigurationsAreComparedByTermFirst) {
    auto mine = SimulatedSet::make_config(3);
    mine.version = 3;
    mine.term = 2;
    Random random{7};
    const Instant now{100s};
    Core core({"rs", {"n0", 1}, true}, {mine, 0, {}, {op_of(5, 2), {}}}, random, now);
    (void)core.set_follower_mode(MemberState::secondary, now);
    const auto ask = [&](ConfigVersion config) {
        VoteRequest request;
        request.set_name = "rs";
        request.dry_run = true;
        request.term = 2;
        request.candidate_id = 1;
        request.config = config;
        request.last_applied = op_of(5, 2);
        (void)core.take_output();
        core.receive({{"n1", 1}, 77, request, {}}, now);
        for (const auto& envelope : core.take_output().send)
            if (const auto* reply = std::get_if<VoteReply>(&envelope.message))
                return reply->granted;
        return false;
    };
    EXPECT_TRUE(ask({3, 2}));
    EXPECT_TRUE(ask({4, 2}));
    EXPECT_TRUE(ask({1, 3}));
    EXPECT_FALSE(ask({2, 2}));
    EXPECT_FALSE(ask({9, 1}));
}

// 1. Voters {0, 1, 2}: an entry is committed on 0 and 1. 2. Voter 3 comes: {0, 1, 2, 3} have the
// configuration, 2 and 3 not the entry. 3. Were voter 4 to come now, {2, 3, 4} could elect a leader
// without the entry. So first the entry must be on a majority of the four.
TEST(Reconfiguration, WaitsUntilWhatWasCommittedBeforeIsOnAMajorityOfTheNewVoters) {
    auto config = SimulatedSet::make_config(5);
    for (const std::size_t i : {3U, 4U})
        config.members[i].votes = 0, config.members[i].priority = 0;
    SimulatedSet set(3, config);
    settle(set, config);
    for (const std::size_t i : {2U, 3U, 4U}) set.node(i).gets_no_log = true;
    set.run_for(50ms);
    ASSERT_TRUE(set.write(0));
    const OpTime entry = set.node(0).log.back();
    ASSERT_TRUE(
        set.run_until(500ms, [&] { return set.core(0).commit_point().optime == entry; }));
    ASSERT_TRUE(set.reconfigure(0, with_votes(*set.core(0).config(), 3, 1)));
    set.pump(0);
    ASSERT_TRUE(set.run_until(500ms, [&] {
        return set.core(0).config()->voter_count() == 4 && set.core(0).is_config_committed();
    }));
    EXPECT_FALSE(set.core(0).is_config_oplog_committed());
    const auto next = with_votes(*set.core(0).config(), 4, 1);
    const auto refused = set.core(0).prepare_reconfig(next, MemberId{0}, false);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::current_config_not_committed_yet);
    EXPECT_NE(refused.error().reason().find("not majority committed"), std::string::npos);
    set.node(3).gets_no_log = false;
    ASSERT_TRUE(set.run_until(1s, [&] { return set.core(0).is_config_oplog_committed(); }));
    EXPECT_TRUE(set.reconfigure(0, next));
    EXPECT_TRUE(set.violations().empty());
}

/// A candidate whose peers are played by the test.
struct Candidacy {
    Random random{7};
    Instant now{100s};
    Core core;

    explicit Candidacy(const ReplicaSetConfig& config)
        : core({"rs", {"n0", 1}, true}, {config, 0, {}, {op_of(5, 1), {}}}, random, now) {
        (void)core.set_follower_mode(MemberState::secondary, now);
        now += 1ms;
        core.tick(now);
        // All others answer and know no primary: it stands at once.
        for (const auto& envelope : core.take_output().send) {
            HeartbeatReply reply;
            reply.set_name = "rs";
            reply.state = MemberState::secondary;
            reply.config = core.config()->config_version();
            reply.term = core.term();
            reply.applied = reply.durable = {op_of(5, 1), {}};
            core.receive({envelope.peer, envelope.id, reply, {}}, now);
        }
    }
    std::vector<Envelope> votes_asked() {
        std::vector<Envelope> asked;
        Output out = core.take_output();
        if (out.save) core.ballot_saved(*out.save, now);
        for (auto& more : core.take_output().send) out.send.push_back(std::move(more));
        for (auto& envelope : out.send)
            if (std::holds_alternative<VoteRequest>(envelope.message))
                asked.push_back(std::move(envelope));
        return asked;
    }
    void grant(const std::vector<Envelope>& asked) {
        for (const auto& envelope : asked)
            core.receive({envelope.peer, envelope.id, VoteReply{core.term(), true, {}}, {}}, now);
    }
};

TEST(Reconfiguration, EndsACandidacySinceItsVotesWereGivenInAnother) {
    for (const bool changes : {false, true}) {
        Candidacy node(SimulatedSet::make_config(3));
        node.grant(node.votes_asked());  // The dry run.
        const auto asked = node.votes_asked();
        ASSERT_EQ(asked.size(), 2U);
        EXPECT_FALSE(std::get<VoteRequest>(asked[0].message).dry_run);
        if (changes)
            node.core.install_config(with_votes(*node.core.config(), 1, 0), MemberId{0}, node.now);
        node.grant(asked);
        EXPECT_EQ(node.core.is_primary(), !changes);
    }
}

}  // namespace
}  // namespace tessera::consensus
