// SPDX-License-Identifier: Apache-2.0
//
// insert, update and delete through a router: what goes to which shard, what is sent again and what
// must not be, and how the shards' answers become one.
#include <gtest/gtest.h>

#include "bson/json.h"
#include "commands/test_router.h"

namespace tessera::commands {
namespace {

using testing::failure;
using testing::text;

// shop.items by {a: 1}: below 10 on A, below 20 on B, the rest on C.
class RouterWrites : public ::testing::Test {
protected:
    RouterWrites() { net.shard_collection("{'a':1}", {"{'a':10}", "{'a':20}"}, {"A", "B", "C"}); }

    // An insert of documents {a: ...} with these values; `more` stands in the command.
    std::string insert(const std::vector<std::string>& values, const std::string& more = "") {
        std::string documents;
        for (const std::string& each : values)
            documents += (documents.empty() ? "" : ",") + ("{'_id':0,'a':" + each + "}");
        return net.outcome("{'insert':'items','documents':[" + documents + "]" + more + "}");
    }
    // "A[1,2] B[15]": what each call inserted.
    std::string inserted() const {
        std::string result;
        for (const auto& call : net.calls("insert")) {
            std::string values;
            for (const auto& each : call.command["documents"].as_view())
                values += (values.empty() ? "" : ",") + bson::to_json(each.value.as_view()["a"]);
            result += (result.empty() ? "" : " ") + call.shard + "[" + values + "]";
        }
        return result;
    }
    std::string update(const std::string& statement, const std::string& more = "") {
        return net.outcome("{'update':'items','updates':[" + statement + "]" + more + "}");
    }
    std::string remove(const std::string& statement, const std::string& more = "") {
        return net.outcome("{'delete':'items','deletes':[" + statement + "]" + more + "}");
    }
    // The first statement of a call's list.
    static std::string statement(const bson::Document& command, std::string_view list) {
        return text(command[list].as_view().front().value.as_view());
    }
    testing::TestRouter net;
};

const std::string unordered = ",'ordered':false";
const std::string with_numbers = "," + std::string(testing::retryable);

// ---- Splitting --------------------------------------------------------------------------------

TEST_F(RouterWrites, OrderedInsertsKeepTheirOrder) {
    EXPECT_EQ(insert({"1", "2", "15", "16", "3"}), "{'n':5}");
    EXPECT_EQ(inserted(), "A[1,2] B[15,16] A[3]");
}

TEST_F(RouterWrites, UnorderedInsertsGoToEachShardOnce) {
    EXPECT_EQ(insert({"1", "15", "2", "25", "16"}, unordered), "{'n':5}");
    EXPECT_EQ(inserted(), "A[1,2] B[15,16] C[25]");
    EXPECT_EQ(net.asked("insert", "ordered"), "A:false B:false C:false");
}

TEST_F(RouterWrites, EachChildSaysWhatItNeeds) {
    insert({"1", "15"},
           unordered + with_numbers + ",'bypassDocumentValidation':true,'comment':'c'");
    bson::Document sent = net.last("insert");
    bson::Builder rest;
    for (const bson::Element& field : sent.view())
        if (field.name != "shardVersion" && field.name != "lsid") rest.append(field);
    EXPECT_EQ(text(std::move(rest).finish()),
              "{'insert':'items','documents':[{'_id':0,'a':15}],'ordered':false,"
              "'bypassDocumentValidation':true,'stmtIds':[1],'txnNumber':7,'comment':'c',"
              "'writeConcern':{'w':'majority'},'$db':'shop'}");
    EXPECT_EQ(*routing::ShardVersion::parse(sent["shardVersion"]),
              routing::target_of(net.placement(), "B").shard_version);
}

TEST_F(RouterWrites, AnUnacknowledgedWriteIsAcknowledgedToTheRouter) {
    insert({"1"}, ",'writeConcern':{'w':0}");
    EXPECT_EQ(net.asked("insert", "writeConcern"), "A:{'w':1}");
    net.forget();
    insert({"1"}, ",'writeConcern':{'w':2,'wtimeout':100}");
    EXPECT_EQ(net.asked("insert", "writeConcern"), "A:{'w':2,'wtimeout':100}");
}

TEST_F(RouterWrites, ADocumentWithoutIdGetsOneFirst) {
    EXPECT_EQ(net.outcome("{'insert':'items','documents':[{'a':1}]}"), "{'n':1}");
    const bson::Document sent = net.last("insert");
    const bson::View document = sent["documents"].as_view().front().value.as_view();
    EXPECT_EQ(document.front().name, "_id");
    EXPECT_EQ(document["a"].to_int64(), 1);
}

TEST_F(RouterWrites, TheShardKeyMayBeMissingButNotAnArray) {
    EXPECT_EQ(net.outcome("{'insert':'items','documents':[{'_id':1}]}"), "{'n':1}");
    EXPECT_EQ(net.asked("insert"), "A");
    net.forget();
    const bson::Document reply = net.run(
        "{'insert':'items','documents':[{'_id':1,'a':[1]},{'_id':2,'a':1}],'ordered':false}");
    EXPECT_EQ(reply["n"].to_int64(), 1);
    const bson::View error = reply["writeErrors"].as_view().front().value.as_view();
    EXPECT_EQ(error["index"].to_int64(), 0);
    EXPECT_EQ(error["code"].to_int64(), 61);
}

TEST_F(RouterWrites, AnInsertMakesItsDatabase) {
    EXPECT_EQ(net.outcome("{'insert':'x','documents':[{'_id':1}],'$db':'fresh'}"), "{'n':1}");
    EXPECT_EQ(net.asked("_configsvrCreateDatabase"), "config");
    EXPECT_EQ(net.asked("insert"), "A");
}

TEST_F(RouterWrites, ADatabaseThatIsDroppedAgainAndAgainEndsTheWrite) {
    for (int i = 0; i < 20; ++i)
        net.answers("config", "_configsvrCreateDatabase", "{}");
    EXPECT_EQ(net.outcome("{'insert':'x','documents':[{'_id':1}],'$db':'fresh'}"),
              "NamespaceNotFound");
}

TEST_F(RouterWrites, RefusesWhatNoShardWouldTake) {
    EXPECT_EQ(net.outcome("{'insert':'items','documents':[]}"), "InvalidLength");
    EXPECT_EQ(net.outcome("{'insert':'items','documents':[{'_id':1}],'nonsense':1}"),
              "IDLUnknownField");
    EXPECT_EQ(net.outcome("{'insert':'x','documents':[{'_id':1}],'$db':'local'}"),
              "IllegalOperation");
    EXPECT_EQ(net.asked("insert"), "");
}

// ---- Errors of statements ---------------------------------------------------------------------

TEST_F(RouterWrites, OrderedEndsAtItsFirstError) {
    net.answers("B", "insert", "{'n':1,'writeErrors':[{'index':1,'code':11000,'errmsg':'dup'}]}");
    EXPECT_EQ(insert({"1", "15", "16", "17", "2"}),
              "{'n':2,'writeErrors':[{'index':2,'code':11000,'errmsg':'dup'}]}");
    EXPECT_EQ(inserted(), "A[1] B[15,16,17]");
}

TEST_F(RouterWrites, UnorderedGoesOnAndNumbersErrorsAsTheClientDid) {
    net.answers("A", "insert", "{'n':1,'writeErrors':[{'index':1,'code':11000,'errmsg':'x'}]}");
    net.answers("B", "insert", "{'n':1,'writeErrors':[{'index':0,'code':121,'errmsg':'y'}]}");
    EXPECT_EQ(insert({"15", "1", "16", "2", "25"}, unordered),
              "{'n':3,'writeErrors':[{'index':0,'code':121,'errmsg':'y'},"
              "{'index':3,'code':11000,'errmsg':'x'}]}");
}

TEST_F(RouterWrites, AShardThatFailsAsAWholeFailsItsStatements) {
    net.answers("B", "insert", failure(ErrorCode::out_of_disk_space, "full"));
    EXPECT_EQ(insert({"1", "15", "16", "25"}, unordered),
              "{'n':2,'writeErrors':[{'index':1,'code':14031,'errmsg':'full'},"
              "{'index':2,'code':14031,'errmsg':'full'}]}");
    net.answers("A", "insert", failure(ErrorCode::out_of_disk_space, "full"));
    net.forget();
    EXPECT_EQ(insert({"1", "2", "15"}),
              "{'n':0,'writeErrors':[{'index':0,'code':14031,'errmsg':'full'}]}");
    EXPECT_EQ(inserted(), "A[1,2]");
}

TEST_F(RouterWrites, UpsertsAreNumberedAsTheClientDid) {
    net.answers("B", "update", "{'n':1,'nModified':0,'upserted':[{'index':0,'_id':'b'}]}");
    net.answers("A", "update", "{'n':1,'nModified':1}");
    EXPECT_EQ(update("{'q':{'a':1},'u':{'$set':{'x':1}}},"
                     "{'q':{'a':15},'u':{'$set':{'x':1}},'upsert':true}",
                     unordered),
              "{'n':2,'upserted':[{'index':1,'_id':'b'}],'nModified':1}");
}

// ---- Write concern ----------------------------------------------------------------------------

TEST_F(RouterWrites, OneShardsWriteConcernErrorIsHandedOn) {
    net.answers("B",
                "insert",
                "{'n':1,'writeConcernError':{'code':64,'codeName':'WriteConcernTimeout',"
                "'errmsg':'late','errInfo':{'wtimeout':true}}}");
    EXPECT_EQ(insert({"1", "15"}, unordered),
              "{'n':2,'writeConcernError':{'code':64,'codeName':'WriteConcernTimeout',"
              "'errmsg':'late','errInfo':{'wtimeout':true}}}");
}

TEST_F(RouterWrites, SeveralShardsWriteConcernErrorsAreMerged) {
    net.answers("A", "insert", "{'n':1,'writeConcernError':{'code':64,'errmsg':'late'}}");
    net.answers("B", "insert", "{'n':1,'writeConcernError':{'code':100,'errmsg':'few'}}");
    EXPECT_EQ(insert({"1", "15"}, unordered),
              "{'n':2,'writeConcernError':{'code':64,'codeName':'WriteConcernTimeout','errmsg':"
              "'multiple errors reported : late at A :: and :: few at B'}}");
}

// ---- Stale routing ----------------------------------------------------------------------------

TEST_F(RouterWrites, FollowsAChunkThatMoved) {
    insert({"15"});
    net.move_chunk(1, "C");
    net.forget();
    EXPECT_EQ(insert({"15", "16", "25"}), "{'n':3}");
    EXPECT_EQ(inserted(), "B[15,16] C[15,16,25]");
}

TEST_F(RouterWrites, OnlyWhatMetStaleRoutingIsSentAgainUnderItsNumber) {
    insert({"1"});
    net.move_chunk(1, "C");
    net.forget();
    EXPECT_EQ(insert({"1", "15", "2", "16"}, unordered + with_numbers), "{'n':4}");
    EXPECT_EQ(inserted(), "A[1,2] B[15,16] C[15,16]");
    EXPECT_EQ(net.asked("insert", "stmtIds"), "A:[0,2] B:[1,3] C:[1,3]");
}

// A migration may begin to commit between two statements of one child.
TEST_F(RouterWrites, AnOrderedChildIsContinuedWhereItMetStaleRouting) {
    net.answers("A",
                "insert",
                "{'n':1,'writeErrors':[{'index':1,'code':13388,'errmsg':'stale',"
                "'errInfo':" +
                    text(net.stale("A")) + "}]}");
    EXPECT_EQ(insert({"1", "2", "3"}, with_numbers), "{'n':3}");
    EXPECT_EQ(inserted(), "A[1,2,3] A[2,3]");
    EXPECT_EQ(net.asked("insert", "stmtIds"), "A:[0,1,2] A:[1,2]");
}

TEST_F(RouterWrites, TheClientsOwnNumbersAreKept) {
    EXPECT_EQ(insert({"1", "15"}, unordered + with_numbers + ",'stmtIds':[5,9]"), "{'n':2}");
    EXPECT_EQ(net.asked("insert", "stmtIds"), "A:[5] B:[9]");
    net.forget();
    EXPECT_EQ(insert({"1", "15"}, unordered + with_numbers + ",'stmtId':3"), "{'n':2}");
    EXPECT_EQ(net.asked("insert", "stmtIds"), "A:[3] B:[4]");
}

TEST_F(RouterWrites, FollowsADatabaseThatMoved) {
    net.outcome("{'insert':'plain','documents':[{'_id':1}]}");
    net.move_database("B");
    net.forget();
    EXPECT_EQ(net.outcome("{'insert':'plain','documents':[{'_id':1}]}"), "{'n':1}");
    EXPECT_EQ(net.asked("insert"), "A,B");
}

TEST_F(RouterWrites, AsksAgainWhereDataBelongsWhenItsShardIsGone) {
    insert({"15"});
    net.move_chunk(1, "C");
    net.remove_shard("B");
    net.forget();
    EXPECT_EQ(insert({"1", "15"}, unordered + with_numbers), "{'n':2}");
    EXPECT_EQ(inserted(), "A[1] C[15]");
}

TEST_F(RouterWrites, GivesUpAfterFiveRoundsWithoutProgress) {
    for (int i = 0; i < 5; ++i)
        net.answers("B", "insert", net.stale("B"));
    const bson::Document reply =
        net.run("{'insert':'items','documents':[{'_id':0,'a':1},{'_id':1,'a':15}]}");
    EXPECT_EQ(reply["n"].to_int64(), 1);
    const bson::View error = reply["writeErrors"].as_view().front().value.as_view();
    EXPECT_EQ(error["index"].to_int64(), 1);
    EXPECT_EQ(error["code"].to_int64(), 82);
    EXPECT_EQ(net.calls("insert").size(), 6U);
}

TEST_F(RouterWrites, RetriedStatementsAreToldTogether) {
    net.answers("A", "insert", "{'n':1,'retriedStmtIds':[0]}");
    net.answers("B", "insert", "{'n':1,'retriedStmtIds':[1]}");
    EXPECT_EQ(insert({"1", "15"}, unordered + with_numbers), "{'n':2,'retriedStmtIds':[0,1]}");
}

// ---- Members ----------------------------------------------------------------------------------

TEST_F(RouterWrites, GoesAfterANewPrimary) {
    insert({"1"});
    net.step_down("A");
    net.forget();
    EXPECT_EQ(insert({"1"}), "{'n':1}");
    EXPECT_EQ(net.calls("insert").back().host, "A-2:1");
}

TEST_F(RouterWrites, WhatMayHaveRunIsRepeatedOnlyUnderItsNumber) {
    struct Case {
        bool is_numbered;
        bool is_lost;
        const char* outcome;
        const char* shards;
    };
    for (const auto& [is_numbered, is_lost, outcome, shards] : std::vector<Case>{
             {true, true, "{'n':1}", "A,A"},
             {true, false, "{'n':1}", "A,A"},
             {false,
              true,
              "{'n':0,'writeErrors':[{'index':0,'code':6,'errmsg':'connection reset'}]}",
              "A"},
             {false, false, "{'n':0,'writeErrors':[{'index':0,'code':11602,'errmsg':'no'}]}", "A"},
         }) {
        net.forget();
        if (is_lost)
            net.loses("A", "insert");
        else
            net.answers("A", "insert", failure(ErrorCode::interrupted_due_to_repl_state_change));
        EXPECT_EQ(insert({"1"}, is_numbered ? with_numbers : ""), outcome);
        EXPECT_EQ(net.asked("insert"), shards);
    }
}

TEST_F(RouterWrites, EndsWhenItIsKilled) {
    net.hangs("B", "insert");
    net.kill_operation_at("insert");
    EXPECT_EQ(insert({"15"}), "Interrupted");
}

TEST_F(RouterWrites, EndsInTimeWhenAShardHangs) {
    net.hangs("B", "insert");
    EXPECT_EQ(insert({"15"}, ",'maxTimeMS':100"), "MaxTimeMSExpired");
}

// ---- Updates and deletes ----------------------------------------------------------------------

TEST_F(RouterWrites, AStatementWithTheKeyGoesToOneShard) {
    net.answers("B", "update", "{'n':1,'nModified':1}");
    EXPECT_EQ(update("{'q':{'a':15,'b':1},'u':{'$set':{'x':1}}}"), "{'n':1,'nModified':1}");
    net.answers("C", "delete", "{'n':1}");
    EXPECT_EQ(remove("{'q':{'a':25},'limit':1}"), "{'n':1}");
    EXPECT_EQ(net.asked("update") + net.asked("delete"), "BC");
}

TEST_F(RouterWrites, AMultiWriteGoesWhereMatchesMayBeUnversioned) {
    net.answers("A", "update", "{'n':2,'nModified':1}");
    net.answers("B", "update", "{'n':3,'nModified':3}");
    EXPECT_EQ(update("{'q':{'a':{'$lt':15}},'u':{'$set':{'x':1}},'multi':true}"),
              "{'n':5,'nModified':4}");
    for (const auto& call : net.calls("update"))
        EXPECT_TRUE(routing::ShardVersion::parse(call.command["shardVersion"])->is_ignored());
}

// A shard that had none of it cannot say that the router's map is old: it would not be asked.
TEST_F(RouterWrites, AMultiWriteGoesByWhatHasMovedBeforeItBegan) {
    net.shard_collection("{'a':1}", {"{'a':10}", "{'a':20}"}, {"A", "B", "B"});
    net.answers("A", "update", "{'n':0,'nModified':0}");
    net.answers("B", "update", "{'n':0,'nModified':0}");
    EXPECT_EQ(update("{'q':{},'u':{'$set':{'x':1}},'multi':true}"), "{'n':0,'nModified':0}");
    net.move_chunk(2, "C");
    net.forget();
    net.answers("A", "update", "{'n':1,'nModified':1}");
    net.answers("B", "update", "{'n':2,'nModified':2}");
    net.answers("C", "update", "{'n':4,'nModified':4}");
    EXPECT_EQ(update("{'q':{},'u':{'$set':{'x':1}},'multi':true}"), "{'n':7,'nModified':7}");
    EXPECT_EQ(net.asked("update"), "A,B,C");
}

TEST_F(RouterWrites, AMultiWriteIsRepeatedOnlyWhereItWasNotDone) {
    net.answers("A", "delete", "{'n':2}");
    net.answers("B", "delete", net.stale("B"));
    net.answers("B", "delete", "{'n':3}");
    net.answers("C", "delete", "{'n':4}");
    EXPECT_EQ(remove("{'q':{},'limit':0}"), "{'n':9}");
    EXPECT_EQ(net.asked("delete"), "A,B,C,B");
}

TEST_F(RouterWrites, AMultiWritesErrorsOfSeveralShardsAreOne) {
    net.answers("A", "delete", "{'n':2}");
    net.answers("B", "delete", failure(ErrorCode::bad_value, "b"));
    net.answers("C", "delete", failure(ErrorCode::bad_value, "c"));
    EXPECT_EQ(remove("{'q':{},'limit':0}"),
              "{'n':2,'writeErrors':[{'index':0,'code':2,'errmsg':"
              "'multiple errors for op : b :: and :: c'}]}");
}

TEST_F(RouterWrites, AWriteByIdAsksAllAndOneHasIt) {
    net.answers("A", "update", "{'n':0,'nModified':0}");
    net.answers("B", "update", "{'n':1,'nModified':1}");
    net.answers("C", "update", "{'n':0,'nModified':0}");
    EXPECT_EQ(update("{'q':{'_id':5},'u':{'$set':{'x':1}}}"), "{'n':1,'nModified':1}");
    EXPECT_EQ(net.asked("find"), "");
}

TEST_F(RouterWrites, AWriteByIdThatNobodyHadIsRepeatedWhenOneWasStale) {
    for (int round = 0; round < 2; ++round)
        for (const char* shard : {"A", "C"})
            net.answers(shard, "delete", "{'n':0}");
    net.answers("B", "delete", net.stale("B"));
    net.answers("B", "delete", "{'n':1}");
    EXPECT_EQ(remove("{'q':{'_id':5},'limit':1}"), "{'n':1}");
    // One that somebody had is done, whatever another says.
    net.forget();
    net.answers("A", "delete", "{'n':1}");
    net.answers("B", "delete", net.stale("B"));
    net.answers("C", "delete", "{'n':0}");
    EXPECT_EQ(remove("{'q':{'_id':5},'limit':1}"), "{'n':1}");
    EXPECT_EQ(net.asked("delete"), "A,B,C");
}

TEST_F(RouterWrites, RefusesWhatHasNoShard) {
    struct Case {
        const char* statement;
        int code;
    };
    for (const auto& [statement, code] : std::vector<Case>{
             {"{'q':{'b':1},'u':{'$set':{'x':1}},'multi':true,'upsert':true}", 61},
             {"{'q':{'b':1},'u':{'x':1},'multi':true}", 9},
         }) {
        const bson::Document reply =
            net.run("{'update':'items','updates':[" + std::string(statement) + "]}");
        ASSERT_TRUE(reply["writeErrors"].is_array()) << text(reply);
        EXPECT_EQ(reply["writeErrors"].as_view().front().value.as_view()["code"].to_int64(), code);
    }
    EXPECT_EQ(net.asked("update"), "");
}

// ---- One document, shard unknown --------------------------------------------------------------

TEST_F(RouterWrites, OneDocumentWithoutTheKeyIsFoundThenWritten) {
    net.holds("B", {"{'_id':5,'a':15,'b':1}"});
    net.answers("B", "update", "{'n':1,'nModified':1}");
    EXPECT_EQ(update("{'q':{'b':1},'u':{'$set':{'x':1}}}"), "{'n':1,'nModified':1}");
    EXPECT_EQ(net.asked("find", "limit"), "A:1 B:1 C:1");
    EXPECT_EQ(statement(net.last("update"), "updates"),
              "{'q':{'_id':5,'b':1},'u':{'$set':{'x':1}}}");
    net.holds("C", {"{'_id':7,'b':2}"});
    net.answers("C", "delete", "{'n':1}");
    EXPECT_EQ(remove("{'q':{'b':2,'_id':{'$gt':1}},'limit':1}"), "{'n':1}");
    EXPECT_EQ(statement(net.last("delete"), "deletes"), "{'q':{'_id':7,'b':2},'limit':1}");
}

TEST_F(RouterWrites, WhatIsNowhereIsNotWritten) {
    EXPECT_EQ(update("{'q':{'b':1},'u':{'$set':{'x':1}}}"), "{'n':0,'nModified':0}");
    EXPECT_EQ(remove("{'q':{'b':1},'limit':1}"), "{'n':0}");
    EXPECT_EQ(net.asked("update") + net.asked("delete"), "");
}

TEST_F(RouterWrites, ADocumentThatSlipsAwayIsLookedForAgain) {
    net.holds("B", {"{'_id':5,'b':1}"});
    net.answers("B", "update", "{'n':0,'nModified':0}");
    net.answers("B", "update", "{'n':1,'nModified':1}");
    EXPECT_EQ(update("{'q':{'b':1},'u':{'$set':{'x':1}}}"), "{'n':1,'nModified':1}");
    EXPECT_EQ(net.asked("update"), "B,B");
    for (int i = 0; i < 20; ++i)
        net.answers("B", "update", "{'n':0,'nModified':0}");
    const bson::Document reply =
        net.run("{'update':'items','updates':[{'q':{'b':1},'u':{'$set':{'x':1}}}]}");
    EXPECT_EQ(reply["writeErrors"].as_view().front().value.as_view()["code"].to_int64(), 112);
}

TEST_F(RouterWrites, AStaleSearchIsRepeated) {
    insert({"15"});
    net.move_chunk(1, "C");
    net.holds("C", {"{'_id':5,'b':1}"});
    net.answers("C", "update", "{'n':1,'nModified':1}");
    EXPECT_EQ(update("{'q':{'b':1},'u':{'$set':{'x':1}}}"), "{'n':1,'nModified':1}");
    EXPECT_EQ(net.asked("find"), "A,B,C,A,C");
}

TEST_F(RouterWrites, AnUpsertThatFindsNothingInsertsWhereItsDocumentBelongs) {
    net.answers("C", "update", "{'n':1,'nModified':0,'upserted':[{'index':0,'_id':7}]}");
    EXPECT_EQ(update("{'q':{'_id':7},'u':{'$set':{'a':25}},'upsert':true}"),
              "{'n':1,'upserted':[{'index':0,'_id':7}],'nModified':0}");
    EXPECT_EQ(statement(net.last("update"), "updates"),
              "{'q':{'_id':7},'u':{'$set':{'a':25}},'upsert':true}");
}

// The document that was routed must be the very one that is inserted: its _id stands in the filter.
TEST_F(RouterWrites, AnUpsertsNewIdIsTheOneThatWasRouted) {
    net.shard_collection("{'_id':'hashed'}", {"{'_id':{'$numberLong':'0'}}"}, {"A", "B"});
    for (const char* query : {"{'b':1}", "{'_id':{'$gt':5},'b':1}"}) {
        net.forget();
        net.answers("*", "update", "{'n':1,'nModified':0,'upserted':[{'index':0,'_id':7}]}");
        update("{'q':" + std::string(query) + ",'u':{'$set':{'x':1}},'upsert':true}");
        const bson::Document sent = net.last("update");
        const bson::View written = sent["updates"].as_view().front().value.as_view();
        const bson::Value id = written["q"].as_view()["_id"];
        ASSERT_EQ(id.type(), bson::Type::object_id) << query;
        const auto target = routing::target_insert(net.placement(), bson::make("_id", id));
        EXPECT_EQ(net.asked("update"), target->shard) << query;
    }
}

// Equalities deeper in the filter already say the _id: twice would be refused.
TEST_F(RouterWrites, AnUpsertsOwnIdIsNotSaidTwice) {
    net.answers("A", "update", "{'n':1,'nModified':0,'upserted':[{'index':0,'_id':7}]}");
    update("{'q':{'$and':[{'_id':7}]},'u':{'$set':{'a':5}},'upsert':true}");
    EXPECT_EQ(statement(net.last("update"), "updates"),
              "{'q':{'$and':[{'_id':7}]},'u':{'$set':{'a':5}},'upsert':true}");
}

TEST_F(RouterWrites, ARetriedStatementIsFirstAskedForByItsNumber) {
    net.holds("A", {"{'_id':5,'b':1}"});
    net.answers("A", "update", "{'n':0,'nModified':0}");
    net.answers("B", "update", "{'n':1,'nModified':1,'retriedStmtIds':[0]}");
    net.answers("C", "update", "{'n':0,'nModified':0}");
    EXPECT_EQ(update("{'q':{'b':1},'u':{'$set':{'x':1}}}", with_numbers),
              "{'n':1,'nModified':1,'retriedStmtIds':[0]}");
    EXPECT_EQ(net.asked("update", "stmtIds"), "A:[0] B:[0] C:[0]");
    EXPECT_EQ(net.asked("find"), "");
    EXPECT_EQ(statement(net.last("update"), "updates"),
              "{'q':{'_id':{'$in':[]}},'u':{'$set':{'x':1}}}");
}

}  // namespace
}  // namespace tessera::commands
