// SPDX-License-Identifier: Apache-2.0
#include "routing/merge.h"

#include <algorithm>

#include "routing/test_support.h"

namespace tessera::routing {
namespace {

using testing::json;

bson::Document keyed(int key, int shard) {
    bson::Builder builder;
    builder.append("shard", shard);
    builder.array("$sortKey").append(key);
    builder.append("key", key);
    return std::move(builder).finish();
}

TEST(CursorMerge, WaitsForEveryOpenShardThenTakesTheSmallest) {
    CursorMerge merge(json(R"({"key":1})"), 2);
    EXPECT_EQ(merge.starved(), (std::vector<std::size_t>{0, 1}));
    ASSERT_TRUE(merge.add_batch(0, {keyed(1, 0), keyed(5, 0)}, false).has_value());
    EXPECT_FALSE(merge.is_ready());
    ASSERT_TRUE(merge.add_batch(1, {keyed(3, 1)}, true).has_value());
    EXPECT_TRUE(merge.is_ready());
    EXPECT_EQ(bson::to_json(merge.next()), R"({"shard":0,"key":1})");
    EXPECT_EQ(merge.next()["key"].as_int32(), 3);
    EXPECT_EQ(merge.last_remote(), 1U);
    EXPECT_EQ(merge.next()["key"].as_int32(), 5);
    EXPECT_FALSE(merge.is_exhausted());
    EXPECT_EQ(merge.starved(), (std::vector<std::size_t>{0}));
    merge.close(0);
    EXPECT_TRUE(merge.is_exhausted());
    EXPECT_EQ(merge.bytes(), 0U);
}

TEST(CursorMerge, RefusesSortedDocumentsWithoutASortKey) {
    CursorMerge merge(json(R"({"key":1})"), 1);
    EXPECT_EQ(merge.add_batch(0, {json(R"({"key":1})")}, false).error().code(),
              ErrorCode::internal_error);
}

TEST(CursorMerge, UnsortedGivesWhatThereIs) {
    CursorMerge merge(bson::View(), 2);
    ASSERT_TRUE(merge.add_batch(1, {json(R"({"a":1})")}, false).has_value());
    EXPECT_TRUE(merge.is_ready());
    EXPECT_EQ(bson::to_json(merge.next()), R"({"a":1})");
    EXPECT_FALSE(merge.is_ready());
    EXPECT_EQ(merge.starved().size(), 2U);
}

TEST(CursorMerge, EqualsASortOfEverything) {
    Random random(3);
    for (int round = 0; round < 50; ++round) {
        const bool is_descending = random.below(2) == 1;
        CursorMerge merge(json(is_descending ? R"({"key":-1})" : R"({"key":1})"), 3);
        std::vector<int> all;
        std::vector<std::vector<int>> shards(3);
        const auto before = [&](int a, int b) { return is_descending ? a > b : a < b; };
        for (auto& shard : shards) {
            for (std::uint64_t i = random.below(20); i > 0; --i) {
                shard.push_back(static_cast<int>(random.below(30)));
                all.push_back(shard.back());
            }
            std::sort(shard.begin(), shard.end(), before);
        }
        std::sort(all.begin(), all.end(), before);
        std::vector<std::size_t> sent(3, 0);
        std::vector<int> merged;
        while (!merge.is_exhausted()) {
            for (const std::size_t remote : merge.starved()) {
                std::vector<bson::Document> batch;
                for (std::uint64_t n = random.below(4);
                     n > 0 && sent[remote] < shards[remote].size();
                     --n) {
                    batch.push_back(keyed(shards[remote][sent[remote]++], 0));
                }
                ASSERT_TRUE(
                    merge.add_batch(remote, std::move(batch), sent[remote] == shards[remote].size())
                        .has_value());
            }
            while (merge.is_ready())
                merged.push_back(merge.next()["key"].as_int32());
        }
        EXPECT_EQ(merged, all);
    }
}

TEST(CursorMerge, SkipAndLimitAreTheRouters) {
    EXPECT_EQ(shard_limit(5, 10), 15);
    EXPECT_FALSE(shard_limit(5, 0).has_value());
    EXPECT_FALSE(shard_limit(INT64_MAX, 10).has_value());
    SkipLimit window(2, 3);
    std::string taken;
    for (int i = 0; i < 10 && !window.is_done(); ++i) {
        if (window.takes()) taken += std::to_string(i);
    }
    EXPECT_EQ(taken, "234");
    SkipLimit open(0, 0);
    EXPECT_TRUE(open.takes());
    EXPECT_FALSE(open.is_done());
}

}  // namespace
}  // namespace tessera::routing
