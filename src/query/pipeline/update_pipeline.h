// SPDX-License-Identifier: Apache-2.0
//
// The pipeline form of an update: $set, $addFields, $unset, $project, $replaceRoot, $replaceWith.
#pragma once

#include "base/result.h"
#include "bson/view.h"
#include "query/pipeline/pipeline.h"

namespace tessera::query {

class UpdatePipeline {
public:
    /// Fails with 72 "$group is not allowed to be used within an update" for other stages.
    static Result<UpdatePipeline> parse(const bson::Value& stages,
                                        const ExpressionContext& context);

    /// Returns the document after all stages. Does not look after _id or sizes: the caller does.
    Result<bson::Document> apply(bson::View document);

private:
    explicit UpdatePipeline(Pipeline pipeline) : pipeline_(std::move(pipeline)) {}
    Pipeline pipeline_;
};

}  // namespace tessera::query
