// SPDX-License-Identifier: Apache-2.0
//
// Services over collections in memory, for this folder's tests.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bson/json.h"
#include "query/match/filter.h"
#include "query/pipeline/pipeline.h"
#include "query/pipeline/update_pipeline.h"

namespace tessera::query {

class TestServices final : public PipelineServices {
public:
    std::map<std::string, std::vector<bson::Document>> collections;
    int pipelines_opened = 0;

    Result<std::unique_ptr<DocumentCursor>> open(const PipelineNamespace& ns,
                                                 const std::vector<bson::Document>& stages,
                                                 bson::View let) override {
        ++pipelines_opened;
        PipelineContext context;
        context.ns = ns;
        context.expression.let = bson::Document(let);
        TRY(Pipeline pipeline, Pipeline::parse(stages, context));
        TRY_OK(pipeline.optimize());
        pipeline.attach(
            pipeline.needs_source() ? make_vector_cursor(collections[ns.collection], 3) : nullptr,
            this);
        std::vector<bson::Document> documents;
        while (true) {
            TRY(const Batch batch, pipeline.next_inner());
            for (std::size_t i = 0; i < batch.size(); ++i)
                documents.emplace_back(batch[i]);
            if (batch.is_last) break;
        }
        return make_vector_cursor(std::move(documents), 2);
    }
    Result<std::unique_ptr<DocumentCursor>> open_source(const PipelineNamespace&,
                                                        std::string_view stage,
                                                        const bson::Value&) override {
        std::vector<bson::Document> documents;
        documents.push_back(bson::make("stage", stage));
        return make_vector_cursor(std::move(documents));
    }
    Result<std::unique_ptr<OutputWriter>> open_out(const PipelineNamespace& target) override {
        return std::unique_ptr<OutputWriter>(
            std::make_unique<Writer>(collections[target.collection]));
    }
    Result<std::vector<std::int64_t>> merge(const PipelineNamespace& target,
                                            const std::vector<MergeWrite>& writes) override {
        std::vector<std::int64_t> counts;
        for (const MergeWrite& write : writes) {
            TRY(const std::int64_t count, merge_one(collections[target.collection], write));
            counts.push_back(count);
        }
        return counts;
    }
    Result<std::vector<std::string>> merge_key(const PipelineNamespace&) override {
        return std::vector<std::string>{"_id"};
    }
    Result<bool> has_unique_index(const PipelineNamespace&,
                                  const std::vector<std::string>& fields) override {
        return fields == std::vector<std::string>{"_id"};
    }
    Status check_interrupt() override { return {}; }

private:
    class Writer final : public OutputWriter {
    public:
        explicit Writer(std::vector<bson::Document>& target) : target_(target) {}
        Status write(const Batch& batch) override {
            for (std::size_t i = 0; i < batch.size(); ++i)
                documents_.emplace_back(batch[i]);
            return {};
        }
        Status finish() override {
            target_ = std::move(documents_);
            return {};
        }

    private:
        std::vector<bson::Document>& target_;
        std::vector<bson::Document> documents_;
    };

    static Result<std::int64_t> merge_one(std::vector<bson::Document>& documents,
                                          const MergeWrite& write) {
        TRY(const Filter filter, Filter::parse(write.query.view(), {}));
        MatchContext context;
        for (bson::Document& document : documents) {
            TRY(const bool is_match, filter.matches(document.view(), context));
            if (!is_match) continue;
            if (write.kind == MergeWrite::Kind::insert)
                return Error(ErrorCode::duplicate_key, "E11000 duplicate key error");
            if (write.kind == MergeWrite::Kind::replace) document = write.document;
            if (write.kind == MergeWrite::Kind::pipeline) {
                bson::ArrayBuilder stages;
                for (const auto& stage : write.pipeline)
                    stages.append(stage);
                const bson::Document array = std::move(stages).finish();
                ExpressionContext expression;
                expression.let = write.variables;
                TRY(UpdatePipeline update,
                    UpdatePipeline::parse(array.view().as_array_value(), expression));
                TRY(document, update.apply(document.view()));
            }
            return std::int64_t{1};
        }
        if (!write.is_upsert) return std::int64_t{0};
        documents.push_back(write.document);
        return std::int64_t{1};
    }
};

}  // namespace tessera::query
