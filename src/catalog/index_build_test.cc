// SPDX-License-Identifier: Apache-2.0
//
// Index builds beside writers, on both engines: whoever wins each race, the index ends up right.
#include "catalog/index_build.h"

#include <thread>

#include <gtest/gtest.h>

#include "bson/builder.h"
#include "bson/ids.h"
#include "bson/json.h"
#include "catalog/catalog.h"
#include "catalog/index.h"
#include "catalog/limits.h"
#include "storage/test_engine.h"

namespace tessera::catalog {
namespace {

using storage::EngineKind;

const Namespace books{"tp", "books"};

bson::Document json(std::string_view text) {
    auto document = bson::from_json(text);
    EXPECT_TRUE(document.has_value()) << text;
    return std::move(document).value();
}

class IndexBuildTest : public testing::TestWithParam<EngineKind> {
protected:
    IndexBuildTest() {
        open();
        CreateOptions options;
        options.uuid = bson::make_uuid(random_);
        auto transaction = begin();
        auto change = catalog_->create(*transaction, books, options);
        EXPECT_TRUE(change);
        EXPECT_TRUE(transaction->commit());
        change->published();
    }
    void open() {
        auto opened = Catalog::open(*engine_, false, random_);
        EXPECT_TRUE(opened) << opened.error().to_string();
        catalog_ = std::move(opened).value();
    }

    std::unique_ptr<storage::Transaction> begin() {
        auto transaction = engine_->begin();
        EXPECT_TRUE(transaction.has_value());
        return std::move(transaction).value();
    }
    Timestamp tick() { return {++now_, 1}; }

    // One write as a command does it: lock, transaction, timestamp, commit; again on conflict.
    template <class Body>
    Status write(Body body) {
        while (true) {
            const CollectionLock lock = catalog_->lock_shared(books);
            auto transaction = begin();
            // Writers that race would take timestamps in another order than they commit.
            if (!is_racing_) TRY_OK(transaction->set_timestamp(tick()));
            const Status status = body(*lock, *transaction);
            Status done = status ? transaction->commit() : status;
            if (done || done.error().code() != ErrorCode::write_conflict) return done;
        }
    }
    Status insert(std::string_view document) {
        const bson::Document made = json(document);
        return write([&](Collection& collection, storage::Transaction& transaction) -> Status {
            TRY([[maybe_unused]] const auto id, collection.insert(transaction, made));
            return ok();
        });
    }
    Status update(int id, std::string_view after) {
        const bson::Document made = json(after);
        return write([&](Collection& collection, storage::Transaction& transaction) -> Status {
            const bson::Document key = bson::make("_id", id);
            TRY(const auto found, collection.find_by_id(transaction, key["_id"]));
            if (!found) return ok();
            return collection.update(transaction, found->id, found->document, made);
        });
    }
    Status remove(int id) {
        return write([&](Collection& collection, storage::Transaction& transaction) -> Status {
            const bson::Document key = bson::make("_id", id);
            TRY(const auto found, collection.find_by_id(transaction, key["_id"]));
            if (!found) return ok();
            return collection.remove(transaction, found->id, found->document);
        });
    }

    IndexBuildPtr start(std::initializer_list<std::string_view> specs) {
        const CollectionLock lock = catalog_->lock_exclusive(books);
        std::vector<bson::Document> checked;
        for (const std::string_view spec : specs)
            checked.push_back(catalog_->check_index(*lock, json(spec))->spec);
        auto build = catalog_->begin_build(*lock, bson::make_uuid(random_), checked);
        EXPECT_TRUE(build);
        return *build;
    }
    Status fill(IndexBuild& build) {
        while (true) {
            TRY(const bool is_filled, catalog_->fill_step(build));
            if (is_filled) return ok();
        }
    }
    Status finish(const IndexBuildPtr& build) {
        const CollectionLock lock = catalog_->lock_exclusive(books);
        auto transaction = begin();
        const Timestamp at = tick();
        TRY_OK(transaction->set_timestamp(at));
        TRY(auto change, catalog_->finish_build(*transaction, *lock, build, at));
        TRY_OK(transaction->commit());
        change.published();
        return ok();
    }
    Status run(const IndexBuildPtr& build) {
        Status status = fill(*build);
        if (status) status = finish(build);
        if (!status) catalog_->abort_build(*build, status.error());
        return status;
    }
    std::vector<std::string> faults() {
        auto report = validate_collection(*catalog_->find(books), *engine_);
        EXPECT_TRUE(report);
        return report->errors;
    }
    std::size_t indexes() { return catalog_->find(books)->indexes().size(); }
    std::int64_t keys(std::string_view name) {
        const auto report = validate_collection(*catalog_->find(books), *engine_);
        for (const auto& [index, count] : report->keys_per_index)
            if (index == name) return count;
        return -1;
    }

    storage::TemporaryDirectory directory_;
    std::unique_ptr<storage::Engine> engine_ =
        storage::open_test_engine(GetParam(), directory_.path());
    Random random_{7};
    std::atomic<std::uint32_t> now_{10};
    bool is_racing_ = false;
    std::unique_ptr<Catalog> catalog_;
};

INSTANTIATE_TEST_SUITE_P(Engines,
                         IndexBuildTest,
                         testing::Values(EngineKind::wiredtiger, EngineKind::memory),
                         [](const auto& engine) {
                             return engine.param == EngineKind::memory ? "memory" : "wiredtiger";
                         });

TEST_P(IndexBuildTest, WritesMeanwhileAreInTheIndex) {
    for (int i = 0; i < 2000; ++i)
        ASSERT_TRUE(insert(bson::to_json(bson::make("_id", i, "a", i))));
    const auto build = start({R"({"key": {"a": 1}, "name": "a"})",
                              R"({"key": {"b": 1}, "name": "b", "sparse": true})"});
    EXPECT_EQ(build->total(), 2000);
    EXPECT_EQ(indexes(), 1U);  // Readers do not know it yet.
    ASSERT_TRUE(*catalog_->fill_step(*build) == false);
    EXPECT_GT(build->done(), 0);
    // Behind the fill and ahead of it: changed, removed, added, changed and changed back.
    for (const int id : {3, 1903}) {
        ASSERT_TRUE(update(id, bson::to_json(bson::make("_id", id, "a", -id))));
        ASSERT_TRUE(remove(id + 1));
        ASSERT_TRUE(update(id + 2, bson::to_json(bson::make("_id", id + 2, "a", 0, "b", 1))));
        ASSERT_TRUE(update(id + 2, bson::to_json(bson::make("_id", id + 2, "a", id + 2))));
        ASSERT_TRUE(update(id + 3, bson::to_json(bson::make("_id", id + 3, "a", json("[1, 2]")))));
    }
    ASSERT_TRUE(insert(R"({"_id": 9000, "a": 7, "b": [1, 2]})"));
    ASSERT_TRUE(run(build));
    EXPECT_EQ(indexes(), 3U);
    EXPECT_EQ(faults(), std::vector<std::string>{});
    EXPECT_EQ(keys("b"), 2);
    EXPECT_TRUE(catalog_->builds().empty());
}

TEST_P(IndexBuildTest, ARacingSliceAndWriterConflict) {
    ASSERT_TRUE(insert(R"({"_id": 1, "a": 1})"));
    const auto build = start({R"({"key": {"a": 1}, "name": "a"})"});
    // A writer that began before the fill and commits after it: it must see its own change win.
    const CollectionLock lock = catalog_->lock_shared(books);
    auto slow = begin();
    ASSERT_TRUE(slow->set_timestamp(tick()));
    const bson::Document key = bson::make("_id", 1);
    const auto found = *lock->find_by_id(*slow, key["_id"]);
    ASSERT_TRUE(*catalog_->fill_step(*build) || true);
    const bson::Document after = json(R"({"_id": 1, "a": 2})");
    const Status status = lock->update(*slow, found->id, found->document, after);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code(), ErrorCode::write_conflict);
}

TEST_P(IndexBuildTest, ManyWritersDuringABuildLeaveItRight) {
    is_racing_ = true;
    for (int i = 0; i < 600; ++i)
        ASSERT_TRUE(insert(bson::to_json(bson::make("_id", i, "a", i % 50, "u", i))));
    std::atomic<bool> is_over{false};
    std::vector<std::thread> writers;
    for (int w = 0; w < 2; ++w) {
        writers.emplace_back([&, w] {
            Random random(static_cast<std::uint64_t>(w) + 1);
            for (int i = 0; !is_over.load(); ++i) {
                const int id = static_cast<int>(random.below(700));
                const auto value = static_cast<int>(random.below(50));
                const bson::Document document = bson::make("_id", id, "a", value, "u", id);
                Status status;
                switch (random.below(3)) {
                    case 0:
                        status = remove(id);
                        break;
                    case 1:
                        status = insert(bson::to_json(document));
                        break;
                    default:
                        status = update(id, bson::to_json(document));
                }
                const bool is_fine =
                    status || status.error().code() == ErrorCode::duplicate_key;
                ASSERT_TRUE(is_fine) << status.error().to_string();
            }
        });
    }
    for (int round = 0; round < 3; ++round) {
        const std::string name = std::to_string(round);
        const std::string partial = R"({"key": {"a": 1}, "name": "a)" + name +
                                    R"(", "partialFilterExpression": {"a": {"$gte": )" + name +
                                    "}}}";
        const std::string unique =
            R"({"key": {"u": 1, "x)" + name + R"(": 1}, "unique": true, "name": "u)" + name +
            R"("})";
        const auto build = start({partial, unique});
        const Status status = run(build);
        EXPECT_TRUE(status) << status.error().to_string();
    }
    is_over = true;
    for (auto& writer : writers)
        writer.join();
    EXPECT_EQ(indexes(), 7U);
    EXPECT_EQ(faults(), std::vector<std::string>{});
}

TEST_P(IndexBuildTest, DuplicatesThatAreThereFailIt) {
    ASSERT_TRUE(insert(R"({"_id": 1, "a": 5})"));
    ASSERT_TRUE(insert(R"({"_id": 2, "a": 5})"));
    const auto build = start({R"({"key": {"a": 1}, "name": "a", "unique": true})"});
    const Status status = run(build);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code(), ErrorCode::duplicate_key);
    EXPECT_NE(status.error().reason().find(build->id().to_string()), std::string::npos);
    EXPECT_NE(status.error().reason().find("dup key: { a: 5 }"), std::string::npos);
    EXPECT_NE(bson::View(status.error().details().data())["keyPattern"].type(),
              bson::Value().type());
    EXPECT_EQ(indexes(), 1U);
    EXPECT_TRUE(catalog_->builds().empty());
    EXPECT_EQ(faults(), std::vector<std::string>{});
}

TEST_P(IndexBuildTest, ADuplicateWrittenMeanwhileFailsItUnlessItIsGoneAgain) {
    for (const bool is_gone_again : {true, false}) {
        ASSERT_TRUE(remove(1));
        ASSERT_TRUE(remove(2));
        ASSERT_TRUE(insert(R"({"_id": 1, "a": 1})"));
        const auto build = start({R"({"key": {"a": 1}, "name": "a", "unique": true})"});
        ASSERT_TRUE(fill(*build));
        ASSERT_TRUE(insert(R"({"_id": 2, "a": 1})"));  // Acknowledged all the same.
        if (is_gone_again) {
            ASSERT_TRUE(update(2, R"({"_id": 2, "a": 2})"));
        }
        Status status = finish(build);
        EXPECT_EQ(status.has_value(), is_gone_again);
        if (status) {
            const Status refused = insert(R"({"_id": 3, "a": 2})");  // From now on it is enforced.
            ASSERT_FALSE(refused);
            EXPECT_EQ(refused.error().code(), ErrorCode::duplicate_key);
            const CollectionLock lock = catalog_->lock_exclusive(books);
            auto transaction = begin();
            const Timestamp at = tick();
            ASSERT_TRUE(transaction->set_timestamp(at));
            auto change = catalog_->drop_index(*transaction, *lock, "a", at);
            ASSERT_TRUE(change);
            ASSERT_TRUE(transaction->commit());
            change->published();
        } else {
            EXPECT_EQ(status.error().code(), ErrorCode::duplicate_key);
            catalog_->abort_build(*build, status.error());
        }
        EXPECT_EQ(indexes(), 1U);
    }
}

TEST_P(IndexBuildTest, ADocumentWithoutAKeyFailsTheBuildAndNotItsWriter) {
    ASSERT_TRUE(insert(R"({"_id": 1, "a": 1})"));
    const auto build = start({R"({"key": {"a": 1, "b": 1}, "name": "ab"})"});
    ASSERT_TRUE(fill(*build));
    ASSERT_TRUE(insert(R"({"_id": 2, "a": [1, 2], "b": [1, 2]})"));
    const Status status = finish(build);
    ASSERT_FALSE(status);
    EXPECT_EQ(static_cast<int>(status.error().code()), 171);
    catalog_->abort_build(*build, status.error());
    EXPECT_TRUE(insert(R"({"_id": 3, "a": [1, 2], "b": [1, 2]})"));
    EXPECT_EQ(faults(), std::vector<std::string>{});
}

TEST_P(IndexBuildTest, EndsWithItsCollection) {
    ASSERT_TRUE(insert(R"({"_id": 1, "a": 1})"));
    const auto build = start({R"({"key": {"a": 1}, "name": "a"})"});
    {
        const CollectionLock lock = catalog_->lock_exclusive(books);
        auto transaction = begin();
        auto change = catalog_->drop(*transaction, books, {});
        ASSERT_TRUE(change);
        ASSERT_TRUE(transaction->commit());
        change->published();
    }
    EXPECT_TRUE(build->has_ended());
    const auto step = catalog_->fill_step(*build);
    ASSERT_FALSE(step);
    EXPECT_EQ(step.error().code(), ErrorCode::index_build_aborted);
    catalog_->abort_build(*build, step.error());
}

TEST_P(IndexBuildTest, ARestartForgetsIt) {
    ASSERT_TRUE(insert(R"({"_id": 1, "a": 1})"));
    const std::size_t tables = engine_->idents().size();
    {
        const auto build = start({R"({"key": {"a": 1}, "name": "a"})"});
        ASSERT_TRUE(fill(*build));
        EXPECT_EQ(engine_->idents().size(), tables + 1);
    }
    catalog_.reset();
    if (GetParam() == EngineKind::wiredtiger) {
        engine_.reset();
        engine_ = storage::open_test_engine(GetParam(), directory_.path());
    }
    open();
    EXPECT_EQ(indexes(), 1U);
    EXPECT_EQ(engine_->idents().size(), tables);
}

TEST_P(IndexBuildTest, ReadersOfThePastDoNotUseIt) {
    ASSERT_TRUE(insert(R"({"_id": 1, "a": 1})"));
    const Timestamp before{now_.load(), 1};
    ASSERT_TRUE(update(1, R"({"_id": 1, "a": 2})"));
    ASSERT_TRUE(run(start({R"({"key": {"a": 1}, "name": "a"})"})));
    const Timestamp after{now_.load(), 1};
    for (const bool is_restarted : {false, true}) {
        if (is_restarted) {
            engine_->set_stable(after);
            catalog_.reset();
            if (GetParam() == EngineKind::wiredtiger) {
                ASSERT_TRUE(engine_->checkpoint());
                engine_.reset();
                engine_ = storage::open_test_engine(GetParam(), directory_.path());
            }
            open();
        }
        const auto& index = catalog_->find(books)->indexes()[1]->info();
        EXPECT_FALSE(index.is_ready(before));
        EXPECT_TRUE(index.is_ready(after));
        EXPECT_TRUE(index.is_ready({}));
    }
}

}  // namespace
}  // namespace tessera::catalog
