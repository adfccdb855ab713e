// SPDX-License-Identifier: Apache-2.0
//
// Cases of src/query/testdata/expressions.txt: "expression => value" or "expression => !code", on
// the document last named by "document {...}". Values are Extended JSON ("missing" for none); an
// answer is compared in canonical form, so that types count.
#include "query/expression/expression.h"

#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "bson/builder.h"
#include "bson/json.h"
#include "query/expression/compiler.h"

namespace tessera::query {
namespace {

std::string testdata(const std::string& name) {
    const std::string file = __FILE__;
    return file.substr(0, file.find("expression/expression_test.cc")) + "testdata/" + name;
}

std::string evaluate(const std::string& expression, bson::View document) {
    const auto spec = bson::from_json("{\"e\":" + expression + "}");
    if (!spec) return "cannot read: " + spec.error().reason();
    ExpressionContext context;
    context.now = {1'000'000};
    context.let = bson::make("user", std::int32_t{7});
    auto parsed = StandaloneExpression::parse((*spec)["e"], context);
    if (!parsed) return "!" + std::to_string(static_cast<int>(parsed.error().code()));
    bson::Arena arena;
    const auto value = (*parsed)->evaluate(document, arena);
    if (!value) return "!" + std::to_string(static_cast<int>(value.error().code()));
    if (value->is_missing()) return "missing";
    return to_json(*value, bson::JsonMode::canonical);
}

std::string canonical(const std::string& text) {
    if (text == "missing" || text.starts_with('!')) return text;
    const auto spec = bson::from_json("{\"e\":" + text + "}");
    if (!spec) return "cannot read: " + spec.error().reason();
    return to_json((*spec)["e"], bson::JsonMode::canonical);
}

TEST(Expression, GivesWhatTheScriptSays) {
    std::ifstream file(testdata("expressions.txt"));
    ASSERT_TRUE(file.is_open());
    bson::Document document;
    std::string line;
    int number = 0;
    int cases = 0;
    while (std::getline(file, line)) {
        ++number;
        if (line.empty() || line[0] == '#') continue;
        if (line.starts_with("document ")) {
            auto parsed = bson::from_json(line.substr(9));
            ASSERT_TRUE(parsed) << number;
            document = *std::move(parsed);
            continue;
        }
        const std::size_t arrow = line.rfind(" => ");
        ASSERT_NE(arrow, std::string::npos) << number << ": " << line;
        const std::string expression = line.substr(0, arrow);
        EXPECT_EQ(evaluate(expression, document.view()), canonical(line.substr(arrow + 4)))
            << "line " << number << ": " << expression;
        ++cases;
    }
    EXPECT_GT(cases, 300);
}

/// [item, item ...]
std::string repeated(const std::string& item, int count) {
    std::string result = "[" + item;
    for (int i = 1; i < count; ++i)
        result += "," + item;
    return result + "]";
}

TEST(Expression, RefusesToMakeMuchOfLittle) {
    const std::string megabyte(1024 * 1024, 'a');
    bson::Builder builder;
    builder.append("big", megabyte).append("piece", std::string(4096, 'b'));
    builder.array("list").append(megabyte);
    const bson::Document document = std::move(builder).finish();
    std::string object = R"({"f0":"$big")";
    for (int i = 1; i < 300; ++i)
        object += ",\"f" + std::to_string(i) + R"(":"$big")";
    for (const std::string& expression : {
             std::string(R"({"$replaceAll":{"input":"$big","find":"a","replacement":"$piece"}})"),
             std::string(R"({"$replaceAll":{"input":"$big","find":"","replacement":"$piece"}})"),
             R"({"$concat":)" + repeated("\"$big\"", 300) + "}",
             R"({"$concatArrays":)" + repeated("\"$list\"", 300) + "}",
             R"({"$zip":{"inputs":)" + repeated("\"$list\"", 300) + "}}",
             std::string(R"({"$map":{"input":{"$range":[0,300]},"in":"$big"}})"),
             std::string(R"({"$map":{"input":{"$range":[0,300]},"in":{"$range":[0,1000000]}}})"),
             std::string(R"({"$range":[0,7000000]})"),
             R"({"$size":[)" + repeated("\"$big\"", 300) + "]}",
             R"({"$bsonSize":)" + object + "}}",
         })
        EXPECT_EQ(evaluate(expression, document.view()), "!146") << expression.substr(0, 100);
}

std::string error_of(const std::string& expression) {
    const auto spec = bson::from_json("{\"e\":" + expression + "}");
    ExpressionContext context;
    auto parsed = StandaloneExpression::parse((*spec)["e"], context);
    if (!parsed) return parsed.error().reason();
    bson::Arena arena;
    const bson::Document document = bson::make("s", "text");
    const auto value = (*parsed)->evaluate(document.view(), arena);
    return value ? "no error" : value.error().reason();
}

TEST(Expression, SaysWhatMongoDbSays) {
    EXPECT_EQ(error_of(R"({"$foo":1})"), "Unrecognized expression '$foo'");
    EXPECT_EQ(error_of(R"({"$add":["$s",1]})"),
              "$add only supports numeric or date types, not string");
    EXPECT_EQ(error_of(R"({"$divide":[1,0]})"), "can't $divide by zero");
    EXPECT_EQ(error_of(R"({"$subtract":[1]})"),
              "Expression $subtract takes exactly 2 arguments. 1 were passed in.");
    EXPECT_EQ(error_of(R"("$$nope")"), "Use of undefined variable: nope");
    EXPECT_EQ(error_of(R"("$a..b")"), "FieldPath field names may not be empty strings.");
    EXPECT_TRUE(error_of(R"({"$toInt":"abc"})")
                    .starts_with("Failed to parse number 'abc' in $convert with no onError value: "
                                 "Did not cons"));
}

TEST(Expression, KnowsWhatItReads) {
    ExpressionContext context;
    Program program(context);
    const auto spec = bson::from_json(
        R"({"e":{"$add":["$a.b",{"$sum":{"$map":{"input":"$c","in":"$$this.d"}}}]}})");
    ASSERT_TRUE(program.parse((*spec)["e"]));
    EXPECT_EQ(program.dependencies(), (std::set<std::string, std::less<>>{"a.b", "c"}));
    EXPECT_FALSE(program.needs_whole_document());
    const auto root = bson::from_json(R"({"e":"$$ROOT"})");
    ASSERT_TRUE(program.parse((*root)["e"]));
    EXPECT_TRUE(program.needs_whole_document());
}

TEST(Expression, FoldsConstants) {
    ExpressionContext context;
    Program program(context);
    const auto spec = bson::from_json(R"({"e":{"$concat":["a",{"$toString":{"$add":[1,2]}}]}})");
    auto expression = program.parse((*spec)["e"]);
    ASSERT_TRUE(expression);
    ASSERT_TRUE(expression->optimize(program));
    const auto constant = expression->constant();
    ASSERT_TRUE(constant.has_value());
    EXPECT_EQ(constant->as_string(), "a3");
}

TEST(Expression, IsWhatFiltersCompile) {
    const AggregationCompiler compiler{ExpressionContext{}};
    const auto spec = bson::from_json(R"({"e":{"$gt":["$a","$b"]}})");
    const auto compiled = compiler.compile((*spec)["e"]);
    ASSERT_TRUE(compiled);
    bson::Arena arena;
    const bson::Document document = bson::make("a", 2.0, "b", std::int32_t{1});
    const auto value = (*compiled)->evaluate(document.view(), arena);
    ASSERT_TRUE(value);
    EXPECT_TRUE(value->as_bool());
    std::vector<std::string> paths;
    (*compiled)->add_dependencies(paths);
    EXPECT_EQ(paths, (std::vector<std::string>{"a", "b"}));
}

}  // namespace
}  // namespace tessera::query
