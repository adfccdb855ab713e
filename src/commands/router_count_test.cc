// SPDX-License-Identifier: Apache-2.0
//
// count, distinct and explain through a router: the shards' answers made one.
#include <gtest/gtest.h>

#include "bson/json.h"
#include "commands/test_router.h"

namespace tessera::commands {
namespace {

using testing::failure;
using testing::outcome;
using testing::text;

// shop.items by {a: 1}: below 10 on A, below 20 on B, the rest on C. shop.view is a view over it.
class RouterCount : public ::testing::Test {
protected:
    RouterCount() { net.shard_collection("{'a':1}", {"{'a':10}", "{'a':20}"}, {"A", "B", "C"}); }
    void answer(const std::string& command, const std::vector<const char*>& replies) {
        const char* const shards[] = {"A", "B", "C"};
        ASSERT_LE(replies.size(), std::size(shards));
        for (std::size_t i = 0; i < replies.size(); ++i)
            net.answers(shards[i], command, replies[i]);
    }
    // What the primary shard says of the view: that it lies over what is sharded, then what it is.
    void answer_as_view(const std::string& command) {
        net.answers("A", command, net.stale("A", "shop.items"));
        net.answers("A",
                    "listCollections",
                    "{'cursor':{'id':0,'firstBatch':[{'name':'view','type':'view','options':"
                    "{'viewOn':'items','pipeline':[{'$match':{'x':1}}]}}]}}");
    }
    // The stages the shards got.
    std::string stages() const {
        const bson::Document sent = net.last("aggregate");
        std::string result;
        for (const auto& each : sent["pipeline"].as_view())
            result += text(each.value.as_view());
        return result;
    }
    testing::TestRouter net;
};

TEST_F(RouterCount, AddsUp) {
    answer("count", {"{'n':2}", "{'n':3}", "{'n':4}"});
    EXPECT_EQ(net.outcome("{'count':'items'}"), "{'n':9}");
    answer("count", {"{'n':3000000000}", "{'n':1}", "{'n':1}"});
    EXPECT_EQ(net.outcome("{'count':'items'}"), "{'n':3000000002}");
    net.forget();
    net.answers("B", "count", "{'n':3}");
    EXPECT_EQ(net.outcome("{'count':'items','query':{'a':15}}"), "{'n':3}");
    EXPECT_EQ(net.asked("count"), "B");
}

TEST_F(RouterCount, SkipAndLimitAreTheRouters) {
    struct Case {
        const char* arguments;
        const char* limit;
        const char* count;
    };
    for (const auto& [arguments, limit, count] : std::vector<Case>{
             {"'limit':5", "A:5 B:5 C:5", "{'n':5}"},
             {"'limit':-5", "A:5 B:5 C:5", "{'n':5}"},
             {"'skip':4", "A:- B:- C:-", "{'n':5}"},
             {"'skip':4,'limit':2", "A:6 B:6 C:6", "{'n':2}"},
             {"'skip':20", "A:- B:- C:-", "{'n':0}"},
             {"'limit':0", "A:- B:- C:-", "{'n':9}"},
         }) {
        net.forget();
        answer("count", {"{'n':2}", "{'n':3}", "{'n':4}"});
        EXPECT_EQ(net.outcome("{'count':'items'," + std::string(arguments) + "}"), count);
        EXPECT_EQ(net.asked("count", "limit"), limit) << arguments;
        EXPECT_EQ(net.asked("count", "skip"), "A:- B:- C:-") << arguments;
    }
}

// One shard does it all by itself: skipped twice would be too much.
TEST_F(RouterCount, OneShardSkipsAndLimitsItself) {
    net.answers("B", "count", "{'n':3}");
    EXPECT_EQ(net.outcome("{'count':'items','query':{'a':15},'skip':2,'limit':3}"), "{'n':3}");
    EXPECT_EQ(net.asked("count", "skip") + net.asked("count", "limit"), "B:2B:3");
}

TEST_F(RouterCount, RefusesWhatItCannotCount) {
    EXPECT_EQ(net.outcome("{'count':'items','skip':-1}"), "Location51024");
    EXPECT_EQ(net.outcome("{'count':'items','limit':{'$numberLong':'-9223372036854775808'}}"),
              "BadValue");
    EXPECT_EQ(net.outcome("{'count':'items','query':5}"), "TypeMismatch");
    EXPECT_EQ(net.outcome("{'count':'items','nonsense':5}"), "IDLUnknownField");
    EXPECT_EQ(net.outcome("{'count':'items','$db':'nowhere'}"), "{'n':0}");
}

TEST_F(RouterCount, AShardsErrorIsTheAnswer) {
    answer("count",
           {"{'n':1}", "{'ok':0,'code':2,'codeName':'BadValue','errmsg':'no'}", "{'n':1}"});
    EXPECT_EQ(net.outcome("{'count':'items'}"), "BadValue");
}

TEST_F(RouterCount, OneStaleShardRepeatsAll) {
    answer("count", {"{'n':2}", "{'n':2}"});
    net.answers("C", "count", net.stale("C"));
    answer("count", {"{'n':1}", "{'n':3}", "{'n':4}"});
    EXPECT_EQ(net.outcome("{'count':'items'}"), "{'n':8}");
    EXPECT_EQ(net.asked("count"), "A,B,C,A,B,C");
}

// It is tried again: the other error may have come of the old map too.
TEST_F(RouterCount, AStaleShardCountsMoreThanAnothersError) {
    net.answers("A", "count", failure(ErrorCode::bad_value));
    net.answers("B", "count", net.stale("B"));
    net.answers("C", "count", "{'n':1}");
    answer("count", {"{'n':1}", "{'n':1}", "{'n':1}"});
    EXPECT_EQ(net.outcome("{'count':'items'}"), "{'n':3}");
}

TEST_F(RouterCount, OfAViewIsAnAggregation) {
    answer_as_view("count");
    for (const char* shard : {"A", "B", "C"})
        net.holds(shard, {"{'n':2}"});
    EXPECT_EQ(net.outcome("{'count':'view','query':{'b':1},'skip':1,'limit':9}"), "{'n':2}");
    EXPECT_EQ(net.asked("aggregate"), "A,B,C");
    EXPECT_EQ(stages(), "{'$match':{'x':1}}{'$match':{'b':1}}{'$limit':10}");
}

TEST_F(RouterCount, DistinctIsTheUnionInOrder) {
    answer("distinct",
           {"{'values':[1,5,'x',null]}", "{'values':[5.0,3,{'b':1}]}", "{'values':[]}"});
    EXPECT_EQ(net.outcome("{'distinct':'items','key':'k'}"), "{'values':[null,1,3,5,'x',{'b':1}]}");
    net.answers("B", "distinct", "{'values':[3,1]}");
    EXPECT_EQ(net.outcome("{'distinct':'items','key':'k','query':{'a':15}}"), "{'values':[3,1]}");
    EXPECT_EQ(net.outcome("{'distinct':'items','key':'k','$db':'nowhere'}"), "{'values':[]}");
    EXPECT_EQ(net.outcome("{'distinct':'items'}"), "IDLFailedToParse");
    EXPECT_EQ(net.outcome("{'distinct':'items','key':1}"), "TypeMismatch");
}

TEST_F(RouterCount, DistinctHasAnEnd) {
    for (const char* shard : {"A", "B", "C"}) {
        bson::ArrayBuilder values;
        values.append(std::string(6 << 20, *shard));
        bson::Builder reply;
        reply.append_array("values", std::move(values).finish());
        net.answers(shard, "distinct", std::move(reply).finish());
    }
    EXPECT_EQ(net.outcome("{'distinct':'items','key':'k'}"), "Location17217");
}

// As without a view: arrays on the way and at its end are looked into, null is a value.
TEST_F(RouterCount, DistinctOfAViewLooksIntoArrays) {
    struct Case {
        const char* key;
        std::vector<std::string> documents;
        const char* values;
    };
    for (const auto& [key, documents, values] : std::vector<Case>{
             {"k", {"{'k':2}", "{'k':[1,2]}", "{'k':null}", "{'k':[]}", "{}"}, "[null,1,2]"},
             {"k.b", {"{'k':[{'b':1},{'b':[2,3]}]}", "{'k':{'b':1}}", "{'k':5}"}, "[1,2,3]"},
             {"k.0", {"{'k':[7,8]}"}, "[7]"},
         }) {
        net.forget();
        answer_as_view("distinct");
        net.holds("B", documents);
        EXPECT_EQ(net.outcome("{'distinct':'view','key':'" + std::string(key) + "'}"),
                  "{'values':" + std::string(values) + "}");
        EXPECT_EQ(net.asked("aggregate"), "A,B,C");
    }
}

// ---- explain ----------------------------------------------------------------------------------

class RouterExplain : public RouterCount {
protected:
    std::string stage_of(const std::string& explained) {
        answer("explain",
               {"{'queryPlanner':{'winningPlan':{'stage':'IXSCAN'}}}",
                "{'queryPlanner':{'winningPlan':{'stage':'COLLSCAN'}}}",
                "{'queryPlanner':{'winningPlan':{'stage':'EOF'}}}"});
        const bson::Document reply = net.run("{'explain':" + explained + "}");
        if (!reply["ok"].is_truthy()) return outcome(reply);
        const bson::View plan = reply["queryPlanner"].as_view()["winningPlan"].as_view();
        std::string result(plan["stage"].as_string());
        for (const auto& each : plan["shards"].as_view()) {
            const bson::View shard = each.value.as_view();
            result += " " + std::string(shard["shardName"].as_string()) + ":" +
                      std::string(shard["winningPlan"].as_view()["stage"].as_string());
        }
        return result;
    }
};

TEST_F(RouterExplain, SaysHowPlansOfShardsAreJoined) {
    EXPECT_EQ(stage_of("{'find':'items'}"), "SHARD_MERGE A:IXSCAN B:COLLSCAN C:EOF");
    EXPECT_EQ(stage_of("{'find':'items','sort':{'b':1}}"),
              "SHARD_MERGE_SORT A:IXSCAN B:COLLSCAN C:EOF");
    EXPECT_EQ(stage_of("{'find':'items','filter':{'a':5}}"), "SINGLE_SHARD A:IXSCAN");
}

TEST_F(RouterExplain, ShardsExplainWhatTheyWouldBeAsked) {
    stage_of("{'find':'items','sort':{'b':1},'skip':2,'limit':3,'batchSize':1}");
    for (const auto& call : net.calls("explain"))
        EXPECT_EQ(text(call.command["explain"].as_view()),
                  "{'find':'items','sort':{'b':1},'batchSize':1,'limit':5}");
    net.forget();
    stage_of("{'find':'items','limit':-3}");
    EXPECT_EQ(text(net.last("explain")["explain"].as_view()), "{'find':'items','limit':-3}");
    stage_of("{'find':'items','filter':{'a':5},'skip':2,'limit':3}");
    EXPECT_EQ(text(net.last("explain")["explain"].as_view()),
              "{'find':'items','filter':{'a':5},'skip':2,'limit':3}");
}

TEST_F(RouterExplain, AddsUpWhatTheShardsCounted) {
    answer("explain",
           {"{'queryPlanner':{},'executionStats':{'nReturned':1,'executionTimeMillis':7,"
            "'totalKeysExamined':2,'totalDocsExamined':3}}",
            "{'queryPlanner':{},'executionStats':{'nReturned':10,'executionTimeMillis':5,"
            "'totalKeysExamined':20,'totalDocsExamined':30}}"});
    const bson::Document reply = net.run("{'explain':{'find':'items','filter':{'a':{'$lt':15}}}}");
    const bson::View stats = reply["executionStats"].as_view();
    EXPECT_EQ(stats["nReturned"].to_int64(), 11);
    EXPECT_EQ(stats["executionTimeMillis"].to_int64(), 7);
    EXPECT_EQ(stats["totalKeysExamined"].to_int64(), 22);
    EXPECT_EQ(stats["totalDocsExamined"].to_int64(), 33);
}

TEST_F(RouterExplain, ShowsHowAPipelineIsSplit) {
    for (const char* shard : {"A", "B", "C"})
        net.answers(shard, "explain", "{'stages':[]}");
    const bson::Document reply = net.run(
        "{'explain':{'aggregate':'items','pipeline':[{'$match':{'b':1}},{'$sort':{'b':1}},"
        "{'$limit':3}],'cursor':{}}}");
    ASSERT_TRUE(reply["splitPipeline"].is_object()) << text(reply);
    EXPECT_EQ(text(reply["splitPipeline"].as_view()),
              "{'shardsPart':[{'$match':{'b':1}},{'$sort':{'b':1}},{'$limit':3}],"
              "'mergerPart':[{'$mergeCursors':{'sort':{'b':1}}},{'$limit':3}]}");
    EXPECT_EQ(reply["mergeType"].as_string(), "mongos");
    EXPECT_EQ(reply["shards"].as_view().count(), 3U);
}

TEST_F(RouterExplain, FollowsAChunkThatMoved) {
    stage_of("{'find':'items','filter':{'a':15}}");
    net.move_chunk(1, "C");
    net.answers("B", "explain", net.stale("B"));
    net.forget();
    EXPECT_EQ(stage_of("{'find':'items','filter':{'a':15}}"), "SINGLE_SHARD C:EOF");
    EXPECT_EQ(net.asked("explain"), "B,C");
}

}  // namespace
}  // namespace tessera::commands
