// SPDX-License-Identifier: Apache-2.0
//
// A set under partitions and step-downs, from a seed: what was acknowledged by a majority is on
// every member in the end, and all members are alike.
#include <cstdlib>

#include <gtest/gtest.h>

#include "replication/test_set.h"

namespace tessera::replication {
namespace {

const Namespace items{"shop", "items"};

async::Task<void> write(TestMember& member,
                        std::int32_t id,
                        std::set<std::int32_t>& acknowledged,
                        Instant deadline) {
    const bson::Document document = bson::make("_id", id, "value", id);
    const auto at = member.insert(items, document);
    if (!at) co_return;
    WriteConcern concern;
    const auto status = co_await member.replication->await_write_concern(
        *at, std::move(concern), deadline, async::Cancellation::none());
    if (status) acknowledged.insert(id);
}

void run(std::uint64_t seed) {
    SCOPED_TRACE("TESSERA_SEED=" + std::to_string(seed));
    TestSet set(3);
    Random random(seed);
    ASSERT_TRUE(set.initiate(3));
    std::set<std::int32_t> acknowledged;
    std::int32_t next = 0;
    for (int round = 0; round < 60; ++round) {
        switch (random.below(6)) {
            case 0:
                set.isolate(random.below(3));
                break;
            case 1:
            case 2:
                set.heal();
                break;
            case 3:
                if (random.below(3) == 0 && set.primary() != nullptr) {
                    consensus::StepDownRequest request;
                    request.period = 2s;
                    request.catch_up_period = 1s;
                    request.force = random.below(2) == 0;
                    (void)set.run(set.primary()->replication->step_down(request));
                }
                break;
            default:
                break;
        }
        for (std::size_t i = 0; i < 3; ++i) {
            // Also one that believes to be primary and is cut off.
            if (!set[i].replication->is_writable_primary()) continue;
            for (int k = 0; k < 3; ++k)
                async::spawn(set.executor,
                             write(set[i], next++, acknowledged, set.clock.now() + 5s));
        }
        const Instant until = set.clock.now() + std::chrono::milliseconds(random.below(1'500));
        set.wait([&] { return set.clock.now() >= until; }, until - set.clock.now());
    }
    set.heal();
    ASSERT_TRUE(set.wait([&] { return set.primary() != nullptr; }));
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }, 120s));
    EXPECT_GT(acknowledged.size(), 20U);
    for (std::size_t i = 0; i < 3; ++i) {
        for (const std::int32_t id : acknowledged)
            EXPECT_TRUE(set[i].find(items, id)) << id;
        EXPECT_EQ(set[i].count(items), set[0].count(items));
        EXPECT_EQ(set[i].replication->state() == consensus::MemberState::primary ||
                      set[i].replication->state() == consensus::MemberState::secondary,
                  true);
    }
    // Nothing of the test may outlive the set.
    set.wait([&] { return false; }, 6s);
}

TEST(ReplicationChaos, AcknowledgedWritesAreOnEveryMember) {
    const char* const one = std::getenv("TESSERA_SEED");
    if (one != nullptr) return run(std::strtoull(one, nullptr, 10));
    const char* const many = std::getenv("TESSERA_SEEDS");
    const std::uint64_t count = many != nullptr ? std::strtoull(many, nullptr, 10) : 10;
    for (std::uint64_t seed = 1; seed <= count && !testing::Test::HasFailure(); ++seed)
        run(seed);
}

}  // namespace
}  // namespace tessera::replication
