// SPDX-License-Identifier: Apache-2.0
#include "query/plan/key_generator.h"

#include <gtest/gtest.h>

#include "bson/json.h"
#include "query/plan/interval.h"

namespace tessera::query {
namespace {

struct Keys {
    std::string text;  // "(1, 2) (1, 3)"
    MultikeyPaths multikey;
    std::optional<Error> error;
};

Keys keys_of(std::string_view pattern, std::string_view document, bool is_sparse = false) {
    IndexInfo index;
    index.key_pattern = *bson::from_json(pattern);
    index.is_sparse = is_sparse;
    for (const bson::Element& element : index.key_pattern.view()) {
        if (element.value.is_string()) index.hashed_fields |= 1U << index.paths.size();
        index.paths.emplace_back(element.name);
    }
    index.ordering = bson::Ordering::from_pattern(index.key_pattern);
    KeySet set;
    Keys result;
    const Status status = KeyGenerator(index).generate(*bson::from_json(document), set);
    if (!status) {
        result.error = status.error();
        return result;
    }
    for (const KeySet::Key& key : set.keys) {
        bson::Arena arena;
        std::vector<bson::Value> values;
        EXPECT_TRUE(bson::decode_key(key.fields, key.type_bits, index.ordering, arena, values));
        std::string text;
        for (const bson::Value& value : values) {
            text += (text.empty() ? "" : ", ") + bson::to_json(value, bson::JsonMode::message);
        }
        result.text += (result.text.empty() ? "(" : " (") + text + ")";
    }
    result.multikey = set.multikey;
    return result;
}

TEST(KeyGenerator, TakesValuesAndNullForWhatIsAbsent) {
    EXPECT_EQ(keys_of(R"({"a": 1})", R"({"a": 5})").text, "(5)");
    EXPECT_EQ(keys_of(R"({"a": 1})", R"({"b": 5})").text, "(null)");
    EXPECT_EQ(keys_of(R"({"a.b": 1, "c": -1})", R"({"a": {"b": "x"}, "c": 2})").text, "(\"x\", 2)");
    EXPECT_EQ(keys_of(R"({"a.b": 1})", R"({"a": 3})").text, "(null)");
    EXPECT_EQ(keys_of(R"({"a": 1})", R"({"a": {"x": 1}})").text, "({ x: 1 })");
}

TEST(KeyGenerator, GivesAKeyAnElement) {
    const Keys keys = keys_of(R"({"a": 1, "b": 1})", R"({"a": [3, 1, 3, [7]], "b": 2})");
    EXPECT_EQ(keys.text, "(1, 2) (3, 2) ([ 7 ], 2)");
    EXPECT_EQ(keys.multikey, (MultikeyPaths{1, 0}));
    EXPECT_EQ(keys_of(R"({"a": 1})", R"({"a": []})").text, "(undefined)");
    EXPECT_EQ(keys_of(R"({"a": -1})", R"({"a": [1, 2]})").text, "(2) (1)");
}

TEST(KeyGenerator, FollowsPathsThroughArrays) {
    const Keys keys =
        keys_of(R"({"a.b": 1, "a.c": 1})", R"({"a": [{"b": 1, "c": 2}, {"b": [3, 4]}, 5]})");
    EXPECT_EQ(keys.text, "(null, null) (1, 2) (3, null) (4, null)");
    EXPECT_EQ(keys.multikey, (MultikeyPaths{0b11, 0b01}));
    EXPECT_EQ(keys_of(R"({"a.b": 1})", R"({"a": []})").text, "(null)");
    EXPECT_EQ(keys_of(R"({"a.1": 1})", R"({"a": [5, 6]})").text, "(6)");
}

TEST(KeyGenerator, RefusesTwoArraysUnderOneIndex) {
    const Keys keys = keys_of(R"({"a": 1, "b": 1})", R"({"a": [1], "b": [2]})");
    ASSERT_TRUE(keys.error);
    EXPECT_EQ(keys.error->code(), ErrorCode::cannot_index_parallel_arrays);
    EXPECT_EQ(keys.error->reason(), "cannot index parallel arrays [b] [a]");
}

TEST(KeyGenerator, LeavesAbsentFieldsOutOfSparseIndexes) {
    EXPECT_EQ(keys_of(R"({"a": 1, "b": 1})", R"({"c": 1})", true).text, "");
    EXPECT_EQ(keys_of(R"({"a": 1, "b": 1})", R"({"b": 1})", true).text, "(null, 1)");
    EXPECT_EQ(keys_of(R"({"a": 1})", R"({"a": null})", true).text, "(null)");
}

TEST(KeyGenerator, HashesAndRefusesArraysThere) {
    EXPECT_EQ(keys_of(R"({"a": "hashed"})", R"({"a": 42})").text, "(-944302157085130861)");
    EXPECT_EQ(keys_of(R"({"a": "hashed"})", R"({"a": [42]})").error->code(), location(16766));
}

TEST(Intervals, UniteIntersectAndInvert) {
    bson::Arena arena;
    const auto make = [&](int start, int end, bool has_start, bool has_end) {
        return range({arena.make(start), arena.make(end), has_start, has_end});
    };
    const auto text = [](const Intervals& intervals) {
        std::string result;
        for (const Interval& interval : intervals)
            result += interval.to_string();
        return result;
    };
    EXPECT_EQ(text(unite(make(1, 3, true, false), make(3, 5, true, true))), "[1, 5]");
    EXPECT_EQ(text(unite(make(1, 3, true, false), make(3, 5, false, true))), "[1, 3)(3, 5]");
    EXPECT_EQ(text(unite(make(4, 9, true, true), make(1, 2, true, true))), "[1, 2][4, 9]");
    EXPECT_EQ(text(intersect(make(1, 5, true, true), make(3, 9, false, true))), "(3, 5]");
    EXPECT_EQ(text(intersect(make(1, 3, true, false), make(3, 5, true, true))), "");
    EXPECT_EQ(text(complement(make(1, 3, true, false))), "[MinKey, 1)[3, MaxKey]");
    EXPECT_EQ(text(complement(complement(make(1, 3, true, false)))), "[1, 3)");
    EXPECT_EQ(text(complement(all_values())), "");
    EXPECT_EQ(text(make(3, 3, true, false)), "");
    EXPECT_TRUE(is_within(make(2, 3, true, true), make(1, 3, true, true)));
    EXPECT_FALSE(is_within(make(2, 3, true, true), make(1, 3, true, false)));
    EXPECT_TRUE(contains(unite(make(1, 1, true, true), make(5, 6, true, true)), arena.make(5.5)));
}

}  // namespace
}  // namespace tessera::query
