// SPDX-License-Identifier: Apache-2.0
//
// What a crash leaves: a child process writes and is killed, and the directory is opened again.
#include <csignal>
#include <fstream>

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "storage/test_engine.h"
#include "storage/wiredtiger/journal_tail.h"

namespace tessera::storage {
namespace {

std::unique_ptr<Engine> open(const std::string& path) {
    return open_test_engine(EngineKind::wiredtiger, path);
}

void put(Engine& engine, Table& table, std::string_view key, Timestamp when = {}) {
    auto transaction = std::move(engine.begin()).value();
    if (!when.is_null()) ASSERT(transaction->set_timestamp(when).has_value());
    ASSERT(transaction->put(table, key, std::string(200, 'v')).has_value());
    ASSERT(transaction->commit().has_value());
}

int count(Engine& engine, std::string_view ident) {
    const TablePtr table = std::move(engine.open_table(ident)).value();
    auto transaction = std::move(engine.begin()).value();
    auto cursor = transaction->open_cursor(*table);
    int result = 0;
    while (*cursor->next())
        ++result;
    return result;
}

// Runs `body` in a child process that ends by kill -9 as soon as it has said so.
template <class Body>
void in_killed_child(Body body) {
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        body();
        const char done = 1;
        if (::write(ready[1], &done, 1) != 1) ::_exit(1);
        while (true)
            ::pause();
    }
    ::close(ready[1]);
    char done = 0;
    EXPECT_EQ(::read(ready[0], &done, 1), 1);
    ::close(ready[0]);
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
}

std::string key(int i) {
    std::string text = std::to_string(i);
    return std::string(8 - text.size(), '0') + text;
}

TEST(Durability, KeepsWhatWasFlushedOfLoggedTables) {
    TemporaryDirectory directory;
    in_killed_child([&] {
        auto* const engine = open(directory.path()).release();
        const auto table = *engine->create_table("t", {.is_logged = true});
        for (int i = 0; i < 1000; ++i)
            put(*engine, *table, key(i));
        ASSERT(engine->flush_journal().has_value());
    });
    const auto engine = open(directory.path());
    EXPECT_EQ(engine->idents(), std::vector<std::string>{"t"});
    EXPECT_EQ(count(*engine, "t"), 1000);
    EXPECT_TRUE((*engine->open_table("t"))->options().is_logged);
}

TEST(Durability, TakesUnloggedTablesBackToTheCheckpoint) {
    TemporaryDirectory directory;
    in_killed_child([&] {
        auto* const engine = open(directory.path()).release();
        const auto table = *engine->create_table("t", {.is_logged = false});
        const auto oplog = *engine->create_table("o", {.is_logged = true});
        for (std::uint32_t i = 1; i <= 30; ++i) {
            auto transaction = std::move(engine->begin()).value();
            ASSERT(transaction->set_timestamp({i, 0}).has_value());
            ASSERT(transaction->put(*table, key(static_cast<int>(i)), "v").has_value());
            ASSERT(transaction->put(*oplog, key(static_cast<int>(i)), "v").has_value());
            ASSERT(transaction->commit().has_value());
            if (i == 20) {
                engine->set_stable({10, 0});
                ASSERT(engine->checkpoint().has_value());
                ASSERT(engine->last_checkpoint() == (Timestamp{10, 0}));
            }
        }
        engine->set_stable({25, 0});
        ASSERT(engine->flush_journal().has_value());
    });
    const auto engine = open(directory.path());
    EXPECT_EQ(engine->recovery_timestamp(), (Timestamp{10, 0}));
    EXPECT_EQ(engine->stable(), (Timestamp{10, 0}));
    EXPECT_EQ(count(*engine, "t"), 10);
    EXPECT_EQ(count(*engine, "o"), 30);
    EXPECT_FALSE((*engine->open_table("t"))->options().is_logged);
}

TEST(Durability, ACleanCloseKeepsStable) {
    TemporaryDirectory directory;
    {
        const auto engine = open(directory.path());
        const auto table =
            *engine->create_table("t", {.is_logged = false, .has_small_values = true});
        put(*engine, *table, "a", {10, 0});
        put(*engine, *table, "b", {20, 0});
        engine->set_stable({15, 0});
    }
    const auto engine = open(directory.path());
    EXPECT_EQ(engine->recovery_timestamp(), (Timestamp{15, 0}));
    EXPECT_EQ(count(*engine, "t"), 1);
    EXPECT_TRUE((*engine->open_table("t"))->options().has_small_values);
}

TEST(Durability, RecoversUpToATornTail) {
    TemporaryDirectory directory;
    in_killed_child([&] {
        auto* const engine = open(directory.path()).release();
        const auto table = *engine->create_table("t", {.is_logged = true});
        for (int i = 0; i < 1000; ++i)
            put(*engine, *table, key(i));
        ASSERT(engine->flush_journal().has_value());
    });
    std::filesystem::path file;
    for (const auto& entry : std::filesystem::directory_iterator(directory.path() + "/journal")) {
        if (file.empty() || entry.path() > file) file = entry.path();
    }
    // Garbage in the middle of what was written, and an end inside a record.
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(stream)), {});
    const auto size = bytes.find_last_not_of('\0');
    ASSERT_GT(size, 50'000U);
    {
        stream.clear();
        stream.seekp(static_cast<std::streamoff>(size / 2 + 77));
        stream << "not what was written here";
        stream.close();
    }
    std::filesystem::resize_file(file, size - 100);
    const auto engine = open(directory.path());
    const int kept = count(*engine, "t");
    EXPECT_GT(kept, 300);
    EXPECT_LT(kept, 700);
    // The first ones, without a gap; and it works.
    const TablePtr table = *engine->open_table("t");
    EXPECT_TRUE((*std::move(engine->begin()).value()->get(*table, key(kept - 1))).has_value());
    put(*engine, *table, "new");
}

std::vector<std::filesystem::path> journal_files(const std::string& directory) {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(directory + "/journal"))
        files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    return files;
}

void overwrite(const std::filesystem::path& file, std::streamoff at, std::string_view bytes) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(at);
    stream << bytes;
}

TEST(Durability, DamageBeforeTheCheckpointCostsNothingTheCheckpointHolds) {
    TemporaryDirectory directory;
    in_killed_child([&] {
        auto* const engine = open(directory.path()).release();
        const auto table = *engine->create_table("t", {.is_logged = true});
        for (int i = 0; i < 1000; ++i)
            put(*engine, *table, key(i));
        ASSERT(engine->checkpoint().has_value());
        for (int i = 1000; i < 1500; ++i)
            put(*engine, *table, key(i));
        ASSERT(engine->flush_journal().has_value());
    });
    overwrite(journal_files(directory.path()).back(), 5000, "not what was written here");
    {
        const auto engine = open(directory.path());
        EXPECT_GE(count(*engine, "t"), 1000);
    }
    // What is written now is recovered from where it is, not from the checkpoint's old place.
    in_killed_child([&] {
        auto* const engine = open(directory.path()).release();
        const TablePtr table = *engine->open_table("t");
        for (int i = 2000; i < 2100; ++i)
            put(*engine, *table, key(i));
        ASSERT(engine->flush_journal().has_value());
    });
    const auto engine = open(directory.path());
    const TablePtr table = *engine->open_table("t");
    for (const int i : {0, 999, 2000, 2099})
        EXPECT_TRUE((*std::move(engine->begin()).value()->get(*table, key(i))).has_value()) << i;
}

TEST(Durability, DamageInAnEarlierJournalFileIsNoTail) {
    TemporaryDirectory directory;
    in_killed_child([&] {
        auto* const engine = open(directory.path()).release();
        const auto table = *engine->create_table("t", {.is_logged = true});
        Random random(5);
        for (int i = 0; i < 40; ++i) {  // Files are of 16 MiB.
            std::string large;
            while (large.size() < 1024 * 1024)
                large += static_cast<char>(random.next());  // Does not compress.
            auto transaction = std::move(engine->begin()).value();
            ASSERT(transaction->put(*table, key(i), large).has_value());
            ASSERT(transaction->commit().has_value());
        }
        ASSERT(engine->flush_journal().has_value());
    });
    const auto files = journal_files(directory.path());
    ASSERT_GE(files.size(), 2U);
    overwrite(files.front(), 3 * 1024 * 1024, std::string(4096, '?'));
    const auto engine = wiredtiger::open(directory.path(), {});
    ASSERT_FALSE(engine);
    EXPECT_NE(engine.error().reason().find("restore a backup"), std::string::npos)
        << engine.error().reason();
}

TEST(Durability, OpensOrSaysWhatToDoWhateverBecameOfTheLastJournalFile) {
    const auto damage = [](const std::filesystem::path& file, int how) {
        if (how == 0) std::filesystem::resize_file(file, 0);
        if (how == 1) std::filesystem::resize_file(file, 70);
        if (how == 2) overwrite(file, 20, "??????");
        if (how == 3) std::filesystem::remove(file);
    };
    for (int how = 0; how < 4; ++how) {
        TemporaryDirectory directory;
        in_killed_child([&] {
            auto* const engine = open(directory.path()).release();
            const auto table = *engine->create_table("t", {.is_logged = true});
            for (int i = 0; i < 500; ++i)
                put(*engine, *table, key(i));
            ASSERT(engine->checkpoint().has_value());
            put(*engine, *table, key(500));
            ASSERT(engine->flush_journal().has_value());
        });
        damage(journal_files(directory.path()).back(), how);
        wiredtiger::Options options;
        options.cache_bytes = 64 * 1024 * 1024;
        const auto engine = wiredtiger::open(directory.path(), options);
        if (!engine) {
            EXPECT_NE(engine.error().reason().find("restore a backup"), std::string::npos)
                << how << ": " << engine.error().reason();
            continue;
        }
        EXPECT_GE(count(**engine, "t"), 500) << how;
        put(**engine, **(*engine)->open_table("t"), "new");
    }
}

TEST(Durability, ReopensAfterKillsAtAnyMoment) {
    TemporaryDirectory directory;
    int acknowledged = 0;
    for (int round = 0; round < 5; ++round) {
        int pipes[2];
        ASSERT_EQ(::pipe(pipes), 0);
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            auto* const engine = open(directory.path()).release();
            auto opened = engine->open_table("t");
            const TablePtr table =
                opened ? *opened : *engine->create_table("t", {.is_logged = true});
            for (int i = acknowledged; i < 1'000'000; ++i) {
                put(*engine, *table, key(i));
                if (i % 50 == 49) ASSERT(engine->checkpoint().has_value());
                ASSERT(engine->flush_journal().has_value());
                if (::write(pipes[1], &i, sizeof(i)) != sizeof(i)) ::_exit(1);
            }
            ::_exit(0);
        }
        ::close(pipes[1]);
        int last = 0;
        const int enough = acknowledged + 60 + round * 17;
        while (last < enough && ::read(pipes[0], &last, sizeof(last)) == sizeof(last)) {
        }
        ::kill(child, SIGKILL);
        while (::read(pipes[0], &last, sizeof(last)) == sizeof(last)) {
        }
        ::close(pipes[0]);
        int status = 0;
        ::waitpid(child, &status, 0);
        ASSERT_GE(last, enough);
        const auto engine = open(directory.path());
        const int found = count(*engine, "t");
        EXPECT_GE(found, last + 1);
        acknowledged = found;
    }
}

TEST(Durability, DropsFilesOnceNothingNeedsThem) {
    TemporaryDirectory directory;
    const auto engine = open(directory.path());
    const auto has_file = [&](const char* name) {
        return std::filesystem::exists(directory.path() + "/" + name + ".wt");
    };
    const auto at_once = *engine->create_table("a", {.is_logged = true});
    const auto later = *engine->create_table("b", {.is_logged = false});
    put(*engine, *at_once, "k");
    put(*engine, *later, "k", {10, 0});
    ASSERT_TRUE(engine->checkpoint());
    auto reader = std::move(engine->begin()).value();
    ASSERT_TRUE(reader->get(*at_once, "k"));
    engine->drop_table("a", {});
    engine->drop_table("b", {20, 0});
    reader.reset();
    const auto deadline = std::chrono::steady_clock::now() + 30s;
    while (has_file("a") && std::chrono::steady_clock::now() < deadline)
        ::poll(nullptr, 0, 10);
    EXPECT_FALSE(has_file("a"));
    EXPECT_TRUE(has_file("b"));
    engine->set_stable({20, 0});
    engine->set_oldest({20, 0});
    ASSERT_TRUE(engine->checkpoint());
    while (has_file("b") && std::chrono::steady_clock::now() < deadline)
        ::poll(nullptr, 0, 10);
    EXPECT_FALSE(has_file("b"));
}

TEST(Durability, ChangesWhetherATableIsLogged) {
    TemporaryDirectory directory;
    {
        const auto engine = open(directory.path());
        const auto table =
            *engine->create_table("t", {.is_logged = true, .packs_large_values = true});
        put(*engine, *table, "a");
    }
    {
        const auto engine = open(directory.path());
        ASSERT_TRUE(engine->set_logged("t", false));
        const auto table = *engine->open_table("t");
        EXPECT_FALSE(table->options().is_logged);
        EXPECT_TRUE(table->options().packs_large_values);
        put(*engine, *table, "b", {10, 0});
        auto transaction = std::move(engine->begin({.read_at = {5, 0}})).value();
        EXPECT_FALSE((*transaction->get(*table, "b")).has_value());
    }
    const auto engine = open(directory.path());
    EXPECT_FALSE((*engine->open_table("t"))->options().is_logged);
    EXPECT_TRUE((*engine->open_table("t"))->options().packs_large_values);
}

TEST(Durability, PacksLargeValuesInMemoryAndInTheJournal) {
    const std::string value(1'000'000, 'v');
    const auto write = [&](Engine& engine, std::string_view ident, bool packs) {
        const auto table =
            *engine.create_table(ident, {.is_logged = true, .packs_large_values = packs});
        auto transaction = std::move(engine.begin()).value();
        for (int i = 0; i < 5; ++i)
            ASSERT(transaction->put(*table, key(i), value).has_value());
        ASSERT(transaction->commit().has_value());
    };
    TemporaryDirectory directory;
    in_killed_child([&] {
        auto engine = open(directory.path());
        const auto used = [&] { return engine->stats().cache_bytes; };
        const auto at_first = used();
        write(*engine, "packed", true);
        const auto after_packed = used();
        write(*engine, "plain", false);
        ASSERT(after_packed - at_first < 1'000'000);
        ASSERT(used() - after_packed > 5'000'000);
        ASSERT(engine->flush_journal().has_value());
        (void)engine.release();  // The child is killed with it open.
    });
    const auto engine = open(directory.path());
    for (const char* const ident : {"packed", "plain"}) {
        const auto table = *engine->open_table(ident);
        EXPECT_EQ(table->options().packs_large_values, std::string_view(ident) == "packed");
        auto transaction = std::move(engine->begin()).value();
        for (int i = 0; i < 5; ++i)
            EXPECT_EQ(*transaction->get(*table, key(i)), value);
    }
    EXPECT_TRUE((*engine->verify(**engine->open_table("packed"))).empty());
}

TEST(Durability, VerifiesAndMeasures) {
    TemporaryDirectory directory;
    const auto engine = open(directory.path());
    const auto table = *engine->create_table("t", {.is_logged = true});
    for (int i = 0; i < 1000; ++i)
        put(*engine, *table, key(i));
    const auto faults = engine->verify(*table);
    ASSERT_TRUE(faults) << faults.error().to_string();
    EXPECT_TRUE(faults->empty());
    EXPECT_GT((*engine->table_stats(*table)).bytes_on_disk, 4096U);
    const EngineStats stats = engine->stats();
    EXPECT_GT(stats.cache_bytes, 0U);
    EXPECT_EQ(stats.cache_bytes_max, 64U * 1024 * 1024);
    EXPECT_GT(stats.checkpoints, 0U);
}

TEST(Durability, SaysWhatIsWrongWithACorruptDirectory) {
    TemporaryDirectory directory;
    { open(directory.path()); }
    { std::ofstream(directory.path() + "/WiredTiger.turtle") << "nonsense"; }
    const auto engine = wiredtiger::open(directory.path(), {});
    ASSERT_FALSE(engine);
    EXPECT_NE(engine.error().reason().find(directory.path()), std::string::npos);
    EXPECT_NE(engine.error().reason().find("restore a backup"), std::string::npos);
}

TEST(Durability, RefusesASecondOpener) {
    TemporaryDirectory directory;
    in_killed_child([&] { open(directory.path()); });
    const auto engine = open(directory.path());
    const auto second = wiredtiger::open(directory.path(), {});
    ASSERT_FALSE(second);
}

}  // namespace
}  // namespace tessera::storage
