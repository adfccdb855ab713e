// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "query/plan/fake_collection.h"

namespace tessera::query {
namespace {

using bson::Document;
using bson::JsonMode;

/// Runs a request; returns the _ids in order.
std::vector<std::int64_t> run(FakeCollection& collection,
                              ReadRequest request,
                              std::string* plan = nullptr,
                              Document* explain = nullptr) {
    auto transaction = *collection.engine().begin();
    Executor executor(collection, std::move(request));
    const Status started = executor.start(*transaction);
    EXPECT_TRUE(started) << started.error().to_string();
    std::vector<std::int64_t> ids;
    if (!started) return ids;
    while (true) {
        const auto has_document = executor.next();
        EXPECT_TRUE(has_document) << has_document.error().to_string();
        if (!has_document || !*has_document) break;
        ids.push_back(executor.document()["_id"].to_int64());
    }
    if (plan != nullptr) *plan = executor.plan_summary();
    if (explain != nullptr) {
        bson::Builder out;
        executor.explain_plan(out);
        executor.explain_stats(out, 0, true);
        *explain = std::move(out).finish();
    }
    return ids;
}

std::string summary(FakeCollection& collection, std::string_view request) {
    std::string plan;
    run(collection, make_request(request), &plan);
    return plan;
}

std::string winner(FakeCollection& collection, ReadRequest request) {
    Document explain;
    run(collection, std::move(request), nullptr, &explain);
    return bson::to_json(explain["queryPlanner"].as_view()["winningPlan"]);
}

/// The bounds of the first index scan in the plan: {a: ["[1, 1]"]}.
std::string bounds(FakeCollection& collection, std::string_view request) {
    Document explain;
    run(collection, make_request(request), nullptr, &explain);
    bson::Value node = explain["queryPlanner"].as_view()["winningPlan"];
    while (node.is_object() && !node.as_view().has("indexBounds")) {
        const bson::Value list = node.as_view()["inputStages"];
        node = list.is_array() ? list.as_view()["0"] : node.as_view()["inputStage"];
    }
    if (!node.is_object()) return "none";
    return bson::to_json(node.as_view()["indexBounds"], JsonMode::message);
}

void fill(FakeCollection& collection, int count) {
    for (int i = 0; i < count; ++i) {
        collection.insert(bson::make("_id", i, "a", i % 10, "b", i % 7, "c", i));
    }
}

using Ids = std::vector<std::int64_t>;

TEST(Planner, FindsByIdWithoutAnyPlanning) {
    FakeCollection collection;
    fill(collection, 10);
    Document explain;
    std::string plan;
    EXPECT_EQ(run(collection, make_request(R"({"filter": {"_id": 7}})"), &plan, &explain), Ids{7});
    EXPECT_EQ(plan, "IDHACK");
    EXPECT_EQ(bson::to_json(explain["queryPlanner"].as_view()["winningPlan"]),
              R"({"stage":"IDHACK"})");
    const bson::View stats = explain["executionStats"].as_view();
    EXPECT_EQ(bson::to_json(stats["executionStages"]),
              R"({"stage":"IDHACK","nReturned":1,"executionTimeMillisEstimate":0,"works":2,)"
              R"("advanced":1,"needTime":0,"needYield":0,"saveState":0,"restoreState":0,"isEOF":1,)"
              R"("keysExamined":1,"docsExamined":1})");
    EXPECT_EQ(stats["totalKeysExamined"].to_int64(), 1);
    EXPECT_EQ(run(collection, make_request(R"({"filter": {"_id": 99}})")), Ids{});
    EXPECT_EQ(run(collection, make_request(R"({"filter": {"_id": 7.0, "a": 7}})")), Ids{7});
}

TEST(Planner, ScansTheCollectionWhenNoIndexHelps) {
    FakeCollection collection;
    fill(collection, 100);
    Document explain;
    run(collection,
        make_request(R"({"filter": {"c": {"$gt": 50}}, "limit": 3})"),
        nullptr,
        &explain);
    EXPECT_EQ(bson::to_json(explain["queryPlanner"].as_view()["winningPlan"]),
              R"({"stage":"LIMIT","limitAmount":3,"inputStage":{"stage":"COLLSCAN",)"
              R"("filter":{"c":{"$gt":50}},"direction":"forward"}})");
    const bson::View limit = explain["executionStats"].as_view()["executionStages"].as_view();
    EXPECT_EQ(limit["works"].to_int64(), 56);
    EXPECT_EQ(limit["needTime"].to_int64(), 52);
    const bson::View scan = limit["inputStage"].as_view();
    EXPECT_EQ(scan["works"].to_int64(), 55);
    EXPECT_EQ(scan["docsExamined"].to_int64(), 54);
    EXPECT_EQ(scan["isEOF"].to_int64(), 0);
}

TEST(Planner, ShowsACoveredRangeAsTheReferenceDoes) {
    FakeCollection collection;
    fill(collection, 100);
    collection.add_index(R"({"a": 1, "b": -1})");
    auto request = make_request(
        R"({"filter": {"a": {"$gte": 3, "$lt": 5}}, "projection": {"a": 1, "_id": 0}})");
    EXPECT_EQ(winner(collection, std::move(request)),
              R"({"stage":"PROJECTION_COVERED","transformBy":{"a":1,"_id":0},)"
              R"("inputStage":{"stage":"IXSCAN","keyPattern":{"a":1,"b":-1},)"
              R"("indexName":"a_1_b_-1","isMultiKey":false,"multiKeyPaths":{"a":[],"b":[]},)"
              R"("isUnique":false,"isSparse":false,"isPartial":false,"indexVersion":2,)"
              R"x("direction":"forward","indexBounds":{"a":["[3, 5)"],)x"
              R"x("b":["[MaxKey, MinKey]"]}}})x");
    Document explain;
    run(collection,
        make_request(
            R"({"filter": {"a": {"$gte": 3, "$lt": 5}}, "projection": {"a": 1, "_id": 0}})"),
        nullptr,
        &explain);
    const bson::View stats = explain["executionStats"].as_view();
    EXPECT_EQ(stats["nReturned"].to_int64(), 20);
    EXPECT_EQ(stats["totalKeysExamined"].to_int64(), 20);
    EXPECT_EQ(stats["totalDocsExamined"].to_int64(), 0);
    const bson::View scan = stats["executionStages"].as_view()["inputStage"].as_view();
    EXPECT_EQ(scan["works"].to_int64(), 21);
    EXPECT_EQ(scan["seeks"].to_int64(), 1);
    EXPECT_EQ(scan["isEOF"].to_int64(), 1);
}

TEST(Planner, ShowsABlockingSortAsTheReferenceDoes) {
    FakeCollection collection;
    fill(collection, 100);
    Document explain;
    const Ids ids = run(collection, make_request(R"({"sort": {"c": -1}})"), nullptr, &explain);
    EXPECT_EQ(ids.front(), 99);
    EXPECT_EQ(ids.back(), 0);
    EXPECT_EQ(bson::to_json(explain["queryPlanner"].as_view()["winningPlan"]),
              R"({"stage":"SORT","sortPattern":{"c":-1},"memLimit":104857600,"type":"simple",)"
              R"("inputStage":{"stage":"COLLSCAN","direction":"forward"}})");
    const bson::View sort = explain["executionStats"].as_view()["executionStages"].as_view();
    EXPECT_EQ(sort["works"].to_int64(), 203);
    EXPECT_EQ(sort["needTime"].to_int64(), 102);
    EXPECT_EQ(sort["usedDisk"].as_bool(), false);
    EXPECT_EQ(sort["inputStage"].as_view()["works"].to_int64(), 102);
}

TEST(Planner, CountsKeysWithoutDocuments) {
    FakeCollection collection;
    fill(collection, 100);
    collection.add_index(R"({"a": 1, "b": -1})");
    ReadRequest request = make_request(R"({"filter": {"a": 3}})");
    request.purpose = ReadPurpose::count;
    auto transaction = *collection.engine().begin();
    Executor executor(collection, std::move(request));
    ASSERT_TRUE(executor.start(*transaction));
    EXPECT_EQ(*executor.count(), 10);
    EXPECT_EQ(executor.docs_examined(), 0U);
    bson::Builder out;
    executor.explain_plan(out);
    const Document explain = std::move(out).finish();
    EXPECT_EQ(bson::to_json(explain["queryPlanner"].as_view()["winningPlan"]),
              R"({"stage":"COUNT","inputStage":{"stage":"COUNT_SCAN","keyPattern":{"a":1,"b":-1},)"
              R"("indexName":"a_1_b_-1","isMultiKey":false,"multiKeyPaths":{"a":[],"b":[]},)"
              R"("isUnique":false,"isSparse":false,"isPartial":false,"indexVersion":2,)"
              R"("indexBounds":{"startKey":{"a":3,"b":{"$maxKey":1}},"startKeyInclusive":true,)"
              R"("endKey":{"a":3,"b":{"$minKey":1}},"endKeyInclusive":true}}})");
}

TEST(Planner, GivesDistinctValuesFromAnIndex) {
    FakeCollection collection;
    fill(collection, 100);
    collection.insert(R"({"_id": 200, "a": null})");
    collection.insert(R"({"_id": 201})");
    collection.add_index(R"({"a": 1, "b": -1})");
    ReadRequest request;
    request.purpose = ReadPurpose::distinct;
    request.distinct_path = "a";
    auto transaction = *collection.engine().begin();
    Executor executor(collection, std::move(request));
    ASSERT_TRUE(executor.start(*transaction));
    int nulls = 0;
    int absent = 0;
    Ids values;
    while (*executor.next()) {
        const bson::Value value = executor.document()["a"];
        nulls += value.is_null() ? 1 : 0;
        absent += value.is_missing() ? 1 : 0;
        if (value.is_number()) values.push_back(value.to_int64());
    }
    EXPECT_EQ(values, (Ids{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
    EXPECT_EQ(nulls, 1);
    EXPECT_EQ(absent, 1);
    EXPECT_EQ(executor.plan_summary(), "DISTINCT_SCAN { a: 1, b: -1 }");
    EXPECT_LT(executor.keys_examined(), 20U);
}

TEST(Bounds, FollowFromPredicates) {
    FakeCollection collection;
    fill(collection, 20);
    collection.add_index(R"({"a": 1})");
    const auto of = [&](std::string_view filter) {
        return bounds(collection, "{\"filter\": {\"a\": " + std::string(filter) + "}}");
    };
    EXPECT_EQ(of("5"), R"x({ a: [ "[5, 5]" ] })x");
    EXPECT_EQ(of(R"x({"$lt": 5})x"), R"x({ a: [ "[-inf.0, 5)" ] })x");
    EXPECT_EQ(of(R"x({"$gt": 2})x"), R"x({ a: [ "(2, inf.0]" ] })x");
    EXPECT_EQ(of(R"x({"$gte": "x"})x"), R"x({ a: [ "["x", {})" ] })x");
    EXPECT_EQ(of(R"x({"$in": [3, 1, "z"]})x"), R"x({ a: [ "[1, 1]", "[3, 3]", "["z", "z"]" ] })x");
    EXPECT_EQ(of(R"x({"$ne": 4})x"), R"x({ a: [ "[MinKey, 4)", "(4, MaxKey]" ] })x");
    EXPECT_EQ(of("null"), R"x({ a: [ "[undefined, undefined]", "[null, null]" ] })x");
    EXPECT_EQ(of(R"x({"$exists": false})x"),
              R"x({ a: [ "[undefined, undefined]", "[null, null]" ] })x");
    EXPECT_EQ(of(R"x({"$regularExpression": {"pattern": "^ab", "options": ""}})x"),
              R"x({ a: [ "["ab", "ac")", "[/^ab/, /^ab/]" ] })x");
    EXPECT_EQ(of(R"x({"$gt": 2, "$lte": 6, "$ne": 4})x"), R"x({ a: [ "(2, 4)", "(4, 6]" ] })x");
    EXPECT_EQ(of(R"x({"$gte": {"$date": "1970-01-01T00:00:00.005Z"}})x"),
              R"x({ a: [ "[new Date(5), new Date(9223372036854775807)]" ] })x");
    EXPECT_EQ(of(R"x({"$gt": 7, "$lt": 3})x"), "none");
    EXPECT_EQ(summary(collection, R"x({"filter": {"a": {"$in": []}}})x"), "EOF");
}

TEST(Bounds, AreNotCombinedOverArrays) {
    FakeCollection collection;
    collection.insert(R"x({"_id": 1, "a": [1, 10]})x");
    collection.insert(R"x({"_id": 2, "a": [{"b": 1, "c": 2}, {"b": 2, "c": 1}]})x");
    collection.add_index(R"x({"a": 1})x");
    collection.add_index(R"x({"a.b": 1, "a.c": 1})x");
    EXPECT_EQ(run(collection, make_request(R"x({"filter": {"a": {"$gt": 5, "$lt": 3}}})x")),
              Ids{1});
    EXPECT_EQ(bounds(collection, R"x({"filter": {"a": {"$gt": 5, "$lt": 3}}})x"),
              R"x({ a: [ "(5, inf.0]" ] })x");
    EXPECT_EQ(run(collection, make_request(R"x({"filter": {"a.b": 1, "a.c": 1}})x")), Ids{2});
    EXPECT_EQ(bounds(collection, R"x({"filter": {"a.b": 1, "a.c": 1}})x"),
              R"x({ a.b: [ "[1, 1]" ], a.c: [ "[MinKey, MaxKey]" ] })x");
    EXPECT_EQ(bounds(collection, R"x({"filter": {"a": {"$elemMatch": {"b": 1, "c": 2}}}})x"),
              R"x({ a.b: [ "[1, 1]" ], a.c: [ "[2, 2]" ] })x");
    EXPECT_EQ(bounds(collection, R"x({"filter": {"a": {"$elemMatch": {"$gt": 5, "$lt": 30}}}})x"),
              R"x({ a: [ "(5, 30)" ] })x");
}

TEST(Planner, UsesPartialAndSparseIndexesOnlyWhereTheyHoldEnough) {
    FakeCollection collection;
    fill(collection, 50);
    collection.add_index(R"({"a": 1})", {.partial_filter = R"({"b": {"$gt": 2}})"});
    collection.add_index(R"({"c": 1})", {.is_sparse = true});
    EXPECT_EQ(summary(collection, R"({"filter": {"a": 1}})"), "COLLSCAN");
    EXPECT_EQ(summary(collection, R"({"filter": {"a": 1, "b": 1}})"), "COLLSCAN");
    EXPECT_EQ(summary(collection, R"({"filter": {"a": 1, "b": 4}})"), "IXSCAN { a: 1 }");
    EXPECT_EQ(summary(collection, R"({"filter": {"a": 1, "b": {"$gte": 3}}})"), "IXSCAN { a: 1 }");
    EXPECT_EQ(summary(collection, R"({"filter": {"c": 3}})"), "IXSCAN { c: 1 }");
    EXPECT_EQ(summary(collection, R"({"filter": {"c": null}})"), "COLLSCAN");
    EXPECT_EQ(summary(collection, R"({"filter": {"c": {"$ne": 3}}})"), "COLLSCAN");
    EXPECT_EQ(summary(collection, R"({"sort": {"c": 1}})"), "COLLSCAN");
    EXPECT_EQ(summary(collection, R"({"sort": {"c": 1}, "hint": "c_1"})"), "IXSCAN { c: 1 }");
}

TEST(Planner, ChoosesByEqualityThenSortThenTrial) {
    FakeCollection collection;
    fill(collection, 500);
    collection.add_index(R"({"a": 1})");
    collection.add_index(R"({"a": 1, "b": 1})");
    collection.add_index(R"({"c": 1})");
    EXPECT_EQ(summary(collection, R"({"filter": {"a": 1, "b": 2}})"), "IXSCAN { a: 1, b: 1 }");
    EXPECT_EQ(summary(collection, R"({"filter": {"a": 1}, "sort": {"b": 1}})"),
              "IXSCAN { a: 1, b: 1 }");
    EXPECT_EQ(summary(collection, R"({"filter": {"a": 1, "c": {"$lt": 5}}})"), "IXSCAN { c: 1 }");
    EXPECT_EQ(summary(collection, R"({"filter": {"a": 1, "c": {"$gt": 0}}})"), "IXSCAN { a: 1 }");
}

TEST(Planner, TakesTheSortFromAnIndexInEitherDirection) {
    FakeCollection collection;
    fill(collection, 30);
    collection.add_index(R"({"a": 1, "c": -1})");
    const auto is_blocking = [&](std::string_view request) {
        return winner(collection, make_request(request)).find("\"SORT\"") != std::string::npos;
    };
    EXPECT_FALSE(is_blocking(R"({"sort": {"a": 1}})"));
    EXPECT_FALSE(is_blocking(R"({"sort": {"a": -1, "c": 1}})"));
    EXPECT_TRUE(is_blocking(R"({"sort": {"a": 1, "c": 1}})"));
    EXPECT_FALSE(is_blocking(R"({"filter": {"a": 3}, "sort": {"c": 1}})"));
    EXPECT_FALSE(is_blocking(R"({"filter": {"a": {"$in": [3, 4]}}, "sort": {"c": 1}})"));
    EXPECT_TRUE(is_blocking(R"({"filter": {"a": {"$gt": 3}}, "sort": {"c": 1}})"));
    EXPECT_EQ(
        run(collection, make_request(R"({"filter": {"a": {"$in": [3, 4]}}, "sort": {"c": -1}})")),
        (Ids{24, 23, 14, 13, 4, 3}));
    EXPECT_EQ(run(collection,
                  make_request(
                      R"({"filter": {"$or": [{"a": 5}, {"a": 3, "b": {"$gte": 0}}]},
                                      "sort": {"c": 1}, "skip": 1, "limit": 3})")),
              (Ids{5, 13, 15}));
}

TEST(Planner, TakesHints) {
    FakeCollection collection;
    fill(collection, 20);
    collection.add_index(R"({"a": 1})");
    collection.add_index(R"({"b": 1})");
    EXPECT_EQ(summary(collection, R"({"filter": {"a": 1, "b": 1}, "hint": "b_1"})"),
              "IXSCAN { b: 1 }");
    EXPECT_EQ(summary(collection, R"({"filter": {"a": 1, "b": 1}, "hint": {"b": 1.0}})"),
              "IXSCAN { b: 1 }");
    EXPECT_EQ(summary(collection, R"({"filter": {"a": 1}, "hint": {"$natural": 1}})"), "COLLSCAN");
    const Ids backward = run(collection, make_request(R"({"sort": {"$natural": -1}})"));
    EXPECT_EQ(backward.front(), 19);
    auto transaction = *collection.engine().begin();
    Executor executor(collection, make_request(R"({"hint": "nope_1"})"));
    const Status status = executor.start(*transaction);
    EXPECT_EQ(status.error().code(), ErrorCode::bad_value);
    EXPECT_EQ(status.error().reason(),
              "error processing query: ns=test.cTree: $and\nSort: {}\nProj: {}\n planner returned "
              "error :: caused by :: hint provided does not correspond to an existing index");
}

TEST(Planner, ReadsBetweenMinAndMax) {
    FakeCollection collection;
    fill(collection, 50);
    collection.add_index(R"({"c": 1})");
    EXPECT_EQ(
        run(collection, make_request(R"({"min": {"c": 3}, "max": {"c": 6}, "hint": {"c": 1}})")),
        (Ids{3, 4, 5}));
    auto transaction = *collection.engine().begin();
    Executor without_hint(collection, make_request(R"({"min": {"c": 3}})"));
    EXPECT_EQ(without_hint.start(*transaction).error().code(), location(51173));
    Executor mismatch(collection, make_request(R"({"min": {"a": 3}, "hint": {"c": 1}})"));
    EXPECT_EQ(mismatch.start(*transaction).error().code(), location(51174));
}

TEST(Executor, FailsASortThatNeedsTooMuchMemory) {
    FakeCollection collection;
    fill(collection, 100);
    auto transaction = *collection.engine().begin();
    ReadRequest request = make_request(R"({"sort": {"c": -1}})");
    request.sort_bytes_max = 2000;
    Executor executor(collection, std::move(request));
    ASSERT_TRUE(executor.start(*transaction));
    EXPECT_EQ(executor.next().error().code(),
              ErrorCode::query_exceeded_memory_limit_no_disk_use_allowed);
    // With a limit only so many are held.
    ReadRequest limited = make_request(R"({"sort": {"c": -1}, "limit": 5})");
    limited.sort_bytes_max = 2000;
    EXPECT_EQ(run(collection, std::move(limited)), (Ids{99, 98, 97, 96, 95}));
}

TEST(Executor, ContinuesAfterEveryDocumentInAnotherTransaction) {
    FakeCollection collection;
    fill(collection, 60);
    collection.insert(R"({"_id": 100, "a": [3, 4], "b": 2, "c": 500})");
    collection.add_index(R"({"a": 1})");
    collection.add_index(R"({"b": 1, "c": -1})");
    for (const char* json : {R"({"filter": {"b": {"$gte": 0}}, "hint": {"$natural": 1}})",
                             R"({"filter": {"a": {"$in": [3, 4]}}})",
                             R"({"filter": {"a": {"$gte": 2}}, "hint": "a_1"})",
                             R"({"filter": {"b": {"$in": [1, 2]}}, "sort": {"c": 1}})",
                             R"({"sort": {"c": -1}})",
                             R"({"filter": {"$or": [{"a": 3}, {"b": 2}]}})",
                             R"({"filter": {"_id": 5}})"}) {
        const Ids expected = run(collection, make_request(json));
        Executor executor(collection, make_request(json));
        auto transaction = *collection.engine().begin();
        ASSERT_TRUE(executor.start(*transaction));
        Ids ids;
        while (*executor.next()) {
            ids.push_back(executor.document()["_id"].to_int64());
            executor.save_state();
            transaction = *collection.engine().begin();
            ASSERT_TRUE(executor.restore_state(*transaction));
        }
        EXPECT_EQ(ids, expected) << json;
    }
}

TEST(Executor, TailsWhatIsAddedLater) {
    FakeCollection collection;
    collection.become_oplog();
    for (std::uint32_t i = 1; i <= 5; ++i) {
        const Timestamp ts{100, i};
        collection.insert_at({static_cast<std::int64_t>(ts.packed())}, bson::make("ts", ts));
    }
    ReadRequest request =
        make_request(R"({"filter": {"ts": {"$gte": {"$timestamp": {"t": 100, "i": 4}}}}})");
    request.is_tailable = true;
    auto transaction = *collection.engine().begin();
    Executor executor(collection, std::move(request));
    ASSERT_TRUE(executor.start(*transaction));
    EXPECT_TRUE(*executor.next());
    EXPECT_EQ(executor.document()["ts"].as_timestamp(), (Timestamp{100, 4}));
    EXPECT_TRUE(*executor.next());
    EXPECT_FALSE(*executor.next());
    EXPECT_EQ(executor.docs_examined(), 2U);
    executor.save_state();
    const Timestamp ts{100, 6};
    collection.insert_at({static_cast<std::int64_t>(ts.packed())}, bson::make("ts", ts));
    transaction = *collection.engine().begin();
    ASSERT_TRUE(executor.restore_state(*transaction));
    EXPECT_TRUE(*executor.next());
    EXPECT_EQ(executor.document()["ts"].as_timestamp(), ts);
    EXPECT_FALSE(*executor.next());
}

TEST(Executor, SaysWhenItsPlaceInACappedCollectionIsGone) {
    FakeCollection collection;
    collection.become_oplog();
    for (std::uint32_t i = 1; i <= 5; ++i) {
        const Timestamp ts{100, i};
        collection.insert_at({static_cast<std::int64_t>(ts.packed())}, bson::make("ts", ts));
    }
    auto transaction = *collection.engine().begin();
    Executor executor(collection, ReadRequest());
    ASSERT_TRUE(executor.start(*transaction));
    EXPECT_TRUE(*executor.next());
    executor.save_state();
    transaction = *collection.engine().begin();
    ASSERT_TRUE(executor.restore_state(*transaction));
    executor.save_state();
    transaction = *collection.engine().begin();
    const Timestamp first{100, 1};
    const bson::RecordId id{static_cast<std::int64_t>(first.packed())};
    ASSERT_TRUE(transaction->remove(collection.records(), bson::record_key(id)));
    ASSERT_TRUE(transaction->commit());
    transaction = *collection.engine().begin();
    EXPECT_EQ(executor.restore_state(*transaction).error().code(),
              ErrorCode::capped_position_lost);
}

class StopAfter : public InterruptCheck {
public:
    explicit StopAfter(int checks) : left_(checks) {}
    Status check() override {
        if (left_-- > 0) return ok();
        return Error(ErrorCode::interrupted, "operation was interrupted");
    }

private:
    int left_;
};

TEST(Executor, StopsWhenInterrupted) {
    FakeCollection collection;
    fill(collection, 2000);
    StopAfter stop(2);
    auto transaction = *collection.engine().begin();
    Executor executor(collection, make_request(R"({"filter": {"c": -1}})"), &stop);
    ASSERT_TRUE(executor.start(*transaction));
    EXPECT_EQ(executor.next().error().code(), ErrorCode::interrupted);
}

class OddOnly : public OwnershipFilter {
public:
    bool owns(bson::View document) const override { return document["_id"].to_int64() % 2 == 1; }
};

TEST(Executor, LeavesOutWhatTheShardDoesNotOwnBeforeTheLimit) {
    FakeCollection collection;
    fill(collection, 20);
    collection.add_index(R"({"c": 1})");
    const OddOnly odd;
    ReadRequest request =
        make_request(R"({"filter": {"c": {"$gte": 4}}, "sort": {"c": 1}, "limit": 3})");
    request.ownership = &odd;
    EXPECT_EQ(run(collection, std::move(request)), (Ids{5, 7, 9}));
    ReadRequest by_id = make_request(R"({"filter": {"_id": 4}})");
    by_id.ownership = &odd;
    EXPECT_EQ(run(collection, std::move(by_id)), Ids{});
    ReadRequest count = make_request(R"({"filter": {"c": {"$gte": 4}}})");
    count.ownership = &odd;
    count.purpose = ReadPurpose::count;
    auto transaction = *collection.engine().begin();
    Executor executor(collection, std::move(count));
    ASSERT_TRUE(executor.start(*transaction));
    EXPECT_EQ(*executor.count(), 8);
}

TEST(Executor, GivesNothingOfACollectionThatIsNotThere) {
    FakeCollection other;
    auto transaction = *other.engine().begin();
    Executor executor(Namespace{"test", "none"}, make_request(R"({"filter": {"a": 1}})"));
    ASSERT_TRUE(executor.start(*transaction));
    EXPECT_FALSE(*executor.next());
    EXPECT_EQ(executor.plan_summary(), "EOF");
}

}  // namespace
}  // namespace tessera::query
