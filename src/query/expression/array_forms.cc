// SPDX-License-Identifier: Apache-2.0
//
// Array operators with a variable or a pattern: $map, $filter, $reduce, $sortArray.
#include <algorithm>

#include <fmt/format.h>

#include "query/expression/node.h"
#include "query/expression/sort_pattern.h"

namespace tessera::query::expression {
namespace {

/// The named arguments of a form, as written.
Result<std::vector<Value>> named_arguments(std::string_view name,
                                           const Value& argument,
                                           std::span<const std::string_view> names,
                                           int not_object,
                                           int unknown) {
    if (!argument.is_object())
        return failure(not_object, fmt::format("{} only supports an object as its argument", name));
    std::vector<Value> values(names.size());
    for (const auto& element : argument.as_view()) {
        std::size_t i = 0;
        while (i < names.size() && names[i] != element.name)
            ++i;
        if (i == names.size())
            return failure(unknown,
                           fmt::format("Unrecognized parameter to {}: {}", name, element.name));
        values[i] = element.value;
    }
    return values;
}

Error missing_parameter(int code, std::string_view name, std::string_view parameter) {
    return failure(code, fmt::format("Missing '{}' parameter to {}", parameter, name));
}

Result<std::string> variable_name(const Value& as) {
    if (as.is_missing()) return std::string("this");
    if (!as.is_string()) return Error(ErrorCode::failed_to_parse, "'as' must be a string");
    const std::string name(as.as_string());
    TRY_OK(Parser::check_variable_name(name));
    return name;
}

class Map final : public Node {
public:
    Map(NodePtr input, std::size_t slot, NodePtr in)
        : input_(std::move(input)), slot_(slot), in_(std::move(in)) {}
    Result<Value> evaluate(Evaluation& evaluation) const override {
        TRY(const Value input, input_->evaluate(evaluation));
        if (input.is_nullish()) return null();
        if (!input.is_array())
            return failure(16883,
                           fmt::format("input to $map must be an array not {}", type_text(input)));
        ArrayMaker maker;
        for (const auto& element : input.as_view()) {
            evaluation.variable(slot_) = element.value;
            TRY(const Value value, in_->evaluate(evaluation));
            maker.add(value);
            TRY_OK(check_memory(evaluation, maker.bytes()));
        }
        return std::move(maker).make(evaluation.arena());
    }
    void add_children(std::vector<NodePtr*>& out) override {
        out.push_back(&input_);
        out.push_back(&in_);
    }

private:
    NodePtr input_;
    std::size_t slot_;
    NodePtr in_;
};

Result<NodePtr> parse_map(Parser& parser, std::string_view name, const Value& argument) {
    constexpr std::string_view names[] = {"input", "as", "in"};
    TRY(const auto values, named_arguments(name, argument, names, 16878, 16879));
    if (values[0].is_missing()) return missing_parameter(16880, name, "input");
    if (values[2].is_missing()) return missing_parameter(16882, name, "in");
    TRY(const std::string variable, variable_name(values[1]));
    TRY(NodePtr input, parser.operand(values[0]));
    const std::size_t slot = parser.enter(variable);
    auto body = parser.operand(values[2]);
    parser.leave();
    TRY(NodePtr in, std::move(body));
    return NodePtr(std::make_unique<Map>(std::move(input), slot, std::move(in)));
}

class Filter final : public Node {
public:
    Filter(NodePtr input, std::size_t slot, NodePtr condition, NodePtr limit)
        : input_(std::move(input)),
          slot_(slot),
          condition_(std::move(condition)),
          limit_(std::move(limit)) {}
    Result<Value> evaluate(Evaluation& evaluation) const override {
        TRY(const Value input, input_->evaluate(evaluation));
        if (input.is_nullish()) return null();
        if (!input.is_array())
            return failure(
                28651, fmt::format("input to $filter must be an array not {}", type_text(input)));
        std::int64_t left = INT64_MAX;
        if (limit_) {
            TRY(const Value limit, limit_->evaluate(evaluation));
            if (!limit.is_nullish()) {
                if (!limit.is_number() || !limit.is_integral() || limit.to_int64() > INT32_MAX)
                    return failure(327391,
                                   "$filter: limit must be represented as a 32-bit "
                                   "integral value");
                if (limit.to_int64() < 1)
                    return failure(
                        327392,
                        fmt::format("$filter: limit must be greater than 0: {}", limit.to_int64()));
                left = limit.to_int64();
            }
        }
        ArrayMaker maker;
        for (const auto& element : input.as_view()) {
            evaluation.variable(slot_) = element.value;
            TRY(const Value is_kept, condition_->evaluate(evaluation));
            if (!is_kept.is_truthy()) continue;
            maker.add(element.value);
            if (--left == 0) break;
        }
        return std::move(maker).make(evaluation.arena());
    }
    void add_children(std::vector<NodePtr*>& out) override {
        out.push_back(&input_);
        out.push_back(&condition_);
        if (limit_) out.push_back(&limit_);
    }

private:
    NodePtr input_;
    std::size_t slot_;
    NodePtr condition_;
    NodePtr limit_;
};

Result<NodePtr> parse_filter(Parser& parser, std::string_view name, const Value& argument) {
    constexpr std::string_view names[] = {"input", "as", "cond", "limit"};
    TRY(const auto values, named_arguments(name, argument, names, 28646, 28647));
    if (values[0].is_missing()) return missing_parameter(28648, name, "input");
    if (values[2].is_missing()) return missing_parameter(28650, name, "cond");
    TRY(const std::string variable, variable_name(values[1]));
    TRY(NodePtr input, parser.operand(values[0]));
    const std::size_t slot = parser.enter(variable);
    auto body = parser.operand(values[2]);
    parser.leave();
    TRY(NodePtr condition, std::move(body));
    NodePtr limit;
    if (!values[3].is_missing()) {
        TRY(limit, parser.operand(values[3]));
    }
    return NodePtr(
        std::make_unique<Filter>(std::move(input), slot, std::move(condition), std::move(limit)));
}

class Reduce final : public Node {
public:
    struct Slots {
        std::size_t element;
        std::size_t value;
    };
    Reduce(NodePtr input, NodePtr initial, Slots slots, NodePtr in)
        : input_(std::move(input)),
          initial_(std::move(initial)),
          slots_(slots),
          in_(std::move(in)) {}
    Result<Value> evaluate(Evaluation& evaluation) const override {
        TRY(const Value input, input_->evaluate(evaluation));
        if (input.is_nullish()) return null();
        if (!input.is_array())
            return failure(40080,
                           fmt::format("$reduce requires that 'input' be an array, found: {}",
                                       type_text(input)));
        TRY(Value value, initial_->evaluate(evaluation));
        for (const auto& element : input.as_view()) {
            evaluation.variable(slots_.element) = element.value;
            evaluation.variable(slots_.value) = value;
            TRY(value, in_->evaluate(evaluation));
            TRY_OK(check_memory(evaluation));
        }
        return value;
    }
    void add_children(std::vector<NodePtr*>& out) override {
        out.push_back(&input_);
        out.push_back(&initial_);
        out.push_back(&in_);
    }

private:
    NodePtr input_;
    NodePtr initial_;
    Slots slots_;
    NodePtr in_;
};

Result<NodePtr> parse_reduce(Parser& parser, std::string_view name, const Value& argument) {
    constexpr std::string_view names[] = {"input", "initialValue", "in"};
    TRY(const auto values, named_arguments(name, argument, names, 40075, 40076));
    if (values[0].is_missing()) return missing_parameter(40077, name, "input");
    if (values[1].is_missing()) return missing_parameter(40078, name, "initialValue");
    if (values[2].is_missing()) return missing_parameter(40079, name, "in");
    TRY(NodePtr input, parser.operand(values[0]));
    TRY(NodePtr initial, parser.operand(values[1]));
    Reduce::Slots slots{};
    slots.element = parser.enter("this");
    slots.value = parser.enter("value");
    auto body = parser.operand(values[2]);
    parser.leave();
    parser.leave();
    TRY(NodePtr in, std::move(body));
    return NodePtr(
        std::make_unique<Reduce>(std::move(input), std::move(initial), slots, std::move(in)));
}

class SortArray final : public Node {
public:
    /// With no pattern whole elements are compared.
    SortArray(NodePtr input, std::optional<SortPattern> pattern, bool is_descending)
        : input_(std::move(input)), pattern_(std::move(pattern)), is_descending_(is_descending) {}
    Result<Value> evaluate(Evaluation& evaluation) const override {
        TRY(const Value input, input_->evaluate(evaluation));
        if (input.is_nullish()) return null();
        if (!input.is_array())
            return failure(2942504,
                           fmt::format("The input argument to $sortArray must be an "
                                       "array, but was of type: {}",
                                       type_text(input)));
        const auto values = elements(input);
        const std::size_t width = pattern_ ? pattern_->size() : 1;
        std::vector<Value> keys(values.size() * width);
        for (std::size_t i = 0; i < values.size(); ++i) {
            if (!pattern_)
                keys[i] = values[i];
            else
                TRY_OK(pattern_->make_key(values[i].is_object() ? values[i].as_view() : View(),
                                          &keys[i * width]));
        }
        std::vector<std::size_t> order(values.size());
        for (std::size_t i = 0; i < order.size(); ++i)
            order[i] = i;
        std::stable_sort(order.begin(), order.end(), [&](std::size_t one, std::size_t two) {
            if (pattern_) return pattern_->compare(&keys[one * width], &keys[two * width]) < 0;
            const int result = bson::compare(keys[one], keys[two]);
            return is_descending_ ? result > 0 : result < 0;
        });
        ArrayMaker maker;
        for (const std::size_t i : order)
            maker.add(values[i]);
        return std::move(maker).make(evaluation.arena());
    }
    void add_children(std::vector<NodePtr*>& out) override { out.push_back(&input_); }
    bool is_foldable() const override { return true; }

private:
    NodePtr input_;
    std::optional<SortPattern> pattern_;
    bool is_descending_;
};

Result<NodePtr> parse_sort_array(Parser& parser, std::string_view name, const Value& argument) {
    constexpr std::string_view names[] = {"input", "sortBy"};
    TRY(const auto values, named_arguments(name, argument, names, 2942500, 2942501));
    if (values[0].is_missing()) return missing_parameter(2942502, name, "input");
    if (values[1].is_missing()) return missing_parameter(2942503, name, "sortBy");
    TRY(NodePtr input, parser.operand(values[0]));
    std::optional<SortPattern> pattern;
    bool is_descending = false;
    if (values[1].is_object()) {
        TRY(pattern, SortPattern::parse(values[1].as_view()));
    } else {
        const double direction = values[1].to_double();
        if (!values[1].is_number() || (direction != 1 && direction != -1))
            return failure(2942507,
                           "Invalid sort specification: the sort direction must be 1 or "
                           "-1");
        is_descending = direction < 0;
    }
    return NodePtr(
        std::make_unique<SortArray>(std::move(input), std::move(pattern), is_descending));
}

constexpr Form forms[] = {{"$map", parse_map},
                          {"$filter", parse_filter},
                          {"$reduce", parse_reduce},
                          {"$sortArray", parse_sort_array}};

}  // namespace

OperatorTable array_form_operators() {
    return {{}, {}, forms};
}

}  // namespace tessera::query::expression
