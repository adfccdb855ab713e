// SPDX-License-Identifier: Apache-2.0
#include "query/expression/expression.h"

#include "query/expression/node.h"

namespace tessera::query {

using bson::Value;
using expression::Literal;
using expression::NodePtr;
using expression::Parser;

Evaluation::Evaluation(const Program& program, bson::Arena& arena)
    : program_(&program),
      arena_(&arena),
      fields_(program.fields_.size()),
      variables_(program.variable_slots_),
      random_(program.random_seed_) {}

void Evaluation::load_fields() {
    are_fields_loaded_ = true;
    const auto& names = program_->fields_;
    fields_.assign(names.size(), Value());
    variables_.resize(program_->variable_slots_);
    if (!root_.is_object()) return;
    std::size_t left = names.size();
    for (const auto& element : root_.as_view()) {
        if (left == 0) break;
        for (std::size_t i = 0; i < names.size(); ++i) {
            if (names[i] != element.name) continue;
            if (fields_[i].is_missing()) {
                fields_[i] = element.value;
                --left;
            }
            break;
        }
    }
}

Expression::Expression() = default;
Expression::Expression(NodePtr node) : node_(std::move(node)) {}
Expression::Expression(Expression&&) noexcept = default;
Expression& Expression::operator=(Expression&&) noexcept = default;
Expression::~Expression() = default;

Result<Value> Expression::evaluate(Evaluation& evaluation) const {
    ENSURE(node_ != nullptr);
    return node_->evaluate(evaluation);
}

namespace {

Status fold(NodePtr& node, Evaluation& evaluation, bson::Arena& constants) {
    std::vector<NodePtr*> children;
    node->add_children(children);
    bool is_constant = true;
    for (NodePtr* child : children) {
        TRY_OK(fold(*child, evaluation, constants));
        is_constant = is_constant && (*child)->constant() != nullptr;
    }
    if (node->constant() || !node->is_foldable() || !is_constant) return {};
    TRY(const Value value, node->evaluate(evaluation));
    node = std::make_unique<Literal>(value.is_missing() ? Value() : constants.copy(value));
    return {};
}

}  // namespace

Status Expression::optimize(Program& program) {
    if (!node_) return {};
    bson::Arena scratch;
    Evaluation evaluation(program, scratch);
    return fold(node_, evaluation, program.constants_);
}

std::optional<Value> Expression::constant() const {
    const Value* const value = node_ ? node_->constant() : nullptr;
    if (!value) return std::nullopt;
    return *value;
}

std::optional<std::string> Expression::field_path() const {
    const std::string* const path = node_ ? node_->path() : nullptr;
    if (!path) return std::nullopt;
    return *path;
}

Program::Program(const ExpressionContext& context) : random_seed_(context.random_seed) {
    system_.emplace_back("NOW", constants_.make(context.now));
    if (context.cluster_time)
        system_.emplace_back("CLUSTER_TIME", constants_.make(*context.cluster_time));
    for (const auto& element : context.let.view())
        system_.emplace_back(element.name, constants_.copy(element.value));
}

std::size_t Program::field_slot(std::string_view name) {
    for (std::size_t i = 0; i < fields_.size(); ++i)
        if (fields_[i] == name) return i;
    fields_.emplace_back(name);
    return fields_.size() - 1;
}

void Program::define(std::string_view name, const Value& value) {
    system_.emplace_back(name, constants_.copy(value));
}

Result<Expression> Program::parse(const Value& spec) {
    Parser parser(*this);
    TRY(NodePtr node, parser.operand(spec));
    return Expression(std::move(node));
}

Result<Expression> Program::parse_operator(std::string_view name, const Value& argument) {
    Parser parser(*this);
    TRY(NodePtr node, parser.operator_call(name, argument));
    return Expression(std::move(node));
}

Result<Expression> Program::parse_path(std::string_view path) {
    Parser parser(*this);
    TRY(NodePtr node, parser.document_path(path));
    return Expression(std::move(node));
}

bool Program::has_operator(std::string_view name) {
    return expression::is_operator(name);
}

Result<std::unique_ptr<StandaloneExpression>> StandaloneExpression::parse(
    const Value& spec, const ExpressionContext& context) {
    std::unique_ptr<StandaloneExpression> result(new StandaloneExpression(context));
    TRY(result->expression_, result->program_.parse(spec));
    TRY_OK(result->expression_.optimize(result->program_));
    return result;
}

Result<Value> StandaloneExpression::evaluate(bson::View document, bson::Arena& arena) const {
    Evaluation evaluation(program_, arena);
    evaluation.bind(document);
    return expression_.evaluate(evaluation);
}

}  // namespace tessera::query
