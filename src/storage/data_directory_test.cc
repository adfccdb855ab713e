// SPDX-License-Identifier: Apache-2.0
#include "storage/data_directory.h"

#include <fstream>

#include <gtest/gtest.h>

#include "storage/test_engine.h"

namespace tessera::storage {
namespace {

TEST(DataDirectory, LetsOneProcessIn) {
    TemporaryDirectory directory;
    {
        const auto lock = DataDirectoryLock::acquire(directory.path());
        ASSERT_TRUE(lock) << lock.error().to_string();
        EXPECT_FALSE(lock->was_unclean());
        const auto second = DataDirectoryLock::acquire(directory.path());
        ASSERT_FALSE(second);
        EXPECT_EQ(second.error().code(), location(db_path_in_use));
        EXPECT_NE(second.error().reason().find("pid " + std::to_string(::getpid())),
                  std::string::npos);
    }
    EXPECT_TRUE(DataDirectoryLock::acquire(directory.path()));
    { std::ofstream(directory.path() + "/mongod.lock") << "12345\n"; }
    const auto after_kill = DataDirectoryLock::acquire(directory.path());
    ASSERT_TRUE(after_kill);
    EXPECT_TRUE(after_kill->was_unclean());
}

TEST(DataDirectory, NamesAMissingDirectory) {
    const auto lock = DataDirectoryLock::acquire("/nonexistent/data");
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().code(), location(nonexistent_path));
}

TEST(DataDirectory, KnowsItsRole) {
    TemporaryDirectory directory;
    EXPECT_TRUE(check_marker(directory.path(), "standalone"));
    EXPECT_TRUE(check_marker(directory.path(), "shard"));
    EXPECT_EQ(read_marker(directory.path())->role, "shard");
    const Status wrong = check_marker(directory.path(), "config");
    ASSERT_FALSE(wrong);
    EXPECT_NE(wrong.error().reason().find("shard"), std::string::npos);
    ASSERT_TRUE(write_marker(directory.path(), {99, "shard"}));
    const Status newer = check_marker(directory.path(), "shard");
    ASSERT_FALSE(newer);
    EXPECT_EQ(newer.error().code(), location(incompatible_server_version));
    { std::ofstream(directory.path() + "/tessera.json") << "{nonsense"; }
    const auto damaged = read_marker(directory.path());
    ASSERT_FALSE(damaged);
    EXPECT_NE(damaged.error().reason().find("Restore it"), std::string::npos);
}

}  // namespace
}  // namespace tessera::storage
