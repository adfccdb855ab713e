// SPDX-License-Identifier: Apache-2.0
#include "routing/write_batch.h"

#include <algorithm>
#include <deque>

#include "routing/test_support.h"

namespace tessera::routing {
namespace {

using testing::json;
using testing::map_of;

RoutingInfo routing() {
    RoutingInfo result;
    result.database = {"shop", "s1", {}};
    result.chunks = map_of({0, 10}, {"s1", "s2", "s3"});
    return result;
}

class WriteBatchTest : public ::testing::Test {
protected:
    BatchStatement insert(int a, std::size_t bytes = 50) {
        documents_.push_back(bson::make("_id", a, "a", a));
        BatchStatement statement;
        statement.document = documents_.back();
        statement.bytes = bytes;
        return statement;
    }
    BatchStatement update(std::string_view filter, bool is_multi = false) {
        documents_.push_back(json(filter));
        BatchStatement statement;
        statement.kind = BatchStatement::Kind::write;
        statement.write.kind = WriteStatement::Kind::update_operators;
        statement.write.filter = documents_.back();
        statement.write.is_multi = is_multi;
        return statement;
    }
    static WriteBatch batch(std::vector<BatchStatement> statements, bool is_ordered = true) {
        WriteBatchOptions options;
        options.is_ordered = is_ordered;
        return {"shop.items", options, std::move(statements)};
    }
    /// "s1[0,1] s2[2]"
    static std::string text(const std::vector<ChildBatch>& children) {
        std::string result;
        for (const auto& child : children) {
            result += result.empty() ? "" : " ";
            result += child.target.shard + "[";
            for (std::size_t i = 0; i < child.statements.size(); ++i) {
                result += (i == 0 ? "" : ",") + std::to_string(child.statements[i]);
            }
            result += "]";
        }
        return result;
    }
    static bson::Document stale_reply(int index) {
        return json(R"({"ok":1,"n":0,"writeErrors":[{"index":)" + std::to_string(index) +
                    R"(,"code":13388,"errmsg":"stale","ns":"shop.items"}]})");
    }
    static std::string reply_of(const WriteBatch& done, bool is_update = false) {
        bson::Builder builder;
        done.result().append_to(builder, is_update);
        return bson::to_json(std::move(builder).finish());
    }

    std::deque<bson::Document> documents_;
};

TEST_F(WriteBatchTest, OrderedSendsNeighboursTogether) {
    auto writes = batch({insert(-1), insert(-2), insert(5), insert(-3)});
    auto children = writes.next_round(routing());
    EXPECT_EQ(text(children), "s1[0,1]");
    writes.on_reply(children[0].id, json(R"({"ok":1,"n":2})"));
    children = writes.next_round(routing());
    EXPECT_EQ(text(children), "s2[2]");
    writes.on_reply(children[0].id, json(R"({"ok":1,"n":1})"));
    children = writes.next_round(routing());
    EXPECT_EQ(text(children), "s1[3]");
    EXPECT_FALSE(writes.is_finished());
    writes.on_reply(children[0].id, json(R"({"ok":1,"n":1})"));
    EXPECT_TRUE(writes.is_finished());
    EXPECT_EQ(reply_of(writes), R"({"n":4})");
}

TEST_F(WriteBatchTest, OrderedStopsAtTheFirstError) {
    auto writes = batch({insert(-1), insert(-2), insert(-3), insert(5)});
    const auto children = writes.next_round(routing());
    writes.on_reply(children[0].id,
                    json(R"({"ok":1,"n":1,"writeErrors":[{"index":1,"code":11000,"errmsg":"dup",)"
                         R"("keyPattern":{"a":1}}]})"));
    EXPECT_TRUE(writes.is_finished());
    EXPECT_EQ(
        reply_of(writes),
        R"({"n":1,"writeErrors":[{"index":1,"code":11000,"errmsg":"dup","keyPattern":{"a":1}}]})");
}

TEST_F(WriteBatchTest, UnorderedSendsAllAtOnceAndGoesOn) {
    auto writes = batch({insert(-1), insert(5), insert(-2), insert(50)}, false);
    const auto children = writes.next_round(routing());
    EXPECT_EQ(text(children), "s1[0,2] s2[1] s3[3]");
    writes.on_reply(
        children[0].id,
        json(R"({"ok":1,"n":1,"writeErrors":[{"index":1,"code":11000,"errmsg":"dup"}]})"));
    writes.on_reply(children[1].id, json(R"({"ok":1,"n":1})"));
    writes.on_error(children[2].id, {ErrorCode::host_unreachable, "gone"});
    EXPECT_TRUE(writes.is_finished());
    EXPECT_EQ(reply_of(writes),
              R"({"n":2,"writeErrors":[{"index":2,"code":11000,"errmsg":"dup"},)"
              R"({"index":3,"code":6,"errmsg":"gone"}]})");
    EXPECT_EQ(writes.shards_written(), (std::set<ShardName>{"s1", "s2"}));
}

TEST_F(WriteBatchTest, StaleStatementsAreSentAgainOnly) {
    auto writes = batch({insert(-1), insert(-2), insert(-3)});
    auto children = writes.next_round(routing());
    writes.on_reply(children[0].id,
                    json(R"({"ok":1,"n":1,"writeErrors":[{"index":1,"code":13388,)"
                         R"("errmsg":"stale"}]})"));
    EXPECT_FALSE(writes.is_finished());
    const auto refreshes = writes.take_refreshes();
    ASSERT_EQ(refreshes.size(), 1U);
    EXPECT_EQ(refreshes[0].collection, "shop.items");
    EXPECT_TRUE(writes.take_refreshes().empty());
    RoutingInfo moved = routing();
    moved.chunks = map_of({0, 10}, {"s9", "s2", "s3"});
    children = writes.next_round(moved);
    EXPECT_EQ(text(children), "s9[1,2]");
    writes.on_reply(children[0].id, json(R"({"ok":1,"n":2})"));
    EXPECT_EQ(reply_of(writes), R"({"n":3})");
}

TEST_F(WriteBatchTest, AWholeStaleCommandIsSentAgain) {
    auto writes = batch({insert(-1), insert(-2)});
    auto children = writes.next_round(routing());
    writes.on_reply(children[0].id, json(R"({"ok":0,"code":249,"errmsg":"moved","db":"shop"})"));
    EXPECT_EQ(writes.take_refreshes().at(0).database, "shop");
    children = writes.next_round(routing());
    EXPECT_EQ(text(children), "s1[0,1]");
}

TEST_F(WriteBatchTest, GivesUpAfterFiveRoundsWithoutProgress) {
    for (const bool is_ordered : {true, false}) {
        auto writes = batch({insert(-1), insert(-2)}, is_ordered);
        int rounds = 0;
        while (!writes.is_finished()) {
            for (const auto& child : writes.next_round(routing())) {
                writes.on_reply(child.id, json(R"({"ok":0,"code":13388,"errmsg":"stale"})"));
            }
            ASSERT_LE(++rounds, 5);
        }
        EXPECT_EQ(rounds, 5);
        const auto result = writes.result();
        EXPECT_EQ(result.errors.size(), is_ordered ? 1U : 2U);
        EXPECT_EQ(result.errors[0].error["code"].to_int64(), 82);
    }
}

TEST_F(WriteBatchTest, AWriteByIdIsDoneWhenOneShardHadIt) {
    auto writes = batch({update(R"({"_id":5})")});
    auto children = writes.next_round(routing());
    EXPECT_EQ(text(children), "s1[0] s2[0] s3[0]");
    EXPECT_FALSE(children[0].target.shard_version.is_ignored());
    writes.on_reply(children[0].id, json(R"({"ok":1,"n":1,"nModified":1})"));
    writes.on_reply(children[1].id, stale_reply(0));
    writes.on_error(children[2].id, {ErrorCode::host_unreachable, "gone"});
    EXPECT_TRUE(writes.is_finished());
    EXPECT_EQ(reply_of(writes, true), R"({"n":1,"nModified":1})");
}

TEST_F(WriteBatchTest, AWriteByIdAsksAllAgainWhenNobodyHadItAndOneWasStale) {
    auto writes = batch({update(R"({"_id":5})")});
    auto children = writes.next_round(routing());
    writes.on_reply(children[0].id, json(R"({"ok":1,"n":0,"nModified":0})"));
    writes.on_reply(children[1].id, stale_reply(0));
    writes.on_reply(children[2].id, json(R"({"ok":1,"n":0,"nModified":0})"));
    children = writes.next_round(routing());
    EXPECT_EQ(text(children), "s1[0] s2[0] s3[0]");
    for (const auto& child : children)
        writes.on_reply(child.id, json(R"({"ok":1,"n":0})"));
    EXPECT_TRUE(writes.is_finished());
    EXPECT_EQ(reply_of(writes, true), R"({"n":0,"nModified":0})");
}

TEST_F(WriteBatchTest, AMultiWriteIsNotRepeatedWhereItIsDone) {
    auto writes = batch({update("{}", true)});
    auto children = writes.next_round(routing());
    EXPECT_EQ(children.size(), 3U);
    EXPECT_TRUE(children[0].target.shard_version.is_ignored());
    writes.on_reply(children[0].id, json(R"({"ok":1,"n":3,"nModified":3})"));
    writes.on_reply(children[1].id, stale_reply(0));
    writes.on_reply(children[2].id, json(R"({"ok":1,"n":4,"nModified":4})"));
    children = writes.next_round(routing());
    EXPECT_EQ(text(children), "s2[0]");
    writes.on_reply(children[0].id, json(R"({"ok":1,"n":1,"nModified":1})"));
    EXPECT_EQ(reply_of(writes, true), R"({"n":8,"nModified":8})");
}

TEST_F(WriteBatchTest, AMultiWriteThatIsAlwaysStaleSomewhereEnds) {
    auto writes = batch({update("{}", true)});
    int rounds = 0;
    while (!writes.is_finished()) {
        for (const auto& child : writes.next_round(routing())) {
            writes.on_reply(
                child.id, child.target.shard == "s2" ? stale_reply(0) : json(R"({"ok":1,"n":1})"));
        }
        ASSERT_LE(++rounds, 6);
    }
    EXPECT_EQ(writes.result().errors.size(), 1U);
}

TEST_F(WriteBatchTest, AMultiWriteMergesErrorsOfShards) {
    auto writes = batch({update("{}", true), update(R"({"a":5})")});
    const auto children = writes.next_round(routing());
    EXPECT_EQ(children.size(), 3U);  // Alone.
    writes.on_reply(children[0].id,
                    json(R"({"ok":1,"n":3,"nModified":3,"writeConcernError":)"
                         R"({"code":64,"errmsg":"late"}})"));
    writes.on_error(children[1].id, {ErrorCode::host_unreachable, "gone"});
    writes.on_reply(children[2].id,
                    json(R"({"ok":1,"n":0,"writeErrors":[{"index":0,"code":2,"errmsg":"bad"}],)"
                         R"("writeConcernError":{"code":64,"errmsg":"slow"}})"));
    EXPECT_TRUE(writes.is_finished());
    const auto result = writes.result();
    EXPECT_EQ(bson::to_json(result.errors.at(0).error),
              R"({"index":0,"code":65,"errmsg":"multiple errors for op : gone :: and :: bad"})");
    EXPECT_EQ((*result.write_concern_error)["errmsg"].as_string(),
              "multiple errors reported : late at s1 :: and :: slow at s3");
    EXPECT_EQ((*result.write_concern_error)["code"].to_int64(), 64);
    EXPECT_EQ(result.n, 3);
}

TEST_F(WriteBatchTest, UpsertsAndRetriedStatementsKeepTheirIndexes) {
    auto writes = batch({update(R"({"a":5})"), update(R"({"a":-5})"), update(R"({"a":6})")}, false);
    const auto children = writes.next_round(routing());
    EXPECT_EQ(text(children), "s2[0,2] s1[1]");
    writes.on_reply(children[0].id,
                    json(R"({"ok":1,"n":2,"nModified":1,"upserted":[{"index":1,)"
                         R"("_id":"new"}],"retriedStmtIds":[2]})"));
    writes.on_reply(children[1].id, json(R"({"ok":1,"n":1,"nModified":0})"));
    EXPECT_EQ(reply_of(writes, true),
              R"({"n":3,"upserted":[{"index":2,"_id":"new"}],)"
              R"("nModified":1,"retriedStmtIds":[2]})");
}

TEST_F(WriteBatchTest, ATwoPhaseWriteIsLeftToTheDriver) {
    auto writes = batch({update(R"({"b":5})"), update(R"({"a":5})")});
    const auto children = writes.next_round(routing());
    ASSERT_EQ(children.size(), 1U);
    EXPECT_EQ(children[0].kind, WriteKind::two_phase);
    EXPECT_EQ(children[0].candidates.size(), 3U);
    writes.on_reply(children[0].id, json(R"({"ok":1,"n":1,"nModified":1})"));
    EXPECT_EQ(text(writes.next_round(routing())), "s2[1]");
}

TEST_F(WriteBatchTest, ChildrenAreLimitedInStatementsAndBytes) {
    std::vector<BatchStatement> statements;
    for (int i = 0; i < 1500; ++i)
        statements.push_back(insert(-1 - i));
    for (const bool is_ordered : {true, false}) {
        auto writes = batch(statements, is_ordered);
        EXPECT_EQ(writes.next_round(routing()).at(0).statements.size(), 1000U);
    }
    auto large = batch({insert(-1, 9U << 20), insert(-2, 9U << 20), insert(-3, 20U << 20)});
    for (int i = 0; i < 3; ++i) {
        const auto children = large.next_round(routing());
        ASSERT_EQ(text(children), "s1[" + std::to_string(i) + "]");
        large.on_reply(children[0].id, json(R"({"ok":1,"n":1})"));
    }
    EXPECT_TRUE(large.is_finished());
}

TEST_F(WriteBatchTest, AStatementThatCannotBeTargetedFailsInItsTurn) {
    documents_.push_back(json(R"({"_id":1,"a":[1]})"));
    BatchStatement bad;
    bad.document = documents_.back();
    auto writes = batch({insert(-1), bad, insert(-2)});
    const auto children = writes.next_round(routing());
    EXPECT_EQ(text(children), "s1[0]");
    writes.on_reply(children[0].id, json(R"({"ok":1,"n":1})"));
    EXPECT_TRUE(writes.next_round(routing()).empty());
    EXPECT_TRUE(writes.is_finished());
    EXPECT_EQ(writes.result().errors.at(0).error["code"].to_int64(), 61);
    auto unordered = batch({insert(-1), bad, insert(-2)}, false);
    EXPECT_EQ(text(unordered.next_round(routing())), "s1[0,2]");
}

TEST_F(WriteBatchTest, InATransactionStaleRoutingEndsIt) {
    WriteBatchOptions options;
    options.is_in_transaction = true;
    WriteBatch writes("shop.items", options, {insert(-1)});
    const auto children = writes.next_round(routing());
    writes.on_reply(children[0].id, stale_reply(0));
    EXPECT_TRUE(writes.is_finished());
    ASSERT_TRUE(writes.fatal().has_value());
    EXPECT_EQ(writes.fatal()->code(), ErrorCode::stale_config);
}

/// Whatever goes stale on the way, each statement is carried out exactly once or fails, and order
/// is kept within a batch that asks for it.
TEST_F(WriteBatchTest, RandomStalenessLosesAndRepeatsNothing) {
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        Random random(seed);
        const bool is_ordered = random.below(2) == 0;
        std::vector<BatchStatement> statements;
        const std::size_t count = 1 + random.below(30);
        for (std::size_t i = 0; i < count; ++i) {
            statements.push_back(insert(static_cast<int>(random.below(30)) - 10));
        }
        auto writes = batch(statements, is_ordered);
        std::vector<std::uint32_t> executed;
        RoutingInfo now = routing();
        while (!writes.is_finished()) {
            for (const auto& child : writes.next_round(now)) {
                std::string errors;
                std::size_t done = 0;
                const std::size_t stale_from = random.below(child.statements.size() + 2);
                for (std::size_t i = 0; i < child.statements.size(); ++i) {
                    if (i < stale_from) {
                        executed.push_back(child.statements[i]);
                        ++done;
                        continue;
                    }
                    errors += std::string(errors.empty() ? "" : ",") + R"({"index":)" +
                              std::to_string(i) + R"(,"code":13388,"errmsg":"stale"})";
                    if (is_ordered) break;
                }
                writes.on_reply(
                    child.id,
                    json(R"({"ok":1,"n":)" + std::to_string(done) +
                         (errors.empty() ? "" : R"(,"writeErrors":[)" + errors + "]") + "}"));
            }
            now.chunks = map_of({static_cast<std::int64_t>(random.below(10)), 15},
                                {"s" + std::to_string(random.below(3)), "s2", "s3"});
        }
        const auto result = writes.result();
        EXPECT_EQ(static_cast<std::size_t>(result.n), executed.size());
        EXPECT_TRUE(!is_ordered || std::is_sorted(executed.begin(), executed.end()));
        std::sort(executed.begin(), executed.end());
        EXPECT_EQ(std::adjacent_find(executed.begin(), executed.end()), executed.end());
        EXPECT_TRUE(!result.errors.empty() || executed.size() == count);
    }
}

}  // namespace
}  // namespace tessera::routing
