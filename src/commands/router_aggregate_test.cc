// SPDX-License-Identifier: Apache-2.0
//
// aggregate through a router: what the shards run, what the router runs itself, and what it asks
// for meanwhile.
#include <gtest/gtest.h>

#include "bson/json.h"
#include "commands/test_router.h"

namespace tessera::commands {
namespace {

using testing::batch;
using testing::cursor;
using testing::failure;
using testing::outcome;
using testing::text;

// shop.items by {a: 1}: below 10 on A, below 20 on B, the rest on C; shop.plain is on A.
class RouterAggregate : public ::testing::Test {
protected:
    RouterAggregate() {
        net.shard_collection("{'a':1}", {"{'a':10}", "{'a':20}"}, {"A", "B", "C"});
    }
    bson::Document run(const std::string& collection,
                       const std::string& stages,
                       const std::string& more = "") {
        return net.run("{'aggregate':'" + collection + "','pipeline':[" + stages + "],'cursor':{}" +
                       more + "}");
    }
    std::string result(const std::string& stages) {
        const bson::Document reply = run("items", stages);
        return reply["ok"].is_truthy() ? batch(reply) : outcome(reply);
    }
    // The stages a shard got last.
    std::string stages() const {
        std::string list;
        const bson::Document sent = net.last("aggregate");
        for (const auto& each : sent["pipeline"].as_view())
            list += text(each.value.as_view());
        return list;
    }
    // Answers to what the router asks about a collection that may be a view; it is none.
    void has_no_view(const std::string& shard, int times = 1) {
        for (int i = 0; i < times; ++i)
            net.answers(shard, "listCollections", "{'cursor':{'id':0,'firstBatch':[]}}");
    }
    testing::TestRouter net;
};

// ---- To one shard -----------------------------------------------------------------------------

TEST_F(RouterAggregate, OverAnUnshardedCollectionItGoesAsItIs) {
    net.holds("A", {"{'_id':1}"});
    EXPECT_EQ(batch(run("plain", "{'$group':{'_id':'$x'}},{'$sort':{'_id':1}}")), "{'_id':1}");
    EXPECT_EQ(stages(), "{'$group':{'_id':'$x'}}{'$sort':{'_id':1}}");
    EXPECT_FALSE(net.last("aggregate").view().has("needsMerge"));
}

TEST_F(RouterAggregate, TheLeadingMatchChoosesShards) {
    struct Case {
        const char* stages;
        const char* shards;
    };
    for (const auto& [stages, shards] : std::vector<Case>{
             {"{'$match':{'a':15}}", "B"},
             {"{'$match':{'a':15}},{'$group':{'_id':'$x'}}", "B"},
             {"{'$match':{'a':{'$gte':10}}},{'$count':'n'}", "B,C"},
             {"{'$project':{'a':1}},{'$match':{'a':15}}", "A,B,C"},
             {"{'$addFields':{'a':5}},{'$match':{'a':5}}", "A,B,C"},
             {"{'$match':{'b':1}},{'$match':{'a':15}}", "B"},
             {"{'$limit':3},{'$match':{'a':15}}", "A,B,C"},
             {"", "A,B,C"},
         }) {
        net.forget();
        EXPECT_TRUE(run("items", stages)["ok"].is_truthy()) << stages;
        EXPECT_EQ(net.asked("aggregate"), shards) << stages;
    }
}

TEST_F(RouterAggregate, OneShardRunsThePipelineWhole) {
    net.holds("B", {"{'_id':'x','n':3}"});
    EXPECT_EQ(result("{'$match':{'a':15}},{'$group':{'_id':'$x','n':{'$sum':1}}}"),
              "{'_id':'x','n':3}");
    EXPECT_EQ(stages(), "{'$match':{'a':15}}{'$group':{'_id':'$x','n':{'$sum':1}}}");
    EXPECT_FALSE(net.last("aggregate").view().has("needsMerge"));
    EXPECT_EQ(*routing::ShardVersion::parse(net.last("aggregate")["shardVersion"]),
              routing::target_of(net.placement(), "B").shard_version);
}

TEST_F(RouterAggregate, NowhereHasNoDocumentsButAPipelineMayMakeSome) {
    has_no_view("config", 2);
    net.answers("config", "aggregate", "{'cursor':{'id':0,'firstBatch':[],'ns':'config.x'}}");
    EXPECT_EQ(outcome(run("items", "{'$match':{'a':1}}", ",'$db':'nowhere'")),
              "{'cursor':{'firstBatch':[],'id':0,'ns':'nowhere.items'}}");
}

// ---- Split ------------------------------------------------------------------------------------

TEST_F(RouterAggregate, AGroupIsMadeInPartsAndMerged) {
    net.holds("A", {"{'_id':'x','m':7,'p':[1,2]}", "{'_id':'y','m':3,'p':[3]}"});
    net.holds("B", {"{'_id':'x','m':9,'p':[4]}"});
    const std::string group = "'_id':'$x','m':{'$max':'$q'},'p':{'$push':'$q'}";
    EXPECT_EQ(result("{'$match':{'b':1}},{'$group':{" + group + "}},{'$sort':{'_id':1}}"),
              "{'_id':'x','m':9,'p':[1,2,4]} {'_id':'y','m':3,'p':[3]}");
    EXPECT_EQ(stages(), "{'$match':{'b':1}}{'$group':{" + group + ",'$_partial':true}}");
    EXPECT_EQ(net.asked("aggregate", "needsMerge"), "A:true B:true C:true");
}

TEST_F(RouterAggregate, SortedShardsAreMergedAndLimited) {
    net.holds("A", {"{'_id':1,'s':1}", "{'_id':2,'s':5}"});
    net.holds("B", {"{'_id':3,'s':2}", "{'_id':4,'s':4}"});
    net.holds("C", {"{'_id':5,'s':3}"});
    EXPECT_EQ(result("{'$sort':{'s':1}},{'$skip':1},{'$limit':3},{'$project':{'_id':1}}"),
              "{'_id':3} {'_id':5} {'_id':4}");
    EXPECT_EQ(stages(), "{'$sort':{'s':1}}{'$limit':4}");
}

TEST_F(RouterAggregate, ALimitIsTakenOnShardsFirst) {
    for (const char* shard : {"A", "B", "C"})
        net.holds(shard, {"{'_id':1}", "{'_id':2}"});
    EXPECT_EQ(result("{'$match':{'b':1}},{'$limit':2}"), "{'_id':1} {'_id':2}");
    EXPECT_EQ(stages(), "{'$match':{'b':1}}{'$limit':2}");
    EXPECT_EQ(net.open_cursors(), 0U);
}

TEST_F(RouterAggregate, LetAndOptionsGoToTheShards) {
    run("items",
        "{'$match':{'$expr':{'$eq':['$x','$$v']}}}",
        ",'let':{'v':5},'hint':'x_1','allowDiskUse':true,'readConcern':{'level':'majority'},"
        "'comment':'c','maxTimeMS':5000");
    const bson::Document sent = net.last("aggregate");
    bson::Builder rest;
    for (const bson::Element& field : sent.view())
        if (field.name != "shardVersion" && field.name != "pipeline") rest.append(field);
    EXPECT_EQ(text(std::move(rest).finish()),
              "{'aggregate':'items','cursor':{},'fromRouter':true,'needsMerge':true,"
              "'allowDiskUse':true,'hint':'x_1','let':{'v':{'$literal':5}},"
              "'readConcern':{'level':'majority'},'maxTimeMS':5000,'comment':'c','$db':'shop'}");
}

TEST_F(RouterAggregate, RefusesWhatItDoesNotKnow) {
    EXPECT_EQ(result("{'$nonsense':1}"), "Location40324");
    EXPECT_EQ(outcome(run("items", "", ",'nonsense':1")), "IDLUnknownField");
    EXPECT_EQ(outcome(run("items", "", ",'collation':{'locale':'de'}")), "NotImplemented");
    EXPECT_EQ(net.outcome("{'aggregate':'items','pipeline':[]}"), "FailedToParse");
    EXPECT_EQ(net.outcome("{'aggregate':'items','pipeline':5,'cursor':{}}"), "TypeMismatch");
    EXPECT_EQ(net.asked("aggregate"), "");
}

// ---- Stale routing and failures ---------------------------------------------------------------

TEST_F(RouterAggregate, FollowsAChunkThatMoved) {
    run("items", "");
    net.move_chunk(1, "C");
    net.holds("C", {"{'_id':1}"});
    net.forget();
    EXPECT_EQ(result("{'$match':{'a':15}}"), "{'_id':1}");
    EXPECT_EQ(net.asked("aggregate"), "B,C");
}

TEST_F(RouterAggregate, OneStaleShardRepeatsTheQueryAndLeavesNoCursor) {
    for (const char* shard : {"A", "B", "C"})
        net.holds(shard, std::vector<std::string>(150, "{'_id':1}"));
    net.answers("B", "aggregate", net.stale("B"));
    const bson::Document reply = run("items", "");
    EXPECT_EQ(cursor(reply)["firstBatch"].as_view().count(), 101U);
    EXPECT_EQ(net.asked("aggregate"), "A,B,C,A,B,C");
    EXPECT_EQ(net.open_cursors(), 3U);
}

TEST_F(RouterAggregate, GivesUpAfterTenStaleAnswers) {
    for (int i = 0; i < 12; ++i)
        net.answers("B", "aggregate", net.stale("B"));
    EXPECT_EQ(result("{'$match':{'a':15}}"), "StaleConfig");
    EXPECT_EQ(net.calls("aggregate").size(), 11U);
}

TEST_F(RouterAggregate, AShardsErrorIsTheAnswerAndClosesTheOthers) {
    net.holds("A", std::vector<std::string>(150, "{'_id':1}"));
    net.answers("B", "aggregate", failure(ErrorCode::bad_value));
    EXPECT_EQ(result("{'$match':{'b':1}}"), "BadValue");
    EXPECT_EQ(net.open_cursors(), 0U);
}

TEST_F(RouterAggregate, GetMorePullsFromShards) {
    net.holds("A", std::vector<std::string>(120, "{'_id':1}"));
    net.holds("B", {"{'_id':2}"});
    const bson::Document first = run("items", "");
    EXPECT_EQ(cursor(first)["firstBatch"].as_view().count(), 101U);
    const bson::Document rest = net.more(first);
    EXPECT_EQ(cursor(rest)["nextBatch"].as_view().count(), 20U);
    EXPECT_EQ(cursor(rest)["id"].to_int64(), 0);
    EXPECT_EQ(net.asked("getMore"), "A");
}

TEST_F(RouterAggregate, AHangingGetMoreEndsWhenItIsKilled) {
    net.holds("A", std::vector<std::string>(150, "{'_id':1}"));
    const bson::Document first = run("items", "");
    net.hangs("A", "getMore");
    net.kill_operation_at("getMore");
    EXPECT_EQ(outcome(net.more(first)), "Interrupted");
}

TEST_F(RouterAggregate, TheCursorsTimeIsThatOfItsQuery) {
    net.holds("A", std::vector<std::string>(150, "{'_id':1}"));
    const bson::Document first = run("items", "", ",'maxTimeMS':1000");
    net.hangs("A", "getMore");
    const Instant begin = net.clock.now();
    EXPECT_EQ(outcome(net.more(first)), "MaxTimeMSExpired");
    EXPECT_EQ(net.clock.now() - begin, 1000ms);
}

TEST_F(RouterAggregate, KillCursorsReachesTheShards) {
    for (const char* shard : {"A", "B"})
        net.holds(shard, std::vector<std::string>(150, "{'_id':1}"));
    const bson::Document first = run("items", "");
    EXPECT_EQ(net.open_cursors(), 2U);
    bson::Builder kill;
    kill.append("killCursors", "items");
    kill.append_array("cursors", bson::make("0", cursor(first)["id"]));
    net.run(std::move(kill).finish());
    EXPECT_EQ(net.asked("killCursors"), "A,B");
    EXPECT_EQ(net.open_cursors(), 0U);
}

// ---- Other collections ------------------------------------------------------------------------

TEST_F(RouterAggregate, ALookupIsMadeByTheRouterAndTargeted) {
    net.holds("A", {"{'_id':1,'r':15}"});
    const std::string lookup =
        "{'$lookup':{'from':'items','localField':'r','foreignField':'a','as':'found'}}";
    has_no_view("A", 4);
    net.holds("B", {"{'_id':7,'a':15}"});
    EXPECT_EQ(batch(run("plain", lookup)), "{'_id':1,'r':15,'found':[{'_id':7,'a':15}]}");
    EXPECT_EQ(net.asked("aggregate"), "A,B");
}

TEST_F(RouterAggregate, ALookupBesideItsCollectionGoesWhole) {
    has_no_view("A", 4);
    net.holds("A", {"{'_id':1}"});
    const std::string lookup =
        "{'$lookup':{'from':'other','localField':'r','foreignField':'a','as':'found'}}";
    EXPECT_EQ(batch(run("plain", lookup)), "{'_id':1}");
    EXPECT_EQ(net.asked("aggregate"), "A");
    EXPECT_NE(stages().find("$lookup"), std::string::npos);
}

TEST_F(RouterAggregate, AUnionAddsAnotherCollectionsDocuments) {
    net.holds("A", {"{'_id':1}"});
    net.holds("B", {"{'_id':2}"});
    has_no_view("A", 4);
    EXPECT_EQ(batch(run("items", "{'$unionWith':'plain'},{'$sort':{'_id':1}}")),
              "{'_id':1} {'_id':1} {'_id':2}");
}

// A hint is about the collection that the command names.
TEST_F(RouterAggregate, AHintIsForItsOwnCollection) {
    net.holds("B", {"{'_id':1,'r':25}"});
    has_no_view("A", 4);
    for (const char* stages :
         {"{'$match':{'a':15}}",
          "{'$match':{'a':15}},{'$lookup':{'from':'items','localField':'r','foreignField':'a',"
          "'as':'f'}}",
          "{'$match':{'a':{'$gte':15,'$lt':20}}},{'$unionWith':'items'}"}) {
        net.forget();
        EXPECT_TRUE(run("items", stages, ",'hint':'a_1'")["ok"].is_truthy()) << stages;
        const auto calls = net.calls("aggregate");
        ASSERT_FALSE(calls.empty());
        EXPECT_TRUE(calls.front().command.view().has("hint")) << stages;
        for (std::size_t i = 1; i < calls.size(); ++i)
            EXPECT_FALSE(calls[i].command.view().has("hint")) << stages;
    }
}

// ---- Output -----------------------------------------------------------------------------------

TEST_F(RouterAggregate, OutOfOneShardToItselfGoesWhole) {
    net.holds("A", {});
    has_no_view("A", 4);
    EXPECT_EQ(outcome(run("plain", "{'$match':{'x':1}},{'$out':'target'}")),
              "{'cursor':{'id':0,'ns':'shop.plain','firstBatch':[]}}");
    EXPECT_EQ(stages(), "{'$match':{'x':1}}{'$out':'target'}");
}

// A write: on the primary, and not a second time when nobody knows whether it has run.
TEST_F(RouterAggregate, APipelineThatWritesIsSentOnceAndToThePrimary) {
    for (const char* stage : {"{'$out':'target'}", "{'$merge':{'into':'target'}}"}) {
        net.forget();
        net.loses("A", "aggregate");
        EXPECT_EQ(outcome(run("plain", stage, ",'$readPreference':{'mode':'secondary'}")),
                  "HostUnreachable");
        ASSERT_EQ(net.calls("aggregate").size(), 1U) << stage;
        EXPECT_EQ(net.calls("aggregate").front().host, "A-1:1");
    }
}

TEST_F(RouterAggregate, OutOfSeveralShardsIsWrittenByTheRouter) {
    net.holds("A", {"{'_id':1}"});
    net.holds("B", {"{'_id':2}"});
    has_no_view("A");
    net.answers("A", "create", "{}");
    net.answers("A", "listIndexes", failure(ErrorCode::namespace_not_found));
    net.answers("A", "renameCollection", "{}");
    EXPECT_EQ(result("{'$out':'target'}"), "");
    std::string written;
    for (const auto& call : net.calls("insert"))
        for (const auto& each : call.command["documents"].as_view())
            written += text(each.value.as_view());
    EXPECT_EQ(written, "{'_id':1}{'_id':2}");
    const bson::Document rename = net.last("renameCollection");
    EXPECT_EQ(rename["to"].as_string(), "shop.target");
    EXPECT_TRUE(rename["dropTarget"].is_truthy());
}

TEST_F(RouterAggregate, OutThatFailsLeavesNothingBehind) {
    net.holds("A", {"{'_id':1}"});
    has_no_view("A");
    net.answers("A", "create", "{}");
    net.answers("A", "listIndexes", failure(ErrorCode::namespace_not_found));
    net.answers("A", "insert", failure(ErrorCode::out_of_disk_space));
    net.answers("A", "drop", "{}");
    EXPECT_EQ(result("{'$out':'target'}"), "OutOfDiskSpace");
    EXPECT_EQ(net.asked("drop"), "A");
    EXPECT_EQ(net.asked("renameCollection"), "");
    EXPECT_EQ(outcome(run("plain", "{'$out':'items'}")), "NamespaceCannotBeSharded");
}

TEST_F(RouterAggregate, MergeWritesToTheShardsOfItsTarget) {
    net.shard_collection("{'_id':1}", {"{'_id':10}"}, {"B", "C"}, "shop.target");
    net.holds("A", {"{'_id':5,'x':1}"});
    net.holds("C", {"{'_id':15,'x':2}"});
    net.answers("B", "update", "{'n':1,'nModified':1}");
    net.answers("C", "update", "{'n':1,'nModified':0}");
    EXPECT_EQ(result("{'$merge':{'into':'target'}}"), "");
    EXPECT_EQ(net.asked("update"), "B,C");
    const bson::Document sent = net.last("update");
    EXPECT_EQ(text(sent["updates"].as_view().front().value.as_view()["q"].as_view()), "{'_id':15}");
}

}  // namespace
}  // namespace tessera::commands
