// SPDX-License-Identifier: Apache-2.0
//
// The engine's contract, run on every engine.
#include "storage/engine.h"

#include <thread>

#include <gtest/gtest.h>

#include "base/random.h"
#include "storage/durability_flusher.h"
#include "storage/test_engine.h"

namespace tessera::storage {
namespace {

constexpr TableOptions logged{.is_logged = true};
constexpr TableOptions unlogged{.is_logged = false};
constexpr Timestamp at(std::uint32_t seconds) {
    return {seconds, 1};
}

class EngineTest : public testing::TestWithParam<EngineKind> {
protected:
    std::unique_ptr<Transaction> begin(const TransactionOptions& options = {}) {
        auto transaction = engine_->begin(options);
        EXPECT_TRUE(transaction.has_value());
        return std::move(transaction).value();
    }
    TablePtr table(std::string_view ident, TableOptions options = unlogged) {
        auto made = engine_->create_table(ident, options);
        EXPECT_TRUE(made.has_value());
        return std::move(made).value();
    }
    void put(Table& table, std::string_view key, std::string_view value, Timestamp when = {}) {
        auto transaction = begin();
        if (!when.is_null()) {
            ASSERT_TRUE(transaction->set_timestamp(when));
        }
        ASSERT_TRUE(transaction->put(table, key, value));
        ASSERT_TRUE(transaction->commit());
    }
    std::string get(Table& table, std::string_view key, Timestamp when = {}) {
        TransactionOptions options;
        options.read_at = when;
        auto transaction = begin(options);
        return read(*transaction, table, key);
    }
    static std::string read(Transaction& transaction, Table& table, std::string_view key) {
        auto value = transaction.get(table, key);
        EXPECT_TRUE(value.has_value());
        return *value ? std::string(**value) : "-";
    }
    static std::string scan(Transaction& transaction,
                            Table& table,
                            Direction direction = Direction::forward) {
        std::string result;
        auto cursor = transaction.open_cursor(table, direction);
        while (true) {
            auto is_there = cursor->next();
            EXPECT_TRUE(is_there.has_value());
            if (!*is_there) break;
            result += std::string(cursor->key()) + "=" + std::string(cursor->value()) + " ";
        }
        return result;
    }

    TemporaryDirectory directory_;
    std::unique_ptr<Engine> engine_ = open_test_engine(GetParam(), directory_.path());
};

INSTANTIATE_TEST_SUITE_P(Engines,
                         EngineTest,
                         testing::Values(EngineKind::wiredtiger, EngineKind::memory),
                         [](const auto& engine) {
                             return engine.param == EngineKind::memory ? "memory" : "wiredtiger";
                         });

TEST_P(EngineTest, ReadsItsOwnWritesAndOthersAfterTheCommit) {
    const auto t = table("t");
    auto writer = begin();
    ASSERT_TRUE(writer->put(*t, "k", "v"));
    EXPECT_EQ(read(*writer, *t, "k"), "v");
    EXPECT_EQ(get(*t, "k"), "-");
    ASSERT_TRUE(writer->commit());
    EXPECT_EQ(get(*t, "k"), "v");
    EXPECT_FALSE(writer->is_active());
}

TEST_P(EngineTest, RollbackAndDestructionLeaveNothing) {
    const auto t = table("t");
    {
        auto writer = begin();
        ASSERT_TRUE(writer->put(*t, "a", "1"));
    }
    auto writer = begin();
    ASSERT_TRUE(writer->put(*t, "b", "1"));
    writer->rollback();
    writer->rollback();
    EXPECT_EQ(get(*t, "a"), "-");
    EXPECT_EQ(get(*t, "b"), "-");
    EXPECT_EQ(engine_->stats().transactions_active, 0U);
}

TEST_P(EngineTest, InsertAndRemoveSayWhetherTheKeyWasThere) {
    const auto t = table("t");
    auto writer = begin();
    EXPECT_TRUE(*writer->insert(*t, "k", "1"));
    EXPECT_FALSE(*writer->insert(*t, "k", "2"));
    EXPECT_EQ(read(*writer, *t, "k"), "1");
    EXPECT_TRUE(*writer->remove(*t, "k"));
    EXPECT_FALSE(*writer->remove(*t, "k"));
    EXPECT_TRUE(*writer->insert(*t, "k", "3"));
    ASSERT_TRUE(writer->commit());
    EXPECT_EQ(get(*t, "k"), "3");
}

TEST_P(EngineTest, HoldsAnyBytes) {
    const auto t = table("t");
    const std::string zero("\0", 1);
    const std::string long_key(3000, 'k');
    const std::string big(5 * 1024 * 1024, 'x');
    put(*t, zero, "zero");
    put(*t, long_key, big);
    put(*t, "\xff\xff", "");
    EXPECT_EQ(get(*t, zero), "zero");
    EXPECT_EQ(get(*t, long_key), big);
    EXPECT_EQ(get(*t, "\xff\xff"), "");
}

TEST_P(EngineTest, TheEmptyKeyStandsBeforeAllOthers) {
    auto t = table("t");
    put(*t, "a", "1");
    auto transaction = begin();
    auto forward = transaction->open_cursor(*t);
    EXPECT_TRUE(*forward->seek(""));
    EXPECT_EQ(forward->key(), "a");
    EXPECT_TRUE(*forward->seek_after(""));
    EXPECT_EQ(forward->key(), "a");
    auto backward = transaction->open_cursor(*t, Direction::backward);
    EXPECT_FALSE(*backward->seek(""));
}

TEST_P(EngineTest, ASnapshotStaysAsItWas) {
    const auto t = table("t");
    put(*t, "k", "old");
    auto reader = begin();
    EXPECT_EQ(read(*reader, *t, "k"), "old");
    put(*t, "k", "new");
    put(*t, "k2", "new");
    EXPECT_EQ(read(*reader, *t, "k"), "old");
    EXPECT_EQ(scan(*reader, *t), "k=old ");
    EXPECT_EQ(get(*t, "k"), "new");
}

TEST_P(EngineTest, TheFirstWriterWins) {
    const auto t = table("t");
    put(*t, "k", "0");
    auto one = begin();
    auto two = begin();
    ASSERT_TRUE(one->put(*t, "k", "1"));
    const Status status = two->put(*t, "k", "2");
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code(), ErrorCode::write_conflict);
    two->rollback();
    ASSERT_TRUE(one->commit());
    EXPECT_EQ(get(*t, "k"), "1");
}

TEST_P(EngineTest, AWriteAfterASnapshotsCommitConflicts) {
    const auto t = table("t");
    put(*t, "k", "0");
    for (const bool is_removal : {false, true}) {
        auto late = begin();
        read(*late, *t, "k");
        put(*t, "k", "1");
        if (is_removal) {
            const auto removed = late->remove(*t, "k");
            ASSERT_FALSE(removed);
            EXPECT_EQ(removed.error().code(), ErrorCode::write_conflict);
        } else {
            const Status status = late->put(*t, "k", "2");
            ASSERT_FALSE(status);
            EXPECT_EQ(status.error().code(), ErrorCode::write_conflict);
        }
    }
}

TEST_P(EngineTest, ConcurrentInsertsOfOneKeyConflict) {
    const auto t = table("t");
    auto one = begin();
    auto two = begin();
    EXPECT_TRUE(*one->insert(*t, "k", "1"));
    const auto inserted = two->insert(*t, "k", "2");
    ASSERT_FALSE(inserted);
    EXPECT_EQ(inserted.error().code(), ErrorCode::write_conflict);
}

TEST_P(EngineTest, CursorsSeekBothWays) {
    const auto t = table("t");
    for (const char* key : {"b", "d", "f"})
        put(*t, key, key);
    auto reader = begin();
    auto forward = reader->open_cursor(*t);
    EXPECT_TRUE(*forward->seek("c"));
    EXPECT_EQ(forward->key(), "d");
    EXPECT_TRUE(*forward->seek("d"));
    EXPECT_EQ(forward->key(), "d");
    EXPECT_TRUE(*forward->seek_after("d"));
    EXPECT_EQ(forward->key(), "f");
    EXPECT_FALSE(*forward->next());
    EXPECT_FALSE(*forward->next());
    EXPECT_FALSE(*forward->seek("g"));
    EXPECT_TRUE(*forward->rewind());
    EXPECT_EQ(forward->key(), "b");

    auto backward = reader->open_cursor(*t, Direction::backward);
    EXPECT_TRUE(*backward->seek("c"));
    EXPECT_EQ(backward->key(), "b");
    EXPECT_TRUE(*backward->seek("d"));
    EXPECT_EQ(backward->key(), "d");
    EXPECT_TRUE(*backward->seek_after("d"));
    EXPECT_EQ(backward->key(), "b");
    EXPECT_FALSE(*backward->next());
    EXPECT_FALSE(*backward->seek("a"));
    EXPECT_EQ(scan(*reader, *t, Direction::backward), "f=f d=d b=b ");
}

TEST_P(EngineTest, ACursorSeesItsTransactionsWrites) {
    const auto t = table("t");
    put(*t, "b", "1");
    put(*t, "d", "1");
    auto writer = begin();
    auto cursor = writer->open_cursor(*t);
    EXPECT_TRUE(*cursor->next());
    ASSERT_TRUE(writer->put(*t, "c", "2"));
    EXPECT_TRUE(*writer->remove(*t, "d"));
    EXPECT_EQ(cursor->key(), "b");
    EXPECT_TRUE(*cursor->next());
    EXPECT_EQ(cursor->key(), "c");
    EXPECT_FALSE(*cursor->next());
}

TEST_P(EngineTest, ASavedCursorGoesOnInAnotherTransaction) {
    const auto t = table("t");
    for (const char* key : {"a", "b", "c", "d"})
        put(*t, key, key);
    auto first = begin();
    auto cursor = first->open_cursor(*t);
    cursor->save();
    ASSERT_TRUE(cursor->restore(*first));
    EXPECT_TRUE(*cursor->next());
    EXPECT_TRUE(*cursor->next());
    EXPECT_EQ(cursor->key(), "b");
    cursor->save();
    first.reset();
    {
        auto writer = begin();
        EXPECT_TRUE(*writer->remove(*t, "b"));
        EXPECT_TRUE(*writer->remove(*t, "c"));
        ASSERT_TRUE(writer->commit());
    }
    auto second = begin();
    ASSERT_TRUE(cursor->restore(*second));
    EXPECT_TRUE(*cursor->next());
    EXPECT_EQ(cursor->key(), "d");
    EXPECT_FALSE(*cursor->next());
    cursor->save();
    put(*t, "e", "e");
    auto third = begin();
    ASSERT_TRUE(cursor->restore(*third));
    EXPECT_FALSE(*cursor->next());  // The end had been reached.
}

TEST_P(EngineTest, TruncatesARange) {
    const auto t = table("t");
    for (int i = 0; i < 100; ++i)
        put(*t, std::string(1, static_cast<char>('0' + i)), "v");
    auto writer = begin();
    ASSERT_TRUE(writer->truncate(*t, "", "9"));
    ASSERT_TRUE(writer->truncate(*t, "=", "="));
    ASSERT_TRUE(writer->truncate(*t, "<~", "=~"));
    ASSERT_TRUE(writer->truncate(*t, "A", ""));
    ASSERT_TRUE(writer->commit());
    auto reader = begin();
    EXPECT_EQ(scan(*reader, *t), "9=v :=v ;=v <=v >=v ?=v @=v ");
    auto all = begin();
    ASSERT_TRUE(all->truncate(*t, "", ""));
    ASSERT_TRUE(all->commit());
    EXPECT_EQ(scan(*begin(), *t), "");
}

TEST_P(EngineTest, ReadsThePast) {
    const auto t = table("t");
    put(*t, "k", "1", at(10));
    put(*t, "k", "2", at(20));
    {
        auto remover = begin();
        ASSERT_TRUE(remover->set_timestamp(at(30)));
        EXPECT_TRUE(*remover->remove(*t, "k"));
        ASSERT_TRUE(remover->commit());
    }
    EXPECT_EQ(get(*t, "k", at(9)), "-");
    EXPECT_EQ(get(*t, "k", at(10)), "1");
    EXPECT_EQ(get(*t, "k", at(25)), "2");
    EXPECT_EQ(get(*t, "k", at(30)), "-");
    EXPECT_EQ(get(*t, "k"), "-");
    engine_->set_stable(at(25));
    engine_->set_oldest(at(20));
    TransactionOptions old;
    old.read_at = at(19);
    const auto transaction = engine_->begin(old);
    ASSERT_FALSE(transaction);
    EXPECT_EQ(transaction.error().code(), ErrorCode::snapshot_too_old);
    EXPECT_EQ(get(*t, "k", at(20)), "2");
    EXPECT_EQ(engine_->oldest(), at(20));
    engine_->set_oldest(at(40));  // Never beyond stable.
    EXPECT_EQ(engine_->oldest(), at(25));
}

TEST_P(EngineTest, LoggedTablesIgnoreTimestamps) {
    const auto t = table("t", logged);
    put(*t, "k", "1", at(10));
    EXPECT_EQ(get(*t, "k", at(5)), "1");
}

TEST_P(EngineTest, OneTransactionMayHoldManyTimestamps) {
    const auto t = table("t");
    auto writer = begin();
    ASSERT_TRUE(writer->set_timestamp(at(10)));
    ASSERT_TRUE(writer->put(*t, "a", "1"));
    ASSERT_TRUE(writer->set_timestamp(at(11)));
    ASSERT_TRUE(writer->put(*t, "b", "1"));
    ASSERT_TRUE(writer->commit());
    EXPECT_EQ(get(*t, "a", at(10)), "1");
    EXPECT_EQ(get(*t, "b", at(10)), "-");
    EXPECT_EQ(get(*t, "b", at(11)), "1");
}

TEST_P(EngineTest, AllDurableHasNoHoles) {
    const auto t = table("t");
    EXPECT_TRUE(engine_->all_durable().is_null());
    put(*t, "k", "1", at(10));
    EXPECT_EQ(engine_->all_durable(), at(10));
    auto slow = begin();
    ASSERT_TRUE(slow->set_timestamp(at(20)));
    put(*t, "k2", "1", at(30));
    EXPECT_EQ(engine_->all_durable(), (Timestamp{20, 0}));
    ASSERT_TRUE(slow->put(*t, "k3", "1"));
    ASSERT_TRUE(slow->commit());
    EXPECT_EQ(engine_->all_durable(), at(30));
}

TEST_P(EngineTest, RefusesACommitBehindStable) {
    const auto t = table("t");
    put(*t, "k", "1", at(10));
    engine_->set_stable(at(10));
    auto writer = begin();
    ASSERT_TRUE(writer->put(*t, "k", "2"));
    EXPECT_FALSE(writer->set_timestamp(at(9)));
    engine_->set_stable(at(5));
    EXPECT_EQ(engine_->stable(), at(10));
}

TEST_P(EngineTest, RecoversToStable) {
    const auto t = table("t");
    const auto oplog = table("oplog", logged);
    put(*t, "k", "1", at(10));
    put(*t, "k", "2", at(20));
    put(*t, "gone", "2", at(20));
    put(*t, "untimed", "3");
    put(*oplog, "20", "entry", at(20));
    EXPECT_EQ(get(*t, "k"), "2");
    {
        auto reader = begin();
        EXPECT_EQ(read(*reader, *t, "k"), "2");
        ASSERT_TRUE(reader->commit());  // Leaves no cursor positioned.
    }
    const Status unknown = engine_->recover_to_stable();
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().code(), ErrorCode::illegal_operation);
    engine_->set_stable(at(10));
    engine_->drop_table("t", at(20));
    EXPECT_EQ(engine_->idents(), std::vector<std::string>{"oplog"});
    {
        auto busy = begin();
        read(*busy, *t, "k");
        EXPECT_FALSE(engine_->recover_to_stable());
    }
    ASSERT_TRUE(engine_->recover_to_stable());
    EXPECT_EQ(engine_->idents(), (std::vector<std::string>{"oplog", "t"}));
    EXPECT_EQ(get(*t, "k"), "1");
    EXPECT_EQ(get(*t, "gone"), "-");
    EXPECT_EQ(get(*t, "untimed"), "3");
    EXPECT_EQ(get(*oplog, "20"), "entry");
    EXPECT_EQ(engine_->all_durable(), at(10));
    put(*t, "k", "2b", at(15));
    EXPECT_EQ(get(*t, "k"), "2b");
}

TEST_P(EngineTest, TablesAreMadeListedAndDropped) {
    table("b");
    const auto a = table("a");
    EXPECT_EQ(engine_->idents(), (std::vector<std::string>{"a", "b"}));
    EXPECT_FALSE(engine_->create_table("a", unlogged));
    EXPECT_FALSE(engine_->open_table("c"));
    EXPECT_EQ((*engine_->open_table("a"))->id(), a->id());
    put(*a, "k", "v");
    auto reader = begin();
    auto cursor = reader->open_cursor(*a);
    EXPECT_TRUE(*cursor->next());
    engine_->drop_table("a", {});
    EXPECT_EQ(engine_->idents(), std::vector<std::string>{"b"});
    EXPECT_EQ(cursor->key(), "k");  // Who uses it may finish.
    EXPECT_FALSE(*cursor->next());
}

TEST_P(EngineTest, PreparedWritesWaitForTheirDecision) {
    const auto t = table("t");
    put(*t, "k", "1", at(10));
    auto prepared = begin();
    ASSERT_TRUE(prepared->put(*t, "k", "2"));
    ASSERT_TRUE(prepared->prepare(at(20)));
    EXPECT_EQ(get(*t, "k"), "1");
    TransactionOptions blocking;
    blocking.ignore_prepared = false;
    {
        auto reader = begin(blocking);
        const auto value = reader->get(*t, "k");
        ASSERT_FALSE(value);
        EXPECT_EQ(value.error().code(), ErrorCode::prepared_transaction_in_progress);
    }
    {
        auto writer = begin();
        EXPECT_FALSE(writer->put(*t, "k", "3"));
    }
    ASSERT_TRUE(prepared->commit_prepared(at(25), at(30)));
    EXPECT_EQ(get(*t, "k", at(24)), "1");
    EXPECT_EQ(get(*t, "k", at(25)), "2");
    auto aborted = begin();
    ASSERT_TRUE(aborted->put(*t, "k", "4"));
    ASSERT_TRUE(aborted->prepare(at(40)));
    aborted->rollback();
    EXPECT_EQ(get(*t, "k"), "2");
}

TEST_P(EngineTest, FlushesForAllWhoWait) {
    const auto t = table("t", logged);
    DurabilityFlusher flusher(*engine_);
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) {
        threads.emplace_back([&, i] {
            for (int n = 0; n < 20; ++n) {
                put(*t, "k" + std::to_string(i), std::to_string(n));
                flusher.on_commit();
                EXPECT_TRUE(flusher.wait());
            }
        });
    }
    for (auto& thread : threads)
        thread.join();
    EXPECT_EQ(get(*t, "k7"), "19");
}

// Threads move money between accounts; the sum never changes for any reader.
TEST_P(EngineTest, SnapshotsAreConsistentUnderConcurrency) {
    const auto t = table("t");
    for (int i = 0; i < 10; ++i)
        put(*t, "k" + std::to_string(i), "100");
    std::atomic<int> conflicts = 0;
    const auto move_money = [&](std::uint64_t seed) {
        Random random(seed);
        for (int n = 0; n < 300; ++n) {
            const std::string from = "k" + std::to_string(random.below(10));
            const std::string to = "k" + std::to_string(random.below(10));
            if (from == to) continue;
            auto transaction = begin();
            const int a = std::stoi(read(*transaction, *t, from));
            const int b = std::stoi(read(*transaction, *t, to));
            if (!transaction->put(*t, from, std::to_string(a - 1)) ||
                !transaction->put(*t, to, std::to_string(b + 1)) || !transaction->commit()) {
                ++conflicts;
            }
        }
    };
    std::vector<std::thread> threads;
    for (std::uint64_t seed = 1; seed <= 3; ++seed)
        threads.emplace_back(move_money, seed);
    for (int n = 0; n < 50; ++n) {
        auto reader = begin();
        int sum = 0;
        auto cursor = reader->open_cursor(*t);
        while (*cursor->next())
            sum += std::stoi(std::string(cursor->value()));
        EXPECT_EQ(sum, 1000);
    }
    for (auto& thread : threads)
        thread.join();
}

TEST_P(EngineTest, GivesValuesBackAsTheyWerePutPackedOrNot) {
    const auto t = table("t", {.is_logged = true, .packs_large_values = true});
    Random random(7);
    std::string noise(limits::packed_value_bytes_min * 2, ' ');
    for (char& c : noise)
        c = static_cast<char>(random.below(256));
    const std::string mark(4, '\xff');
    const std::vector<std::string> values{
        "",
        "small",
        std::string(limits::packed_value_bytes_min - 1, 'a'),
        std::string(limits::packed_value_bytes_min, 'b'),
        std::string(3'000'000, 'c'),
        noise,
        noise + std::string(noise.size(), 'd'),
        mark,
        mark + "small",
        mark + noise,
        mark + std::string(100'000, 'e'),
    };
    for (std::size_t i = 0; i < values.size(); ++i) {
        auto writer = begin();
        const std::string key(1, static_cast<char>('a' + i));
        EXPECT_TRUE(*writer->insert(*t, key, values[i]));
        EXPECT_FALSE(*writer->insert(*t, key, values.back()));
        ASSERT_TRUE(writer->put(*t, key, "other"));
        ASSERT_TRUE(writer->put(*t, key, values[i]));
        ASSERT_TRUE(writer->commit());
    }
    const auto reader = begin();
    const auto forward = reader->open_cursor(*t);
    const auto backward = reader->open_cursor(*t, Direction::backward);
    for (std::size_t i = 0; i < values.size(); ++i) {
        EXPECT_EQ(read(*reader, *t, std::string(1, static_cast<char>('a' + i))), values[i]) << i;
        ASSERT_TRUE(*forward->next());
        EXPECT_EQ(forward->value(), values[i]) << i;
        ASSERT_TRUE(*backward->next());
        EXPECT_EQ(backward->value(), values[values.size() - 1 - i]) << i;
    }
    ASSERT_TRUE(*forward->seek("d"));
    EXPECT_EQ(forward->value(), values[3]);
}

TEST_P(EngineTest, TalliesFollowCommits) {
    const auto t = table("t");
    const auto tally = std::make_shared<Tally>();
    auto writer = begin();
    writer->add(tally, 2, 100);
    writer->add(tally, -1, 20);
    EXPECT_EQ(writer->pending(tally).count, 1);
    EXPECT_EQ(tally->count, 0);
    ASSERT_TRUE(writer->put(*t, "k", "v"));
    ASSERT_TRUE(writer->commit());
    EXPECT_EQ(tally->count, 1);
    EXPECT_EQ(tally->bytes, 120);
    begin()->add(tally, 5, 5);
    EXPECT_EQ(tally->count, 1);
}

TEST_P(EngineTest, LimitsOpenTransactions) {
    std::vector<std::unique_ptr<Transaction>> open;
    for (std::uint32_t i = 0; i < limits::transactions_max; ++i)
        open.push_back(begin());
    const auto one_more = engine_->begin();
    ASSERT_FALSE(one_more);
    EXPECT_EQ(one_more.error().code(), ErrorCode::temporarily_unavailable);
    open.clear();
    begin();
}

}  // namespace
}  // namespace tessera::storage
