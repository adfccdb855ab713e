// SPDX-License-Identifier: Apache-2.0
//
// findAndModify through a router: to the shard its query names, or to where its document is found.
#include <gtest/gtest.h>

#include "commands/test_router.h"

namespace tessera::commands {
namespace {

using testing::failure;
using testing::text;

// shop.items by {a: 1}: below 10 on A, below 20 on B, the rest on C.
class RouterModify : public ::testing::Test {
protected:
    RouterModify() { net.shard_collection("{'a':1}", {"{'a':10}", "{'a':20}"}, {"A", "B", "C"}); }
    std::string modify(const std::string& arguments) {
        return net.outcome("{'findAndModify':'items'," + arguments + "}");
    }
    // What was sent last, but for versions and session.
    std::string sent() const {
        bson::Builder rest;
        const bson::Document command = net.last("findAndModify");
        for (const bson::Element& field : command.view())
            if (field.name != "shardVersion" && field.name != "lsid" && field.name != "$db")
                rest.append(field);
        return text(std::move(rest).finish());
    }
    testing::TestRouter net;
};

const std::string done = "{'lastErrorObject':{'n':1,'updatedExisting':true},'value':{'_id':5}}";
const std::string nothing = "{'lastErrorObject':{'n':0,'updatedExisting':false},'value':null}";

TEST_F(RouterModify, WithTheKeyItGoesToOneShardAsItIs) {
    net.answers("B", "findAndModify", done);
    EXPECT_EQ(modify("'query':{'a':15},'update':{'$set':{'x':1}},'sort':{'x':1},'new':true"), done);
    EXPECT_EQ(sent(),
              "{'findAndModify':'items','query':{'a':15},'update':{'$set':{'x':1}},'sort':{'x':1},"
              "'new':true}");
}

TEST_F(RouterModify, TheFirstOfAllShardsInSortOrderIsModified) {
    net.holds("A", {"{'_id':1,'b':1,'s':7}"});
    net.holds("B", {"{'_id':2,'b':1,'s':3}"});
    net.holds("C", {"{'_id':3,'b':1,'s':5}"});
    net.answers("B", "findAndModify", done);
    EXPECT_EQ(modify("'query':{'b':1},'sort':{'s':1},'update':{'$set':{'x':1}},'hint':'b_1'"),
              done);
    EXPECT_EQ(net.asked("find", "hint"), "A:'b_1' B:'b_1' C:'b_1'");
    EXPECT_EQ(sent(),
              "{'findAndModify':'items','update':{'$set':{'x':1}},'query':{'_id':2,'b':1}}");
}

TEST_F(RouterModify, NothingIsFoundNowhere) {
    EXPECT_EQ(modify("'query':{'b':1},'update':{'$set':{'x':1}}"), nothing);
    EXPECT_EQ(modify("'query':{'b':1},'remove':true"), "{'lastErrorObject':{'n':0},'value':null}");
    EXPECT_EQ(net.asked("findAndModify"), "");
}

TEST_F(RouterModify, ADocumentThatSlipsAwayIsLookedForAgain) {
    net.holds("B", {"{'_id':2,'b':1}"});
    net.answers("B", "findAndModify", nothing);
    net.answers("B", "findAndModify", done);
    EXPECT_EQ(modify("'query':{'b':1},'update':{'$set':{'x':1}}"), done);
    for (int i = 0; i < 20; ++i)
        net.answers("B", "findAndModify", nothing);
    EXPECT_EQ(modify("'query':{'b':1},'update':{'$set':{'x':1}}"), "WriteConflict");
}

TEST_F(RouterModify, FollowsAChunkThatMoved) {
    net.answers("B", "findAndModify", done);
    modify("'query':{'a':15},'remove':true");
    net.move_chunk(1, "C");
    net.forget();
    net.answers("C", "findAndModify", done);
    EXPECT_EQ(modify("'query':{'a':15},'remove':true"), done);
    EXPECT_EQ(net.asked("findAndModify"), "B,C");
}

TEST_F(RouterModify, AnUpsertGoesWhereItsDocumentBelongs) {
    net.answers("C", "findAndModify", done);
    EXPECT_EQ(modify("'query':{'_id':7,'b':1},'update':{'$set':{'a':25}},'upsert':true"), done);
    EXPECT_EQ(sent(),
              "{'findAndModify':'items','update':{'$set':{'a':25}},'query':{'_id':7,'b':1},"
              "'upsert':true}");
}

TEST_F(RouterModify, ARetriedStatementIsFirstAskedForByItsNumber) {
    net.holds("A", {"{'_id':5,'b':1}"});
    const std::string before = done.substr(0, done.size() - 1) + ",'retriedStmtIds':[0]}";
    net.answers("A", "findAndModify", nothing);
    net.answers("B", "findAndModify", before);
    net.answers("C", "findAndModify", nothing);
    EXPECT_EQ(
        modify("'query':{'b':1},'update':{'$set':{'x':1}}," + std::string(testing::retryable)),
        before);
    EXPECT_EQ(net.asked("find"), "");
    EXPECT_EQ(sent(),
              "{'findAndModify':'items','update':{'$set':{'x':1}},'txnNumber':7,"
              "'query':{'_id':{'$in':[]}}}");
}

TEST_F(RouterModify, AShardsErrorIsTheAnswer) {
    net.answers("B", "findAndModify", failure(ErrorCode::duplicate_key));
    EXPECT_EQ(modify("'query':{'a':15},'update':{'$set':{'x':1}}"), "DuplicateKey");
    EXPECT_EQ(modify("'query':{'a':15},'nonsense':1"), "IDLUnknownField");
}

}  // namespace
}  // namespace tessera::commands
