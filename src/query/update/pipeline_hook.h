// SPDX-License-Identifier: Apache-2.0
//
// The seam to aggregation for updates written as a pipeline ([{$set: ...}]): query/pipeline
// implements both classes over its stages $set, $addFields, $unset, $project, $replaceRoot and
// $replaceWith.
#pragma once

#include <memory>

#include "base/result.h"
#include "bson/view.h"

namespace tessera::query {

/// A compiled pipeline of one-document stages. Immutable.
class DocumentTransform {
public:
    virtual ~DocumentTransform() = default;
    /// Returns what the pipeline makes of `document`.
    virtual Result<bson::Document> apply(bson::View document) const = 0;
};

class UpdatePipelineCompiler {
public:
    virtual ~UpdatePipelineCompiler() = default;
    /// Compiles the array of stages. `constants` is the statement's `c` ($$ variables), or missing.
    virtual Result<std::unique_ptr<DocumentTransform>> compile(
        bson::View pipeline, const bson::Value& constants) const = 0;
};

}  // namespace tessera::query
