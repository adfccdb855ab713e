// SPDX-License-Identifier: Apache-2.0
#include "consensus/config.h"

#include "consensus/simulated_set.h"
#include <gtest/gtest.h>

namespace tessera::consensus {
namespace {

ReplicaSetConfig three() { return SimulatedSet::make_config(3); }

std::string problem(const ReplicaSetConfig& config) {
    const auto status = config.validate();
    return status ? "" : status.error().reason();
}

TEST(Config, AcceptsAPlainSet) { EXPECT_EQ(problem(three()), ""); }

TEST(Config, RefusesWhatOneConfigurationMayNotSay) {
    auto config = three();
    config.members[1].host = config.members[0].host;
    EXPECT_NE(problem(config).find("same host field value of n0:1"), std::string::npos);
    config = three();
    config.members[1].id = 0;
    EXPECT_NE(problem(config).find("same _id field value of 0"), std::string::npos);
    config = three();
    config.members[2].votes = 0;
    EXPECT_EQ(problem(config), "priority must be 0 when non-voting (votes:0)");
    config = three();
    config.members[2].hidden = true;
    EXPECT_EQ(problem(config), "priority must be 0 when hidden=true");
    config = three();
    config.members[2].secondary_delay = 5s;
    EXPECT_EQ(problem(config), "priority must be 0 when secondaryDelaySecs is used");
    config = three();
    config.members.clear();
    EXPECT_NE(problem(config), "");
    config = SimulatedSet::make_config(8);
    EXPECT_NE(problem(config).find("8 voting members"), std::string::npos);
    config = three();
    config.protocol_version = 0;
    EXPECT_NE(problem(config), "");
    config = three();
    for (auto& member : config.members) member.priority = 0;
    EXPECT_NE(problem(config).find("priority > 0"), std::string::npos);
    config = three();
    config.members[0].host.host = "localhost";
    EXPECT_NE(problem(config).find("found 1 out of 3"), std::string::npos);
    config = three();
    config.configsvr = true;
    config.members[2].priority = 0;
    config.members[2].arbiter_only = true;
    EXPECT_NE(problem(config).find("Arbiters are not allowed"), std::string::npos);
}

TEST(Config, RefusesModesThatNoMembersCouldSatisfy) {
    auto config = three();
    config.settings.write_concern_modes["zones"] = {{"zone", 2}};
    EXPECT_NE(problem(config), "");
    config.members[0].tags["zone"] = "a";
    config.members[1].tags["zone"] = "a";
    EXPECT_NE(problem(config), "");
    config.members[1].tags["zone"] = "b";
    EXPECT_EQ(problem(config), "");
}

TEST(Config, CountsMajorities) {
    auto config = three();
    EXPECT_EQ(config.majority_vote_count(), 2);
    EXPECT_EQ(config.write_majority_count(), 2);
    EXPECT_TRUE(config.is_default_write_concern_majority());
    config.members[2].priority = 0;
    config.members[2].arbiter_only = true;
    EXPECT_EQ(config.write_majority_count(), 2);
    EXPECT_EQ(config.writable_voter_count(), 2);
    EXPECT_FALSE(config.is_default_write_concern_majority());
    config.members[1].newly_added = true;
    EXPECT_EQ(config.voter_count(), 2);
}

TEST(Config, OrdersByTermThenVersionAndByVersionWithoutATerm) {
    EXPECT_TRUE((ConfigVersion{1, 2}.is_newer_than({9, 1})));
    EXPECT_TRUE((ConfigVersion{3, 2}.is_newer_than({2, 2})));
    EXPECT_TRUE((ConfigVersion{10009, -1}.is_newer_than({9, 7})));
    EXPECT_FALSE((ConfigVersion{1, -1}.is_newer_than({1, 7})));
    EXPECT_TRUE((ConfigVersion{1, 0}.is_newer_than(ConfigVersion{})));
}

ErrorCode reconfig_error(const ReplicaSetConfig& now, bool force = false,
                         std::optional<MemberId> self = 0) {
    const auto status = now.validate_reconfig(three(), self, force);
    return status ? ErrorCode::ok : status.error().code();
}

TEST(Config, ReconfigurationChangesAtMostOneVoter) {
    auto next = SimulatedSet::make_config(4);
    next.version = 2;
    EXPECT_EQ(reconfig_error(next), ErrorCode::ok);
    next = SimulatedSet::make_config(5);
    next.version = 2;
    EXPECT_EQ(reconfig_error(next), ErrorCode::new_replica_set_configuration_incompatible);
    EXPECT_EQ(reconfig_error(next, true), ErrorCode::ok);
    next = three();
    next.version = 2;
    next.members[2].votes = next.members[1].votes = 0;
    next.members[2].priority = next.members[1].priority = 0;
    EXPECT_EQ(reconfig_error(next), ErrorCode::new_replica_set_configuration_incompatible);
}

TEST(Config, ReconfigurationKeepsTheSetsIdentity) {
    auto next = three();
    EXPECT_EQ(reconfig_error(next), ErrorCode::new_replica_set_configuration_incompatible);
    next.version = 2;
    next.set_name = "other";
    EXPECT_EQ(reconfig_error(next, true), ErrorCode::new_replica_set_configuration_incompatible);
    next = three();
    next.version = 2;
    next.members[1].id = 7;
    EXPECT_EQ(reconfig_error(next), ErrorCode::new_replica_set_configuration_incompatible);
    next = three();
    next.version = 2;
    next.members[0].priority = 0;
    EXPECT_EQ(reconfig_error(next), ErrorCode::node_not_electable);
    EXPECT_EQ(reconfig_error(next, true), ErrorCode::ok);
    EXPECT_EQ(reconfig_error(next, true, std::nullopt), ErrorCode::node_not_found);
    next.members.clear();
    EXPECT_EQ(reconfig_error(next), ErrorCode::invalid_replica_set_config);
}

TEST(Config, InitiatesOnlyWithAnElectableSelfAndVersionOne) {
    auto config = three();
    EXPECT_TRUE(config.validate_for_initiate(0));
    EXPECT_EQ(config.validate_for_initiate(std::nullopt).error().code(),
              ErrorCode::invalid_replica_set_config);
    config.version = 2;
    EXPECT_EQ(config.validate_for_initiate(0).error().code(),
              ErrorCode::new_replica_set_configuration_incompatible);
    config.version = 1;
    config.members[0].priority = 0;
    EXPECT_EQ(config.validate_for_initiate(0).error().code(), ErrorCode::node_not_electable);
}

}  // namespace
}  // namespace tessera::consensus
