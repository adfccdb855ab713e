// SPDX-License-Identifier: Apache-2.0
#include "query/pipeline/update_pipeline.h"

#include "query/pipeline/stage.h"

namespace tessera::query {

Result<UpdatePipeline> UpdatePipeline::parse(const bson::Value& stages,
                                             const ExpressionContext& context) {
    PipelineContext pipeline_context;
    pipeline_context.is_update = true;
    pipeline_context.expression = context;
    TRY(Pipeline pipeline, Pipeline::parse(stages, pipeline_context));
    TRY_OK(pipeline.optimize());
    return UpdatePipeline(std::move(pipeline));
}

Result<bson::Document> UpdatePipeline::apply(bson::View document) {
    bson::Document current(document);
    for (const auto& stage : pipeline_.stages()) {
        // The parser lets no other kind of stage into an update.
        const Transform& transform = static_cast<const TransformStage&>(*stage).transform();
        bson::Arena arena;
        Evaluation evaluation(transform.program(), arena);
        std::string bytes;
        TRY_OK(transform.apply(current.view(), evaluation, bytes));
        current = bson::Document::adopt(std::move(bytes));
    }
    return current;
}

}  // namespace tessera::query
