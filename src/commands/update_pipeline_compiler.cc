// SPDX-License-Identifier: Apache-2.0
#include "commands/update_pipeline_compiler.h"

#include <mutex>

#include "query/pipeline/update_pipeline.h"

namespace tessera::commands {
namespace {

class Transform : public query::DocumentTransform {
public:
    explicit Transform(query::UpdatePipeline pipeline) : pipeline_(std::move(pipeline)) {}
    Result<bson::Document> apply(bson::View document) const override {
        const std::lock_guard lock(mutex_);
        return pipeline_.apply(document);
    }

private:
    mutable std::mutex mutex_;  // Guards pipeline_, whose stages hold state while they run.
    mutable query::UpdatePipeline pipeline_;
};

}  // namespace

Result<std::unique_ptr<query::DocumentTransform>> UpdatePipelines::compile(
    bson::View pipeline, const bson::Value&) const {
    TRY(auto parsed, query::UpdatePipeline::parse(pipeline.as_array_value(), context_));
    return std::unique_ptr<query::DocumentTransform>(
        std::make_unique<Transform>(std::move(parsed)));
}

}  // namespace tessera::commands
