// SPDX-License-Identifier: Apache-2.0
#include "query/expression/compiler.h"

namespace tessera::query {
namespace {

class Compiled final : public CompiledExpression {
public:
    explicit Compiled(std::unique_ptr<StandaloneExpression> expression)
        : expression_(std::move(expression)) {}

    Result<bson::Value> evaluate(bson::View root, bson::Arena& arena) const override {
        return expression_->evaluate(root, arena);
    }
    void add_dependencies(std::vector<std::string>& paths) const override {
        const Program& program = expression_->program();
        if (program.needs_whole_document()) paths.emplace_back();
        for (const auto& path : program.dependencies())
            paths.push_back(path);
    }

private:
    std::unique_ptr<StandaloneExpression> expression_;
};

}  // namespace

Result<std::unique_ptr<CompiledExpression>> AggregationCompiler::compile(
    const bson::Value& expression) const {
    TRY(auto parsed, StandaloneExpression::parse(expression, context_));
    return std::unique_ptr<CompiledExpression>(std::make_unique<Compiled>(std::move(parsed)));
}

}  // namespace tessera::query
