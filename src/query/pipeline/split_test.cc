// SPDX-License-Identifier: Apache-2.0
//
// Random pipelines over random documents on a random number of shards give what they give on all
// documents together.
#include "query/pipeline/split.h"

#include <algorithm>
#include <string>

#include <gtest/gtest.h>

#include "base/random.h"
#include "bson/json.h"
#include "query/pipeline/test_services.h"

namespace tessera::query {
namespace {

/// Stages that keep results independent of the order of their input, or order them wholly.
constexpr const char* by_document[] = {
    R"({"$match":{"a":{"$gt":3}}})",
    R"({"$match":{"s":{"$in":["x","y",null]}}})",
    R"({"$project":{"a":1,"b":1,"c":{"$add":["$a",1]},"v":1}})",
    R"({"$addFields":{"q":{"$multiply":["$a","$b"]}}})",
    R"({"$unwind":"$v"})",
    R"({"$unwind":{"path":"$v","preserveNullAndEmptyArrays":true}})",
    R"({"$unset":"s"})",
};
constexpr const char* whole[] = {
    R"([{"$group":{"_id":"$s","n":{"$sum":1},"t":{"$sum":"$a"},"m":{"$avg":"$b"},
        "lo":{"$min":"$a"},"hi":{"$max":"$v"},"c":{"$count":{}}}},{"$sort":{"_id":1}}])",
    R"([{"$group":{"_id":null,"d":{"$stdDevPop":"$b"},"e":{"$stdDevSamp":"$one"},
        "set":{"$addToSet":"$s"}}},
        {"$project":{"d":{"$round":["$d",6]},"e":1,
        "set":{"$sortArray":{"input":"$set","sortBy":1}}}}])",
    R"([{"$group":{"_id":"$a","ids":{"$push":"$_id"},
        "top":{"$topN":{"n":2,"sortBy":{"b":-1,"_id":1,"v":1},"output":["$b","$_id"]}},
        "bottom":{"$bottom":{"sortBy":{"b":1,"_id":1,"v":1},"output":"$_id"}},
        "low":{"$minN":{"n":3,"input":"$b"}},
        "mid":{"$median":{"input":"$b","method":"approximate"}}}},
        {"$addFields":{"ids":{"$sortArray":{"input":"$ids","sortBy":1}}}},{"$sort":{"_id":1}}])",
    R"([{"$sort":{"b":-1,"_id":1,"v":1}},{"$limit":5}])",
    R"([{"$sort":{"a":1,"_id":-1,"v":1}},{"$skip":3},{"$limit":4},{"$project":{"a":1}}])",
    R"([{"$sort":{"_id":1,"v":1}},{"$group":{"_id":"$a","f":{"$first":"$_id"},"l":{"$last":"$_id"},
        "f2":{"$firstN":{"n":2,"input":"$_id"}}}},{"$sort":{"_id":1}}])",
    R"([{"$count":"n"}])",
    R"([{"$sortByCount":"$s"},{"$sort":{"count":-1,"_id":1}}])",
    R"([{"$bucket":{"groupBy":"$a","boundaries":[0,4,20],"default":"other",
        "output":{"n":{"$sum":1},"b":{"$avg":"$b"}}}}])",
    R"([{"$facet":{"n":[{"$count":"n"}],"g":[{"$group":{"_id":"$a"}},{"$sort":{"_id":1}}]}}])",
    R"([{"$sort":{"_id":1,"v":1}},{"$skip":2},{"$match":{"a":{"$lt":8}}},{"$count":"k"}])",
    R"([{"$sample":{"size":1000}},{"$sort":{"_id":1,"v":1}}])",
    R"([{"$limit":100000},{"$group":{"_id":null,"t":{"$sum":"$a"}}}])",
};

bson::Document random_document(Random& random, std::int32_t id) {
    bson::Builder builder;
    builder.append("_id", id);
    builder.append("a", static_cast<std::int32_t>(random.below(10)));
    // Halves: sums of them are exact in any order.
    builder.append("b", static_cast<double>(random.below(1000)) / 2);
    if (random.below(4) != 0)
        builder.append("s", std::string(1, static_cast<char>('w' + random.below(4))));
    if (random.below(5) != 0) {
        auto array = builder.array("v");
        for (std::uint64_t i = random.below(4); i > 0; --i)
            array.append(static_cast<std::int32_t>(i * 10 + random.below(5)));
    }
    return std::move(builder).finish();
}

std::vector<bson::Document> all_of(DocumentCursor& cursor) {
    std::vector<bson::Document> documents;
    while (true) {
        const auto batch = cursor.next();
        EXPECT_TRUE(batch) << batch.error().to_string();
        if (!batch) return documents;
        for (std::size_t i = 0; i < batch->size(); ++i)
            documents.emplace_back((*batch)[i]);
        if (batch->is_last) return documents;
    }
}

std::vector<bson::Document> run(const std::vector<bson::Document>& stages,
                                std::unique_ptr<DocumentCursor> source) {
    TestServices services;
    PipelineContext context;
    context.ns = {"db", "c"};
    auto pipeline = Pipeline::parse(stages, context);
    EXPECT_TRUE(pipeline) << pipeline.error().to_string();
    EXPECT_TRUE(pipeline->optimize());
    pipeline->attach(std::move(source), &services);
    class Cursor final : public DocumentCursor {
    public:
        explicit Cursor(Pipeline& pipeline) : pipeline_(pipeline) {}
        Result<Batch> next() override { return pipeline_.next(); }

    private:
        Pipeline& pipeline_;
    };
    Cursor cursor(*pipeline);
    return all_of(cursor);
}

std::string text_of(const std::vector<bson::Document>& documents) {
    std::string text;
    for (const auto& document : documents)
        text += to_json(document.view(), bson::JsonMode::canonical) + "\n";
    return text;
}

std::vector<bson::Document> random_stages(Random& random) {
    std::string json = "[";
    for (std::uint64_t i = random.below(4); i > 0; --i)
        json += std::string(by_document[random.below(std::size(by_document))]) + ",";
    const std::string last = whole[random.below(std::size(whole))];
    json += last.substr(1);
    const auto parsed = bson::from_json("{\"p\":" + json + "}");
    EXPECT_TRUE(parsed) << json;
    std::vector<bson::Document> stages;
    for (const auto& element : (*parsed)["p"].as_view())
        stages.emplace_back(element.value.as_view());
    return stages;
}

TEST(Split, GivesWhatTheWholePipelineGives) {
    for (std::uint64_t seed = 1; seed <= 400; ++seed) {
        Random random(seed);
        const std::vector<bson::Document> stages = random_stages(random);
        std::vector<bson::Document> all;
        const auto count = static_cast<std::int32_t>(random.below(60));
        std::vector<std::vector<bson::Document>> shards(1 + random.below(4));
        for (std::int32_t id = 0; id < count; ++id) {
            all.push_back(random_document(random, id));
            shards[random.below(shards.size())].push_back(all.back());
        }
        PipelineContext context;
        context.ns = {"db", "c"};
        const auto pipeline = Pipeline::parse(stages, context);
        ASSERT_TRUE(pipeline) << pipeline.error().to_string();
        const SplitPipeline parts = split(*pipeline);
        std::vector<std::unique_ptr<DocumentCursor>> streams;
        std::vector<bson::Document> joined;
        for (const auto& shard : shards) {
            auto output = run(parts.shard_part, make_vector_cursor(shard, 7));
            if (!parts.merge_sort)
                joined.insert(joined.end(), output.begin(), output.end());
            else
                streams.push_back(make_vector_cursor(std::move(output), 3));
        }
        auto source = parts.merge_sort
                          ? make_merging_cursor(std::move(streams), parts.merge_sort->view())
                          : make_vector_cursor(std::move(joined), 5);
        const auto merged = run(parts.merge_part, std::move(source));
        const auto expected = run(stages, make_vector_cursor(all, 4));
        ASSERT_EQ(text_of(merged), text_of(expected)) << "seed " << seed << "\n"
                                                      << text_of(stages) << "shards:\n"
                                                      << text_of(parts.shard_part) << "merge:\n"
                                                      << text_of(parts.merge_part);
    }
}

TEST(Split, SendsWhatItCanToTheShards) {
    const auto parsed = bson::from_json(
        R"({"p":[{"$match":{"a":1}},{"$sort":{"b":1}},{"$skip":2},{"$limit":3},{"$out":"o"}]})");
    PipelineContext context;
    context.ns = {"db", "c"};
    const auto pipeline = Pipeline::parse((*parsed)["p"], context);
    ASSERT_TRUE(pipeline);
    const SplitPipeline parts = split(*pipeline);
    EXPECT_EQ(text_of(parts.shard_part),
              "{\"$match\":{\"a\":{\"$numberInt\":\"1\"}}}\n"
              "{\"$sort\":{\"b\":{\"$numberInt\":\"1\"}}}\n"
              "{\"$limit\":{\"$numberLong\":\"5\"}}\n");
    EXPECT_EQ(parts.merge_part.size(), 3U);
    EXPECT_TRUE(parts.merge_sort.has_value());
    EXPECT_TRUE(parts.merge_needs_shard);
}

}  // namespace
}  // namespace tessera::query
