// SPDX-License-Identifier: Apache-2.0
//
// The expression compiler that filters ($expr), find's projections and updates are handed.
#pragma once

#include "query/expression/expression.h"
#include "query/match/expression_hook.h"

namespace tessera::query {

class AggregationCompiler final : public ExpressionCompiler {
public:
    explicit AggregationCompiler(ExpressionContext context) : context_(std::move(context)) {}

    Result<std::unique_ptr<CompiledExpression>> compile(
        const bson::Value& expression) const override;

private:
    ExpressionContext context_;
};

}  // namespace tessera::query
