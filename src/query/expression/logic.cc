// SPDX-License-Identifier: Apache-2.0
//
// Comparison, boolean and conditional operators, $let and $literal.
#include <fmt/format.h>

#include "query/expression/node.h"

namespace tessera::query::expression {
namespace {

int order(Args args) {
    return bson::compare(args[0], args[1]);
}

Result<Value> equal(Evaluation&, Args args) {
    return boolean(order(args) == 0);
}
Result<Value> not_equal(Evaluation&, Args args) {
    return boolean(order(args) != 0);
}
Result<Value> less(Evaluation&, Args args) {
    return boolean(order(args) < 0);
}
Result<Value> less_or_equal(Evaluation&, Args args) {
    return boolean(order(args) <= 0);
}
Result<Value> greater(Evaluation&, Args args) {
    return boolean(order(args) > 0);
}
Result<Value> greater_or_equal(Evaluation&, Args args) {
    return boolean(order(args) >= 0);
}
Result<Value> compare(Evaluation& evaluation, Args args) {
    const int result = order(args);
    return evaluation.arena().make(std::int32_t{result < 0 ? -1 : result > 0 ? 1 : 0});
}
Result<Value> negation(Evaluation&, Args args) {
    return boolean(!args[0].is_truthy());
}

Result<std::vector<NodePtr>> parse_list(Parser& parser, const Value& argument) {
    std::vector<NodePtr> nodes;
    if (!argument.is_array()) {
        TRY(NodePtr node, parser.operand(argument));
        nodes.push_back(std::move(node));
        return nodes;
    }
    for (const auto& element : argument.as_view()) {
        TRY(NodePtr node, parser.operand(element.value));
        nodes.push_back(std::move(node));
    }
    return nodes;
}

/// $and and $or: stops at the first that decides.
class Junction final : public Node {
public:
    Junction(std::vector<NodePtr> nodes, bool deciding)
        : nodes_(std::move(nodes)), deciding_(deciding) {}
    Result<Value> evaluate(Evaluation& evaluation) const override {
        for (const auto& node : nodes_) {
            TRY(const Value value, node->evaluate(evaluation));
            if (value.is_truthy() == deciding_) return boolean(deciding_);
        }
        return boolean(!deciding_);
    }
    void add_children(std::vector<NodePtr*>& out) override {
        for (auto& node : nodes_)
            out.push_back(&node);
    }
    bool is_foldable() const override { return true; }

private:
    std::vector<NodePtr> nodes_;
    bool deciding_;
};

Result<NodePtr> parse_and(Parser& parser, std::string_view, const Value& argument) {
    TRY(auto nodes, parse_list(parser, argument));
    return NodePtr(std::make_unique<Junction>(std::move(nodes), false));
}
Result<NodePtr> parse_or(Parser& parser, std::string_view, const Value& argument) {
    TRY(auto nodes, parse_list(parser, argument));
    return NodePtr(std::make_unique<Junction>(std::move(nodes), true));
}

/// $cond and $switch: the first branch whose case is true.
class Switch final : public Node {
public:
    struct Branch {
        NodePtr condition;
        NodePtr then;
    };
    Switch(std::vector<Branch> branches, NodePtr otherwise)
        : branches_(std::move(branches)), otherwise_(std::move(otherwise)) {}
    Result<Value> evaluate(Evaluation& evaluation) const override {
        for (const Branch& branch : branches_) {
            TRY(const Value value, branch.condition->evaluate(evaluation));
            if (value.is_truthy()) return branch.then->evaluate(evaluation);
        }
        if (otherwise_) return otherwise_->evaluate(evaluation);
        return failure(40066,
                       "$switch could not find a matching branch for an input, and no default was "
                       "specified.");
    }
    void add_children(std::vector<NodePtr*>& out) override {
        for (Branch& branch : branches_) {
            out.push_back(&branch.condition);
            out.push_back(&branch.then);
        }
        if (otherwise_) out.push_back(&otherwise_);
    }
    bool is_foldable() const override { return otherwise_ != nullptr; }

private:
    std::vector<Branch> branches_;
    NodePtr otherwise_;
};

Result<NodePtr> parse_cond(Parser& parser, std::string_view, const Value& argument) {
    std::vector<Switch::Branch> branches(1);
    NodePtr otherwise;
    if (argument.is_object()) {
        for (const auto& element : argument.as_view()) {
            NodePtr* target = element.name == "if"     ? &branches[0].condition
                              : element.name == "then" ? &branches[0].then
                              : element.name == "else" ? &otherwise
                                                       : nullptr;
            if (!target)
                return failure(17083,
                               fmt::format("Unrecognized parameter to $cond: {}", element.name));
            TRY(*target, parser.operand(element.value));
        }
        if (!branches[0].condition) return failure(17080, "Missing 'if' parameter to $cond");
        if (!branches[0].then) return failure(17081, "Missing 'then' parameter to $cond");
        if (!otherwise) return failure(17082, "Missing 'else' parameter to $cond");
    } else {
        TRY(auto nodes, parse_list(parser, argument));
        if (nodes.size() != 3)
            return failure(16020,
                           fmt::format("Expression $cond takes exactly 3 arguments. {} were "
                                       "passed in.",
                                       nodes.size()));
        branches[0].condition = std::move(nodes[0]);
        branches[0].then = std::move(nodes[1]);
        otherwise = std::move(nodes[2]);
    }
    return NodePtr(std::make_unique<Switch>(std::move(branches), std::move(otherwise)));
}

Result<Switch::Branch> parse_branch(Parser& parser, const Value& spec) {
    if (!spec.is_object())
        return failure(40062,
                       fmt::format("$switch requires each branch to be an object, found: {}",
                                   type_text(spec)));
    Switch::Branch branch;
    for (const auto& element : spec.as_view()) {
        if (element.name == "case") {
            TRY(branch.condition, parser.operand(element.value));
        } else if (element.name == "then") {
            TRY(branch.then, parser.operand(element.value));
        } else {
            return failure(
                40063,
                fmt::format("$switch found an unknown argument to a branch: {}", element.name));
        }
    }
    if (!branch.condition)
        return failure(40064, "$switch requires each branch have a 'case' expression");
    if (!branch.then)
        return failure(40065, "$switch requires each branch have a 'then' expression.");
    return branch;
}

Result<NodePtr> parse_switch(Parser& parser, std::string_view, const Value& argument) {
    if (!argument.is_object())
        return failure(40060,
                       fmt::format("$switch requires an object as an argument, found: {}",
                                   type_text(argument)));
    std::vector<Switch::Branch> branches;
    NodePtr otherwise;
    for (const auto& element : argument.as_view()) {
        if (element.name == "branches") {
            if (!element.value.is_array())
                return failure(40061,
                               fmt::format("$switch expected an array for 'branches', "
                                           "found: {}",
                                           type_text(element.value)));
            for (const auto& branch : element.value.as_view()) {
                TRY(auto parsed, parse_branch(parser, branch.value));
                branches.push_back(std::move(parsed));
            }
        } else if (element.name == "default") {
            TRY(otherwise, parser.operand(element.value));
        } else {
            return failure(40067,
                           fmt::format("$switch found an unknown argument: {}", element.name));
        }
    }
    if (branches.empty()) return failure(40068, "$switch requires at least one branch.");
    return NodePtr(std::make_unique<Switch>(std::move(branches), std::move(otherwise)));
}

class IfNull final : public Node {
public:
    explicit IfNull(std::vector<NodePtr> nodes) : nodes_(std::move(nodes)) {}
    Result<Value> evaluate(Evaluation& evaluation) const override {
        Value last;
        for (const auto& node : nodes_) {
            TRY(last, node->evaluate(evaluation));
            if (!last.is_nullish()) break;
        }
        return last;
    }
    void add_children(std::vector<NodePtr*>& out) override {
        for (auto& node : nodes_)
            out.push_back(&node);
    }
    bool is_foldable() const override { return true; }

private:
    std::vector<NodePtr> nodes_;
};

Result<NodePtr> parse_if_null(Parser& parser, std::string_view, const Value& argument) {
    TRY(auto nodes, parse_list(parser, argument));
    if (nodes.size() < 2)
        return failure(1257300,
                       fmt::format("$ifNull needs at least two arguments, had: {}", nodes.size()));
    return NodePtr(std::make_unique<IfNull>(std::move(nodes)));
}

class Let final : public Node {
public:
    Let(std::vector<std::pair<std::size_t, NodePtr>> bindings, NodePtr in)
        : bindings_(std::move(bindings)), in_(std::move(in)) {}
    Result<Value> evaluate(Evaluation& evaluation) const override {
        for (const auto& [slot, node] : bindings_) {
            TRY(const Value value, node->evaluate(evaluation));
            evaluation.variable(slot) = value;
        }
        return in_->evaluate(evaluation);
    }
    void add_children(std::vector<NodePtr*>& out) override {
        for (auto& [slot, node] : bindings_)
            out.push_back(&node);
        out.push_back(&in_);
    }

private:
    std::vector<std::pair<std::size_t, NodePtr>> bindings_;
    NodePtr in_;
};

Result<NodePtr> parse_let(Parser& parser, std::string_view, const Value& argument) {
    if (!argument.is_object())
        return failure(16874, "$let only supports an object as its argument");
    Value vars;
    Value in;
    for (const auto& element : argument.as_view()) {
        if (element.name == "vars")
            vars = element.value;
        else if (element.name == "in")
            in = element.value;
        else
            return failure(16875, fmt::format("Unrecognized parameter to $let: {}", element.name));
    }
    if (vars.is_missing()) return failure(16876, "Missing 'vars' parameter to $let");
    if (in.is_missing()) return failure(16877, "Missing 'in' parameter to $let");
    if (!vars.is_object())
        return Error(ErrorCode::failed_to_parse, "invalid parameter: expected an object (vars)");
    std::vector<std::pair<std::size_t, NodePtr>> bindings;
    std::vector<std::string_view> names;
    for (const auto& element : vars.as_view()) {
        TRY_OK(Parser::check_variable_name(element.name));
        TRY(NodePtr value, parser.operand(element.value));  // In the scope outside.
        bindings.emplace_back(0, std::move(value));
        names.push_back(element.name);
    }
    for (std::size_t i = 0; i < names.size(); ++i)
        bindings[i].first = parser.enter(names[i]);
    auto body = parser.operand(in);
    for (std::size_t i = 0; i < names.size(); ++i)
        parser.leave();
    TRY(NodePtr node, std::move(body));
    return NodePtr(std::make_unique<Let>(std::move(bindings), std::move(node)));
}

Result<NodePtr> parse_literal(Parser& parser, std::string_view, const Value& argument) {
    return parser.literal(argument);
}

class SampleRate final : public Node {
public:
    explicit SampleRate(double rate) : rate_(rate) {}
    Result<Value> evaluate(Evaluation& evaluation) const override {
        return boolean(evaluation.random().fraction() < rate_);
    }

private:
    double rate_;
};

Result<NodePtr> parse_sample_rate(Parser&, std::string_view, const Value& argument) {
    if (!argument.is_number() || !(argument.to_double() >= 0 && argument.to_double() <= 1))
        return Error(ErrorCode::bad_value, "numeric argument to $sampleRate must be in [0, 1]");
    return NodePtr(std::make_unique<SampleRate>(argument.to_double()));
}

constexpr Function functions[] = {
    {"$eq", 2, 2, equal},
    {"$ne", 2, 2, not_equal},
    {"$lt", 2, 2, less},
    {"$lte", 2, 2, less_or_equal},
    {"$gt", 2, 2, greater},
    {"$gte", 2, 2, greater_or_equal},
    {"$cmp", 2, 2, compare},
    {"$not", 1, 1, negation},
};
constexpr Form forms[] = {
    {"$and", parse_and},
    {"$or", parse_or},
    {"$cond", parse_cond},
    {"$switch", parse_switch},
    {"$let", parse_let},
    {"$ifNull", parse_if_null},
    {"$literal", parse_literal},
    {"$const", parse_literal},
    {"$sampleRate", parse_sample_rate},
};

}  // namespace

OperatorTable logic_operators() {
    return {functions, {}, forms};
}

}  // namespace tessera::query::expression
