// SPDX-License-Identifier: Apache-2.0
//
// From BSON to nodes: literals, paths, variables, object and array expressions, operator calls.
#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "bson/json.h"
#include "query/expression/node.h"
#include "query/pipeline/limits.h"

namespace tessera::query::expression {
namespace {

/// Levels and components a path may have.
constexpr std::size_t path_parts_max = 200;

class FieldPath final : public Node {
public:
    FieldPath(std::size_t slot, std::vector<std::string> rest, std::string path)
        : slot_(slot), rest_(std::move(rest)), path_(std::move(path)) {}
    Result<Value> evaluate(Evaluation& evaluation) const override {
        const Value& top = evaluation.field(slot_);
        if (rest_.empty()) return top;
        return walk_path(top, rest_, evaluation.arena());
    }
    const std::string* path() const override { return &path_; }

private:
    std::size_t slot_;
    std::vector<std::string> rest_;  // After the first component.
    std::string path_;
};

class Root final : public Node {
public:
    Result<Value> evaluate(Evaluation& evaluation) const override { return evaluation.root(); }
};

class Variable final : public Node {
public:
    Variable(std::size_t slot, std::vector<std::string> path)
        : slot_(slot), path_(std::move(path)) {}
    Result<Value> evaluate(Evaluation& evaluation) const override {
        const Value value = evaluation.variable(slot_);
        if (path_.empty()) return value;
        return walk_path(value, path_, evaluation.arena());
    }

private:
    std::size_t slot_;
    std::vector<std::string> path_;
};

class ObjectNode final : public Node {
public:
    void add(std::string_view name, NodePtr value) {
        names_.emplace_back(name);
        values_.push_back(std::move(value));
    }
    Result<Value> evaluate(Evaluation& evaluation) const override {
        bson::Builder builder;
        std::size_t bytes = 0;
        for (std::size_t i = 0; i < names_.size(); ++i) {
            TRY(const Value value, values_[i]->evaluate(evaluation));
            bytes += names_[i].size() + value.bytes().size();
            TRY_OK(check_memory(evaluation, bytes));
            builder.append(names_[i], value);
        }
        const bson::Document document = std::move(builder).finish();
        return evaluation.arena().make_object(document.view());
    }
    void add_children(std::vector<NodePtr*>& out) override {
        for (auto& value : values_)
            out.push_back(&value);
    }
    bool is_foldable() const override { return true; }

private:
    std::vector<std::string> names_;
    std::vector<NodePtr> values_;
};

class ArrayNode final : public Node {
public:
    void add(NodePtr value) { values_.push_back(std::move(value)); }
    Result<Value> evaluate(Evaluation& evaluation) const override {
        ArrayMaker maker;
        for (const auto& node : values_) {
            TRY(const Value value, node->evaluate(evaluation));
            TRY_OK(check_memory(evaluation, maker.bytes() + value.bytes().size()));
            maker.add(value);
        }
        return std::move(maker).make(evaluation.arena());
    }
    void add_children(std::vector<NodePtr*>& out) override {
        for (auto& value : values_)
            out.push_back(&value);
    }
    bool is_foldable() const override { return true; }

private:
    std::vector<NodePtr> values_;
};

/// Calls a function over evaluated arguments; a null node is an absent named argument.
class Call final : public Node {
public:
    Call(Run run, std::vector<NodePtr> args, bool is_pure)
        : run_(run), args_(std::move(args)), is_pure_(is_pure) {}
    Result<Value> evaluate(Evaluation& evaluation) const override {
        constexpr std::size_t inline_max = 4;
        std::array<Value, inline_max> few;
        std::vector<Value> many;
        Value* values = few.data();
        if (args_.size() > inline_max) {
            many.resize(args_.size());
            values = many.data();
        }
        for (std::size_t i = 0; i < args_.size(); ++i) {
            if (!args_[i]) {
                values[i] = absent();
                continue;
            }
            TRY(values[i], args_[i]->evaluate(evaluation));
        }
        auto result = run_(evaluation, Args(values, args_.size()));
        TRY_OK(check_memory(evaluation));
        return result;
    }
    void add_children(std::vector<NodePtr*>& out) override {
        for (auto& arg : args_)
            if (arg) out.push_back(&arg);
    }
    bool is_foldable() const override { return is_pure_; }

private:
    Run run_;
    std::vector<NodePtr> args_;
    bool is_pure_;
};

template <class Entry>
const Entry* find_named(std::span<const Entry> entries, std::string_view name) {
    for (const Entry& entry : entries)
        if (entry.name == name) return &entry;
    return nullptr;
}

struct Found {
    const Function* function = nullptr;
    const NamedFunction* named = nullptr;
    const Form* form = nullptr;
    explicit operator bool() const { return function || named || form; }
};

Found find_operator(std::string_view name) {
    static const std::array<OperatorTable, 15> tables = {arithmetic_operators(),
                                                         trigonometry_operators(),
                                                         logic_operators(),
                                                         string_operators(),
                                                         text_operators(),
                                                         regex_operators(),
                                                         array_operators(),
                                                         array_form_operators(),
                                                         set_operators(),
                                                         object_operators(),
                                                         date_operators(),
                                                         date_text_operators(),
                                                         date_arithmetic_operators(),
                                                         conversion_operators(),
                                                         accumulator_operators()};
    Found found;
    for (const OperatorTable& table : tables) {
        found.function = find_named(table.functions, name);
        if (!found.function) found.named = find_named(table.named, name);
        if (!found.function && !found.named) found.form = find_named(table.forms, name);
        if (found) break;
    }
    return found;
}

const char absent_marker = 0;

}  // namespace

Status check_memory(Evaluation& evaluation, std::size_t more) {
    if (evaluation.arena().used() + more <= evaluation_memory_max) return {};
    return Error(ErrorCode::exceeded_memory_limit,
                 "Exceeded memory limit while evaluating an expression");
}

Value absent() {
    return {Type::missing, &absent_marker, 0};
}
bool is_absent(const Value& value) {
    return value.is_missing() && value.bytes().data() == &absent_marker;
}

std::string type_text(const Value& value) {
    return std::string(bson::type_name(value.type()));
}

std::vector<Value> elements(const Value& array) {
    std::vector<Value> result;
    for (const auto& element : array.as_view())
        result.push_back(element.value);
    return result;
}

Value walk_path(const Value& value, std::span<const std::string> parts, Arena& arena) {
    if (parts.empty()) return value;
    if (value.is_object()) return walk_path(value.as_view()[parts[0]], parts.subspan(1), arena);
    if (!value.is_array()) return {};
    ArrayMaker maker;
    for (const auto& element : value.as_view()) {
        if (!element.value.is_object()) continue;
        const Value nested = walk_path(element.value, parts, arena);
        if (!nested.is_missing()) maker.add(nested);
    }
    return std::move(maker).make(arena);
}

Result<std::vector<std::string>> split_path(std::string_view path) {
    std::vector<std::string> parts;
    if (path.empty()) return failure(40352, "FieldPath cannot be constructed with empty string");
    if (path.back() == '.') return failure(40353, "FieldPath must not end with a '.'.");
    while (true) {
        const std::size_t dot = path.find('.');
        const std::string_view part = path.substr(0, dot);
        if (part.empty()) return failure(15998, "FieldPath field names may not be empty strings.");
        if (part[0] == '$')
            return failure(16410,
                           "FieldPath field names may not start with '$'. Consider using "
                           "$getField or $setField.");
        if (part.find('\0') != std::string_view::npos)
            return failure(16411, "FieldPath field names may not contain '\\0'.");
        parts.emplace_back(part);
        if (dot == std::string_view::npos) break;
        path.remove_prefix(dot + 1);
    }
    if (parts.size() > path_parts_max) return Error(ErrorCode::overflow, "FieldPath is too long");
    return parts;
}

NodePtr Parser::literal(const Value& value) {
    return std::make_unique<Literal>(value.is_missing() ? value : program_.constants_.copy(value));
}

std::size_t Parser::enter(std::string_view name) {
    const std::size_t slot = slots_used_++;
    program_.variable_slots_ = std::max(program_.variable_slots_, slots_used_);
    scope_.push_back({std::string(name), slot});
    return slot;
}

void Parser::leave() {
    scope_.pop_back();
}

Status Parser::check_variable_name(std::string_view name) {
    if (name == "CURRENT") return {};
    if (name.empty())
        return Error(ErrorCode::failed_to_parse, "empty variable names are not allowed");
    const auto is_letter = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<signed char>(c) < 0;
    };
    if (!((name[0] >= 'a' && name[0] <= 'z') || static_cast<signed char>(name[0]) < 0))
        return Error(
            ErrorCode::failed_to_parse,
            fmt::format("'{}' starts with an invalid character for a user variable name", name));
    for (const char c : name)
        if (!is_letter(c) && !(c >= '0' && c <= '9') && c != '_')
            return Error(
                ErrorCode::failed_to_parse,
                fmt::format(
                    "'{}' contains an invalid character for a variable name: '{}'", name, c));
    return {};
}

Result<NodePtr> Parser::document_path(std::string_view path) {
    TRY(std::vector<std::string> parts, split_path(path));
    for (auto binding = scope_.rbegin(); binding != scope_.rend(); ++binding)
        if (binding->name == "CURRENT")
            return NodePtr(std::make_unique<Variable>(binding->slot, std::move(parts)));
    program_.dependencies_.insert(std::string(path));
    const std::size_t slot = program_.field_slot(parts[0]);
    parts.erase(parts.begin());
    return NodePtr(std::make_unique<FieldPath>(slot, std::move(parts), std::string(path)));
}

Result<NodePtr> Parser::text(std::string_view text) {
    if (text.empty() || text[0] != '$') {
        bson::Arena scratch;
        return literal(scratch.make(text));
    }
    if (text.size() == 1) return failure(16872, "'$' by itself is not a valid FieldPath");
    if (text[1] != '$') return document_path(text.substr(1));
    const std::string_view whole = text.substr(2);
    const std::size_t dot = whole.find('.');
    const std::string_view name = whole.substr(0, dot);
    std::vector<std::string> rest;
    if (name.empty())
        return Error(ErrorCode::failed_to_parse, "empty variable names are not allowed");
    if (dot != std::string_view::npos) {
        TRY(rest, split_path(whole.substr(dot + 1)));
    }
    for (auto binding = scope_.rbegin(); binding != scope_.rend(); ++binding)
        if (binding->name == name)
            return NodePtr(std::make_unique<Variable>(binding->slot, std::move(rest)));
    if (name == "ROOT" || name == "CURRENT") {
        if (dot != std::string_view::npos) return document_path(whole.substr(dot + 1));
        program_.needs_whole_document_ = true;
        return NodePtr(std::make_unique<Root>());
    }
    if (name == "REMOVE") return NodePtr(std::make_unique<Literal>(Value()));
    for (const auto& [its_name, value] : program_.system_)
        if (its_name == name)
            return NodePtr(std::make_unique<Literal>(walk_path(value, rest, program_.constants_)));
    if (name == "CLUSTER_TIME")
        return failure(51144, "Builtin variable '$$CLUSTER_TIME' is not available");
    return failure(17276, fmt::format("Use of undefined variable: {}", name));
}

Result<NodePtr> Parser::array(View view) {
    auto node = std::make_unique<ArrayNode>();
    for (const auto& element : view) {
        TRY(NodePtr value, operand(element.value));
        node->add(std::move(value));
    }
    return NodePtr(std::move(node));
}

Result<NodePtr> Parser::object(View view) {
    if (!view.is_empty() && view.front().name.starts_with('$')) {
        if (const std::size_t count = view.count(); count != 1)
            return failure(15983,
                           fmt::format("an expression specification must contain exactly one "
                                       "field, the name of the expression. Found {} fields in {}, "
                                       "while parsing object {}",
                                       count,
                                       to_json(view, bson::JsonMode::message),
                                       to_json(view, bson::JsonMode::message)));
        const bson::Element only = view.front();
        return operator_call(only.name, only.value);
    }
    auto node = std::make_unique<ObjectNode>();
    std::set<std::string_view> seen;
    for (const auto& element : view) {
        if (!seen.insert(element.name).second)
            return failure(16406,
                           fmt::format("duplicate field name specified in object literal: {}",
                                       to_json(view, bson::JsonMode::message)));
        if (element.name.find('.') != std::string_view::npos)
            return failure(16405,
                           fmt::format("FieldPath field names may not contain '.'. Consider "
                                       "using $getField or $setField."));
        if (element.name.starts_with('$'))
            return failure(16410,
                           "FieldPath field names may not start with '$'. Consider using "
                           "$getField or $setField.");
        TRY(NodePtr value, operand(element.value));
        node->add(element.name, std::move(value));
    }
    return NodePtr(std::move(node));
}

Result<NodePtr> Parser::operand(const Value& spec) {
    switch (spec.type()) {
        case Type::string:
            return text(spec.as_string());
        case Type::object:
            return object(spec.as_view());
        case Type::array:
            return array(spec.as_view());
        default:
            return literal(spec);
    }
}

Result<NodePtr> Parser::call(const Function& function, const Value& argument) {
    std::vector<NodePtr> args;
    if (argument.is_array()) {
        for (const auto& element : argument.as_view()) {
            TRY(NodePtr arg, operand(element.value));
            args.push_back(std::move(arg));
        }
    } else {
        TRY(NodePtr arg, operand(argument));
        args.push_back(std::move(arg));
    }
    const int count = static_cast<int>(args.size());
    if (function.args_max == function.args_min && count != function.args_min)
        return failure(16020,
                       fmt::format("Expression {} takes exactly {} arguments. {} were passed in.",
                                   function.name,
                                   function.args_min,
                                   count));
    if (function.args_max >= 0 && (count < function.args_min || count > function.args_max))
        return failure(28667,
                       fmt::format("Expression {} takes at least {} arguments, and at most "
                                   "{}, but {} were passed in.",
                                   function.name,
                                   function.args_min,
                                   function.args_max,
                                   count));
    if (count < function.args_min)
        return failure(16020,
                       fmt::format("Expression {} takes at least {} arguments. {} were passed in.",
                                   function.name,
                                   function.args_min,
                                   count));
    return NodePtr(std::make_unique<Call>(function.run, std::move(args), function.is_pure));
}

Result<NodePtr> Parser::named_call(const NamedFunction& function, const Value& argument) {
    if (!argument.is_object())
        return failure(function.codes.not_object,
                       fmt::format("{} only supports an object as an argument, found: {}",
                                   function.name,
                                   type_text(argument)));
    std::vector<NodePtr> args(function.parameters.size());
    for (const auto& element : argument.as_view()) {
        std::size_t i = 0;
        while (i < args.size() && function.parameters[i].name != element.name)
            ++i;
        if (i == args.size())
            return failure(
                function.codes.unknown,
                fmt::format("Unrecognized argument to {}: {}", function.name, element.name));
        TRY(args[i], operand(element.value));
    }
    for (std::size_t i = 0; i < args.size(); ++i)
        if (function.parameters[i].is_required && !args[i])
            return failure(
                function.codes.required,
                fmt::format(
                    "Missing '{}' parameter to {}", function.parameters[i].name, function.name));
    return NodePtr(std::make_unique<Call>(function.run, std::move(args), true));
}

Result<NodePtr> Parser::operator_call(std::string_view name, const Value& argument) {
    const Found found = find_operator(name);
    if (found.function) return call(*found.function, argument);
    if (found.named) return named_call(*found.named, argument);
    if (found.form) return found.form->parse(*this, name, argument);
    return Error(ErrorCode::invalid_pipeline_operator,
                 fmt::format("Unrecognized expression '{}'", name));
}

bool is_operator(std::string_view name) {
    return static_cast<bool>(find_operator(name));
}

}  // namespace tessera::query::expression
