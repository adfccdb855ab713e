// SPDX-License-Identifier: Apache-2.0
//
// A set under partitions, step-downs, crashes and restarts, from a seed: what was acknowledged by a
// majority is on every member in the end, and all members are alike. Indexes come and go meanwhile; builds that
// were begun end, whoever is primary then.
#include <cstdlib>
#include <set>

#include <gtest/gtest.h>

#include "catalog/index_build.h"
#include "replication/index_builds.h"
#include "replication/test_set.h"

namespace tessera::replication {
namespace {

const Namespace items{"shop", "items"};

struct Workload {
    std::set<std::int32_t> acknowledged;
    std::int32_t next = 0;
    int writing = 0;
};

async::Task<void> write(TestMember& member, std::int32_t id, Workload& workload, Instant deadline) {
    ++workload.writing;
    const std::shared_ptr<void> counted(nullptr, [&workload](void*) { --workload.writing; });
    const bson::Document document = bson::make("_id", id, "value", id);
    const auto at = member.insert(items, document);
    if (!at) co_return;
    WriteConcern concern;
    const auto status = co_await member.replication->await_write_concern(
        *at, std::move(concern), deadline, async::Cancellation::none());
    if (status) workload.acknowledged.insert(id);
}

// Begins a build, or drops the index where it is.
void change_index(TestSet& set, TestMember& member, Random& random) {
    Replication& replication = *member.replication;
    if (!member.catalog->find(items) ||
        !ensure_build_records(replication, *member.engine, set.clock))
        return;
    catalog::IndexBuildPtr build;
    Status started;
    {
        const auto lock = member.catalog->lock_exclusive(items);
        auto unit = WriteUnit::begin(replication, *member.engine, set.clock);
        if (!lock || !unit) return;
        if (lock->indexes().size() > 1) {
            if (!unit->reserve(1)) return;
            (void)drop_index(*unit, *member.catalog, *lock, "value_1");
            return;
        }
        const bson::Document key = bson::make("value", 1);
        const bson::Document spec = bson::make("key", key, "name", "value_1");
        const auto checked = member.catalog->check_index(*lock, spec);
        if (!checked || checked->is_being_built) return;
        NewBuild what{{checked->spec}, {}};
        if (random.below(2) == 0) what.quorum.members = static_cast<int>(random.below(4));
        const auto at = start_index_build(*unit, *member.catalog, *lock, what, build);
        if (!at) started = at.error();
    }
    if (!build) return;
    if (started) {
        replication.drive_build(build);
    } else {
        member.catalog->abort_build(*build, started.error());
    }
}

void expect_same_indexes(TestSet& set) {
    const auto has_ended = [&](std::size_t i) {
        return set[i].catalog->noted_builds().empty() && set[i].catalog->builds().empty();
    };
    EXPECT_TRUE(set.wait([&] { return has_ended(0) && has_ended(1) && has_ended(2); }, 120s));
    EXPECT_TRUE(set.wait([&] { return set.has_converged(); }, 120s));
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(set[i].count(builds_ns), 0U);
        const auto collection = set[i].catalog->find(items);
        ASSERT_NE(collection, nullptr);
        EXPECT_EQ(collection->indexes().size(), set[0].catalog->find(items)->indexes().size());
        const auto report = catalog::validate_collection(*collection, *set[i].engine);
        ASSERT_TRUE(report);
        EXPECT_TRUE(report->errors.empty()) << report->errors.front();
    }
}

// kill -9 and a new start; some found a checkpoint first.
void restart(TestSet& set, Random& random, Workload& workload) {
    const std::size_t i = random.below(set.size());
    if (random.below(2) == 0) {
        ASSERT_TRUE(set[i].engine->checkpoint());
    }
    set.kill(i);
    ASSERT_TRUE(set.wait([&] { return workload.writing == 0; }));
    set.restart(i);
}

void run(std::uint64_t seed) {
    SCOPED_TRACE("TESSERA_SEED=" + std::to_string(seed));
    TestSet set(3, "rs", {.is_durable = true});
    Random random(seed);
    ASSERT_TRUE(set.initiate(3));
    Workload workload;
    const auto& acknowledged = workload.acknowledged;
    for (int round = 0; round < 60; ++round) {
        switch (random.below(7)) {
            case 0:
                set.isolate(random.below(3));
                break;
            case 1:
            case 2:
                set.heal();
                break;
            case 3:
                if (random.below(3) == 0 && set.primary() != nullptr) {
                    consensus::StepDownRequest request;
                    request.period = 2s;
                    request.catch_up_period = 1s;
                    request.force = random.below(2) == 0;
                    (void)set.run(set.primary()->replication->step_down(request));
                }
                break;
            case 4:
                restart(set, random, workload);
                break;
            default:
                break;
        }
        for (std::size_t i = 0; i < 3; ++i) {
            // Also one that believes to be primary and is cut off.
            if (!set[i].replication->is_writable_primary()) continue;
            if (random.below(3) == 0) change_index(set, set[i], random);
            for (int k = 0; k < 3; ++k)
                async::spawn(set.executor,
                             write(set[i], workload.next++, workload, set.clock.now() + 5s));
        }
        const Instant until = set.clock.now() + std::chrono::milliseconds(random.below(1'500));
        set.wait([&] { return set.clock.now() >= until; }, until - set.clock.now());
    }
    set.heal();
    ASSERT_TRUE(set.wait([&] { return set.primary() != nullptr; }));
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }, 120s));
    EXPECT_GT(acknowledged.size(), 20U);
    for (std::size_t i = 0; i < 3; ++i) {
        for (const std::int32_t id : acknowledged)
            EXPECT_TRUE(set[i].find(items, id)) << id;
        EXPECT_EQ(set[i].count(items), set[0].count(items));
        EXPECT_EQ(set[i].replication->state() == consensus::MemberState::primary ||
                      set[i].replication->state() == consensus::MemberState::secondary,
                  true);
    }
    expect_same_indexes(set);
    // Nothing of the test may outlive the set.
    set.wait([&] { return false; }, 6s);
}

TEST(ReplicationChaos, AcknowledgedWritesAreOnEveryMember) {
    const char* const one = std::getenv("TESSERA_SEED");
    if (one != nullptr) return run(std::strtoull(one, nullptr, 10));
    const char* const many = std::getenv("TESSERA_SEEDS");
    const std::uint64_t count = many != nullptr ? std::strtoull(many, nullptr, 10) : 50;
    for (std::uint64_t seed = 1; seed <= count && !testing::Test::HasFailure(); ++seed)
        run(seed);
}

}  // namespace
}  // namespace tessera::replication
