// SPDX-License-Identifier: Apache-2.0
//
// The catalog on both engines: DDL, documents and their indexes, and what a restart finds.
#include "catalog/catalog.h"

#include <thread>

#include <gtest/gtest.h>

#include "bson/builder.h"
#include "bson/ids.h"
#include "bson/json.h"
#include "catalog/index.h"
#include "catalog/limits.h"
#include "query/plan/collection_source.h"
#include "storage/test_engine.h"

namespace tessera::catalog {
namespace {

using storage::EngineKind;

bson::Document json(std::string_view text) {
    auto document = bson::from_json(text);
    EXPECT_TRUE(document.has_value()) << text;
    return std::move(document).value();
}

testing::AssertionResult starts_with(const char*,
                                     const char*,
                                     const std::string& text,
                                     std::string_view prefix) {
    if (text.starts_with(prefix)) return testing::AssertionSuccess();
    return testing::AssertionFailure() << text << "\ndoes not start with\n" << prefix;
}

class CatalogTest : public testing::TestWithParam<EngineKind> {
protected:
    CatalogTest() { open(); }

    void open() {
        catalog_.reset();
        auto opened = Catalog::open(*engine_, logs_tables_, random_);
        EXPECT_TRUE(opened.has_value()) << opened.error().to_string();
        catalog_ = std::move(opened).value();
    }
    // As a restart of the process, cleanly; the memory engine lives on.
    void restart() {
        ASSERT_TRUE(catalog_->save_counts());
        catalog_.reset();
        if (GetParam() == EngineKind::wiredtiger) {
            engine_.reset();
            engine_ = storage::open_test_engine(GetParam(), directory_.path());
        }
        open();
    }

    std::unique_ptr<storage::Transaction> begin(Timestamp at = {}) {
        auto transaction = engine_->begin();
        EXPECT_TRUE(transaction.has_value());
        if (!at.is_null()) {
            EXPECT_TRUE((*transaction)->set_timestamp(at));
        }
        return std::move(transaction).value();
    }
    // Runs a DDL in a transaction; commits and publishes it.
    template <class Body>
    Status ddl(Body body, Timestamp at = {}) {
        auto transaction = begin(at);
        TRY(auto change, body(*transaction));
        TRY_OK(transaction->commit());
        change.published();
        return ok();
    }
    Status create(const Namespace& ns, std::string_view options = "{}", Timestamp at = {}) {
        CreateOptions create_options;
        create_options.uuid = bson::make_uuid(random_);
        create_options.options = json(options);
        return ddl([&](auto& t) { return catalog_->create(t, ns, create_options); }, at);
    }
    Status create_index(const Namespace& ns, std::string_view spec, Timestamp at = {}) {
        const auto collection = catalog_->find(ns);
        TRY(const auto checked, catalog_->check_index(*collection, json(spec)));
        if (checked.exists_already) return Error(ErrorCode::index_already_exists, "exists");
        const auto body = [&](auto& t) {
            return catalog_->create_index(t, *collection, checked.spec, at);
        };
        return ddl(body, at);
    }
    Status insert(std::string_view document, Timestamp at = {}, const Namespace& ns = books) {
        auto transaction = begin(at);
        TRY(const auto id, catalog_->find(ns)->insert(*transaction, json(document)));
        (void)id;
        return transaction->commit();
    }
    Status update(int id, std::string_view after, Timestamp at = {}) {
        const auto collection = catalog_->find(books);
        auto transaction = begin(at);
        const bson::Document key = bson::make("_id", id);
        TRY(const auto found, collection->find_by_id(*transaction, key["_id"]));
        TRY_OK(collection->update(*transaction, found->id, found->document, json(after)));
        return transaction->commit();
    }
    Status remove(int id, Timestamp at = {}) {
        const auto collection = catalog_->find(books);
        auto transaction = begin(at);
        const bson::Document key = bson::make("_id", id);
        TRY(const auto found, collection->find_by_id(*transaction, key["_id"]));
        TRY_OK(collection->remove(*transaction, found->id, found->document));
        return transaction->commit();
    }
    std::string find_one(int id) {
        auto transaction = begin();
        const bson::Document key = bson::make("_id", id);
        const auto found = catalog_->find(books)->find_by_id(*transaction, key["_id"]);
        EXPECT_TRUE(found.has_value());
        return *found ? bson::to_json((*found)->document) : "-";
    }
    ValidationReport validate(const Namespace& ns = books) {
        auto report = validate_collection(*catalog_->find(ns), *engine_);
        EXPECT_TRUE(report.has_value());
        return std::move(report).value();
    }
    std::int64_t keys(std::string_view index) {
        for (const auto& [name, count] : validate().keys_per_index) {
            if (name == index) return count;
        }
        return -1;
    }
    static std::string text(const Status& status) {
        return status ? "ok" : status.error().to_string();
    }

    static inline const Namespace books{"tp", "books"};
    bool logs_tables_ = true;
    storage::TemporaryDirectory directory_;
    std::unique_ptr<storage::Engine> engine_ =
        storage::open_test_engine(GetParam(), directory_.path());
    Random random_{7};
    std::unique_ptr<Catalog> catalog_;
};

INSTANTIATE_TEST_SUITE_P(Engines,
                         CatalogTest,
                         testing::Values(EngineKind::wiredtiger, EngineKind::memory),
                         [](const auto& engine) {
                             return engine.param == EngineKind::memory ? "memory" : "wiredtiger";
                         });

TEST_P(CatalogTest, CreatesListsAndDrops) {
    ASSERT_TRUE(create(books));
    ASSERT_TRUE(create({"tp", "authors"}));
    ASSERT_TRUE(create({"aa", "x"}));
    EXPECT_EQ(catalog_->databases(), (std::vector<std::string>{"aa", "tp"}));
    EXPECT_EQ(catalog_->collections("tp").size(), 2U);
    const auto collection = catalog_->find(books);
    ASSERT_NE(collection, nullptr);
    EXPECT_EQ(catalog_->find(collection->uuid()), collection);
    EXPECT_EQ(bson::to_json(collection->indexes()[0]->spec()),
              R"({"v":2,"key":{"_id":1},"name":"_id_"})");
    EXPECT_EQ(text(create(books)), "NamespaceExists (48): Collection tp.books already exists.");
    EXPECT_EQ(create({"TP", "x"}).error().code(), ErrorCode::database_differ_case);
    ASSERT_TRUE(ddl([&](auto& t) { return catalog_->drop(t, books, {}); }));
    EXPECT_EQ(catalog_->find(books), nullptr);
    EXPECT_EQ(text(ddl([&](auto& t) { return catalog_->drop(t, books, {}); })),
              "NamespaceNotFound (26): ns not found");
    restart();
    EXPECT_EQ(catalog_->collections("tp").size(), 1U);
}

TEST_P(CatalogTest, AnUnpublishedChangeLeavesNothing) {
    const std::size_t before = engine_->idents().size();
    {
        auto transaction = begin();
        CreateOptions options;
        options.uuid = bson::make_uuid(random_);
        const auto change = catalog_->create(*transaction, books, options);
        EXPECT_TRUE(change.has_value());
        EXPECT_EQ(catalog_->find(books), nullptr);
    }
    EXPECT_EQ(engine_->idents().size(), before);
    EXPECT_TRUE(create(books));
}

TEST_P(CatalogTest, ChecksOptions) {
    EXPECT_EQ(text(create(books, R"({"capped": true})")),
              "InvalidOptions (72): the 'size' field is required when 'capped' is true");
    EXPECT_EQ(text(create(books, R"({"foo": 1})")),
              "IDLUnknownField (40415): BSON field 'create.foo' is an unknown field.");
    EXPECT_EQ(create(books, R"({"validator": {"$foo": 1}})").error().code(), ErrorCode::bad_value);
    EXPECT_EQ(create(books, R"({"timeseries": {"timeField": "t"}})").error().code(),
              ErrorCode::not_implemented);
    EXPECT_EQ(create(books, R"({"validationLevel": "x"})").error().code(), ErrorCode::bad_value);
    EXPECT_EQ(create({"tp", "a$b"}).error().code(), ErrorCode::invalid_namespace);
    ASSERT_TRUE(create(books, R"({"capped": true, "size": 10, "max": 2})"));
    EXPECT_EQ(bson::to_json(catalog_->find(books)->options().document),
              R"({"capped":true,"size":4096,"max":2})");
}

TEST_P(CatalogTest, DocumentsComeAndGo) {
    ASSERT_TRUE(create(books));
    ASSERT_TRUE(insert(R"({"_id": 1, "a": 1})"));
    ASSERT_TRUE(insert(R"({"_id": 2, "a": 2})"));
    EXPECT_EQ(find_one(1), R"({"_id":1,"a":1})");
    ASSERT_TRUE(update(1, R"({"_id": 1, "a": 5, "b": "longer"})"));
    EXPECT_EQ(find_one(1), R"({"_id":1,"a":5,"b":"longer"})");
    ASSERT_TRUE(remove(2));
    EXPECT_EQ(find_one(2), "-");
    EXPECT_EQ(catalog_->find(books)->count(), 1);
    EXPECT_EQ(catalog_->find(books)->data_size(), json(find_one(1)).size());
    restart();
    EXPECT_EQ(catalog_->find(books)->count(), 1);
    ASSERT_TRUE(insert(R"({"_id": 3})"));
    EXPECT_TRUE(validate().errors.empty());
    EXPECT_EQ(validate().records, 2);
}

TEST_P(CatalogTest, RefusesDuplicatesAsMongoDoes) {
    ASSERT_TRUE(create(books));
    ASSERT_TRUE(create_index(books, R"({"key": {"k1": 1, "k2": 1}, "name": "k", "unique": true})"));
    ASSERT_TRUE(insert(R"({"_id": 1, "k1": 1, "k2": "b"})"));
    const Status id = insert(R"({"_id": 1, "k1": 2})");
    EXPECT_EQ(text(id),
              "DuplicateKey (11000): E11000 duplicate key error collection: tp.books "
              "index: _id_ dup key: { _id: 1 }");
    EXPECT_EQ(bson::to_json(bson::View(id.error().details().data())),
              R"({"keyPattern":{"_id":1},"keyValue":{"_id":1}})");
    EXPECT_EQ(text(insert(R"({"_id": 2, "k1": 1, "k2": "b"})")),
              "DuplicateKey (11000): E11000 duplicate key error collection: tp.books index: k dup "
              "key: { k1: 1, k2: \"b\" }");
    ASSERT_TRUE(insert(R"({"_id": 2, "k1": 1, "k2": "c"})"));
    EXPECT_FALSE(update(2, R"({"_id": 2, "k1": 1, "k2": "b"})"));
    ASSERT_TRUE(update(2, R"({"_id": 2, "k1": 1.0, "k2": "c", "x": 1})"));
    ASSERT_TRUE(remove(1));
    ASSERT_TRUE(update(2, R"({"_id": 2, "k1": 1, "k2": "b"})"));
    EXPECT_TRUE(validate().errors.empty());
    // A secondary may store what is a duplicate for a while.
    {
        auto transaction = begin();
        EXPECT_TRUE(catalog_->find(books)->insert(
            *transaction, json(R"({"_id": 9, "k1": 1, "k2": "b"})"), unchecked));
        EXPECT_TRUE(transaction->commit());
    }
    EXPECT_EQ(keys("k"), 2);
}

TEST_P(CatalogTest, ConcurrentDuplicatesConflict) {
    ASSERT_TRUE(create(books));
    ASSERT_TRUE(create_index(books, R"({"key": {"u": 1}, "name": "u", "unique": true})"));
    const auto collection = catalog_->find(books);
    auto one = begin();
    auto two = begin();
    ASSERT_TRUE(collection->insert(*one, json(R"({"_id": 1, "u": 1})")));
    const auto conflict = collection->insert(*two, json(R"({"_id": 2, "u": 1})"));
    ASSERT_FALSE(conflict);
    EXPECT_EQ(conflict.error().code(), ErrorCode::write_conflict);
    two.reset();
    auto three = begin();
    const bson::Document key = bson::make("_id", 7);
    EXPECT_TRUE(collection->find_by_id(*three, key["_id"]));  // Takes its snapshot.
    ASSERT_TRUE(one->commit());
    const auto late = collection->insert(*three, json(R"({"_id": 3, "u": 1})"));
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code(), ErrorCode::write_conflict);
}

TEST_P(CatalogTest, KeepsIndexesInStep) {
    ASSERT_TRUE(create(books));
    ASSERT_TRUE(insert(R"({"_id": 1, "a": [1, 2, 3], "s": 1, "p": 9})"));
    ASSERT_TRUE(create_index(books, R"({"key": {"a": 1}, "name": "a"})"));
    ASSERT_TRUE(create_index(books, R"({"key": {"s": -1}, "name": "s", "sparse": true})"));
    ASSERT_TRUE(create_index(
        books, R"({"key": {"p": 1}, "name": "p", "partialFilterExpression": {"p": {"$gt": 5}}})"));
    ASSERT_TRUE(create_index(books, R"({"key": {"h": "hashed"}, "name": "h"})"));
    const auto& indexes = catalog_->find(books)->indexes();
    ASSERT_EQ(indexes.size(), 5U);
    EXPECT_TRUE(indexes[1]->is_multikey());
    EXPECT_FALSE(indexes[2]->is_multikey());
    EXPECT_EQ(keys("a"), 3);
    EXPECT_EQ(keys("s"), 1);
    EXPECT_EQ(keys("p"), 1);
    EXPECT_EQ(keys("h"), 1);
    ASSERT_TRUE(insert(R"({"_id": 2, "p": 1, "h": 5})"));
    EXPECT_EQ(keys("a"), 4);
    EXPECT_EQ(keys("s"), 1);
    EXPECT_EQ(keys("p"), 1);
    ASSERT_TRUE(update(2, R"({"_id": 2, "a": [[1], 2], "s": [1, 2], "p": 6})"));
    EXPECT_EQ(keys("a"), 5);
    EXPECT_EQ(keys("s"), 3);
    EXPECT_EQ(keys("p"), 2);
    ASSERT_TRUE(remove(1));
    EXPECT_EQ(keys("a"), 2);
    EXPECT_TRUE(validate().errors.empty());
    restart();
    EXPECT_TRUE(catalog_->find(books)->indexes()[1]->is_multikey());
    EXPECT_TRUE(validate().errors.empty());
    const Status hashed = insert(R"({"_id": 3, "h": [1]})");
    ASSERT_FALSE(hashed);
    EXPECT_EQ(hashed.error().code(), location(16766));
    ASSERT_TRUE(create_index(books, R"({"key": {"x": 1, "y": 1}, "name": "xy"})"));
    EXPECT_EQ(insert(R"({"_id": 3, "x": [1], "y": [1]})").error().code(),
              ErrorCode::cannot_index_parallel_arrays);
}

TEST_P(CatalogTest, ChecksIndexSpecifications) {
    ASSERT_TRUE(create(books));
    const auto refused = [&](std::string_view spec) { return text(create_index(books, spec)); };
    EXPECT_EQ(refused(R"({"key": {"a": 1}})"),
              "FailedToParse (9): Error in specification { key: { a: 1 } } :: caused by :: The "
              "'name' field is a required property of an index specification");
    EXPECT_PRED_FORMAT2(
        starts_with,
        refused(R"({"key": {"a": 1}, "name": "a1", "foo": 1})"),
        "InvalidIndexSpecificationOption (197): Error in specification { key: { a: 1 }, name: "
        "\"a1\", foo: 1 } :: caused by :: The field 'foo' is not valid for an index spec");
    EXPECT_EQ(
        refused(R"({"key":{"a":1},"name":"sp","sparse":true,"partialFilterExpression":{"a":1}})"),
        "CannotCreateIndex (67): Error in specification { key: { a: 1 }, name: \"sp\", sparse: "
        "true, partialFilterExpression: { a: 1 }, v: 2 } :: caused by :: cannot mix "
        "\"partialFilterExpression\" and \"sparse\" options");
    EXPECT_PRED_FORMAT2(
        starts_with,
        refused(R"({"key":{"a":1,"b":1},"name":"ttl","expireAfterSeconds":5})"),
        "CannotCreateIndex (67): TTL indexes are single-field indexes, compound indexes do "
        "not support TTL. Index spec: { key: { a: 1, b: 1 }, name: ");
    EXPECT_NE(refused(R"({"key": {}, "name": "x"})").find("Index keys cannot be empty."),
              std::string::npos);
    EXPECT_NE(refused(R"({"key": {"a": 0}, "name": "x"})").find("cannot be 0"), std::string::npos);
    EXPECT_NE(refused(R"({"key": {"a": "foo"}, "name": "x"})").find("Unknown index plugin 'foo'"),
              std::string::npos);
    EXPECT_NE(refused(R"({"key": {"a": "text"}, "name": "x"})").find("NotImplemented"),
              std::string::npos);
    EXPECT_NE(refused(R"({"key": {"$**": 1}, "name": "x"})").find("NotImplemented"),
              std::string::npos);
    ASSERT_TRUE(create_index(books, R"({"key": {"p": 1}, "name": "same"})"));
    EXPECT_NE(refused(R"({"key": {"p": 1}, "name": "same"})").find("exists"), std::string::npos);
    EXPECT_EQ(refused(R"({"key": {"q": 1}, "name": "same"})").substr(0, 26),
              "IndexKeySpecsConflict (86)");
    EXPECT_EQ(refused(R"({"key": {"p": 1}, "name": "same", "sparse": true})").substr(0, 26),
              "IndexKeySpecsConflict (86)");
    EXPECT_EQ(
        refused(R"({"key": {"p": 1}, "name": "same", "expireAfterSeconds": 10})").substr(0, 120),
        "IndexOptionsConflict (85): An equivalent index already exists with the same name but "
        "different options. Requested index:");
    EXPECT_EQ(refused(R"({"key": {"p": 1}, "name": "third"})"),
              "IndexOptionsConflict (85): Index already exists with a different name: same");
    const auto checked = catalog_->check_index(*catalog_->find(books),
                                               json(R"({"key": {"_id": 1}, "name": "whatever"})"));
    EXPECT_TRUE(checked->exists_already);
}

TEST_P(CatalogTest, AUniqueBuildOverDuplicatesFails) {
    ASSERT_TRUE(create(books));
    for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(insert("{\"_id\": " + std::to_string(i) + ", \"w\": 1}"));
    }
    const std::size_t before = engine_->idents().size();
    const Status status = create_index(books, R"({"key": {"w": 1}, "name": "w1", "unique": true})");
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code(), ErrorCode::duplicate_key);
    EXPECT_TRUE(status.error().reason().starts_with("Index build failed: "));
    EXPECT_NE(status.error().reason().find("E11000 duplicate key error collection: tp.books index: "
                                           "w1 dup key: { w: 1 }"),
              std::string::npos);
    EXPECT_EQ(bson::to_json(bson::View(status.error().details().data())),
              R"({"keyPattern":{"w":1},"keyValue":{"w":1}})");
    EXPECT_EQ(engine_->idents().size(), before);
    EXPECT_EQ(catalog_->find(books)->indexes().size(), 1U);
}

TEST_P(CatalogTest, FillsIndexesInBatches) {
    ASSERT_TRUE(create(books));
    {
        auto transaction = begin();
        for (int i = 0; i < 2500; ++i) {
            const bson::Document document = bson::make("_id", i, "a", i % 7);
            ASSERT_TRUE(catalog_->find(books)->insert(*transaction, document));
        }
        ASSERT_TRUE(transaction->commit());
    }
    ASSERT_TRUE(create_index(books, R"({"key": {"a": -1}, "name": "a"})"));
    EXPECT_EQ(keys("a"), 2500);
    EXPECT_TRUE(validate().errors.empty());
    const auto drop = [&](std::string_view name) {
        return ddl(
            [&](auto& t) { return catalog_->drop_index(t, *catalog_->find(books), name, {}); });
    };
    EXPECT_EQ(text(drop("nope")), "IndexNotFound (27): index not found with name [nope]");
    EXPECT_EQ(text(drop("_id_")), "InvalidOptions (72): cannot drop _id index");
    ASSERT_TRUE(drop("a"));
    EXPECT_EQ(catalog_->find(books)->indexes().size(), 1U);
}

TEST_P(CatalogTest, SeveralChangesMayShareATransaction) {
    ASSERT_TRUE(create(books));
    const auto collection = catalog_->find(books);
    auto transaction = begin();
    const auto a = json(R"({"v": 2, "key": {"a": 1}, "name": "a"})");
    const auto b = json(R"({"v": 2, "key": {"b": 1}, "name": "b"})");
    auto first = catalog_->create_index(*transaction, *collection, a, {});
    auto second = catalog_->create_index(*transaction, *collection, b, {});
    ASSERT_TRUE(first.has_value() && second.has_value());
    ASSERT_TRUE(transaction->commit());
    first->published();
    second->published();
    EXPECT_EQ(catalog_->find(books)->indexes().size(), 3U);
    restart();
    EXPECT_EQ(catalog_->find(books)->indexes().size(), 3U);
}

TEST_P(CatalogTest, Renames) {
    const Namespace other{"tp", "other"};
    ASSERT_TRUE(create(books));
    ASSERT_TRUE(create(other));
    ASSERT_TRUE(insert(R"({"_id": 1})"));
    const bson::Uuid uuid = catalog_->find(books)->uuid();
    const auto rename = [&](const Namespace& from, const Namespace& to, bool drops) {
        return ddl([&](auto& t) {
            return catalog_->rename(t, from, to, RenameOptions{.drop_target = drops}, {});
        });
    };
    EXPECT_EQ(text(rename({"tp", "nope"}, other, false)),
              "NamespaceNotFound (26): Source collection tp.nope does not exist");
    EXPECT_EQ(text(rename(books, other, false)), "NamespaceExists (48): target namespace exists");
    ASSERT_TRUE(rename(books, other, true));
    EXPECT_EQ(catalog_->find(books), nullptr);
    ASSERT_NE(catalog_->find(other), nullptr);
    EXPECT_EQ(catalog_->find(other)->uuid(), uuid);
    EXPECT_EQ(catalog_->find(other)->count(), 1);
    EXPECT_EQ(text(insert(R"({"_id": 1})", {}, other)).find("tp.other") != std::string::npos, true);
    restart();
    EXPECT_EQ(catalog_->find(uuid)->ns(), other);
    EXPECT_EQ(catalog_->collections("tp").size(), 1U);
}

TEST_P(CatalogTest, ModifiesCollections) {
    ASSERT_TRUE(create(books));
    ASSERT_TRUE(
        create_index(books, R"({"key": {"t": 1}, "name": "t", "expireAfterSeconds": 3600})"));
    std::string reply;
    const auto modify = [&](std::string_view command) {
        return ddl([&](auto& t) -> Result<CatalogChange> {
            TRY(auto result, catalog_->coll_mod(t, *catalog_->find(books), json(command)));
            reply = bson::to_json(result.reply);
            return std::move(result.change);
        });
    };
    ASSERT_TRUE(
        modify(R"({"collMod": "books", "index": {"name": "t", "expireAfterSeconds": 60}})"));
    EXPECT_EQ(reply, R"({"expireAfterSeconds_old":3600,"expireAfterSeconds_new":60})");
    EXPECT_EQ(catalog_->find(books)->indexes()[1]->expire_after_seconds(), 60);
    ASSERT_TRUE(modify(R"({"index": {"keyPattern": {"t": 1}, "hidden": true}})"));
    EXPECT_EQ(reply, R"({"hidden_old":false,"hidden_new":true})");
    EXPECT_TRUE(catalog_->find(books)->indexes()[1]->is_hidden());
    ASSERT_TRUE(modify(R"({"validator": {"q": {"$gte": 1}}, "validationLevel": "moderate"})"));
    const Status failure = insert(R"({"_id": 1, "q": 0})");
    EXPECT_EQ(text(failure), "DocumentValidationFailure (121): Document failed validation");
    EXPECT_NE(failure.error().details().find("failingDocumentId"), std::string_view::npos);
    ASSERT_TRUE(insert(R"({"_id": 1, "q": 2})"));
    EXPECT_FALSE(update(1, R"({"_id": 1, "q": 0})"));
    ASSERT_TRUE(modify(R"({"validationAction": "warn"})"));
    ASSERT_TRUE(update(1, R"({"_id": 1, "q": 0})"));
    ASSERT_TRUE(modify(R"({"validationAction": "error"})"));
    ASSERT_TRUE(update(1, R"({"_id": 1, "q": -1})"));  // Moderate: it was invalid before.
    EXPECT_EQ(modify(R"({"foo": 1})").error().code(), location(40415));
    EXPECT_EQ(modify(R"({"index": {"name": "nope", "hidden": true}})").error().code(),
              ErrorCode::index_not_found);
}

TEST_P(CatalogTest, CappedCollectionsKnowTheirExcess) {
    ASSERT_TRUE(create(books, R"({"capped": true, "size": 5000, "max": 3})"));
    const auto collection = catalog_->find(books);
    for (int i = 0; i < 3; ++i)
        ASSERT_TRUE(insert("{\"_id\": " + std::to_string(i) + "}"));
    auto transaction = begin();
    EXPECT_TRUE((*collection->capped_excess(*transaction)).empty());
    ASSERT_TRUE(collection->insert(*transaction, json(R"({"_id": 3})")));
    const auto excess = collection->capped_excess(*transaction);
    ASSERT_EQ(excess->size(), 1U);
    const auto oldest = collection->find_record(*transaction, (*excess)[0]);
    EXPECT_EQ(bson::to_json(**oldest), R"({"_id":0})");
    ASSERT_TRUE(collection->remove(*transaction, (*excess)[0], bson::Document(**oldest)));
    EXPECT_TRUE((*collection->capped_excess(*transaction)).empty());
}

TEST_P(CatalogTest, ReadsViews) {
    const Namespace system{"tp", "system.views"};
    ASSERT_TRUE(create(system));
    ASSERT_TRUE(insert(
        R"({"_id": "tp.v", "viewOn": "books", "pipeline": [{"$match": {"a": 1}}]})", {}, system));
    ASSERT_TRUE(catalog_->reload_views("tp"));
    const auto view = catalog_->find_view({"tp", "v"});
    ASSERT_NE(view, nullptr);
    EXPECT_EQ(view->on, "books");
    ASSERT_EQ(view->pipeline.size(), 1U);
    EXPECT_EQ(create({"tp", "v"}).error().code(), ErrorCode::namespace_exists);
    restart();
    EXPECT_EQ(catalog_->views("tp").size(), 1U);
}

TEST_P(CatalogTest, AnOplogIsKeyedByItsTimestamps) {
    const Namespace oplog{"local", "oplog.rs"};
    ASSERT_TRUE(create(oplog, R"({"capped": true, "size": 100000, "autoIndexId": false})"));
    const auto collection = catalog_->find(oplog);
    EXPECT_TRUE(collection->indexes().empty());
    EXPECT_TRUE(collection->source().is_oplog());
    const bson::Document entry = bson::make("ts", Timestamp{5, 1}, "op", "n");
    auto transaction = begin();
    const auto id = collection->insert(*transaction, entry);
    ASSERT_TRUE(id.has_value());
    EXPECT_EQ(Timestamp::unpack(static_cast<std::uint64_t>(id->value)), (Timestamp{5, 1}));
    EXPECT_TRUE(transaction->commit());
    EXPECT_TRUE(collection->record_table()->options().is_logged);
}

TEST_P(CatalogTest, HashesDatabases) {
    ASSERT_TRUE(create(books));
    ASSERT_TRUE(insert(R"({"_id": 2})"));
    ASSERT_TRUE(insert(R"({"_id": 1})"));
    const auto first = hash_database(*catalog_, *engine_, "tp", {});
    ASSERT_TRUE(first.has_value());
    ASSERT_TRUE(create({"tp2", "books"}));
    ASSERT_TRUE(insert(R"({"_id": 1})", {}, {"tp2", "books"}));
    ASSERT_TRUE(insert(R"({"_id": 2})", {}, {"tp2", "books"}));
    const auto second = hash_database(*catalog_, *engine_, "tp2", {});
    EXPECT_EQ(first->md5, second->md5);  // Order of insertion does not count.
    EXPECT_EQ(first->collections[0].second.size(), 32U);
}

TEST_P(CatalogTest, CorrectsASavedCountBesideWriters) {
    ASSERT_TRUE(create(books));
    const auto add = [&](int from, int to) {
        auto transaction = begin();
        for (int i = from; i < to; ++i)
            ASSERT_TRUE(catalog_->find(books)->insert(*transaction, bson::make("_id", i)));
        ASSERT_TRUE(transaction->commit());
    };
    const int large = static_cast<int>(limits::recount_max) + 10;
    add(0, large);
    ASSERT_TRUE(catalog_->save_counts());
    add(large, large + 7);  // Not in what was saved: as after kill -9.
    const std::int64_t bytes = catalog_->find(books)->data_size();
    catalog_.reset();
    open();
    EXPECT_EQ(catalog_->find(books)->count(), large);
    // Whoever writes while it counts, here between two slices, is counted once.
    int looks = 0;
    ASSERT_TRUE(catalog_->recount([&]() -> Status {
        if (++looks == 3) add(large + 7, large + 8);
        return ok();
    }));
    EXPECT_GT(looks, 3);
    EXPECT_EQ(catalog_->find(books)->count(), large + 8);
    EXPECT_EQ(catalog_->find(books)->data_size(), bytes + bytes / (large + 7));
    looks = 0;
    ASSERT_TRUE(catalog_->recount([&]() -> Status {
        ++looks;
        return ok();
    }));
    EXPECT_EQ(looks, 0);  // Once is enough.
}

TEST_P(CatalogTest, FollowsARecoveryToStable) {
    logs_tables_ = false;
    open();
    ASSERT_TRUE(create(books, "{}", {10, 1}));
    ASSERT_TRUE(insert(R"({"_id": 1})", {11, 1}));
    ASSERT_TRUE(create_index(books, R"({"key": {"a": 1}, "name": "a"})", {12, 1}));
    engine_->set_stable({12, 1});
    ASSERT_TRUE(insert(R"({"_id": 2, "a": [1, 2]})", {20, 1}));
    ASSERT_TRUE(create({"tp", "later"}, "{}", {21, 1}));
    ASSERT_TRUE(ddl(
        [&](auto& t) {
            return catalog_->drop_index(t, *catalog_->find(books), "a", {22, 1});
        },
        {22, 1}));
    ASSERT_TRUE(ddl([&](auto& t) { return catalog_->drop(t, books, {23, 1}); }, {23, 1}));
    EXPECT_EQ(catalog_->find(books), nullptr);
    EXPECT_EQ(text(engine_->recover_to_stable()), "ok");
    ASSERT_TRUE(catalog_->reload());
    ASSERT_NE(catalog_->find(books), nullptr);
    EXPECT_EQ(catalog_->find({"tp", "later"}), nullptr);
    EXPECT_EQ(catalog_->find(books)->count(), 1);
    EXPECT_EQ(catalog_->find(books)->indexes().size(), 2U);
    ASSERT_TRUE(insert(R"({"_id": 2, "a": [1, 2]})", {20, 2}));
    EXPECT_TRUE(validate().errors.empty());
}

TEST_P(CatalogTest, BecomesAReplicaSetMemberAndBack) {
    ASSERT_TRUE(create(books));
    ASSERT_TRUE(insert(R"({"_id": 1})"));
    ASSERT_TRUE(create({"local", "x"}));
    catalog_.reset();
    logs_tables_ = false;
    open();
    EXPECT_FALSE(catalog_->find(books)->record_table()->options().is_logged);
    EXPECT_TRUE(catalog_->find({"local", "x"})->record_table()->options().is_logged);
    ASSERT_TRUE(insert(R"({"_id": 2})", {10, 1}));
    logs_tables_ = true;
    catalog_.reset();
    open();
    EXPECT_TRUE(catalog_->find(books)->record_table()->options().is_logged);
    EXPECT_EQ(catalog_->find(books)->count(), 2);
}

TEST_P(CatalogTest, LocksAreSharedForDocumentsAndExclusiveForDdl) {
    ASSERT_TRUE(create(books));
    std::atomic<bool> is_done = false;
    std::thread writer;
    {
        const CollectionLock one = catalog_->lock_shared(books);
        const CollectionLock two = catalog_->lock_shared(books);
        EXPECT_TRUE(one && two);
        writer = std::thread([&] {
            const CollectionLock exclusive = catalog_->lock_exclusive(books);
            EXPECT_TRUE(ddl([&](auto& t) { return catalog_->drop(t, books, {}); }));
            is_done = true;
        });
        EXPECT_FALSE(is_done);
        EXPECT_EQ(one->ns(), books);
    }
    const CollectionLock after = catalog_->lock_shared({"tp", "nothing"});
    EXPECT_FALSE(after);
    writer.join();
    EXPECT_FALSE(catalog_->lock_shared(books));
}

// Random documents come, change and go under several indexes; validate finds them in step.
TEST_P(CatalogTest, StaysConsistentUnderRandomWrites) {
    ASSERT_TRUE(create(books));
    ASSERT_TRUE(create_index(books, R"({"key": {"a": 1}, "name": "a"})"));
    ASSERT_TRUE(create_index(books, R"({"key": {"b.c": -1, "a": 1}, "name": "bc"})"));
    ASSERT_TRUE(create_index(books, R"({"key": {"a": 1, "x": 1}, "name": "sp", "sparse": true})"));
    ASSERT_TRUE(create_index(books, R"({"key": {"u": 1}, "name": "u", "unique": true,
                                        "partialFilterExpression": {"u": {"$exists": true}}})"));
    Random random(11);
    const auto some_document = [&](int id) {
        bson::Builder builder;
        builder.append("_id", id);
        if (random.below(3) == 0) {
            auto list = builder.array("a");
            for (std::uint64_t n = random.below(4); n > 0; --n) {
                list.append(static_cast<std::int64_t>(random.below(5)));
            }
        } else if (random.below(2) == 0) {
            builder.append("a", static_cast<double>(random.below(5)));
        }
        if (random.below(2) == 0) {
            auto b = builder.object("b");
            b.append("c", static_cast<std::int32_t>(random.below(9)));
        }
        if (random.below(4) == 0) builder.append("u", static_cast<std::int32_t>(random.below(40)));
        return std::move(builder).finish();
    };
    const auto collection = catalog_->find(books);
    int duplicates = 0;
    for (int step = 0; step < 600; ++step) {
        const int id = static_cast<int>(random.below(60));
        auto transaction = begin();
        const bson::Document key = bson::make("_id", id);
        const auto found = collection->find_by_id(*transaction, key["_id"]);
        ASSERT_TRUE(found.has_value());
        Status status;
        if (!*found) {
            auto inserted = collection->insert(*transaction, some_document(id));
            if (!inserted) status = std::move(inserted).error();
        } else if (random.below(3) == 0) {
            status = collection->remove(*transaction, (*found)->id, (*found)->document);
        } else {
            status = collection->update(
                *transaction, (*found)->id, (*found)->document, some_document(id));
        }
        if (!status) {
            ASSERT_EQ(status.error().code(), ErrorCode::duplicate_key)
                << status.error().to_string();
            ++duplicates;
            continue;
        }
        ASSERT_TRUE(transaction->commit());
    }
    EXPECT_GT(duplicates, 0);
    const ValidationReport report = validate();
    EXPECT_TRUE(report.errors.empty()) << report.errors.front();
    EXPECT_TRUE(report.warnings.empty()) << report.warnings.front();
    EXPECT_EQ(report.records, collection->count());
}

TEST(FixDocument, PutsTheIdFirst) {
    const bson::ObjectId fresh{};
    EXPECT_EQ(bson::to_json(*fix_document(json(R"({"a": 1, "_id": 5, "b": 2})"), fresh)),
              R"({"_id":5,"a":1,"b":2})");
    EXPECT_EQ((*fix_document(json(R"({"a": 1})"), fresh))["_id"].type(), bson::Type::object_id);
    const auto array = fix_document(json(R"({"_id": [1]})"), fresh);
    ASSERT_FALSE(array);
    EXPECT_EQ(array.error().to_string(),
              "InvalidIdField (53): The '_id' value cannot be of type array");
    const auto dollar = fix_document(json(R"({"_id": {"$x": 1}})"), fresh);
    ASSERT_FALSE(dollar);
    EXPECT_EQ(dollar.error().code(), ErrorCode::dollar_prefixed_field_name);
}

}  // namespace
}  // namespace tessera::catalog
