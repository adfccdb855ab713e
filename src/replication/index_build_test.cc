// SPDX-License-Identifier: Apache-2.0
//
// Index builds in a replica set: begun everywhere by the oplog, finished everywhere at one
// position, and ended with the primary that began them.
#include <gtest/gtest.h>

#include "catalog/index.h"
#include "catalog/index_build.h"
#include "replication/test_set.h"

namespace tessera::replication {
namespace {

const Namespace items{"shop", "items"};

bson::Document item(std::int32_t id) {
    return bson::make("_id", id, "a", id % 10);
}

Result<WriteUnit> begin_ddl(TestMember& member, TestSet& set) {
    TRY(auto unit, WriteUnit::begin(*member.replication, *member.engine, set.clock));
    TRY_OK(unit.reserve(1));
    return unit;
}

catalog::IndexBuildPtr start(TestSet& set, TestMember& member, std::string_view field = "a") {
    const auto lock = member.catalog->lock_exclusive(items);
    auto unit = begin_ddl(member, set);
    EXPECT_TRUE(unit);
    const bson::Document key = bson::make(field, 1);
    const bson::Document spec = bson::make("key", key, "name", "a_1");
    const auto checked = member.catalog->check_index(*lock, spec);
    EXPECT_TRUE(checked);
    catalog::IndexBuildPtr build;
    const auto at =
        start_index_build(*unit, *member.catalog, *lock, {checked->spec}, build);
    EXPECT_TRUE(at) << at.error().to_string();
    return build;
}

Result<OpTime> finish(TestSet& set, TestMember& member, const catalog::IndexBuildPtr& build) {
    while (true) {
        TRY(const bool is_filled, member.catalog->fill_step(*build));
        if (is_filled) break;
    }
    const auto lock = member.catalog->lock_exclusive(items);
    TRY(auto unit, begin_ddl(member, set));
    return commit_index_build(unit, *member.catalog, *lock, build);
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
        EXPECT_EQ(set_[i].catalog->find(items)->indexes().size(), 1U);
    }
    // The commit point moves meanwhile.
    const auto at = primary.insert(items, item(5000));
    ASSERT_TRUE(at);
    ASSERT_TRUE(set_.wait([&] { return primary.replication->commit_point() >= *at; }));
    ASSERT_TRUE(primary.remove(items, 3));
    ASSERT_TRUE(finish(set_, primary, build));
    ASSERT_TRUE(set_.wait([&] { return set_.has_converged(); }));
    for (std::size_t i = 0; i < 3; ++i)
        expect_whole_index(set_[i]);
}

TEST_F(IndexBuildInASet, AMemberThatHasNoSuchBuildMakesItWhole) {
    TestMember& primary = *set_.primary();
    const auto build = start(set_, primary);
    ASSERT_TRUE(set_.wait([&] { return set_.has_converged(); }));
    for (std::size_t i = 0; i < 3; ++i) {
        if (&set_[i] == &primary) continue;
        set_[i].catalog->abort_builds([](const auto&) { return true; },
                                      Error(ErrorCode::index_build_aborted, "as a restart does"));
    }
    ASSERT_TRUE(finish(set_, primary, build));
    ASSERT_TRUE(set_.wait([&] { return set_.has_converged(); }));
    for (std::size_t i = 0; i < 3; ++i)
        expect_whole_index(set_[i]);
}

TEST_F(IndexBuildInASet, AnAbortIsTheSameForAll) {
    TestMember& primary = *set_.primary();
    const auto build = start(set_, primary);
    const Error cause(ErrorCode::duplicate_key, "no");
    primary.catalog->abort_build(*build, cause);
    auto unit = WriteUnit::begin(*primary.replication, *primary.engine, set_.clock);
    ASSERT_TRUE(unit);
    ASSERT_TRUE(log_index_build_abort(*unit, *build, cause));
    ASSERT_TRUE(set_.wait([&] { return set_.has_converged(); }));
    EXPECT_EQ(primary.oplog().back()["o"].as_view()["cause"].as_view()["codeName"].as_string(),
              "DuplicateKey");
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_TRUE(set_[i].catalog->builds().empty()) << i;
        EXPECT_EQ(set_[i].catalog->find(items)->indexes().size(), 1U);
    }
}

TEST_F(IndexBuildInASet, IsOvertakenWhereItsEndWasNotSaid) {
    TestMember& primary = *set_.primary();
    primary.catalog->abort_build(*start(set_, primary, "other"),
                                 Error(ErrorCode::interrupted, "and nobody is told"));
    ASSERT_TRUE(set_.wait([&] { return set_.has_converged(); }));
    // The same name, another key.
    ASSERT_TRUE(finish(set_, primary, start(set_, primary)));
    ASSERT_TRUE(set_.wait([&] { return set_.has_converged(); }));
    for (std::size_t i = 0; i < 3; ++i)
        expect_whole_index(set_[i]);
}

TEST_F(IndexBuildInASet, EndsWithItsPrimary) {
    TestMember& old = *set_.primary();
    start(set_, old);
    ASSERT_TRUE(set_.wait([&] { return set_.has_converged(); }));
    for (std::size_t i = 0; i < 3; ++i)
        if (&set_[i] == &old) set_.kill(i);
    ASSERT_TRUE(set_.wait([&] { return set_.primary() != nullptr; }));
    ASSERT_TRUE(set_.wait([&] { return set_.has_converged(); }));
    TestMember& primary = *set_.primary();
    for (std::size_t i = 0; i < 3; ++i) {
        if (!set_[i].is_alive) continue;
        EXPECT_TRUE(set_[i].catalog->builds().empty()) << i;
    }
    // And can be begun again.
    ASSERT_TRUE(finish(set_, primary, start(set_, primary)));
    ASSERT_TRUE(set_.wait([&] { return set_.has_converged(); }));
    for (std::size_t i = 0; i < 3; ++i)
        if (set_[i].is_alive) expect_whole_index(set_[i]);
}

}  // namespace
}  // namespace tessera::replication
