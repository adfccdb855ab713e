// SPDX-License-Identifier: Apache-2.0
//
// Joins update statements to aggregation's stages, for updates written as a pipeline.
#pragma once

#include "query/expression/expression.h"
#include "query/update/pipeline_hook.h"

namespace tessera::commands {

class UpdatePipelines : public query::UpdatePipelineCompiler {
public:
    explicit UpdatePipelines(query::ExpressionContext context) : context_(std::move(context)) {}
    Result<std::unique_ptr<query::DocumentTransform>> compile(
        bson::View pipeline, const bson::Value& constants) const override;

private:
    const query::ExpressionContext context_;
};

}  // namespace tessera::commands
