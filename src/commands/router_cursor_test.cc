// SPDX-License-Identifier: Apache-2.0
//
// Cursors through a router: what a getMore asks of which shard, and what is closed when.
#include <gtest/gtest.h>

#include "commands/test_router.h"

namespace tessera::commands {
namespace {

using testing::batch;
using testing::cursor;
using testing::failure;
using testing::outcome;

class RouterCursor : public ::testing::Test {
protected:
    RouterCursor() {
        net.shard_collection("{'a':1}", {"{'a':10}", "{'a':20}"}, {"A", "B", "C"});
        net.holds("A", {"{'_id':1}", "{'_id':2}", "{'_id':3}", "{'_id':7}"});
        net.holds("B", {"{'_id':4}"});
        net.holds("C", {"{'_id':5}", "{'_id':6}", "{'_id':8}"});
    }
    bson::Document find(const std::string& arguments) {
        return net.run("{'find':'items'" + arguments + "}");
    }
    static std::int64_t id_of(const bson::Document& reply) {
        return cursor(reply)["id"].to_int64();
    }
    bson::Document kill(const bson::Document& reply) {
        bson::Builder command;
        command.append("killCursors", "items");
        command.append_array("cursors", bson::make("0", id_of(reply)));
        return net.run(std::move(command).finish());
    }
    testing::TestRouter net;
};

TEST_F(RouterCursor, GetMoreGoesOnInOrderAndAsksOnlyShardsThatHaveMore) {
    const bson::Document first = find(",'sort':{'_id':1},'batchSize':2");
    EXPECT_EQ(batch(first), "{'_id':1} {'_id':2}");
    EXPECT_EQ(net.asked("find", "batchSize"), "A:2 B:2 C:2");
    const bson::Document second = net.more(first, "'batchSize':3");
    EXPECT_EQ(batch(second), "{'_id':3} {'_id':4} {'_id':5}");
    EXPECT_EQ(net.asked("getMore", "batchSize"), "A:3");
    const bson::Document third = net.more(first);
    EXPECT_EQ(batch(third), "{'_id':6} {'_id':7} {'_id':8}");
    EXPECT_EQ(id_of(third), 0);
    EXPECT_EQ(net.open_cursors(), 0U);
    EXPECT_EQ(net.outcome("{'getMore':{'$numberLong':'1'},'collection':'items'}"),
              "CursorNotFound");
}

// A client must not wait for a shard when its batch is full already.
TEST_F(RouterCursor, AFullBatchWaitsForNobody) {
    for (const char* sort : {"", ",'sort':{'_id':1}"}) {
        net.forget();
        const bson::Document first = find(",'batchSize':1" + std::string(sort));
        EXPECT_EQ(batch(first), "{'_id':1}");
        EXPECT_EQ(net.asked("getMore"), "") << sort;
        EXPECT_NE(id_of(first), 0);
    }
}

TEST_F(RouterCursor, UnsortedDocumentsComeAsTheyAreThere) {
    const bson::Document first = find(",'batchSize':2");
    EXPECT_EQ(batch(first), "{'_id':1} {'_id':2}");
    EXPECT_EQ(batch(net.more(first)),
              "{'_id':4} {'_id':5} {'_id':6} {'_id':8} {'_id':3} {'_id':7}");
}

TEST_F(RouterCursor, BatchSizeZeroOnlyOpens) {
    const bson::Document first = find(",'batchSize':0,'sort':{'_id':1}");
    EXPECT_EQ(batch(first), "");
    EXPECT_NE(id_of(first), 0);
    EXPECT_EQ(net.asked("find", "batchSize"), "A:0 B:0 C:0");
    EXPECT_EQ(net.asked("getMore"), "");
    EXPECT_EQ(batch(net.more(first, "'batchSize':2")), "{'_id':1} {'_id':2}");
    EXPECT_EQ(net.asked("getMore", "batchSize"), "A:2 B:2 C:2");
}

TEST_F(RouterCursor, BatchSizeZeroOfOneShardToo) {
    const bson::Document first = find(",'batchSize':0,'filter':{'a':null}");
    EXPECT_EQ(batch(first), "");
    EXPECT_EQ(batch(net.more(first, "'batchSize':2")), "{'_id':1} {'_id':2}");
}

TEST_F(RouterCursor, OneShardsBatchesAreHandedThrough) {
    const bson::Document first = find(",'batchSize':2,'filter':{'a':null}");
    EXPECT_EQ(batch(first), "{'_id':1} {'_id':2}");
    EXPECT_EQ(net.asked("find"), "A");
    const bson::Document second = net.more(first, "'batchSize':1");
    EXPECT_EQ(batch(second), "{'_id':3}");
    EXPECT_EQ(net.asked("getMore", "batchSize"), "A:1");
    const bson::Document third = net.more(first);
    EXPECT_EQ(batch(third), "{'_id':7}");
    EXPECT_EQ(id_of(third), 0);
}

TEST_F(RouterCursor, TheRoutersSkipAndLimitHoldOverBatches) {
    const bson::Document first = find(",'batchSize':2,'sort':{'_id':1},'skip':1,'limit':5");
    EXPECT_EQ(batch(first), "{'_id':2} {'_id':3}");
    const bson::Document second = net.more(first, "'batchSize':2");
    EXPECT_EQ(batch(second), "{'_id':4} {'_id':5}");
    const bson::Document third = net.more(first, "'batchSize':2");
    EXPECT_EQ(batch(third), "{'_id':6}");
    EXPECT_EQ(id_of(third), 0);
    EXPECT_EQ(net.open_cursors(), 0U);
}

TEST_F(RouterCursor, ASingleBatchLeavesNothingOpen) {
    const bson::Document reply = find(",'batchSize':2,'singleBatch':true");
    EXPECT_EQ(batch(reply), "{'_id':1} {'_id':2}");
    EXPECT_EQ(id_of(reply), 0);
    EXPECT_EQ(net.open_cursors(), 0U);
}

TEST_F(RouterCursor, AShardThatFailsInTheMiddleEndsTheCursorEverywhere) {
    for (const auto& [code, name] : std::vector<std::pair<ErrorCode, const char*>>{
             {ErrorCode::query_plan_killed, "QueryPlanKilled"},
             {ErrorCode::cursor_not_found, "CursorNotFound"}}) {
        const bson::Document first = find(",'batchSize':1,'sort':{'_id':1}");
        net.answers("A", "getMore", failure(code));
        EXPECT_EQ(outcome(net.more(first)), name);
        EXPECT_EQ(outcome(net.more(first)), "CursorNotFound");
        // What the shard says is gone needs no closing.
        EXPECT_EQ(net.open_cursors(), code == ErrorCode::cursor_not_found ? 1U : 0U);
    }
}

TEST_F(RouterCursor, AGetMoreThatWasLostIsNotRepeated) {
    const bson::Document first = find(",'batchSize':1,'sort':{'_id':1}");
    net.loses("A", "getMore");
    EXPECT_EQ(outcome(net.more(first)), "HostUnreachable");
    EXPECT_EQ(net.asked("getMore"), "A");
    EXPECT_EQ(net.open_cursors(), 0U);
}

TEST_F(RouterCursor, KillCursorsReachesEveryShardThatHasOne) {
    const bson::Document first = find(",'batchSize':1,'sort':{'_id':1}");
    EXPECT_EQ(net.open_cursors(), 3U);
    const bson::Document reply = kill(first);
    EXPECT_EQ(reply["cursorsKilled"].as_view().count(), 1U);
    EXPECT_EQ(net.asked("killCursors"), "A,B,C");
    EXPECT_EQ(net.open_cursors(), 0U);
    EXPECT_EQ(kill(first)["cursorsNotFound"].as_view().count(), 1U);
}

TEST_F(RouterCursor, AnIdleCursorIsClosedOnTheShardsToo) {
    find(",'batchSize':1");
    net.clock.advance(std::chrono::minutes(11));
    EXPECT_EQ(net.router->cursors.expire(std::chrono::minutes(10)), 1);
    net.run("{'ping':1}");
    EXPECT_EQ(net.open_cursors(), 0U);
}

TEST_F(RouterCursor, StaysAtTheMemberThatOpenedIt) {
    const bson::Document first = find(",'batchSize':1,'filter':{'a':null}");
    net.step_down("A");
    EXPECT_EQ(batch(net.more(first)), "{'_id':2} {'_id':3} {'_id':7}");
    EXPECT_EQ(net.calls("getMore").front().host, "A-1:1");
}

TEST_F(RouterCursor, AStaleMapDoesNotConcernOpenCursors) {
    const bson::Document first = find(",'batchSize':1,'sort':{'_id':1}");
    net.move_chunk(0, "C");
    EXPECT_EQ(batch(net.more(first, "'batchSize':2")), "{'_id':2} {'_id':3}");
}

TEST_F(RouterCursor, AHangingGetMoreEndsWhenItIsKilled) {
    for (const char* sort : {",'filter':{'a':null}", ",'sort':{'_id':1}"}) {
        const bson::Document first = find(",'batchSize':1" + std::string(sort));
        net.hangs("A", "getMore");
        net.kill_operation_at("getMore");
        EXPECT_EQ(outcome(net.more(first)), "Interrupted") << sort;
        net.kill_operation_at("");
    }
}

TEST_F(RouterCursor, TheCursorsTimeIsThatOfItsQuery) {
    const bson::Document first = find(",'batchSize':1,'sort':{'_id':1},'maxTimeMS':1000");
    net.hangs("A", "getMore");
    const Instant begin = net.clock.now();
    EXPECT_EQ(outcome(net.more(first)), "MaxTimeMSExpired");
    EXPECT_EQ(net.clock.now() - begin, 1000ms);
}

TEST_F(RouterCursor, BelongsToItsCollection) {
    const bson::Document first = find(",'batchSize':1");
    bson::Builder other;
    other.append("getMore", id_of(first)).append("collection", "others");
    EXPECT_EQ(outcome(net.run(std::move(other).finish())), "Unauthorized");
}

// Documents too large to be sent together: a batch ends before 16 MiB, and nothing is lost.
TEST_F(RouterCursor, LargeDocumentsAreSpreadOverBatches) {
    const std::string filler(6 << 20, 'x');
    for (const char* shard : {"A", "B", "C"})
        net.holds_documents(shard, {bson::make("_id", shard, "f", filler)});
    bson::Document reply = find(",'sort':{'_id':1}");
    std::string ids;
    for (int i = 0; i < 3; ++i) {
        for (const char* name : {"firstBatch", "nextBatch"})
            if (const bson::Value list = cursor(reply)[name]; list.is_array())
                for (const auto& each : list.as_view())
                    ids += each.value.as_view()["_id"].as_string();
        ids += "|";
        if (id_of(reply) == 0) break;
        reply = net.more(reply);
    }
    EXPECT_EQ(ids, "AB|C|");
}

}  // namespace
}  // namespace tessera::commands
