// SPDX-License-Identifier: Apache-2.0
//
// Damage done under the catalog, straight in the tables, is found and mended.
#include "catalog/validation.h"

#include <gtest/gtest.h>

#include "bson/builder.h"
#include "bson/ids.h"
#include "bson/json.h"
#include "bson/key.h"
#include "catalog/index.h"
#include "catalog/stored_collection.h"
#include "storage/test_engine.h"

namespace tessera::catalog {
namespace {

using storage::EngineKind;

bson::Document json(std::string_view text) {
    auto document = bson::from_json(text);
    EXPECT_TRUE(document.has_value()) << text;
    return std::move(document).value();
}

class ValidationTest : public testing::TestWithParam<EngineKind> {
protected:
    ValidationTest() {
        auto opened = Catalog::open(*engine_, true, random_);
        EXPECT_TRUE(opened.has_value());
        catalog_ = std::move(opened).value();
        CreateOptions options;
        options.uuid = bson::make_uuid(random_);
        change([&](auto& t) { return catalog_->create(t, books, options); });
        add_index(R"({"key": {"a": 1}, "name": "a"})");
        add_index(R"({"key": {"u": 1}, "name": "u", "unique": true})");
        for (int i = 0; i < 10; ++i) insert(i);
    }

    template <class Body>
    void change(Body body) {
        auto transaction = engine_->begin().value();
        auto made = body(*transaction);
        ASSERT_TRUE(made.has_value()) << made.error().to_string();
        ASSERT_TRUE(transaction->commit());
        made->published();
    }
    void add_index(std::string_view spec) {
        const auto checked = catalog_->check_index(*collection(), json(spec));
        ASSERT_TRUE(checked.has_value());
        const auto present = collection();
        change([&](auto& t) { return catalog_->create_index(t, *present, checked->spec, {}); });
    }
    void insert(int i) {
        auto transaction = engine_->begin().value();
        const bson::Document document = bson::make("_id", i, "a", i % 3, "u", i);
        ASSERT_TRUE(collection()->insert(*transaction, document).has_value());
        ASSERT_TRUE(transaction->commit());
    }
    std::shared_ptr<Collection> collection() const { return catalog_->find(books); }
    const StoredIndex& index(std::size_t at) const {
        return *static_cast<StoredCollection&>(*collection()).stored_indexes()[at];
    }
    // One entry of an index, by its place.
    std::pair<std::string, std::string> entry(std::size_t at, int place) const {
        auto transaction = engine_->begin().value();
        const auto cursor = transaction->open_cursor(*index(at).info().table);
        for (int i = 0; i <= place; ++i) EXPECT_TRUE(cursor->next().value());
        return {std::string(cursor->key()), std::string(cursor->value())};
    }
    void put(storage::Table& table, const std::string& key, const std::string& value) {
        auto transaction = engine_->begin().value();
        ASSERT_TRUE(transaction->put(table, key, value));
        ASSERT_TRUE(transaction->commit());
    }
    void erase(storage::Table& table, const std::string& key) {
        auto transaction = engine_->begin().value();
        ASSERT_TRUE(transaction->remove(table, key).value());
        ASSERT_TRUE(transaction->commit());
    }
    Validation validate(bool repairs, bool fixes_multikey = false) {
        ValidationOptions options;
        options.repairs = repairs;
        options.fixes_multikey = fixes_multikey;
        auto report = validate_collection(*collection(), *engine_, options);
        EXPECT_TRUE(report.has_value()) << report.error().to_string();
        return std::move(report).value();
    }
    void expect_sound() {
        const Validation report = validate(false);
        EXPECT_TRUE(report.errors.empty()) << report.errors.front();
        EXPECT_TRUE(report.warnings.empty()) << report.warnings.front();
        EXPECT_FALSE(report.is_repaired);
    }

    static inline const Namespace books{"tp", "books"};
    storage::TemporaryDirectory directory_;
    std::unique_ptr<storage::Engine> engine_ =
        storage::open_test_engine(GetParam(), directory_.path());
    Random random_{7};
    std::unique_ptr<Catalog> catalog_;
};

INSTANTIATE_TEST_SUITE_P(Engines,
                         ValidationTest,
                         testing::Values(EngineKind::memory, EngineKind::wiredtiger),
                         [](const auto& each) {
                             return each.param == EngineKind::memory ? "memory" : "wiredtiger";
                         });

TEST_P(ValidationTest, FindsNothingWrongWithASoundCollection) {
    expect_sound();
    const Validation report = validate(true, true);
    EXPECT_FALSE(report.is_repaired);
    ASSERT_EQ(report.indexes.size(), 3U);
    EXPECT_EQ(report.indexes[1].keys, 10);
}

TEST_P(ValidationTest, PutsMissingEntriesBack) {
    for (std::size_t at = 0; at < 3; ++at) erase(*index(at).info().table, entry(at, 4).first);
    const Validation found = validate(false);
    EXPECT_EQ(found.missing_entries.size(), 3U);
    EXPECT_EQ(found.errors.size(), 3U);
    EXPECT_FALSE(found.indexes[0].is_valid);
    EXPECT_FALSE(found.is_repaired);
    const Validation mended = validate(true);
    EXPECT_TRUE(mended.errors.empty()) << mended.errors.front();
    EXPECT_TRUE(mended.is_repaired);
    EXPECT_EQ(mended.warnings.size(), 3U);
    EXPECT_EQ(mended.indexes[2].keys, 10);
    expect_sound();
}

TEST_P(ValidationTest, TakesEntriesOfNoDocumentAway) {
    // Of a record that is not there, and of a key its record does not have.
    const auto [key, value] = entry(1, 0);
    std::string other = key;
    other.back() = static_cast<char>(other.back() + 40);
    put(*index(1).info().table, other, value);
    put(*index(0).info().table, key, entry(0, 0).second);
    const Validation found = validate(false);
    EXPECT_EQ(found.extra_entries.size(), 2U);
    EXPECT_EQ(found.errors.size(), 2U);
    const Validation mended = validate(true);
    EXPECT_TRUE(mended.errors.empty()) << mended.errors.front();
    EXPECT_EQ(mended.indexes[1].keys, 10);
    expect_sound();
}

TEST_P(ValidationTest, ReplacesAnEntryThatLeadsElsewhere) {
    const auto [key, value] = entry(0, 2);
    put(*index(0).info().table, key, entry(0, 5).second);
    EXPECT_FALSE(validate(false).errors.empty());
    const Validation mended = validate(true);
    EXPECT_TRUE(mended.errors.empty()) << mended.errors.front();
    EXPECT_EQ(entry(0, 2).second, value);
    expect_sound();
}

TEST_P(ValidationTest, LearnsAgainWhichPathsAreMultikey) {
    // A document with an array that came in past the index's back.
    const bson::Document document = json(R"({"_id": 3, "a": [1, 2], "u": 3})");
    const std::string record = bson::record_key(bson::RecordId{4});
    put(*collection()->record_table(), record, std::string(document.bytes()));
    const Validation found = validate(false);
    EXPECT_FALSE(found.errors.empty());
    EXPECT_FALSE(index(1).is_multikey());
    const Validation widened = validate(false, true);
    EXPECT_TRUE(index(1).is_multikey());
    EXPECT_TRUE(widened.is_repaired);
    EXPECT_FALSE(widened.errors.empty());  // The entries are still wrong.
    const Validation mended = validate(true);
    EXPECT_TRUE(mended.errors.empty()) << mended.errors.front();
    EXPECT_EQ(mended.indexes[1].keys, 11);
}

TEST_P(ValidationTest, RemovesWhatIsNoDocument) {
    put(*collection()->record_table(), bson::record_key(bson::RecordId{4}), "not BSON");
    const Validation found = validate(false);
    EXPECT_EQ(found.invalid_documents, 1);
    ASSERT_EQ(found.corrupt_records.size(), 1U);
    EXPECT_EQ(found.corrupt_records[0].value, 4);
    const Validation mended = validate(true);
    EXPECT_TRUE(mended.errors.empty()) << mended.errors.front();
    EXPECT_EQ(mended.records, 9);
    EXPECT_EQ(collection()->count(), 9);
    expect_sound();
}

TEST_P(ValidationTest, DoesNotMakeTwoDocumentsOneOfAUniqueKey) {
    // Two documents with one key: which is right nobody but a person knows.
    const bson::Document document = json(R"({"_id": 3, "a": 0, "u": 7})");
    put(*collection()->record_table(), bson::record_key(bson::RecordId{4}),
        std::string(document.bytes()));
    const Validation mended = validate(true);
    EXPECT_FALSE(mended.errors.empty());
    EXPECT_FALSE(mended.indexes[2].is_valid);
    EXPECT_EQ(mended.records, 10);
}

TEST_P(ValidationTest, CorrectsTheCount) {
    collection()->tally()->count += 5;
    const Validation mended = validate(true);
    EXPECT_TRUE(mended.errors.empty());
    EXPECT_EQ(mended.warnings.size(), 1U);
    EXPECT_TRUE(mended.is_repaired);
    EXPECT_EQ(collection()->count(), 10);
}

}  // namespace
}  // namespace tessera::catalog
