// SPDX-License-Identifier: Apache-2.0
#include "commands/operation.h"

#include <gtest/gtest.h>

#include "async/manual.h"

namespace tessera::commands {
namespace {

class Subject final : public Operation::Subject {
public:
    Operation::Description describe() const override { return {}; }
};

class OperationsOfAClient : public ::testing::Test {
protected:
    async::VirtualClock clock;
    OperationRegistry registry{clock};
    Subject subject;
    std::shared_ptr<ClientInfo> client = std::make_shared<ClientInfo>();
    std::shared_ptr<ClientInfo> other = std::make_shared<ClientInfo>();
};

TEST_F(OperationsOfAClient, EndWithItsConnection) {
    const auto mine = registry.begin(client, subject);
    const auto theirs = registry.begin(other, subject);
    bool is_cancelled = false;
    const auto listening = mine->cancellation.on_cancel([&] { is_cancelled = true; });
    registry.kill_of(*client);
    EXPECT_TRUE(is_cancelled);
    EXPECT_EQ(mine->check(clock).error().code(), ErrorCode::client_disconnect);
    EXPECT_TRUE(theirs->check(clock).has_value());
    registry.end(*mine);
    registry.end(*theirs);
}

TEST_F(OperationsOfAClient, EndAtOnceWhenItHasGoneBefore) {
    registry.kill_of(*client);
    const auto late = registry.begin(client, subject);
    EXPECT_EQ(late->check(clock).error().code(), ErrorCode::client_disconnect);
    registry.end(*late);
}

TEST_F(OperationsOfAClient, TellWhenTheyBegan) {
    const WallTime began = clock.wall_now();
    const auto mine = registry.begin(client, subject);
    clock.advance(std::chrono::seconds(3));
    EXPECT_EQ(mine->started_wall(clock), began);
    registry.end(*mine);
}

}  // namespace
}  // namespace tessera::commands
