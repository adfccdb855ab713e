// SPDX-License-Identifier: Apache-2.0
//
// A set under partitions, step-downs, crashes and restarts, from a seed: what was acknowledged by a
// majority is on every member in the end, and all members are alike. Indexes come and go meanwhile;
// builds that were begun end, whoever is primary then.
#include <cstdlib>
#include <map>

#include <gtest/gtest.h>

#include "catalog/index_build.h"
#include "replication/index_builds.h"
#include "replication/test_set.h"

namespace tessera::replication {
namespace {

const Namespace items{"shop", "items"};

// What the writers did to one document: what it must be in the end, if that is certain.
struct Fate {
    std::optional<std::int32_t> value;  // Nothing: it is not there.
    bool is_certain = true;
    bool is_being_written = false;
};

struct Workload {
    std::map<std::int32_t, Fate> fates;
    std::size_t acknowledged = 0;
    int writing = 0;
};

Result<OpTime> change(TestMember& member,
                      std::int32_t id,
                      bool is_there,
                      std::optional<std::int32_t> value) {
    if (!value) return member.remove(items, id);
    const bson::Document after = bson::make("_id", id, "value", *value);
    if (!is_there) return member.insert(items, after);
    const bson::Document fields = bson::make("value", *value);
    const bson::Document diff = bson::make("u", fields);
    return member.update(items, id, after, bson::make("$v", 2, "diff", diff));
}

// Inserts, updates or removes a document nobody else is writing.
async::Task<void> write(
    TestMember& member, std::int32_t id, std::int32_t value, Workload& workload, Instant deadline) {
    Fate& fate = workload.fates[id];
    ++workload.writing;
    fate.is_being_written = true;
    fate.is_certain = false;
    const std::shared_ptr<void> ending(nullptr, [&workload, &fate](void*) {
        --workload.writing;
        fate.is_being_written = false;
    });
    const bool is_there = member.find(items, id).has_value();
    const std::optional<std::int32_t> wanted =
        is_there && value % 4 == 0 ? std::nullopt : std::optional(value);
    const auto at = change(member, id, is_there, wanted);
    if (!at) co_return;
    WriteConcern concern;
    const auto status = co_await member.replication->await_write_concern(
        *at, std::move(concern), deadline, async::Cancellation::none());
    if (!status) co_return;
    ++workload.acknowledged;
    fate.value = wanted;
    fate.is_certain = true;
}

void write_some(TestSet& set, TestMember& member, Random& random, Workload& workload) {
    for (int k = 0; k < 3; ++k) {
        const auto id = static_cast<std::int32_t>(random.below(60));
        if (workload.fates[id].is_being_written) continue;
        const auto value = static_cast<std::int32_t>(random.below(1'000'000));
        async::spawn(set.executor, write(member, id, value, workload, set.clock.now() + 5s));
        set.executor.run();  // Until it waits: two of one document would meet.
    }
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
        const auto at = start_index_build(*unit, *lock, what, build);
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

void die(TestSet& set, std::size_t i, Workload& workload) {
    set[i].engine->lose_disk();
    set.kill(i);
    ASSERT_TRUE(set.wait([&] { return workload.writing == 0; }));
}

// kill -9 and a new start, sometimes after a checkpoint.
void restart(TestSet& set, Random& random, Workload& workload) {
    const std::size_t i = random.below(set.size());
    if (random.below(3) == 0) {
        ASSERT_TRUE(set[i].engine->checkpoint());
    }
    die(set, i, workload);
    set.restart(i);
}

// A new disk, while there are writes. Where the others have all there is: what only a disk that is
// lost has held is lost, and who was away meanwhile may find nobody whose log reaches back to his.
void replace_disk(TestSet& set, Random& random, Workload& workload) {
    set.heal();
    if (!set.has_converged()) return;
    const std::size_t i = random.below(set.size());
    die(set, i, workload);
    set.wipe(i);
    ASSERT_TRUE(set.wait([&] { return set.primary() != nullptr; }));
    write_some(set, *set.primary(), random, workload);
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }, 120s));
}

void step_down(TestSet& set, Random& random) {
    consensus::StepDownRequest request;
    request.period = 2s;
    request.catch_up_period = 1s;
    request.force = random.below(2) == 0;
    (void)set.run(set.primary()->replication->step_down(request));
}

void trouble(TestSet& set, Random& random, Workload& workload) {
    switch (random.below(8)) {
        case 0:
        case 1:
            set.isolate(random.below(3));
            break;
        case 2:
        case 3:
            set.heal();
            break;
        case 4:
            if (random.below(3) == 0 && set.primary() != nullptr) step_down(set, random);
            break;
        case 5:
            restart(set, random, workload);
            break;
        case 6:
            if (random.below(4) == 0) replace_disk(set, random, workload);
            break;
        default:
            break;
    }
}

void expect_what_was_acknowledged(TestSet& set, const Workload& workload) {
    for (std::size_t i = 0; i < 3; ++i) {
        const auto contents = set[i].contents(items);
        EXPECT_TRUE(contents == set[0].contents(items)) << "member " << i;
        for (const auto& [id, fate] : workload.fates) {
            if (!fate.is_certain) continue;
            const auto found = contents.find(id);
            const bool is_there = found != contents.end();
            ASSERT_EQ(is_there, fate.value.has_value()) << id << " on member " << i;
            if (is_there) {
                EXPECT_EQ(found->second["value"].as_int32(), *fate.value) << id;
            }
        }
        const auto state = set[i].replication->state();
        EXPECT_TRUE(state == consensus::MemberState::primary ||
                    state == consensus::MemberState::secondary);
    }
}

void run(std::uint64_t seed) {
    SCOPED_TRACE("TESSERA_SEED=" + std::to_string(seed));
    TestSet set(3, "rs", {.is_durable = true});
    Random random(seed);
    ASSERT_TRUE(set.initiate(3));
    Workload workload;
    for (int round = 0; round < 80; ++round) {
        trouble(set, random, workload);
        for (std::size_t i = 0; i < 3; ++i) {
            // Also one that believes to be primary and is cut off.
            if (!set[i].replication->is_writable_primary()) continue;
            if (random.below(3) == 0) change_index(set, set[i], random);
            write_some(set, set[i], random, workload);
        }
        const Instant until = set.clock.now() + std::chrono::milliseconds(random.below(1'500));
        set.wait([&] { return set.clock.now() >= until; }, until - set.clock.now());
    }
    set.heal();
    ASSERT_TRUE(set.wait([&] { return set.primary() != nullptr; }));
    ASSERT_TRUE(set.wait([&] { return set.has_converged(); }, 120s));
    EXPECT_GT(workload.acknowledged, 10U);
    expect_what_was_acknowledged(set, workload);
    expect_same_indexes(set);
    // Nothing of the test may outlive the set.
    set.wait([&] { return false; }, 6s);
}

TEST(ReplicationChaos, AcknowledgedWritesAreOnEveryMember) {
    const char* const one = std::getenv("TESSERA_SEED");
    if (one != nullptr) return run(std::strtoull(one, nullptr, 10));
    const char* const many = std::getenv("TESSERA_SEEDS");
    const std::uint64_t count = many != nullptr ? std::strtoull(many, nullptr, 10) : 200;
    for (std::uint64_t seed = 1; seed <= count && !testing::Test::HasFailure(); ++seed)
        run(seed);
}

}  // namespace
}  // namespace tessera::replication
