// SPDX-License-Identifier: Apache-2.0
//
// Cases of src/query/testdata/pipelines.txt:
//
//     collection <name> [documents]
//     <pipeline on "c">
//     => [result]            or  => !code message-prefix      or  => <collection> [documents]
#include "query/pipeline/pipeline.h"

#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "bson/json.h"
#include "query/pipeline/split.h"
#include "query/pipeline/test_services.h"

namespace tessera::query {
namespace {

std::string testdata(const std::string& name) {
    const std::string file = __FILE__;
    return file.substr(0, file.find("pipeline/pipeline_test.cc")) + "testdata/" + name;
}

std::vector<bson::Document> documents_of(const std::string& json) {
    const auto parsed = bson::from_json("{\"e\":" + json + "}");
    EXPECT_TRUE(parsed) << json;
    std::vector<bson::Document> result;
    if (parsed)
        for (const auto& element : (*parsed)["e"].as_view())
            result.emplace_back(element.value.as_view());
    return result;
}

std::string text_of(const std::vector<bson::Document>& documents) {
    std::string text;
    for (const auto& document : documents)
        text += to_json(document.view(), bson::JsonMode::canonical) + "\n";
    return text;
}

PipelineContext test_context() {
    PipelineContext context;
    context.ns = {"db", "c"};
    return context;
}

Result<std::vector<bson::Document>> run(const bson::Value& stages,
                                        TestServices& services,
                                        const PipelineContext& context) {
    TRY(Pipeline pipeline, Pipeline::parse(stages, context));
    TRY_OK(pipeline.optimize());
    pipeline.attach(
        pipeline.needs_source() ? make_vector_cursor(services.collections["c"], 2) : nullptr,
        &services);
    std::vector<bson::Document> documents;
    while (true) {
        TRY(const Batch batch, pipeline.next());
        for (std::size_t i = 0; i < batch.size(); ++i)
            documents.emplace_back(batch[i]);
        if (batch.is_last) return documents;
    }
}

struct Outcome {
    std::string text;
    explicit Outcome(const Result<std::vector<bson::Document>>& result)
        : text(result ? text_of(*result)
                      : "!" + std::to_string(static_cast<int>(result.error().code())) + " " +
                            result.error().reason()) {}
};

TEST(Pipeline, GivesWhatTheScriptSays) {
    std::ifstream file(testdata("pipelines.txt"));
    ASSERT_TRUE(file.is_open());
    TestServices services;
    std::string line;
    std::string stages;
    int number = 0;
    int cases = 0;
    std::optional<Outcome> outcome;
    while (std::getline(file, line)) {
        ++number;
        if (line.empty() || line[0] == '#') continue;
        if (line.starts_with("collection ")) {
            const std::size_t space = line.find(' ', 11);
            services.collections[line.substr(11, space - 11)] =
                documents_of(line.substr(space + 1));
        } else if (line.starts_with("=> !")) {
            EXPECT_TRUE(outcome->text.starts_with(line.substr(3)))
                << "line " << number << ": " << stages << "\n"
                << outcome->text;
        } else if (line.starts_with("=> [")) {
            EXPECT_EQ(outcome->text, text_of(documents_of(line.substr(3))))
                << "line " << number << ": " << stages;
        } else if (line.starts_with("=> ")) {
            const std::size_t space = line.find(' ', 3);
            EXPECT_EQ(text_of(services.collections[line.substr(3, space - 3)]),
                      text_of(documents_of(line.substr(space + 1))))
                << "line " << number << ": " << stages << "\n"
                << outcome->text;
        } else {
            stages = line;
            const auto parsed = bson::from_json("{\"p\":" + line + "}");
            ASSERT_TRUE(parsed) << "line " << number << ": " << line;
            outcome.emplace(run((*parsed)["p"], services, test_context()));
            ++cases;
        }
    }
    EXPECT_GT(cases, 100);
}

Pipeline parse(const std::string& json) {
    const auto parsed = bson::from_json("{\"p\":" + json + "}");
    auto pipeline = Pipeline::parse((*parsed)["p"], test_context());
    EXPECT_TRUE(pipeline) << json;
    return *std::move(pipeline);
}

TEST(Pipeline, TellsWhatCanBePushedDown) {
    Pipeline pipeline = parse(
        R"([{"$match":{"a":1}},{"$match":{"b":2}},{"$sort":{"c":-1}},{"$skip":2},{"$limit":3},
            {"$project":{"d":1}}])");
    const LeadingPart part = pipeline.take_leading({.with_sort = true, .with_limit = true});
    EXPECT_EQ(to_json(part.filter.view()), R"({"$and":[{"a":1},{"b":2}]})");
    ASSERT_TRUE(part.sort.has_value());
    EXPECT_EQ(to_json(part.sort->view()), R"({"c":-1})");
    EXPECT_EQ(part.skip, 2);
    EXPECT_EQ(part.limit, 3);
    ASSERT_TRUE(part.needed_fields.has_value());
    EXPECT_EQ(*part.needed_fields, (std::set<std::string, std::less<>>{"_id", "d"}));
    EXPECT_EQ(pipeline.stages().size(), 1U);
}

TEST(Pipeline, TellsWhatItTouches) {
    const Pipeline pipeline = parse(
        R"([{"$lookup":{"from":"x","pipeline":[{"$unionWith":"y"}],"as":"r"}},{"$out":"z"}])");
    EXPECT_TRUE(pipeline.writes());
    EXPECT_TRUE(pipeline.needs_source());
    const auto namespaces = pipeline.involved_namespaces();
    ASSERT_EQ(namespaces.size(), 3U);
    EXPECT_EQ(namespaces[0].ns.to_string(), "db.x");
    EXPECT_EQ(namespaces[1].ns.to_string(), "db.y");
    EXPECT_EQ(namespaces[2].ns.to_string(), "db.z");
    EXPECT_TRUE(namespaces[2].is_written);
    EXPECT_FALSE(parse(R"([{"$group":{"_id":"$$ROOT"}}])").needed_fields().has_value());
    EXPECT_EQ(*parse(R"([{"$match":{"q":1}},{"$group":{"_id":"$a.b","n":{"$sum":"$c"}}}])")
                   .needed_fields(),
              (std::set<std::string, std::less<>>{"a.b", "c", "q"}));
}

TEST(Pipeline, FailsWhenAStageHoldsTooMuch) {
    for (const char* stages : {R"([{"$group":{"_id":"$_id","all":{"$push":"$$ROOT"}}}])",
                               R"([{"$sort":{"a":1}}])",
                               R"([{"$facet":{"a":[]}}])",
                               R"([{"$bucketAuto":{"groupBy":"$a","buckets":2}}])"}) {
        TestServices services;
        for (std::int32_t i = 0; i < 200; ++i)
            services.collections["c"].push_back(
                bson::make("_id", i, "a", i, "x", std::string(100, 'x')));
        const auto parsed = bson::from_json(std::string("{\"p\":") + stages + "}");
        PipelineContext context = test_context();
        context.memory_max = 10'000;
        const auto result = run((*parsed)["p"], services, context);
        ASSERT_FALSE(result) << stages;
        EXPECT_EQ(result.error().code(), ErrorCode::query_exceeded_memory_limit_no_disk_use_allowed)
            << stages;
    }
}

TEST(Pipeline, BoundsWhatItMakesOfALargeField) {
    TestServices services;
    for (std::int32_t i = 0; i < 3; ++i)
        services.collections["c"].push_back(
            bson::make("_id", i, "big", std::string(1024 * 1024, 'x')));
    std::string fields = R"({"f0":"$big")";
    for (int i = 1; i < 300; ++i)
        fields += ",\"f" + std::to_string(i) + R"(":"$big")";
    const auto parsed = bson::from_json(R"({"p":[{"$addFields":)" + fields + "}}]}");
    const auto result = run((*parsed)["p"], services, test_context());
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code(), ErrorCode::exceeded_memory_limit);

    // Documents that grow leave the stage in batches as small as any.
    const auto twice = bson::from_json(R"({"p":[{"$project":{"a":"$big","b":"$big"}}]})");
    const auto documents = run((*twice)["p"], services, test_context());
    ASSERT_TRUE(documents);
    EXPECT_EQ(documents->size(), 3U);
}

TEST(Pipeline, LimitStopsReading) {
    class Endless final : public DocumentCursor {
        Result<Batch> next() override {
            Batch batch;
            batch.append(bson::make("a", std::int32_t{1}).view());
            return batch;
        }
    };
    Pipeline pipeline = parse(R"([{"$limit":3}])");
    pipeline.attach(std::make_unique<Endless>(), nullptr);
    std::size_t count = 0;
    while (true) {
        const auto batch = pipeline.next();
        ASSERT_TRUE(batch);
        count += batch->size();
        if (batch->is_last) break;
    }
    EXPECT_EQ(count, 3U);
}

TEST(Pipeline, LookupAsksOncePerBatch) {
    TestServices services;
    for (std::int32_t i = 0; i < 100; ++i) {
        services.collections["c"].push_back(bson::make("_id", i, "k", i % 10));
        services.collections["f"].push_back(bson::make("_id", i, "k", i % 20));
    }
    Pipeline pipeline =
        parse(R"([{"$lookup":{"from":"f","localField":"k","foreignField":"k","as":"r"}}])");
    pipeline.attach(make_vector_cursor(services.collections["c"], 100), &services);
    const auto batch = pipeline.next();
    ASSERT_TRUE(batch);
    EXPECT_EQ(batch->size(), 100U);
    EXPECT_EQ(services.pipelines_opened, 1);
    EXPECT_EQ((*batch)[0]["r"].as_view().count(), 5U);
}

TEST(Pipeline, SampleTakesEachOnce) {
    TestServices services;
    for (std::int32_t i = 0; i < 100; ++i)
        services.collections["c"].push_back(bson::make("_id", i));
    const auto parsed = bson::from_json(
        R"({"p":[{"$sample":{"size":20}},{"$group":{"_id":"$_id"}},{"$count":"n"}]})");
    const auto result = run((*parsed)["p"], services, test_context());
    ASSERT_TRUE(result);
    EXPECT_EQ(to_json((*result)[0].view()), R"({"n":20})");
}

}  // namespace
}  // namespace tessera::query
