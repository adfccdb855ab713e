// SPDX-License-Identifier: Apache-2.0
//
// The seam between the query language's two halves: filters ($expr), projections and updates hold
// aggregation expressions without knowing how they are compiled. query/expression implements both
// classes; whoever parses a filter hands an ExpressionCompiler in, with the variables of the
// command (`let`, $$NOW, ...) already bound to it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "bson/arena.h"
#include "bson/view.h"

namespace tessera::query {

/// One compiled aggregation expression. Immutable: many documents, many threads.
class CompiledExpression {
public:
    virtual ~CompiledExpression() = default;

    /// Evaluates over `root` ($$ROOT and $$CURRENT). The result views `root`, `arena` or this
    /// object; missing when the expression yields no value ($$REMOVE, an absent field).
    virtual Result<bson::Value> evaluate(bson::View root, bson::Arena& arena) const = 0;
    /// Adds the paths of the document it reads; "" when it needs the whole document.
    virtual void add_dependencies(std::vector<std::string>& paths) const = 0;
};

class ExpressionCompiler {
public:
    virtual ~ExpressionCompiler() = default;

    /// Compiles an expression; nothing of `expression` is referred to afterwards.
    virtual Result<std::unique_ptr<CompiledExpression>> compile(
        const bson::Value& expression) const = 0;
};

}  // namespace tessera::query
