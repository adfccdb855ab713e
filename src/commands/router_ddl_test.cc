// SPDX-License-Identifier: Apache-2.0
//
// DDL, lists and sizes through a router: which shards are asked, and their answers made one.
#include <gtest/gtest.h>

#include "commands/test_router.h"

namespace tessera::commands {
namespace {

using testing::failure;
using testing::text;

// shop.items by {a: 1}: below 10 on A, the rest on B; shop.plain is on A.
class RouterDdl : public ::testing::Test {
protected:
    RouterDdl() { net.shard_collection("{'a':1}", {"{'a':10}"}, {"A", "B"}); }
    testing::TestRouter net;
};

// ---- DDL --------------------------------------------------------------------------------------

TEST_F(RouterDdl, GoesToThePrimaryShardOrToAllThatOwnAPart) {
    struct Case {
        const char* name;
        const char* command;
        const char* shards;
    };
    for (const auto& [name, command, shards] : std::vector<Case>{
             {"create", "{'create':'plain'}", "A"},
             {"drop", "{'drop':'plain'}", "A"},
             {"createIndexes",
              "{'createIndexes':'plain','indexes':[{'key':{'x':1},'name':'x'}]}",
              "A"},
             {"createIndexes",
              "{'createIndexes':'items','indexes':[{'key':{'x':1},'name':'x'}]}",
              "A,B"},
             {"dropIndexes", "{'dropIndexes':'items','index':'x'}", "A,B"},
             {"collMod", "{'collMod':'items','validator':{}}", "A,B"},
             {"collMod", "{'collMod':'plain','validator':{}}", "A"},
         }) {
        net.forget();
        for (const std::string shard : {"A", "B"})
            if (std::string(shards).find(shard) != std::string::npos)
                net.answers(shard, name, "{}");
        EXPECT_TRUE(net.run(std::string_view(command))["ok"].is_truthy()) << command;
        EXPECT_EQ(net.asked(name), shards) << command;
    }
}

TEST_F(RouterDdl, AShardedCollectionIsDroppedByTheConfigServers) {
    net.answers("config", "_configsvrDropCollection", "{}");
    EXPECT_EQ(net.outcome("{'drop':'items'}"), "{'ns':'shop.items'}");
    EXPECT_EQ(net.asked("drop"), "");
    EXPECT_EQ(net.asked("_configsvrDropCollection"), "config");
    const bson::Document drop = net.last("_configsvrDropCollection");
    EXPECT_EQ(*bson::uuid_in(drop["uuid"]), net.placement().chunks->collection().uuid);
}

TEST_F(RouterDdl, ADropByUuidIsOfThatCollectionAlone) {
    const auto drop = [](const bson::Uuid& uuid) {
        return bson::make("drop", "items", "collectionUUID", uuid, "$db", "shop");
    };
    EXPECT_EQ(testing::outcome(net.run(drop(bson::Uuid()))), "CollectionUUIDMismatch");
    EXPECT_EQ(net.asked("_configsvrDropCollection"), "");
    net.answers("config", "_configsvrDropCollection", "{}");
    EXPECT_EQ(testing::outcome(net.run(drop(net.placement().chunks->collection().uuid))),
              "{'ns':'shop.items'}");
    EXPECT_EQ(net.outcome("{'drop':'items','purge':true}"), "IDLUnknownField");
}

TEST_F(RouterDdl, ADropThatAnotherWasFasterThanIsDoneByNameAndAMismatchByUuid) {
    const auto uuid = net.placement().chunks->collection().uuid;
    net.answers("config", "_configsvrDropCollection", failure(ErrorCode::collection_uuid_mismatch));
    EXPECT_EQ(net.outcome("{'drop':'items'}"), "{'ns':'shop.items'}");
    net.answers("config", "_configsvrDropCollection", failure(ErrorCode::collection_uuid_mismatch));
    const bson::Document reply =
        net.run(bson::make("drop", "items", "collectionUUID", uuid, "$db", "shop"));
    EXPECT_EQ(testing::outcome(reply), "CollectionUUIDMismatch");
    EXPECT_EQ(*bson::uuid_in(reply["collectionUUID"]), uuid);
    EXPECT_EQ(reply["expectedCollection"].as_string(), "items");
}

TEST_F(RouterDdl, ADatabaseIsDroppedByTheConfigServers) {
    net.answers("config", "_configsvrDropDatabase", "{}");
    EXPECT_EQ(net.outcome("{'dropDatabase':1}"), "{'dropped':'shop'}");
    net.answers("config", "_configsvrDropDatabase", "{}");
    EXPECT_EQ(net.outcome("{'dropDatabase':1,'$db':'nowhere'}"), "{}");
    EXPECT_EQ(net.outcome("{'dropDatabase':1,'$db':'config'}"), "IllegalOperation");
}

TEST_F(RouterDdl, WhatIsNowhereIsNotFound) {
    for (const char* command : {"{'drop':'x','$db':'nowhere'}",
                                "{'dropIndexes':'x','index':'i','$db':'nowhere'}",
                                "{'collMod':'x','$db':'nowhere'}",
                                "{'listIndexes':'x','$db':'nowhere'}",
                                "{'collStats':'x','$db':'nowhere'}",
                                "{'validate':'x','$db':'nowhere'}"})
        EXPECT_EQ(net.outcome(command), "NamespaceNotFound") << command;
}

TEST_F(RouterDdl, AUniqueIndexBeginsWithTheShardKey) {
    const auto create = [&](const std::string& key) {
        return net.outcome("{'createIndexes':'items','indexes':[{'key':" + key +
                           ",'name':'i','unique':true}]}");
    };
    EXPECT_EQ(create("{'x':1}"), "CannotCreateIndex");
    EXPECT_EQ(net.asked("createIndexes"), "");
    for (const char* shard : {"A", "B"})
        net.answers(shard, "createIndexes", "{'numIndexesAfter':2}");
    EXPECT_EQ(create("{'a':1,'x':1}"),
              "{'raw':{'A/A-1:1,A-2:1':{'numIndexesAfter':2,'ok':1.0},"
              "'B/B-1:1,B-2:1':{'numIndexesAfter':2,'ok':1.0}}}");
}

TEST_F(RouterDdl, AStaleShardIsAskedAgainWithTheOthers) {
    net.outcome("{'find':'items'}");  // The map is known.
    net.move_chunk(1, "C");
    net.answers("B", "collMod", net.stale("B"));
    for (const char* shard : {"A", "A", "C"})
        net.answers(shard, "collMod", "{}");
    EXPECT_TRUE(net.run("{'collMod':'items'}")["ok"].is_truthy());
    EXPECT_EQ(net.asked("collMod"), "A,B,A,C");
}

// What one attempt has dropped on a shard is not there for the next one.
TEST_F(RouterDdl, AnIndexThatOneShardHasDroppedAlreadyIsDropped) {
    net.answers("A", "dropIndexes", "{'nIndexesWas':2}");
    net.answers("B", "dropIndexes", net.stale("B"));
    net.answers("A", "dropIndexes", failure(ErrorCode::index_not_found));
    net.answers("B", "dropIndexes", "{'nIndexesWas':2}");
    EXPECT_TRUE(net.run("{'dropIndexes':'items','index':'x'}")["ok"].is_truthy());
    EXPECT_EQ(net.asked("dropIndexes"), "A,B,A,B");
    // Nor must every shard have had it, but one.
    net.answers("A", "dropIndexes", failure(ErrorCode::index_not_found));
    net.answers("B", "dropIndexes", "{'nIndexesWas':2}");
    EXPECT_TRUE(net.run("{'dropIndexes':'items','index':'x'}")["ok"].is_truthy());
    net.answers("*", "dropIndexes", failure(ErrorCode::index_not_found));
    net.answers("*", "dropIndexes", failure(ErrorCode::index_not_found));
    EXPECT_EQ(net.outcome("{'dropIndexes':'items','index':'x'}"), "IndexNotFound");
}

TEST_F(RouterDdl, AWriteConcernErrorIsHandedOn) {
    net.answers("A", "createIndexes", "{}");
    net.answers("B", "createIndexes", "{'writeConcernError':{'code':64,'errmsg':'late'}}");
    const bson::Document reply =
        net.run("{'createIndexes':'items','indexes':[{'key':{'x':1},'name':'x'}]}");
    EXPECT_EQ(text(reply["writeConcernError"].as_view()), "{'code':64,'errmsg':'late'}");
}

// ---- Lists ------------------------------------------------------------------------------------

TEST_F(RouterDdl, DatabasesAreAddedUpAndTheClustersOwnAreOnTheConfigServers) {
    net.answers("A",
                "listDatabases",
                "{'databases':[{'name':'shop','sizeOnDisk':10,'empty':false},"
                "{'name':'config','sizeOnDisk':3,'empty':false},"
                "{'name':'local','sizeOnDisk':3,'empty':false}]}");
    net.answers("B", "listDatabases", "{'databases':[{'name':'shop','sizeOnDisk':20}]}");
    net.answers("C", "listDatabases", "{'databases':[]}");
    net.answers("config", "listDatabases", "{'databases':[{'name':'admin','sizeOnDisk':5}]}");
    EXPECT_EQ(net.outcome("{'listDatabases':1,'$db':'admin'}"),
              "{'databases':[{'name':'admin','sizeOnDisk':5,'empty':false,'shards':{'config':5}},"
              "{'name':'shop','sizeOnDisk':30,'empty':false,'shards':{'A':10,'B':20}}],"
              "'totalSize':35,'totalSizeMb':0}");
}

TEST_F(RouterDdl, CollectionsAreThoseOfThePrimaryShard) {
    net.answers("A",
                "listCollections",
                "{'cursor':{'id':0,'ns':'shop.$cmd.listCollections',"
                "'firstBatch':[{'name':'plain'}]}}");
    EXPECT_EQ(testing::batch(net.run("{'listCollections':1}")), "{'name':'plain'}");
    EXPECT_EQ(testing::batch(net.run("{'listCollections':1,'$db':'nowhere'}")), "");
    net.move_database("B");
    net.answers("A", "listCollections", failure(ErrorCode::stale_db_version));
    net.answers("B", "listCollections", "{'cursor':{'id':0,'firstBatch':[]}}");
    net.forget();
    EXPECT_EQ(testing::batch(net.run("{'listCollections':1}")), "");
    EXPECT_EQ(net.asked("listCollections"), "A,B");
}

TEST_F(RouterDdl, IndexesAreThoseOfAShardThatHasAPart) {
    net.shard_collection("{'a':1}", {}, {"C"}, "shop.other");
    net.answers("C", "listIndexes", "{'cursor':{'id':0,'firstBatch':[{'name':'_id_'}]}}");
    EXPECT_EQ(testing::batch(net.run("{'listIndexes':'other'}")), "{'name':'_id_'}");
}

// ---- Sizes ------------------------------------------------------------------------------------

TEST_F(RouterDdl, CollectionSizesAreAddedUp) {
    net.answers("A",
                "collStats",
                "{'count':2,'size':4,'avgObjSize':2000,'storageSize':8,'totalIndexSize':1,"
                "'indexSizes':{'_id_':1},'scaleFactor':1000}");
    net.answers("B",
                "collStats",
                "{'count':6,'size':24,'avgObjSize':4000,'storageSize':8,'totalIndexSize':5,"
                "'indexSizes':{'_id_':2,'x':3},'scaleFactor':1000}");
    const bson::Document reply = net.run("{'collStats':'items','scale':1000}");
    EXPECT_TRUE(reply["sharded"].is_truthy());
    EXPECT_EQ(reply["count"].to_int64(), 8);
    EXPECT_EQ(reply["size"].to_int64(), 28);
    EXPECT_EQ(reply["avgObjSize"].to_int64(), 3500);  // Bytes, whatever the scale.
    EXPECT_EQ(reply["nindexes"].to_int64(), 2);
    EXPECT_EQ(text(reply["indexSizes"].as_view()), "{'_id_':3,'x':3}");
    EXPECT_EQ(reply["nchunks"].to_int64(), 2);
    EXPECT_EQ(reply["shards"].as_view().count(), 2U);
}

TEST_F(RouterDdl, DatabaseSizesAreAddedUpOverAllShards) {
    net.answers(
        "A", "dbStats", "{'objects':2,'avgObjSize':2000.0,'dataSize':4.0,'scaleFactor':1000}");
    net.answers(
        "B", "dbStats", "{'objects':6,'avgObjSize':4000.0,'dataSize':24.0,'scaleFactor':1000}");
    net.answers("C", "dbStats", "{'objects':0,'avgObjSize':0.0,'dataSize':0.0,'scaleFactor':1000}");
    const bson::Document reply = net.run("{'dbStats':1,'scale':1000}");
    EXPECT_EQ(reply["objects"].to_int64(), 8);
    EXPECT_EQ(reply["dataSize"].to_double(), 28.0);
    EXPECT_EQ(reply["avgObjSize"].to_double(), 3500.0);
    EXPECT_EQ(reply["raw"].as_view().count(), 3U);
}

TEST_F(RouterDdl, OneInvalidShardIsNotValid) {
    net.answers("A", "validate", "{'valid':true}");
    net.answers("B", "validate", "{'valid':false}");
    const bson::Document reply = net.run("{'validate':'items'}");
    EXPECT_FALSE(reply["valid"].is_truthy());
    EXPECT_TRUE(reply.view().has("valid"));
    net.answers("A", "dataSize", "{'size':3,'numObjects':1}");
    net.answers("B", "dataSize", "{'size':4,'numObjects':2}");
    EXPECT_EQ(net.outcome("{'dataSize':'shop.items'}"),
              "{'size':7,'numObjects':3,'millis':0,'estimate':false}");
}

}  // namespace
}  // namespace tessera::commands
