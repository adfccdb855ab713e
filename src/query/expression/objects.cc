// SPDX-License-Identifier: Apache-2.0
//
// Operators on objects.
#include <fmt/format.h>

#include "query/expression/node.h"

namespace tessera::query::expression {
namespace {

/// Fields in order of first appearance, later values in place of earlier ones.
class Fields {
public:
    void set(std::string_view name, const Value& value) {
        for (auto& [its_name, its_value] : fields_) {
            if (its_name != name) continue;
            its_value = value;
            return;
        }
        fields_.emplace_back(name, value);
    }
    void add(View object) {
        const bool was_empty = fields_.empty();
        for (const auto& element : object) {
            if (was_empty)
                fields_.emplace_back(element.name, element.value);
            else
                set(element.name, element.value);
        }
    }
    Value make(Arena& arena) const {
        bson::Builder builder;
        for (const auto& [name, value] : fields_)
            builder.append(name, value);
        const bson::Document document = std::move(builder).finish();
        return arena.make_object(document.view());
    }

private:
    std::vector<std::pair<std::string_view, Value>> fields_;
};

Result<Value> merge_objects(Evaluation& evaluation, Args args) {
    Fields fields;
    const auto merge = [&](const Value& value) -> Status {
        if (value.is_nullish()) return {};
        if (!value.is_object())
            return failure(40400,
                           fmt::format("$mergeObjects requires object inputs, but input {} "
                                       "is of type {}",
                                       type_text(value),
                                       type_text(value)));
        fields.add(value.as_view());
        return {};
    };
    if (args.size() == 1 && args[0].is_array()) {
        for (const auto& element : args[0].as_view())
            TRY_OK(merge(element.value));
    } else {
        for (const Value& arg : args)
            TRY_OK(merge(arg));
    }
    return fields.make(evaluation.arena());
}

Result<Value> object_to_array(Evaluation& evaluation, Args args) {
    if (args[0].is_nullish()) return null();
    if (!args[0].is_object())
        return failure(
            40390,
            fmt::format("$objectToArray requires a document input, found: {}", type_text(args[0])));
    bson::ArrayBuilder array;
    for (const auto& element : args[0].as_view()) {
        auto pair = array.object();
        pair.append("k", element.name).append("v", element.value);
    }
    const bson::Document document = std::move(array).finish();
    return evaluation.arena().make_array(document.view());
}

Status check_key(std::string_view key) {
    if (key.find('\0') != std::string_view::npos)
        return failure(4940400, "Key field cannot contain an embedded null byte");
    return {};
}

/// One [k, v] pair or {k, v} object of $arrayToObject.
Status add_pair(const Value& element, bool wants_array, Fields& fields) {
    if (wants_array) {
        if (!element.is_array())
            return failure(40396,
                           fmt::format("$arrayToObject requires a consistent input format. "
                                       "Elements must all be arrays or all be objects. "
                                       "Array was detected, now found: {}",
                                       type_text(element)));
        const auto pair = elements(element);
        if (pair.size() != 2)
            return failure(40397,
                           fmt::format("$arrayToObject requires an array of size 2 arrays,"
                                       "found array of size: {}",
                                       pair.size()));
        if (!pair[0].is_string())
            return failure(40395,
                           fmt::format("$arrayToObject requires an array of key-value pairs,"
                                       " where the key must be of type string. Found key "
                                       "type: {}",
                                       type_text(pair[0])));
        TRY_OK(check_key(pair[0].as_string()));
        fields.set(pair[0].as_string(), pair[1]);
        return {};
    }
    if (!element.is_object())
        return failure(40391,
                       fmt::format("$arrayToObject requires a consistent input format. "
                                   "Elements must all be arrays or all be objects. Object "
                                   "was detected, now found: {}",
                                   type_text(element)));
    const View object = element.as_view();
    if (object.count() != 2)
        return failure(40392,
                       fmt::format("$arrayToObject requires an object keys of 'k' and 'v'. "
                                   "Found incorrect number of keys:{}",
                                   object.count()));
    const Value key = object["k"];
    if (key.is_missing() || object["v"].is_missing())
        return failure(40393,
                       "$arrayToObject requires an object with keys 'k' and 'v'. Missing "
                       "either or both keys from: object");
    if (!key.is_string())
        return failure(40394,
                       fmt::format("$arrayToObject requires an object with keys 'k' and "
                                   "'v', where the value of 'k' must be of type string. "
                                   "Found type: {}",
                                   type_text(key)));
    TRY_OK(check_key(key.as_string()));
    fields.set(key.as_string(), object["v"]);
    return {};
}

Result<Value> array_to_object(Evaluation& evaluation, Args args) {
    if (args[0].is_nullish()) return null();
    if (!args[0].is_array())
        return failure(
            40386,
            fmt::format("$arrayToObject requires an array input, found: {}", type_text(args[0])));
    Fields fields;
    bool is_first = true;
    bool wants_array = false;
    for (const auto& element : args[0].as_view()) {
        if (is_first) {
            wants_array = element.value.is_array();
            if (!wants_array && !element.value.is_object())
                return failure(40398,
                               fmt::format("Unrecognised input type format for "
                                           "$arrayToObject: {}",
                                           type_text(element.value)));
        }
        is_first = false;
        TRY_OK(add_pair(element.value, wants_array, fields));
    }
    return fields.make(evaluation.arena());
}

Result<Value> bson_size(Evaluation& evaluation, Args args) {
    if (args[0].is_nullish()) return null();
    if (!args[0].is_object())
        return failure(
            31393,
            fmt::format("$bsonSize requires a document input, found: {}", type_text(args[0])));
    return evaluation.arena().make(static_cast<std::int32_t>(args[0].as_view().size()));
}

/// $getField, $setField, $unsetField.
class FieldNode final : public Node {
public:
    enum class Kind { get, set };
    FieldNode(Kind kind, NodePtr input, NodePtr field, NodePtr value)
        : kind_(kind),
          input_(std::move(input)),
          field_(std::move(field)),
          value_(std::move(value)) {}

    Result<Value> evaluate(Evaluation& evaluation) const override {
        TRY(const Value field, field_->evaluate(evaluation));
        if (!field.is_string())
            return failure(kind_ == Kind::get ? 3041704 : 4161107,
                           fmt::format("{} requires 'field' to evaluate to type String, but got {}",
                                       kind_ == Kind::get ? "$getField" : "$setField",
                                       type_text(field)));
        TRY(const Value input, input_->evaluate(evaluation));
        if (kind_ == Kind::get) {
            if (input.is_object()) return input.as_view()[field.as_string()];
            return input.is_nullish() && !input.is_missing() ? null() : Value();
        }
        TRY(const Value value, value_->evaluate(evaluation));
        if (input.is_nullish()) return null();
        if (!input.is_object())
            return failure(4161105,
                           fmt::format("$setField requires 'input' to evaluate to type "
                                       "Object, but got {}",
                                       type_text(input)));
        Fields fields;
        fields.add(input.as_view());
        fields.set(field.as_string(), value);
        TRY_OK(check_memory(evaluation, input.bytes().size() + value.bytes().size()));
        return fields.make(evaluation.arena());
    }
    void add_children(std::vector<NodePtr*>& out) override {
        out.push_back(&input_);
        out.push_back(&field_);
        if (value_) out.push_back(&value_);
    }
    bool is_foldable() const override { return true; }

private:
    Kind kind_;
    NodePtr input_;
    NodePtr field_;
    NodePtr value_;  // Kind::set alone.
};

/// A field's name: a constant string; "$x" must be written {$literal: "$x"}.
Result<NodePtr> parse_field_name(Parser& parser,
                                 std::string_view name,
                                 const Value& field,
                                 int code) {
    if (field.is_string() && field.as_string().starts_with('$'))
        return failure(code,
                       fmt::format("A field path reference which is not allowed in this "
                                   "context. Did you mean {{$literal: '{}'}}?",
                                   field.as_string()));
    TRY(NodePtr node, parser.operand(field));
    if (const Value* const constant = node->constant(); constant && !constant->is_string())
        return failure(code + 1,
                       fmt::format("{} requires 'field' to evaluate to a constant string,"
                                   " but got {}",
                                   name,
                                   type_text(*constant)));
    return node;
}

Result<NodePtr> parse_get_field(Parser& parser, std::string_view name, const Value& argument) {
    Value field = argument;
    Value input;
    if (argument.is_object() &&
        !(!argument.as_view().is_empty() && argument.as_view().front().name.starts_with('$'))) {
        field = Value();
        for (const auto& element : argument.as_view()) {
            if (element.name == "field")
                field = element.value;
            else if (element.name == "input")
                input = element.value;
            else
                return failure(
                    3041701, fmt::format("$getField found an unknown argument: {}", element.name));
        }
        if (field.is_missing())
            return failure(3041702, "$getField requires 'field' to be specified");
        if (input.is_missing())
            return failure(3041703, "$getField requires 'input' to be specified");
    }
    TRY(NodePtr name_node, parse_field_name(parser, name, field, 5654600));
    bson::Arena scratch;
    TRY(NodePtr input_node,
        parser.operand(input.is_missing() ? scratch.make(std::string_view("$$CURRENT")) : input));
    return NodePtr(std::make_unique<FieldNode>(
        FieldNode::Kind::get, std::move(input_node), std::move(name_node), nullptr));
}

Result<NodePtr> parse_set_field(Parser& parser, std::string_view name, const Value& argument) {
    const bool is_unset = name == "$unsetField";
    if (!argument.is_object())
        return failure(4161100, fmt::format("{} only supports an object as its argument", name));
    Value field;
    Value input;
    Value value;
    for (const auto& element : argument.as_view()) {
        if (element.name == "field")
            field = element.value;
        else if (element.name == "input")
            input = element.value;
        else if (element.name == "value" && !is_unset)
            value = element.value;
        else
            return failure(4161101,
                           fmt::format("{} found an unknown argument: {}", name, element.name));
    }
    if (field.is_missing())
        return failure(4161102, fmt::format("{} requires 'field' to be specified", name));
    if (value.is_missing() && !is_unset)
        return failure(4161103, fmt::format("{} requires 'value' to be specified", name));
    if (input.is_missing())
        return failure(4161109, fmt::format("{} requires 'input' to be specified", name));
    TRY(NodePtr name_node, parse_field_name(parser, name, field, 4161108));
    TRY(NodePtr input_node, parser.operand(input));
    NodePtr value_node = std::make_unique<Literal>(Value());
    if (!is_unset) {
        TRY(value_node, parser.operand(value));
    }
    return NodePtr(std::make_unique<FieldNode>(
        FieldNode::Kind::set, std::move(input_node), std::move(name_node), std::move(value_node)));
}

constexpr Function functions[] = {
    {"$mergeObjects", 0, -1, merge_objects},
    {"$objectToArray", 1, 1, object_to_array},
    {"$arrayToObject", 1, 1, array_to_object},
    {"$bsonSize", 1, 1, bson_size},
};
constexpr Form forms[] = {{"$getField", parse_get_field},
                          {"$setField", parse_set_field},
                          {"$unsetField", parse_set_field}};

}  // namespace

OperatorTable object_operators() {
    return {functions, {}, forms};
}

}  // namespace tessera::query::expression
