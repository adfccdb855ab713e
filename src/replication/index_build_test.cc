// SPDX-License-Identifier: Apache-2.0
//
// Index builds in a replica set: begun everywhere by the oplog, finished everywhere at one position
// once enough members are done, whoever is primary then.
#include <gtest/gtest.h>

#include "catalog/index.h"
#include "catalog/index_build.h"
#include "replication/index_builds.h"
#include "replication/test_set.h"

namespace tessera::replication {
namespace {

const Namespace items{"shop", "items"};

bson::Document item(std::int32_t id) {
    return bson::make("_id", id, "a", id % 10);
}

// Begins a build as createIndexes does. It goes on by itself once it is driven.
catalog::IndexBuildPtr start(TestSet& set,
                             TestMember& member,
                             const CommitQuorum& quorum = {},
                             bool is_unique = false) {
    Replication& replication = *member.replication;
    EXPECT_TRUE(ensure_build_records(replication, *member.engine, set.clock));
    const auto lock = member.catalog->lock_exclusive(items);
    auto unit = WriteUnit::begin(replication, *member.engine, set.clock);
    EXPECT_TRUE(unit);
    const bson::Document key = bson::make("a", 1);
    const bson::Document spec = bson::make("key", key, "name", "a_1", "unique", is_unique);
    const auto checked = member.catalog->check_index(*lock, spec);
    EXPECT_TRUE(checked);
    catalog::IndexBuildPtr build;
    const auto at = start_index_build(*unit, *lock, {{checked->spec}, quorum}, build);
    EXPECT_TRUE(at) << at.error().to_string();
    return build;
}

CommitQuorum quorum_of(int members) {
    CommitQuorum quorum;
    quorum.members = members;
    return quorum;
}

std::vector<std::string> commands_in(TestMember& member) {
    std::vector<std::string> names;
    for (const bson::Document& entry : member.oplog())
        if (entry["op"].as_string() == "c")
            names.emplace_back(entry["o"].as_view().front().name);
    return names;
}

bool has_index(TestMember& member) {
    const auto collection = member.catalog->find(items);
    return collection != nullptr && collection->indexes().size() == 2U;
}

void expect_whole_index(TestMember& member) {
    const auto collection = member.catalog->find(items);
    ASSERT_NE(collection, nullptr);
    ASSERT_EQ(collection->indexes().size(), 2U);
    EXPECT_EQ(collection->indexes()[1]->name(), "a_1");
    const auto report = catalog::validate_collection(*collection, *member.engine);
    ASSERT_TRUE(report);
    EXPECT_TRUE(report->errors.empty()) << report->errors.front();
    EXPECT_EQ(report->keys_per_index[1].second, report->records);
    EXPECT_TRUE(member.catalog->builds().empty());
}

class IndexBuildInASet : public testing::Test {
protected:
    void SetUp() override {
        ASSERT_TRUE(set_.initiate(3));
        for (int i = 0; i < 1000; ++i)
            ASSERT_TRUE(set_.primary()->insert(items, item(i)));
        ASSERT_TRUE(set_.wait([&] { return set_.has_converged(); }));
    }
    TestSet set_{3};
};

TEST_F(IndexBuildInASet, BeginsOnEveryMemberAndEndsAtOnePosition) {
    TestMember& primary = *set_.primary();
    const auto build = start(set_, primary);
    ASSERT_TRUE(set_.wait([&] { return set_.has_converged(); }));
    for (std::size_t i = 0; i < 3; ++i) {
        ASSERT_EQ(set_[i].catalog->builds().size(), 1U) << i;
        EXPECT_EQ(set_[i].catalog->builds()[0]->id(), build->id());
        EXPECT_FALSE(has_index(set_[i]));
    }
    // The commit point moves meanwhile.
    const auto at = primary.insert(items, item(5000));
    ASSERT_TRUE(at);
    ASSERT_TRUE(set_.wait([&] { return primary.replication->commit_point() >= *at; }));
    ASSERT_TRUE(primary.remove(items, 3));
    primary.replication->drive_build(build);
    ASSERT_TRUE(set_.wait([&] { return has_index(primary) && set_.has_converged(); }));
    for (std::size_t i = 0; i < 3; ++i)
        expect_whole_index(set_[i]);
    EXPECT_EQ(commands_in(primary).back(), "commitIndexBuild");
    EXPECT_EQ(primary.count(builds_ns), 0U);
}

TEST_F(IndexBuildInASet, WaitsForAllVotersThatHoldData) {
    TestMember& primary = *set_.primary();
    const std::size_t away = &set_[2] == &primary ? 1 : 2;
    set_.isolate(away);
    const auto build = start(set_, primary);
    primary.replication->drive_build(build);
    const auto is_recorded = [&](std::size_t ready) {
        const auto record = read_build_record(*primary.catalog, *primary.engine, build->id());
        return record && *record && (*record)->ready.size() == ready;
    };
    ASSERT_TRUE(set_.wait([&] { return is_recorded(2); }));
    EXPECT_FALSE(set_.wait([&] { return build->has_ended(); }, 5s));
    set_.heal();
    ASSERT_TRUE(set_.wait([&] { return has_index(primary) && set_.has_converged(); }));
    for (std::size_t i = 0; i < 3; ++i)
        expect_whole_index(set_[i]);
}

TEST_F(IndexBuildInASet, WaitsForNoMoreThanItsQuorum) {
    TestMember& primary = *set_.primary();
    set_.isolate(&set_[2] == &primary ? 1 : 2);
    CommitQuorum majority;
    majority.members = std::string("majority");
    const auto build = start(set_, primary, majority);
    primary.replication->drive_build(build);
    ASSERT_TRUE(set_.wait([&] { return has_index(primary); }));
    set_.heal();
    ASSERT_TRUE(set_.wait([&] { return set_.has_converged(); }));
    for (std::size_t i = 0; i < 3; ++i)
        expect_whole_index(set_[i]);
}

TEST_F(IndexBuildInASet, ALowerQuorumReleasesABuildThatWaits) {
    TestMember& primary = *set_.primary();
    set_.isolate(&set_[2] == &primary ? 1 : 2);
    const auto build = start(set_, primary, quorum_of(3));
    primary.replication->drive_build(build);
    EXPECT_FALSE(set_.wait([&] { return build->has_ended(); }, 5s));
    ASSERT_TRUE(change_commit_quorum(
        *primary.replication, *primary.engine, set_.clock, build->id(), quorum_of(0)));
    ASSERT_TRUE(set_.wait([&] { return has_index(primary); }));
}

TEST_F(IndexBuildInASet, AMemberThatHasNoSuchBuildMakesItWhole) {
    TestMember& primary = *set_.primary();
    const auto build = start(set_, primary, quorum_of(1));
    ASSERT_TRUE(set_.wait([&] { return set_.has_converged(); }));
    for (std::size_t i = 0; i < 3; ++i) {
        if (&set_[i] == &primary) continue;
        set_[i].catalog->abort_builds([](const auto&) { return true; },
                                      Error(ErrorCode::index_build_aborted, "as a restart does"));
    }
    primary.replication->drive_build(build);
    ASSERT_TRUE(set_.wait([&] { return has_index(primary) && set_.has_converged(); }));
    for (std::size_t i = 0; i < 3; ++i)
        expect_whole_index(set_[i]);
}

TEST_F(IndexBuildInASet, AnAbortIsTheSameForAll) {
    TestMember& primary = *set_.primary();
    const auto build = start(set_, primary);
    const Error cause(ErrorCode::duplicate_key, "no");
    ASSERT_TRUE(primary.replication->abort_build(*build, cause));
    EXPECT_EQ(build->check().error().code(), ErrorCode::duplicate_key);
    ASSERT_TRUE(set_.wait([&] { return set_.has_converged(); }));
    bool is_logged = false;
    for (const bson::Document& entry : primary.oplog())
        if (entry["o"].as_view().has("abortIndexBuild"))
            is_logged = entry["o"].as_view()["cause"].as_view()["codeName"].as_string() ==
                        "DuplicateKey";
    EXPECT_TRUE(is_logged);
    EXPECT_EQ(primary.count(builds_ns), 0U);
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_TRUE(set_[i].catalog->builds().empty()) << i;
        EXPECT_TRUE(set_[i].catalog->noted_builds().empty()) << i;
        EXPECT_FALSE(has_index(set_[i]));
    }
}

TEST_F(IndexBuildInASet, DuplicatesEndAUniqueBuildEverywhere) {
    TestMember& primary = *set_.primary();
    const auto build = start(set_, primary, {}, true);
    primary.replication->drive_build(build);
    ASSERT_TRUE(set_.wait([&] { return build->has_ended(); }));
    EXPECT_EQ(build->check().error().code(), ErrorCode::duplicate_key);
    ASSERT_TRUE(set_.wait([&] { return set_.has_converged(); }));
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_TRUE(set_[i].catalog->builds().empty()) << i;
        EXPECT_TRUE(set_[i].catalog->noted_builds().empty()) << i;
    }
}

TEST_F(IndexBuildInASet, ADropTakesItAndItsRecord) {
    TestMember& primary = *set_.primary();
    const auto build = start(set_, primary);
    primary.replication->drive_build(build);
    ASSERT_TRUE(primary.drop(items));
    ASSERT_TRUE(set_.wait([&] { return primary.count(builds_ns) == 0; }));
    ASSERT_TRUE(set_.wait([&] { return set_.has_converged(); }));
    for (std::size_t i = 0; i < 3; ++i)
        EXPECT_TRUE(set_[i].catalog->noted_builds().empty()) << i;
}

TEST_F(IndexBuildInASet, TheNextPrimaryFinishesIt) {
    TestMember& old = *set_.primary();
    start(set_, old, quorum_of(2));  // Nobody drives it here: the primary is not done.
    ASSERT_TRUE(set_.wait([&] { return set_.has_converged(); }));
    for (std::size_t i = 0; i < 3; ++i)
        if (&set_[i] == &old) set_.kill(i);
    ASSERT_TRUE(set_.wait([&] { return set_.primary() != nullptr; }));
    TestMember& primary = *set_.primary();
    ASSERT_TRUE(primary.insert(items, item(5000)));
    ASSERT_TRUE(set_.wait([&] { return has_index(primary) && set_.has_converged(); }));
    for (std::size_t i = 0; i < 3; ++i)
        if (set_[i].is_alive) expect_whole_index(set_[i]);
    EXPECT_EQ(primary.count(builds_ns), 0U);
}

TEST_F(IndexBuildInASet, AMemberThatComesInitiallySyncsItToo) {
    TestMember& primary = *set_.primary();
    const auto build = start(set_, primary, quorum_of(4));
    primary.replication->drive_build(build);
    TestMember& late = set_.add();
    bson::Document config = set_.config(4);
    bson::Builder newer;
    for (const bson::Element& each : config.view())
        if (each.name != "version") newer.append(each);
    newer.append("version", 2);
    ASSERT_TRUE(set_.run(primary.replication->reconfig(
        std::move(newer).finish(), false, set_.clock.now() + 60s)));
    ASSERT_TRUE(set_.wait([&] { return has_index(primary) && set_.has_converged(); }));
    expect_whole_index(late);
}

}  // namespace
}  // namespace tessera::replication
