// SPDX-License-Identifier: Apache-2.0
#include "routing/filter_bounds.h"

#include "routing/targeting.h"
#include "routing/test_support.h"

namespace tessera::routing {
namespace {

using testing::json;
using testing::pattern;

bool contains(const KeyRanges& ranges, const Key& key) {
    for (const KeyRange& range : ranges) {
        if (range.low <= key && key < range.high) return true;
    }
    return false;
}

/// Which of the numbers -2 to 12 a filter on `a` leaves: "5,6".
std::string numbers(std::string_view filter, FilterOptions options = {}) {
    const auto key = pattern(R"({"a":1})");
    const auto ranges = bounds_of(key, json(filter), options).ranges;
    std::string result;
    for (int i = -2; i <= 12; ++i) {
        if (!contains(ranges, *key.key_of(bson::make("a", i)))) continue;
        if (!result.empty()) result += ",";
        result += std::to_string(i);
    }
    return result;
}

constexpr const char* every = "-2,-1,0,1,2,3,4,5,6,7,8,9,10,11,12";

TEST(FilterBounds, ReadsConditionsOnOneField) {
    EXPECT_EQ(numbers(R"({"a":5})"), "5");
    EXPECT_EQ(numbers(R"({"a":{"$eq":5}})"), "5");
    EXPECT_EQ(numbers(R"({"a":{"$in":[5,1,5]}})"), "1,5");
    EXPECT_EQ(numbers(R"({"a":{"$in":[]}})"), "");
    EXPECT_EQ(numbers(R"({"a":{"$gt":3,"$lte":6}})"), "4,5,6");
    EXPECT_EQ(numbers(R"({"a":{"$gte":3,"$lt":6}})"), "3,4,5");
    EXPECT_EQ(numbers(R"({"a":{"$gt":3,"$lt":3}})"), "");
    EXPECT_EQ(numbers(R"({"a":{"$gt":"x"}})"), "");
    EXPECT_EQ(numbers(R"({"a":{"$in":[1,4,8],"$gt":3}})"), "4,8");
    EXPECT_EQ(numbers("{}"), every);
    EXPECT_EQ(numbers(R"({"b":1})"), every);
}

TEST(FilterBounds, CombinesAndWithOr) {
    EXPECT_EQ(numbers(R"({"$and":[{"a":{"$gt":3}},{"a":{"$lt":6}}]})"), "4,5");
    EXPECT_EQ(numbers(R"({"$or":[{"a":1},{"a":{"$gt":10}}]})"), "1,11,12");
    EXPECT_EQ(numbers(R"({"$or":[{"a":1},{"b":2}]})"), every);
    EXPECT_EQ(numbers(R"({"a":{"$lt":5},"$or":[{"a":1},{"a":7},{"b":1,"a":2}]})"), "1,2");
    EXPECT_EQ(numbers(R"({"a":{"$lt":2},"$or":[{"b":1},{"c":1}]})"), "-2,-1,0,1");
    EXPECT_EQ(numbers(R"({"$or":[{"a":1},{"a":2}],"$and":[{"$or":[{"a":2},{"a":3}]}]})"), "2");
}

TEST(FilterBounds, IgnoresWhatItDoesNotUnderstand) {
    EXPECT_EQ(numbers(R"({"a":{"$ne":5}})"), every);
    EXPECT_EQ(numbers(R"({"a":{"$not":{"$gt":5}}})"), every);
    EXPECT_EQ(numbers(R"({"$nor":[{"a":5}]})"), every);
    EXPECT_EQ(numbers(R"({"a":[5]})"), every);
    EXPECT_EQ(numbers(R"({"a":{"$in":[5,[6]]}})"), every);
    EXPECT_EQ(numbers(R"({"a":{"$in":[5,{"$regularExpression":{"pattern":"x","options":""}}]}})"),
              every);
    EXPECT_EQ(numbers(R"({"$expr":{"$eq":["$a",5]}})"), every);
    EXPECT_EQ(numbers(R"({"a":{"$gt":{"$minKey":1}}})"), every);
}

TEST(FilterBounds, KeepsStringsOutUnderACollation) {
    const auto key = pattern(R"({"a":1})");
    EXPECT_TRUE(bounds_of(key, json(R"({"a":"x"})")).key.has_value());
    EXPECT_FALSE(bounds_of(key, json(R"({"a":"x"})"), {.is_collation_simple = false}).key);
    EXPECT_EQ(numbers(R"({"a":"x"})", {.is_collation_simple = false}), every);
    EXPECT_EQ(numbers(R"({"a":{"$eq":{"b":["x"]}}})", {.is_collation_simple = false}), every);
    EXPECT_EQ(numbers(R"({"a":5})", {.is_collation_simple = false}), "5");
}

TEST(FilterBounds, ReadsNestedKeysFromPathsAndObjects) {
    const auto key = pattern(R"({"a.b":1,"c":1})");
    const Key expected = *key.key_of(json(R"({"a":{"b":5},"c":6})"));
    EXPECT_EQ(bounds_of(key, json(R"({"a.b":5,"c":6})")).key, expected);
    EXPECT_EQ(bounds_of(key, json(R"({"a":{"b":5},"c":{"$eq":6}})")).key, expected);
    EXPECT_EQ(bounds_of(key, json(R"({"a":{"x":5},"c":6})")).key, *key.key_of(json(R"({"c":6})")));
    EXPECT_FALSE(bounds_of(key, json(R"({"a":{"b":[5]},"c":6})")).key);
    EXPECT_FALSE(bounds_of(key, json(R"({"a.b":5})")).key);
    EXPECT_FALSE(bounds_of(key, json(R"({"a.b":{"$in":[5,7]},"c":6})")).key);
}

// What it says, the bounds say as well; what it leaves to them, they may still fix.
TEST(FilterBounds, AnExactKeyIsThatOfTheBounds) {
    const char* const patterns[] = {
        R"({"a":1})", R"({"a":"hashed"})", R"({"a":1,"b":1})", R"({"b":1,"a":"hashed"})",
        R"({"a.b":1})"};
    const std::pair<const char*, bool> filters[] = {
        {R"({"a":5,"b":6})", true},
        {R"({"b":6,"c":1,"a":5})", true},
        {R"({"a":null,"b":{"x":1}})", true},
        {R"({"a":5,"b":6,"$or":[{"a":5},{"a":7}]})", true},
        {R"({"a":"x","b":6})", true},
        {R"({"a":{"$eq":5},"b":6})", false},
        {R"({"a":[5],"b":6})", false},
        {R"({"a":{"$regularExpression":{"pattern":"x","options":""}},"b":6})", false},
        {R"({"a":{"$undefined":true},"b":6})", false},
        {R"({"c":5})", false},
        {R"({"$and":[{"a":5},{"b":6}]})", false}};
    for (const char* shape : patterns) {
        const auto key = pattern(shape);
        for (const auto& [filter, is_exact] : filters) {
            SCOPED_TRACE(std::string(shape) + " " + filter);
            const auto exact = exact_key_of(key, json(filter));
            EXPECT_EQ(exact.has_value(), is_exact && std::string_view(shape) != patterns[4]);
            if (exact) {
                EXPECT_EQ(exact, bounds_of(key, json(filter)).key);
            }
        }
    }
    const auto key = pattern(R"({"a":1})");
    EXPECT_FALSE(exact_key_of(key, json(R"({"a":"x"})"), {.is_collation_simple = false}));
    EXPECT_FALSE(exact_key_of(key, json(R"({"a":{"b":"x"}})"), {.is_collation_simple = false}));
    EXPECT_TRUE(exact_key_of(key, json(R"({"a":5})"), {.is_collation_simple = false}));
}

TEST(FilterBounds, CompoundKeysUseThePrefix) {
    const auto key = pattern(R"({"a":1,"b":1})");
    const auto at = [&](int a, int b) { return *key.key_of(bson::make("a", a, "b", b)); };
    auto ranges = bounds_of(key, json(R"({"a":5,"b":{"$gt":3}})")).ranges;
    EXPECT_TRUE(contains(ranges, at(5, 4)));
    EXPECT_FALSE(contains(ranges, at(5, 3)));
    EXPECT_FALSE(contains(ranges, at(6, 4)));
    ranges = bounds_of(key, json(R"({"a":{"$in":[1,2]},"b":{"$in":[3,4]}})")).ranges;
    EXPECT_EQ(ranges.size(), 4U);
    EXPECT_TRUE(contains(ranges, at(2, 3)));
    EXPECT_FALSE(contains(ranges, at(2, 5)));
    ranges = bounds_of(key, json(R"({"a":{"$gte":1,"$lt":3},"b":9})")).ranges;
    EXPECT_TRUE(contains(ranges, at(1, -100)));
    EXPECT_FALSE(contains(ranges, at(3, -100)));
    ranges = bounds_of(key, json(R"({"b":9})")).ranges;
    EXPECT_EQ(ranges, everything());
}

TEST(FilterBounds, HashedFieldsUseEqualityOnly) {
    const auto key = pattern(R"({"h":"hashed"})");
    EXPECT_EQ(bounds_of(key, json(R"({"h":5})")).key, *key.key_of(json(R"({"h":5})")));
    EXPECT_EQ(bounds_of(key, json(R"({"h":{"$gt":5}})")).ranges, everything());
    const auto points = bounds_of(key, json(R"({"h":{"$in":[1,2,3]}})")).ranges;
    EXPECT_EQ(points.size(), 3U);
    EXPECT_TRUE(contains(points, *key.key_of(json(R"({"h":2})"))));
}

TEST(FilterBounds, TooManyCombinationsFallBackToThePrefix) {
    bson::Builder filter;
    for (const char* field : {"a", "b"}) {
        auto condition = filter.object(field);
        auto values = condition.array("$in");
        for (int i = 0; i < 100; ++i)
            values.append(i);
    }
    const auto key = pattern(R"({"a":1,"b":1})");
    const auto ranges = bounds_of(key, std::move(filter).finish()).ranges;
    EXPECT_EQ(ranges.size(), 100U);
    EXPECT_TRUE(contains(ranges, *key.key_of(bson::make("a", 99, "b", 1000))));
}

TEST(FilterBounds, FindsAnExactId) {
    EXPECT_EQ(exact_id_of(json(R"({"_id":5})")).to_int64(), 5);
    EXPECT_EQ(exact_id_of(json(R"({"x":1,"$and":[{"_id":{"$eq":5}}]})")).to_int64(), 5);
    EXPECT_TRUE(exact_id_of(json(R"({"_id":{"$gt":5}})")).is_missing());
    EXPECT_TRUE(exact_id_of(json(R"({"_id":{"$in":[5]}})")).is_missing());
    EXPECT_TRUE(exact_id_of(json(R"({"$or":[{"_id":5}]})")).is_missing());
    EXPECT_TRUE(exact_id_of(json(R"({"_id":"x"})"), {.is_collation_simple = false}).is_missing());
}

TEST(FieldIntervals, IntersectAndJoin) {
    const auto numbers_document = json(R"({"v":[0,1,2,3,4,5]})");
    std::vector<bson::Value> v;
    for (const auto& element : numbers_document["v"].as_view())
        v.push_back(element.value);
    using I = FieldInterval;
    const FieldIntervals joined = normalized({I::between(v[1], true, v[2], false),
                                              I::point(v[2]),
                                              I::between(v[3], false, v[4], true),
                                              I::point(v[5]),
                                              I::between(v[4], true, v[4], false)});
    ASSERT_EQ(joined.size(), 3U);
    EXPECT_EQ(joined[0], I::between(v[1], true, v[2], true));
    const FieldIntervals both = intersect(joined, {I::between(v[2], true, v[5], false)});
    ASSERT_EQ(both.size(), 2U);
    EXPECT_TRUE(both[0].is_point());
    EXPECT_EQ(both[1], joined[1]);
    EXPECT_EQ(intersect(joined, {I::all()}), joined);
}

}  // namespace
}  // namespace tessera::routing
