// SPDX-License-Identifier: Apache-2.0
#include "routing/shard_key.h"

#include "bson/hashed.h"
#include "routing/test_support.h"

namespace tessera::routing {
namespace {

using testing::json;
using testing::pattern;

TEST(ShardKey, RefusesPatternsThatAreNotAscendingOrHashed) {
    for (const char* bad : {"{}",
                            R"({"a":-1})",
                            R"({"a":2})",
                            R"({"a":"text"})",
                            R"({"":1})",
                            R"({"a..b":1})",
                            R"({"$a":1})",
                            R"({"a":"hashed","b":"hashed"})",
                            R"({"a":1,"a.b":1})",
                            R"({"a.b":1,"a":1})",
                            R"({"a":1,"a":1})",
                            R"({"a":[1]})"}) {
        auto result = ShardKeyPattern::parse(json(bad));
        ASSERT_FALSE(result.has_value()) << bad;
        EXPECT_EQ(result.error().code(), ErrorCode::bad_value) << bad;
    }
    EXPECT_TRUE(ShardKeyPattern::parse(json(R"({"a":1.0,"b.c":"hashed","d":1})")).has_value());
    EXPECT_TRUE(pattern(R"({"a":1,"ab":1})").fields().size() == 2);
}

TEST(ShardKey, ExtractsNestedFieldsMissingAsNull) {
    const auto key = pattern(R"({"a.b":1,"c":1})");
    EXPECT_EQ(*key.key_of(json(R"({"a":{"b":5},"c":6})")),
              *key.encode_bound(json(R"({"a.b":5,"c":6})")));
    EXPECT_EQ(*key.key_of(json(R"({"a":5})")), *key.encode_bound(json(R"({"a.b":null,"c":null})")));
    EXPECT_EQ(bson::to_json(*key.key_document_of(json(R"({"a":{"b":5}})"))),
              R"({"a.b":5,"c":null})");
}

TEST(ShardKey, RefusesArraysOnThePath) {
    const auto key = pattern(R"({"a.b":1})");
    for (const char* bad : {R"({"a":[{"b":1}]})", R"({"a":{"b":[1]}})", R"({"a":[]})"}) {
        auto result = key.key_of(json(bad));
        ASSERT_FALSE(result.has_value()) << bad;
        EXPECT_EQ(result.error().code(), ErrorCode::shard_key_not_found);
    }
}

TEST(ShardKey, HashesItsHashedField) {
    const auto key = pattern(R"({"a":1,"h":"hashed"})");
    EXPECT_TRUE(key.has_hashed());
    EXPECT_FALSE(key.is_hashed_first());
    const auto document = json(R"({"a":1,"h":42})");
    const auto fields = *key.key_document_of(document);
    EXPECT_EQ(fields["h"].as_int64(), bson::shard_hash(document["h"]));
    EXPECT_EQ(fields["h"].as_int64(), -944302157085130861);
    EXPECT_EQ(*key.key_of(document), *key.encode_bound(fields));
    // Equal numbers of other types are the same key.
    EXPECT_EQ(*key.key_of(json(R"({"a":1.0,"h":{"$numberLong":"42"}})")), *key.key_of(document));
}

TEST(ShardKey, BoundsMustHaveExactlyItsFields) {
    const auto key = pattern(R"({"a":1,"b":1})");
    EXPECT_FALSE(key.encode_bound(json(R"({"a":1})")).has_value());
    EXPECT_FALSE(key.encode_bound(json(R"({"b":1,"a":1})")).has_value());
    EXPECT_FALSE(key.encode_bound(json(R"({"a":1,"b":1,"c":1})")).has_value());
    EXPECT_FALSE(key.extend_bound(json(R"({"b":1})")).has_value());
    const auto extended = *key.extend_bound(json(R"({"a":5})"));
    EXPECT_EQ(extended["b"].type(), bson::Type::min_key);
    EXPECT_TRUE(key.is_min_bound(*key.extend_bound(bson::Document())));
    EXPECT_TRUE(key.is_max_bound(key.max_bound()));
    EXPECT_LT(*key.encode_bound(key.min_bound()), *key.encode_bound(extended));
    EXPECT_LT(*key.encode_bound(extended), *key.encode_bound(json(R"({"a":5,"b":-1000})")));
}

TEST(ShardKey, KnowsWhichIndexesServeIt) {
    const auto key = pattern(R"({"a":1,"b":"hashed"})");
    EXPECT_TRUE(key.is_prefix_of(json(R"({"a":1,"b":"hashed","c":1})")));
    EXPECT_FALSE(key.is_prefix_of(json(R"({"a":1,"b":1})")));
    EXPECT_FALSE(key.is_prefix_of(json(R"({"a":1})")));
    EXPECT_FALSE(pattern(R"({"a":1})").is_prefix_of(json(R"({"a":-1})")));
    EXPECT_TRUE(key.can_guarantee_unique(json(R"({"a":1,"b":1,"c":1})")));
    EXPECT_FALSE(key.can_guarantee_unique(json(R"({"b":1,"a":1})")));
    EXPECT_TRUE(key.touches("a.x"));
    EXPECT_FALSE(key.touches("ab"));
    EXPECT_TRUE(pattern(R"({"a.b":1})").touches("a"));
}

}  // namespace
}  // namespace tessera::routing
