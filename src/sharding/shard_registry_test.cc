// SPDX-License-Identifier: Apache-2.0
//
// Calls to a shard whose primary moves, and answers that are not settled.
#include "sharding/shard_registry.h"

#include <deque>

#include <gtest/gtest.h>

#include "async/manual.h"
#include "bson/json.h"

namespace tessera::sharding {
namespace {

const HostAndPort first{"localhost", 1};
const HostAndPort second{"localhost", 2};

/// Two members of the set "rs". Each answers a command with what it was told to, in turn; hello by
/// who is primary.
class TwoMembers : public async::Transport {
public:
    async::Task<Result<std::string>> call(async::RemoteCall request, async::Cancellation) override {
        const bson::Document command = bson::Document::adopt(std::move(request.command_bson));
        if (command.view().front().name == "hello") {
            co_return bson::make(
                "ok", 1.0, "setName", "rs", "isWritablePrimary", request.target == primary)
                .release();
        }
        asked.push_back(request.target);
        commands.push_back(command);
        if (answers.empty()) co_return Error(ErrorCode::host_unreachable, "no answer was told");
        const std::string text = answers.front();
        answers.pop_front();
        if (text.find("Stepped") != std::string::npos) primary = second;
        co_return bson::from_json(text).value().release();
    }
    async::Task<Result<std::unique_ptr<async::Stream>>> open(HostAndPort,
                                                             Instant,
                                                             async::Cancellation) override {
        co_return Error(ErrorCode::host_unreachable, "no streams here");
    }
    void drop_connections(const HostAndPort&) override {}

    HostAndPort primary = first;
    std::deque<std::string> answers;
    std::vector<HostAndPort> asked;
    std::vector<bson::Document> commands;
};

const std::string stepped_down =
    R"({"ok": 1.0, "writeConcernError": {"code": 189, "errmsg": "Stepped down"}})";
const std::string not_primary = R"({"ok": 0.0, "code": 10107, "errmsg": "not primary"})";
const std::string done = R"({"ok": 1.0})";

class SettledCalls : public ::testing::Test {
protected:
    SettledCalls() : registry_(clock_, network_, logical_clock_, {}) {
        registry_.put("A", SetAddress::parse("rs/localhost:1,localhost:2").value());
    }

    // "ok", or the name of the error.
    std::string outcome(bool is_retryable) {
        CallOptions options;
        options.deadline = clock_.now() + 30s;
        options.is_retryable = is_retryable;
        const auto reply = async::run_task(
            executor_,
            clock_,
            registry_.call_settled("A", bson::make("drop", "items", "$db", "shop"), options));
        return reply ? "ok" : std::string(code_name(reply.error().code()));
    }

    async::ManualExecutor executor_;
    async::VirtualClock clock_;
    TwoMembers network_;
    replication::LogicalClock logical_clock_;
    ShardRegistry registry_;
};

TEST_F(SettledCalls, AnErrorOfTheWriteConcernIsAnError) {
    const std::string failed =
        R"("writeConcernError": {"code": 64, "errmsg": "waiting timed out"})";
    network_.answers = {R"({"ok": 1.0, )" + failed + "}"};
    EXPECT_EQ(outcome(true), "WriteConcernTimeout");
    // Also beside another, which may be the effect of an attempt that is not certain.
    network_.answers = {R"({"ok": 0.0, "code": 26, "errmsg": "ns not found", )" + failed + "}"};
    EXPECT_EQ(outcome(true), "WriteConcernTimeout");
    network_.answers = {R"({"ok": 0.0, "code": 26, "errmsg": "ns not found"})"};
    EXPECT_EQ(outcome(true), "NamespaceNotFound");
    network_.answers = {done};
    EXPECT_EQ(outcome(true), "ok");
}

TEST_F(SettledCalls, TheNextPrimaryIsAskedWhenOneSteppedDownBeforeItWasSettled) {
    network_.answers = {stepped_down, not_primary, done};
    EXPECT_EQ(outcome(true), "ok");
    EXPECT_EQ(network_.asked, (std::vector{first, first, second}));
}

TEST_F(SettledCalls, EveryAttemptTellsTheClusterTimeOnce) {
    const Timestamp now = logical_clock_.make(1, clock_.wall_now());
    network_.answers = {not_primary, done};
    EXPECT_EQ(outcome(true), "ok");
    ASSERT_EQ(network_.commands.size(), 2U);
    for (const bson::Document& command : network_.commands) {
        EXPECT_EQ(command.view().count(), 3U);
        EXPECT_EQ(command["$clusterTime"].as_view()["clusterTime"].as_timestamp(), now);
    }
}

TEST_F(SettledCalls, WhatMayNotRunTwiceIsNotSentAgain) {
    network_.answers = {stepped_down, not_primary, done};
    EXPECT_EQ(outcome(false), "PrimarySteppedDown");
    EXPECT_EQ(network_.asked.size(), 1U);
}

TEST_F(SettledCalls, WhatStaysUnsettledEndsWithTheDeadline) {
    network_.primary = second;
    for (int i = 0; i < 1'000; ++i)
        network_.answers.push_back(stepped_down);
    const Instant began = clock_.now();
    EXPECT_EQ(outcome(true), "PrimarySteppedDown");
    EXPECT_LE(clock_.now(), began + 30s);
    EXPECT_GT(network_.asked.size(), 50U);
    EXPECT_FALSE(network_.answers.empty());
}

}  // namespace
}  // namespace tessera::sharding
