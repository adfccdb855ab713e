// SPDX-License-Identifier: Apache-2.0
#include "bson/hashed.h"

#include <gtest/gtest.h>

#include "bson/arena.h"
#include "bson/builder.h"
#include "bson/decimal.h"
#include "bson/ids.h"

namespace tessera::bson {
namespace {

TEST(ShardHash, GivesTheReferenceValues) {
    Arena arena;
    EXPECT_EQ(shard_hash(make("check", 42)["check"]), -944302157085130861);
    EXPECT_EQ(shard_hash(arena.make("a")), 2780795045148116090);
}

TEST(ShardHash, IgnoresTheNumericTypeAndTheFraction) {
    Arena arena;
    const std::int64_t expected = shard_hash(arena.make(42));
    EXPECT_EQ(shard_hash(arena.make(std::int64_t{42})), expected);
    EXPECT_EQ(shard_hash(arena.make(42.0)), expected);
    EXPECT_EQ(shard_hash(arena.make(42.7)), expected);
    EXPECT_EQ(shard_hash(arena.make(*decimal_from("42.7"))), expected);
    EXPECT_EQ(shard_hash(arena.make_object(make("check", 42.0))),
              shard_hash(arena.make_object(make("check", 42))));
    EXPECT_NE(shard_hash(arena.make(43)), expected);
}

TEST(ShardHash, TakesMissingForNull) {
    EXPECT_EQ(shard_hash(Value()), shard_hash(Arena::make_null()));
    EXPECT_NE(shard_hash(Arena::make_null()), shard_hash(Arena::make_min_key()));
}

TEST(ObjectIds, GrowAndRepeatWithTheirSeed) {
    Random random(1);
    ObjectIdSource source(random);
    const ObjectId first = source.next({1700000000123});
    const ObjectId second = source.next({1700000000123});
    EXPECT_EQ(first.to_hex().substr(0, 8), "6553f100");
    EXPECT_EQ(first.to_hex().substr(8, 10), second.to_hex().substr(8, 10));
    EXPECT_NE(first, second);
    Random again(1);
    EXPECT_EQ(ObjectIdSource(again).next({1700000000123}), first);
}

TEST(Uuids, AreVersionFour) {
    Random random(2);
    const std::string text = make_uuid(random).to_string();
    EXPECT_EQ(text[14], '4');
    EXPECT_NE(std::string("89ab").find(text[19]), std::string::npos);
}

}  // namespace
}  // namespace tessera::bson
