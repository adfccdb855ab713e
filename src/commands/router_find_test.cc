// SPDX-License-Identifier: Apache-2.0
//
// find through a router: which shards it goes to, what happens when they refuse it as stale, and
// how their answers become one.
#include <gtest/gtest.h>

#include "commands/test_router.h"

namespace tessera::commands {
namespace {

using testing::batch;
using testing::cursor;
using testing::failure;
using testing::text;

// shop.items by {a: 1}: below 10 on A, below 20 on B, the rest on C.
class RouterFind : public ::testing::Test {
protected:
    RouterFind() { net.shard_collection("{'a':1}", {"{'a':10}", "{'a':20}"}, {"A", "B", "C"}); }

    std::string found(const std::string& arguments) {
        return batch(net.run("{'find':'items'" + arguments + "}"));
    }
    std::string goes_to(const std::string& filter) {
        net.forget();
        found(",'filter':" + filter);
        return net.asked("find");
    }
    testing::TestRouter net;
};

// ---- Targeting --------------------------------------------------------------------------------

struct Targeted {
    const char* filter;
    const char* shards;
};

TEST_F(RouterFind, GoesWhereMatchesMayBe) {
    for (const auto& [filter, shards] : std::vector<Targeted>{
             {"{'a':5}", "A"},
             {"{'a':10}", "B"},
             {"{'a':{'$eq':25}}", "C"},
             {"{'a':{'$gte':10}}", "B,C"},
             {"{'a':{'$gt':2,'$lt':10}}", "A"},
             {"{'a':{'$in':[5,25]}}", "A,C"},
             {"{'a':{'$in':[]}}", "A"},
             {"{'a':null}", "A"},
             {"{'a':'text'}", "C"},
             {"{'$or':[{'a':5},{'a':15}]}", "A,B"},
             {"{'$or':[{'a':5},{'b':15}]}", "A,B,C"},
             {"{'$and':[{'a':{'$gt':5}},{'a':{'$lt':12}}]}", "A,B"},
             {"{'a':{'$ne':5}}", "A,B,C"},
             {"{'a':{'$gt':30},'b':1}", "C"},
             {"{'a.b':5}", "A,B,C"},
             {"{'b':5}", "A,B,C"},
             {"{}", "A,B,C"},
         })
        EXPECT_EQ(goes_to(filter), shards) << filter;
}

TEST_F(RouterFind, OfACompoundKeyAPrefixNarrows) {
    net.shard_collection(
        "{'a':1,'b':1}", {"{'a':10,'b':{'$minKey':1}}", "{'a':10,'b':5}"}, {"A", "B", "C"});
    for (const auto& [filter, shards] : std::vector<Targeted>{
             {"{'a':5}", "A"},
             {"{'a':10}", "B,C"},
             {"{'a':10,'b':3}", "B"},
             {"{'a':10,'b':{'$gte':5}}", "C"},
             {"{'b':3}", "A,B,C"},
             {"{'a':{'$in':[1,11]},'b':3}", "A,C"},
         })
        EXPECT_EQ(goes_to(filter), shards) << filter;
}

TEST_F(RouterFind, OfAHashedKeyOnlyEqualityNarrows) {
    net.shard_collection("{'a':'hashed'}", {"{'a':{'$numberLong':'0'}}"}, {"A", "B"});
    std::set<std::string> seen;
    for (int i = 0; i < 20; ++i) {
        const std::string value = std::to_string(i);
        const std::string shard = goes_to("{'a':" + value + "}");
        EXPECT_EQ(shard.size(), 1U) << value;
        EXPECT_EQ(goes_to("{'a':{'$numberLong':'" + value + "'}}"), shard);
        EXPECT_EQ(goes_to("{'a':" + value + ".0}"), shard);
        seen.insert(shard);
    }
    EXPECT_EQ(seen.size(), 2U);
    EXPECT_EQ(goes_to("{'a':{'$gt':5}}"), "A,B");
    EXPECT_EQ(goes_to("{'b':5}"), "A,B");
}

TEST_F(RouterFind, AnUnshardedCollectionIsOnTheDatabasesPrimary) {
    net.holds("A", {"{'_id':1}"});
    EXPECT_EQ(batch(net.run("{'find':'plain'}")), "{'_id':1}");
    EXPECT_EQ(net.asked("find"), "A");
    const bson::Document sent = net.last("find");
    EXPECT_TRUE(routing::ShardVersion::parse(sent["shardVersion"])->is_unsharded());
    EXPECT_EQ(*routing::DatabaseVersion::parse(sent["databaseVersion"]),
              net.placement("shop.plain").database.version);
}

TEST_F(RouterFind, NowhereIsEmpty) {
    EXPECT_EQ(net.outcome("{'find':'items','$db':'nowhere'}"),
              "{'cursor':{'firstBatch':[],'id':0,'ns':'nowhere.items'}}");
    EXPECT_EQ(net.asked("find"), "");
}

TEST_F(RouterFind, AsksTheConfigServersOnce) {
    goes_to("{'a':5}");
    const int reads = net.config_reads;
    goes_to("{'a':15}");
    EXPECT_EQ(net.config_reads, reads);
    net.run("{'flushRouterConfig':1,'$db':'admin'}");
    goes_to("{'a':15}");
    EXPECT_GT(net.config_reads, reads);
}

// Only what concerns this hop is left out of the client's command.
TEST_F(RouterFind, HandsTheCommandOnWhole) {
    net.run(
        "{'find':'items','filter':{'a':5},'projection':{'b':1},'sort':{'b':-1},'skip':2,'limit':7,"
        "'batchSize':3,'hint':'b_1','comment':'c','maxTimeMS':5000,'let':{'x':1},"
        "'readConcern':{'level':'majority'}}");
    bson::Document sent = net.last("find");
    bson::Builder rest;
    for (const bson::Element& field : sent.view())
        if (field.name != "shardVersion") rest.append(field);
    EXPECT_EQ(
        text(std::move(rest).finish()),
        "{'find':'items','filter':{'a':5},'projection':{'b':1},'sort':{'b':-1},'skip':2,'limit':7,"
        "'batchSize':3,'hint':'b_1','comment':'c','maxTimeMS':5000,'let':{'x':1},"
        "'readConcern':{'level':'majority'},'$db':'shop'}");
}

TEST_F(RouterFind, RefusesWhatItDoesNotKnow) {
    EXPECT_EQ(net.outcome("{'find':'items','nonsense':1}"), "IDLUnknownField");
    EXPECT_EQ(net.outcome("{'find':'items','collation':{'locale':'de'}}"), "NotImplemented");
    EXPECT_EQ(net.outcome("{'find':'items','sort':{'a':'x'}}"), "Location15974");
    EXPECT_EQ(net.asked("find"), "");
}

// ---- Stale routing ----------------------------------------------------------------------------

TEST_F(RouterFind, FollowsAChunkThatMoved) {
    EXPECT_EQ(goes_to("{'a':15}"), "B");
    net.move_chunk(1, "C");
    net.holds("C", {"{'_id':1,'a':15}"});
    net.forget();
    EXPECT_EQ(found(",'filter':{'a':15}"), "{'_id':1,'a':15}");
    EXPECT_EQ(net.asked("find"), "B,C");
    EXPECT_EQ(goes_to("{'a':15}"), "C");
}

TEST_F(RouterFind, OneStaleShardOfSeveralRepeatsTheQueryAndLeavesNoCursor) {
    for (const char* shard : {"A", "B", "C"})
        net.holds(shard, {"{'_id':1}", "{'_id':2}"});
    EXPECT_EQ(goes_to("{}"), "A,B,C");
    net.move_chunk(1, "C");
    net.forget();
    const bson::Document reply = net.run("{'find':'items','batchSize':1}");
    EXPECT_EQ(batch(reply), "{'_id':1}");
    // C too has another version than before; A answered, and its cursor was closed again.
    EXPECT_EQ(net.asked("find"), "A,B,C,A,C");
    EXPECT_EQ(net.asked("killCursors"), "A");
    EXPECT_EQ(net.open_cursors(), 2U);
}

TEST_F(RouterFind, FollowsADatabaseThatMoved) {
    net.run("{'find':'plain'}");
    net.move_database("B");
    net.holds("B", {"{'_id':1}"});
    net.forget();
    EXPECT_EQ(batch(net.run("{'find':'plain'}")), "{'_id':1}");
    EXPECT_EQ(net.asked("find"), "A,B");
}

TEST_F(RouterFind, LearnsThatACollectionWasSharded) {
    net.run("{'find':'plain'}");
    net.shard_collection("{'a':1}", {"{'a':10}"}, {"B", "C"}, "shop.plain");
    net.forget();
    net.run("{'find':'plain','filter':{'a':50}}");
    EXPECT_EQ(net.asked("find"), "A,C");
}

TEST_F(RouterFind, AsksAgainWhereDataIsWhenItsShardIsGone) {
    goes_to("{'a':15}");
    net.move_chunk(1, "C");
    net.remove_shard("B");
    net.holds("C", {"{'_id':1,'a':15}"});
    EXPECT_EQ(found(",'filter':{'a':15}"), "{'_id':1,'a':15}");
    EXPECT_EQ(found(",'sort':{'_id':1}"), "{'_id':1,'a':15}");
    net.move_chunk(0, "C");
    net.remove_shard("A");
    net.holds("C", {"{'_id':1,'a':5}"});
    EXPECT_EQ(found(",'allowPartialResults':true"), "{'_id':1,'a':5}");
}

TEST_F(RouterFind, OfAViewOverSeveralShardsIsAnAggregation) {
    net.answers("A", "find", net.stale("A", "shop.items"));
    net.answers("A",
                "listCollections",
                "{'cursor':{'id':0,'firstBatch':[{'name':'view','type':'view','options':"
                "{'viewOn':'items','pipeline':[{'$match':{'x':1}}]}}]}}");
    net.holds("A", {"{'_id':1,'s':1}", "{'_id':4,'s':4}"});
    net.holds("B", {"{'_id':2,'s':2}", "{'_id':3,'s':3}"});
    const bson::Document reply = net.run(
        "{'find':'view','filter':{'b':1},'sort':{'s':1},'skip':1,'limit':3,'projection':{'s':1},"
        "'batchSize':2,'hint':'s_1'}");
    EXPECT_EQ(batch(reply), "{'_id':2,'s':2} {'_id':3,'s':3}");
    EXPECT_EQ(cursor(reply)["ns"].as_string(), "shop.view");
    EXPECT_EQ(batch(net.more(reply)), "{'_id':4,'s':4}");
    EXPECT_EQ(net.asked("aggregate", "hint"), "A:'s_1' B:'s_1' C:'s_1'");
    const std::string stages =
        "A:[{'$match':{'x':1}},{'$match':{'b':1}},{'$sort':{'s':1}},{'$limit':4}]";
    EXPECT_EQ(net.asked("aggregate", "pipeline").substr(0, stages.size()), stages);
}

TEST_F(RouterFind, GivesUpAfterTenStaleAnswers) {
    for (int i = 0; i < 11; ++i)
        net.answers("B", "find", net.stale("B"));
    EXPECT_EQ(net.outcome("{'find':'items','filter':{'a':15}}"), "StaleConfig");
    EXPECT_EQ(net.calls("find").size(), 11U);
}

// ---- Members ----------------------------------------------------------------------------------

TEST_F(RouterFind, GoesAfterANewPrimary) {
    goes_to("{'a':5}");
    net.step_down("A");
    net.forget();
    EXPECT_EQ(found(",'filter':{'a':5}"), "");
    ASSERT_EQ(net.calls("find").size(), 2U);
    EXPECT_EQ(net.calls("find").back().host, "A-2:1");
}

TEST_F(RouterFind, ReadsFromASecondaryWhenAskedTo) {
    found(",'filter':{'a':5},'$readPreference':{'mode':'secondary'}");
    EXPECT_EQ(net.calls("find").front().host, "A-2:1");
}

TEST_F(RouterFind, RepeatsWhatWasLost) {
    net.loses("A", "find");
    EXPECT_EQ(net.outcome("{'find':'items','filter':{'a':5}}"),
              "{'cursor':{'firstBatch':[],'id':0,'ns':'shop.items'}}");
    EXPECT_EQ(net.asked("find"), "A,A");
}

TEST_F(RouterFind, EndsInTimeWhenAShardHangs) {
    net.hangs("B", "find");
    const Instant begin = net.clock.now();
    EXPECT_EQ(net.outcome("{'find':'items','maxTimeMS':500}"), "MaxTimeMSExpired");
    EXPECT_EQ(net.clock.now() - begin, 500ms);
}

TEST_F(RouterFind, EndsWhenItIsKilled) {
    net.hangs("B", "find");
    net.kill_operation_at("find");
    EXPECT_EQ(net.outcome("{'find':'items','filter':{'a':15}}"), "Interrupted");
}

TEST_F(RouterFind, AShardsErrorIsTheAnswer) {
    net.answers("B", "find", failure(ErrorCode::bad_value, "bad hint"));
    net.holds("A", {"{'_id':1}", "{'_id':2}"});
    const bson::Document reply = net.run("{'find':'items','batchSize':1}");
    EXPECT_EQ(reply["code"].to_int64(), 2);
    EXPECT_EQ(reply["errmsg"].as_string(), "bad hint");
    EXPECT_EQ(net.open_cursors(), 0U);
}

// ---- Partial results --------------------------------------------------------------------------

TEST_F(RouterFind, WithoutPartialResultsAShardThatIsDownFailsTheQuery) {
    net.take_down("B");
    EXPECT_EQ(net.outcome("{'find':'items'}"), "FailedToSatisfyReadPreference");
}

TEST_F(RouterFind, PartialResultsLeaveOutShardsThatAreDown) {
    net.holds("A", {"{'_id':1}"});
    net.take_down("B");
    EXPECT_EQ(net.outcome("{'find':'items','allowPartialResults':true}"),
              "{'cursor':{'firstBatch':[{'_id':1}],'partialResultsReturned':true,'id':0,"
              "'ns':'shop.items'}}");
    EXPECT_EQ(net.outcome("{'find':'items','filter':{'a':15},'allowPartialResults':true}"),
              "{'cursor':{'firstBatch':[],'partialResultsReturned':true,'id':0,"
              "'ns':'shop.items'}}");
}

TEST_F(RouterFind, PartialResultsGoOnWithoutAShardThatFailsLater) {
    net.holds("A", {"{'_id':1}", "{'_id':2}", "{'_id':5}"});
    net.holds("B", {"{'_id':3}", "{'_id':4}", "{'_id':6}"});
    const bson::Document first =
        net.run("{'find':'items','sort':{'_id':1},'batchSize':2,'allowPartialResults':true}");
    EXPECT_EQ(batch(first), "{'_id':1} {'_id':2}");
    net.take_down("B");
    const bson::Document rest = net.more(first);
    EXPECT_EQ(batch(rest), "{'_id':3} {'_id':4} {'_id':5}");
    EXPECT_TRUE(cursor(rest)["partialResultsReturned"].is_truthy());
}

// ---- Merging ----------------------------------------------------------------------------------

TEST_F(RouterFind, MergesSortedAnswers) {
    net.holds("A", {"{'_id':1,'s':1}", "{'_id':2,'s':4}"});
    net.holds("B", {"{'_id':3,'s':2}", "{'_id':4,'s':3}"});
    net.holds("C", {"{'_id':5,'s':0}", "{'_id':6,'s':9}"});
    struct Case {
        const char* arguments;
        const char* ids;
        const char* shard_limit;
    };
    for (const auto& [arguments, ids, shard_limit] : std::vector<Case>{
             {"", "5 1 3 4 2 6", "A:- B:- C:-"},
             {",'limit':3", "5 1 3", "A:3 B:3 C:3"},
             {",'skip':2,'limit':2", "3 4", "A:4 B:4 C:4"},
             {",'skip':4", "2 6", "A:- B:- C:-"},
             {",'skip':10", "", "A:- B:- C:-"},
             {",'limit':2,'singleBatch':true", "5 1", "A:2 B:2 C:2"},
         }) {
        net.forget();
        const bson::Document reply =
            net.run("{'find':'items','sort':{'s':1}" + std::string(arguments) + "}");
        std::string got;
        for (const auto& each : cursor(reply)["firstBatch"].as_view()) {
            EXPECT_FALSE(each.value.as_view().has("$sortKey"));
            got +=
                (got.empty() ? "" : " ") + std::to_string(each.value.as_view()["_id"].to_int64());
        }
        EXPECT_EQ(got, ids) << arguments;
        EXPECT_EQ(net.asked("find", "limit"), shard_limit) << arguments;
        EXPECT_EQ(net.asked("find", "skip"), "A:- B:- C:-");
        EXPECT_EQ(cursor(reply)["id"].to_int64(), 0) << arguments;
        EXPECT_EQ(net.open_cursors(), 0U) << arguments;
    }
}

TEST_F(RouterFind, MergesByBsonOrderInBothDirections) {
    net.holds("A", {"{'s':null}", "{'s':2}", "{'s':'b'}", "{'s':true}"});
    net.holds("B", {"{'_id':1}", "{'s':1.5}", "{'s':'a'}", "{'s':{'x':1}}"});
    EXPECT_EQ(
        found(",'sort':{'s':1}"),
        "{'s':null} {'_id':1} {'s':1.5} {'s':2} {'s':'a'} {'s':'b'} {'s':{'x':1}} {'s':true}");
    net.holds("A", {"{'s':true}", "{'s':2}"});
    net.holds("B", {"{'s':'a'}", "{'s':null}"});
    EXPECT_EQ(found(",'sort':{'s':-1}"), "{'s':true} {'s':'a'} {'s':2} {'s':null}");
}

// So that a query repeated with skip pages through each document once.
TEST_F(RouterFind, TiesComeInTheOrderOfShards) {
    net.holds("A", {"{'_id':'a1','s':1,'t':9}", "{'_id':'a2','s':1,'t':3}"});
    net.holds("B", {"{'_id':'b1','s':1,'t':9}"});
    EXPECT_EQ(found(",'sort':{'s':1},'projection':{}"),
              "{'_id':'a1','s':1,'t':9} {'_id':'a2','s':1,'t':3} {'_id':'b1','s':1,'t':9}");
    // The later fields of a sort decide between equal first ones.
    EXPECT_EQ(found(",'sort':{'s':1,'t':-1}"),
              "{'_id':'a1','s':1,'t':9} {'_id':'b1','s':1,'t':9} {'_id':'a2','s':1,'t':3}");
}

}  // namespace
}  // namespace tessera::commands
