// SPDX-License-Identifier: Apache-2.0
#include "bson/json.h"

#include <limits>

#include <gtest/gtest.h>

#include "bson/compare.h"
#include "bson/decimal.h"
#include "bson/random_value.h"

namespace tessera::bson {
namespace {

Document sample() {
    Builder builder;
    builder.append("_id", 1).append("l", std::int64_t{7}).append("d", 1.0).append("s", "x\n\"");
    builder.append("t", WallTime{1577934245006}).append("old", WallTime{-1});
    builder.append("ts", Timestamp{5, 1}).append("r", Regex{"^a", "i"});
    builder.append("b", Binary{BinarySubtype::generic, "Hello"}).append_null("n");
    builder.append("dec", *decimal_from("1.50")).append_min_key("min").append_max_key("max");
    builder.append("inf", std::numeric_limits<double>::infinity());
    builder.append("oid", ObjectId{}).append("yes", true);
    {
        auto object = builder.object("o");
        object.append("x", 1);
    }
    builder.array("a").append(1).append("two");
    builder.array("none");
    return std::move(builder).finish();
}

TEST(Json, WritesRelaxedExtendedJson) {
    EXPECT_EQ(to_json(sample()),
              R"({"_id":1,"l":7,"d":1.0,"s":"x\n\"","t":{"$date":"2020-01-02T03:04:05.006Z"},)"
              R"("old":{"$date":{"$numberLong":"-1"}},"ts":{"$timestamp":{"t":5,"i":1}},)"
              R"("r":{"$regularExpression":{"pattern":"^a","options":"i"}},)"
              R"("b":{"$binary":{"base64":"SGVsbG8=","subType":"00"}},"n":null,)"
              R"("dec":{"$numberDecimal":"1.50"},"min":{"$minKey":1},"max":{"$maxKey":1},)"
              R"("inf":{"$numberDouble":"Infinity"},"oid":{"$oid":"000000000000000000000000"},)"
              R"("yes":true,"o":{"x":1},"a":[1,"two"],"none":[]})");
}

TEST(Json, WritesCanonicalExtendedJson) {
    EXPECT_EQ(to_json(make("a", 1, "b", std::int64_t{2}, "c", 2.5), JsonMode::canonical),
              R"({"a":{"$numberInt":"1"},"b":{"$numberLong":"2"},"c":{"$numberDouble":"2.5"}})");
}

TEST(Json, WritesValuesAsErrorMessagesShowThem) {
    EXPECT_EQ(to_json(sample(), JsonMode::message),
              "{ _id: 1, l: 7, d: 1.0, s: \"x\n\"\", t: new Date(1577934245006), "
              "old: new Date(-1), ts: Timestamp(5, 1), r: /^a/i, b: BinData(0, 48656C6C6F), "
              "n: null, dec: 1.50, min: MinKey, max: MaxKey, inf: inf.0, "
              "oid: ObjectId('000000000000000000000000'), yes: true, o: { x: 1 }, "
              "a: [ 1, \"two\" ], none: [] }");
    EXPECT_EQ(to_json(make("k1", 1, "k2", "b"), JsonMode::message), "{ k1: 1, k2: \"b\" }");
    Uuid uuid;
    uuid.bytes.fill(0xab);
    EXPECT_EQ(to_json(make("u", uuid)["u"], JsonMode::message),
              "UUID(\"abababab-abab-abab-abab-abababababab\")");
}

TEST(Json, ReadsBackWhatItWrites) {
    for (const JsonMode mode : {JsonMode::relaxed, JsonMode::canonical}) {
        const Result<Document> back = from_json(to_json(sample(), mode));
        ASSERT_TRUE(back) << back.error().reason();
        EXPECT_EQ(compare(back->view(), sample()), 0) << to_json(*back);
    }
    const Result<Document> canonical = from_json(to_json(sample(), JsonMode::canonical));
    EXPECT_EQ(canonical->bytes(), sample().bytes());
}

TEST(Json, ReadsBackTheOldBinaryThatRepeatsItsLength) {
    const std::string text = R"({"x":{"$binary":{"base64":"//8=","subType":"02"}}})";
    const auto document = from_json(text);
    ASSERT_TRUE(document);
    EXPECT_EQ(document->bytes(),
              std::string_view("\x13\0\0\0\5x\0\6\0\0\0\2\2\0\0\0\xff\xff\0", 19));
    EXPECT_EQ(to_json(*document, JsonMode::canonical), text);
}

TEST(Json, ReadsPlainAndLegacyForms) {
    const Result<Document> plain =
        from_json(R"({"a": 1, "b": [true, null, 2.5], "c": {"d": "e"}})");
    ASSERT_TRUE(plain);
    EXPECT_EQ(to_json(*plain), R"({"a":1,"b":[true,null,2.5],"c":{"d":"e"}})");
    const Result<Document> date = from_json(R"({"d": {"$date": "2020-01-02T03:04:05.006Z"}})");
    ASSERT_TRUE(date);
    EXPECT_EQ((*date)["d"].as_date().milliseconds, 1577934245006);
    EXPECT_EQ(from_json("{\"a\":").error().code(), ErrorCode::failed_to_parse);
    EXPECT_EQ(from_json("").error().code(), ErrorCode::failed_to_parse);
    EXPECT_FALSE(from_json("nonsense"));
}

TEST(Json, WritesDoublesShortestAndStillDoubles) {
    EXPECT_EQ(to_json(make("d", 0.1)), R"({"d":0.1})");
    EXPECT_EQ(to_json(make("d", 1e100)), R"({"d":1e+100})");
    EXPECT_EQ(to_json(make("d", -0.0)), R"({"d":-0.0})");
    EXPECT_EQ(to_json(make("d", std::nan("")), JsonMode::message), "{ d: nan.0 }");
}

}  // namespace
}  // namespace tessera::bson
