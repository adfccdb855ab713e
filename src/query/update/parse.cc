// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "bson/builder.h"
#include "bson/json.h"
#include "query/match/parser.h"
#include "query/update/messages.h"
#include "query/update/parser.h"

namespace tessera::query {

using bson::Element;
using bson::Type;
using bson::Value;
using bson::View;

namespace {

Error bad_value(std::string reason) {
    return {ErrorCode::bad_value, std::move(reason)};
}
Error failed_to_parse(std::string reason) {
    return {ErrorCode::failed_to_parse, std::move(reason)};
}

struct NamedModifier {
    std::string_view name;
    ModifierKind kind;
};

constexpr NamedModifier modifiers[] = {
    {"$set", ModifierKind::set},
    {"$setOnInsert", ModifierKind::set_on_insert},
    {"$unset", ModifierKind::unset},
    {"$inc", ModifierKind::increment},
    {"$mul", ModifierKind::multiply},
    {"$min", ModifierKind::minimum},
    {"$max", ModifierKind::maximum},
    {"$currentDate", ModifierKind::current_date},
    {"$rename", ModifierKind::rename_to},
    {"$push", ModifierKind::push},
    {"$addToSet", ModifierKind::add_to_set},
    {"$pop", ModifierKind::pop},
    {"$pull", ModifierKind::pull},
    {"$pullAll", ModifierKind::pull_all},
    {"$bit", ModifierKind::bit},
};

std::shared_ptr<Modifier> make_modifier(ModifierKind kind) {
    auto result = std::make_shared<Modifier>();
    result->kind = kind;
    return result;
}

}  // namespace

// --- Array filters -----------------------------------------------------------------------------

namespace {

/// The identifier a filter speaks of: the first component of all its paths.
Status find_identifier(const Node& node, std::string& identifier) {
    if (node.is_leaf()) {
        const std::string& name = node.path[0].name;
        if (identifier.empty()) identifier = name;
        if (identifier == name) return {};
        return failed_to_parse(fmt::format(
            "Error parsing array filter :: caused by :: Expected a single top-level field name, "
            "found '{}' and '{}'",
            identifier,
            name));
    }
    for (const Node& child : node.children)
        TRY_OK(find_identifier(child, identifier));
    return {};
}

bool is_identifier(std::string_view name) {
    if (name.empty() || name[0] < 'a' || name[0] > 'z') return false;
    return std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    });
}

}  // namespace

Status UpdateParser::parse_array_filters() {
    if (options_.array_filters.is_missing()) return {};
    if (!options_.array_filters.is_array()) {
        return Error(ErrorCode::type_mismatch,
                     fmt::format("BSON field 'update.updates.arrayFilters' is the wrong type '{}', "
                                 "expected type 'array'",
                                 bson::type_name(options_.array_filters.type())));
    }
    FilterOptions filter_options;
    for (const auto& element : options_.array_filters.as_view()) {
        if (!element.value.is_object()) {
            return Error(
                ErrorCode::type_mismatch,
                fmt::format("BSON field 'update.updates.arrayFilters.{}' is the wrong type "
                            "'{}', expected type 'object'",
                            element.name,
                            bson::type_name(element.value.type())));
        }
        auto filter = Filter::parse(element.value.as_view(), filter_options);
        if (!filter) {
            return filter.error().with_prefix("Error parsing array filter :: caused by :: ");
        }
        std::string identifier;
        TRY_OK(find_identifier(filter->root(), identifier));
        if (identifier.empty()) {
            return failed_to_parse(
                "Cannot use an expression without a top-level field name in arrayFilters");
        }
        if (!is_identifier(identifier)) {
            return bad_value(fmt::format(
                "Error parsing array filter :: caused by :: The top-level field name must be an "
                "alphanumeric string beginning with a lowercase letter, found '{}'",
                identifier));
        }
        for (const auto& other : update_.array_filters_) {
            if (other.identifier != identifier) continue;
            return failed_to_parse(fmt::format(
                "Found multiple array filters with the same top-level field name {}", identifier));
        }
        update_.array_filters_.push_back({identifier, std::move(*filter), false});
    }
    return {};
}

Status UpdateParser::check_all_filters_used(View update) {
    for (const auto& filter : update_.array_filters_) {
        if (filter.is_used) continue;
        return failed_to_parse(
            fmt::format("The array filter for identifier '{}' was not used in the update {}",
                        filter.identifier,
                        bson::to_json(update, bson::JsonMode::message)));
    }
    return {};
}

// --- Operators ---------------------------------------------------------------------------------

Status UpdateParser::parse_operators(View update) {
    update_.root_ = std::make_shared<UpdateNode>();
    for (const auto& element : update)
        TRY_OK(parse_operator(element));
    return check_all_filters_used(update);
}

Status UpdateParser::parse_operator(const Element& element) {
    const auto* const at = std::find_if(std::begin(modifiers),
                                        std::end(modifiers),
                                        [&](const auto& m) { return m.name == element.name; });
    if (at == std::end(modifiers)) {
        return failed_to_parse(
            fmt::format("Unknown modifier: {}. Expected a valid update modifier or pipeline-style "
                        "update specified as an array",
                        element.name));
    }
    if (!element.value.is_object()) {
        return failed_to_parse(
            fmt::format("Modifiers operate on fields but we found type {} instead. For example: "
                        "{{$mod: {{<field>: ...}}}} not {{{}: {}}}",
                        bson::type_name(element.value.type()),
                        element.name,
                        bson::to_json(element.value, bson::JsonMode::message)));
    }
    for (const auto& field : element.value.as_view())
        TRY_OK(parse_field(element.name, field));
    return {};
}

Status UpdateParser::parse_field(std::string_view name, const Element& field) {
    const auto* const at = std::find_if(
        std::begin(modifiers), std::end(modifiers), [&](const auto& m) { return m.name == name; });
    switch (at->kind) {
        case ModifierKind::increment:
        case ModifierKind::multiply:
            return parse_arithmetic(at->kind, field);
        case ModifierKind::current_date:
            return parse_current_date(field);
        case ModifierKind::rename_to:
            return parse_rename(field);
        case ModifierKind::bit:
            return parse_bit(field);
        case ModifierKind::push:
            return parse_push(field);
        case ModifierKind::add_to_set:
            return parse_add_to_set(field);
        case ModifierKind::pull:
            return parse_pull(field);
        case ModifierKind::pop: {
            const Value& side = field.value;
            if (!side.is_number()) {
                return failed_to_parse(fmt::format("Expected a number in: {}: {}",
                                                   field.name,
                                                   bson::to_json(side, bson::JsonMode::message)));
            }
            if (!side.is_integral() || (side.to_int64() != 1 && side.to_int64() != -1)) {
                return failed_to_parse(fmt::format("$pop expects 1 or -1, found: {}",
                                                   bson::to_json(side, bson::JsonMode::message)));
            }
            return add_simple(at->kind, field);
        }
        case ModifierKind::pull_all: {
            if (!field.value.is_array()) {
                return bad_value(
                    fmt::format("$pullAll requires an array argument but was given a {}",
                                bson::type_name(field.value.type())));
            }
            auto modifier = make_modifier(at->kind);
            for (const auto& entry : field.value.as_view())
                modifier->values.push_back(entry.value);
            return add(field.name, std::move(modifier));
        }
        default:
            return add_simple(at->kind, field);
    }
}

Status UpdateParser::parse_arithmetic(ModifierKind kind, const Element& field) {
    if (!field.value.is_number()) {
        return Error(ErrorCode::type_mismatch,
                     fmt::format("Cannot {} with non-numeric argument: {}",
                                 kind == ModifierKind::increment ? "increment" : "multiply",
                                 show_element(field.name, field.value)));
    }
    return add_simple(kind, field);
}

Status UpdateParser::parse_current_date(const Element& field) {
    if (field.value.is_boolean()) return add_simple(ModifierKind::current_date, field);
    if (!field.value.is_object()) {
        return bad_value(
            fmt::format("{} is not valid type for $currentDate. Please use a boolean "
                        "('true') or a $type expression ({{$type: "
                        "'timestamp/date'}}).",
                        bson::type_name(field.value.type())));
    }
    std::optional<ModifierKind> kind;
    for (const auto& element : field.value.as_view()) {
        if (element.name != "$type") {
            return bad_value(fmt::format("Unrecognized $currentDate option: {}", element.name));
        }
        const bool is_text = element.value.is_string();
        if (is_text && element.value.as_string() == "date") kind = ModifierKind::current_date;
        if (is_text && element.value.as_string() == "timestamp") {
            kind = ModifierKind::current_timestamp;
        }
        if (!kind) {
            return bad_value(
                "The '$type' string field is required to be 'date' or 'timestamp': "
                "{$currentDate: {field : {$type: 'date'}}}");
        }
    }
    return add_simple(kind.value_or(ModifierKind::current_date), field);
}

Status UpdateParser::parse_rename(const Element& field) {
    if (!field.value.is_string()) {
        return bad_value(fmt::format("The 'to' field for $rename must be a string: {}: {}",
                                     field.name,
                                     bson::to_json(field.value, bson::JsonMode::message)));
    }
    const std::string_view from = field.name;
    const std::string_view to = field.value.as_string();
    if (to.find('\0') != std::string_view::npos) {
        return bad_value("The 'to' field for $rename cannot contain an embedded null byte");
    }
    if (from == to) {
        return bad_value(fmt::format(
            "The source and target field for $rename must differ: {}: \"{}\"", from, to));
    }
    const auto is_below = [](std::string_view path, std::string_view above) {
        return path.size() > above.size() && path.starts_with(above) && path[above.size()] == '.';
    };
    if (is_below(from, to) || is_below(to, from)) {
        return bad_value(fmt::format(
            "The source and target field for $rename must not be on the same path: {}: \"{}\"",
            from,
            to));
    }
    for (const std::string_view path : {from, to}) {
        if (path.find('$') == std::string_view::npos) continue;
        const Path split(path);
        for (const auto& part : split.parts()) {
            if (part.name != "$" && !part.name.starts_with("$[")) continue;
            return bad_value(fmt::format("The {} field for $rename may not be dynamic: {}",
                                         path == from ? "source" : "destination",
                                         path));
        }
    }
    auto removal = make_modifier(ModifierKind::unset);
    TRY_OK(add(from, std::move(removal)));
    auto modifier = make_modifier(ModifierKind::rename_to);
    modifier->source = Path(from);
    return add(to, std::move(modifier));
}

Status UpdateParser::parse_bit(const Element& field) {
    if (!field.value.is_object()) {
        return bad_value(
            fmt::format("The $bit modifier is not compatible with a {}. You must pass "
                        "in an embedded document: {{$bit: {{field: {{and/or/xor: "
                        "#}}}}}}",
                        bson::type_name(field.value.type())));
    }
    if (field.value.as_view().is_empty()) {
        return bad_value(fmt::format(
            "You must pass in at least one bitwise operation. The format is: {{$bit: {{field: "
            "{{and/or/xor: #}}}}}}"));
    }
    for (const auto& step : field.value.as_view()) {
        if (step.name != "and" && step.name != "or" && step.name != "xor") {
            return bad_value(
                fmt::format("The $bit modifier only supports 'and', 'or', and 'xor', "
                            "not '{}' which is an unknown operator: {{{}: {}}}",
                            step.name,
                            step.name,
                            bson::to_json(step.value, bson::JsonMode::message)));
        }
        if (step.value.type() != Type::int32 && step.value.type() != Type::int64) {
            return bad_value(fmt::format(
                "The $bit modifier field must be an Integer(32/64 bit); a '{}' is not supported "
                "here: {{{}: {}}}",
                bson::type_name(step.value.type()),
                step.name,
                bson::to_json(step.value, bson::JsonMode::message)));
        }
    }
    return add_simple(ModifierKind::bit, field);
}

namespace {

Status check_sort(const Value& sort) {
    const auto is_direction = [](const Value& value) {
        return value.is_integral() && (value.to_int64() == 1 || value.to_int64() == -1);
    };
    if (sort.is_number()) {
        if (is_direction(sort)) return {};
        return bad_value("The $sort element value must be either 1 or -1");
    }
    if (!sort.is_object()) {
        return bad_value(
            "The $sort is invalid: use 1/-1 to sort the whole element, or {field:1/-1} to sort "
            "embedded fields");
    }
    if (sort.as_view().is_empty())
        return bad_value("The $sort pattern is empty when it should be a set of fields.");
    for (const auto& key : sort.as_view()) {
        if (!is_direction(key.value)) {
            return bad_value("The $sort element value must be either 1 or -1");
        }
        if (key.name.empty()) return bad_value("The $sort field cannot be empty");
    }
    return {};
}

Result<std::int64_t> integer_clause(const Element& clause, std::string_view words) {
    if (clause.value.is_integral()) return clause.value.to_int64();
    return bad_value(fmt::format("The value for {} must be an integer value{} {}",
                                 clause.name,
                                 words,
                                 bson::type_name(clause.value.type())));
}

}  // namespace

Status UpdateParser::parse_push(const Element& field) {
    auto modifier = make_modifier(ModifierKind::push);
    const bool has_each = field.value.is_object() && field.value.as_view().has("$each");
    if (!has_each) {
        modifier->values.push_back(field.value);
        return add(field.name, std::move(modifier));
    }
    for (const auto& clause : field.value.as_view()) {
        if (clause.name == "$each") {
            if (!clause.value.is_array()) {
                return bad_value(fmt::format(
                    "The argument to $each in $push must be an array but it was of type: {}",
                    bson::type_name(clause.value.type())));
            }
            for (const auto& entry : clause.value.as_view()) {
                modifier->values.push_back(entry.value);
            }
        } else if (clause.name == "$slice") {
            TRY(modifier->slice, integer_clause(clause, " but was given type:"));
        } else if (clause.name == "$position") {
            TRY(modifier->position, integer_clause(clause, ", not of type:"));
        } else if (clause.name == "$sort") {
            TRY_OK(check_sort(clause.value));
            modifier->sort = clause.value;
        } else {
            return bad_value(fmt::format("Unrecognized clause in $push: {}", clause.name));
        }
    }
    return add(field.name, std::move(modifier));
}

Status UpdateParser::parse_add_to_set(const Element& field) {
    auto modifier = make_modifier(ModifierKind::add_to_set);
    const bool has_each = field.value.is_object() && !field.value.as_view().is_empty() &&
                          field.value.as_view().front().name == "$each";
    if (!has_each) {
        modifier->values.push_back(field.value);
        return add(field.name, std::move(modifier));
    }
    const Value list = field.value.as_view()["$each"];
    if (!list.is_array()) {
        return Error(ErrorCode::type_mismatch,
                     fmt::format("The argument to $each in $addToSet must be an array but it was "
                                 "of type {}",
                                 bson::type_name(list.type())));
    }
    if (field.value.as_view().count() > 1) {
        return bad_value(fmt::format("Found unexpected fields after $each in $addToSet: {}",
                                     bson::to_json(field.value, bson::JsonMode::message)));
    }
    for (const auto& entry : list.as_view())
        modifier->values.push_back(entry.value);
    return add(field.name, std::move(modifier));
}

Status UpdateParser::parse_pull(const Element& field) {
    auto modifier = make_modifier(ModifierKind::pull);
    modifier->operand = field.value;
    FilterOptions filter_options;
    if (field.value.is_object()) {
        bool is_value = is_operator_object(field.value);
        if (is_value) {
            const std::string_view first = field.value.as_view().front().name;
            is_value = first != "$and" && first != "$or" && first != "$nor";
        }
        modifier->is_document_filter = !is_value;
        auto filter = is_value ? Filter::parse_value(field.value, filter_options)
                               : Filter::parse(field.value.as_view(), filter_options);
        if (!filter) return std::move(filter).error();
        modifier->filter = std::make_unique<Filter>(std::move(*filter));
    } else if (field.value.type() == Type::regex) {
        TRY(auto filter, Filter::parse_value(field.value, filter_options));
        modifier->filter = std::make_unique<Filter>(std::move(filter));
    }
    return add(field.name, std::move(modifier));
}

// --- Paths -------------------------------------------------------------------------------------

Result<UpdateNode> UpdateParser::make_step(std::string_view name,
                                           std::string_view dotted,
                                           bool is_first) {
    UpdateNode node;
    node.name = name;
    node.index = array_index(name);
    if (name.empty()) {
        return Error(ErrorCode::empty_field_name,
                     fmt::format("The update path '{}' contains an empty field name, which is not "
                                 "allowed.",
                                 dotted));
    }
    if (name == "$") {
        if (is_first) {
            return bad_value(fmt::format(
                "Cannot have positional (i.e. '$') element in the first position in path '{}'",
                dotted));
        }
        node.step = UpdateNode::Step::positional;
        update_.needs_matched_index_ = true;
        return node;
    }
    if (!name.starts_with('$')) return node;
    if (!name.starts_with("$[") || !name.ends_with(']')) {
        return Error(ErrorCode::dollar_prefixed_field_name,
                     fmt::format("The dollar ($) prefixed field '{}' in '{}' is not valid for "
                                 "storage.",
                                 name,
                                 dotted));
    }
    if (is_first) {
        return bad_value(
            fmt::format("Cannot have array filter identifier (i.e. '$[<id>]') element "
                        "in the first position in path '{}'",
                        dotted));
    }
    if (name == "$[]") {
        node.step = UpdateNode::Step::all;
        return node;
    }
    const std::string_view identifier = name.substr(2, name.size() - 3);
    node.step = UpdateNode::Step::filtered;
    auto& filters = update_.array_filters_;
    for (std::size_t i = 0; i < filters.size(); ++i) {
        if (filters[i].identifier != identifier) continue;
        filters[i].is_used = true;
        node.filter = i;
        return node;
    }
    return bad_value(
        fmt::format("No array filter found for identifier '{}' in path '{}'", identifier, dotted));
}

Status UpdateParser::add(std::string_view dotted, std::shared_ptr<Modifier> modifier) {
    if (dotted.empty()) {
        return Error(ErrorCode::empty_field_name, "An empty update path is not valid.");
    }
    const Path path(dotted);
    modifier->depth = path.size();
    TRY_OK(check_nesting(modifier->operand, path.size()));
    for (const Value& value : modifier->values)
        TRY_OK(check_nesting(value, path.size() + 1));
    const auto conflict = [&](std::string_view at) {
        return Error(
            ErrorCode::conflicting_update_operators,
            fmt::format("Updating the path '{}' would create a conflict at '{}'", dotted, at));
    };
    UpdateNode* node = update_.root_.get();
    int positional_count = 0;
    std::string so_far;
    for (std::size_t i = 0; i < path.size(); ++i) {
        TRY(UpdateNode step, make_step(path[i].name, dotted, i == 0));
        if (step.step == UpdateNode::Step::positional && ++positional_count > 1) {
            return bad_value(
                fmt::format("Too many positional (i.e. '$') elements found in path '{}'", dotted));
        }
        if (i > 0) so_far.push_back('.');
        so_far.append(path[i].name);
        const bool is_last = i + 1 == path.size();
        const auto before = [](const auto& child, const std::string& name) {
            return is_created_before(child->name, name);
        };
        auto at = std::lower_bound(node->children.begin(), node->children.end(), step.name, before);
        const bool is_there = at != node->children.end() && (*at)->name == step.name;
        if (is_there && (is_last || (*at)->is_leaf())) return conflict(so_far);
        if (!is_there) {
            auto child = std::make_shared<UpdateNode>(std::move(step));
            if (is_last) child->modifier = std::move(modifier);
            at = node->children.insert(at, std::move(child));
        }
        // While parsing, nobody else holds the nodes.
        // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast): no other holder.
        node = const_cast<UpdateNode*>(at->get());
    }
    update_.paths_.emplace_back(dotted);
    return {};
}

// --- Other forms -------------------------------------------------------------------------------

Status UpdateParser::check_replacement(View replacement) {
    for (const auto& element : replacement) {
        if (!element.name.starts_with('$')) continue;
        return Error(ErrorCode::dollar_prefixed_field_name,
                     fmt::format("The dollar ($) prefixed field '{}' in '{}' is not allowed in the "
                                 "context of an update's replacement document. Consider using an "
                                 "aggregation pipeline with $replaceWith.",
                                 element.name,
                                 element.name));
    }
    return {};
}

Status UpdateParser::parse_pipeline(View pipeline) {
    if (!options_.array_filters.is_missing()) {
        return failed_to_parse("arrayFilters may not be specified for pipeline-syle updates");
    }
    for (const auto& stage : pipeline) {
        if (!stage.value.is_object() || stage.value.as_view().count() != 1) continue;
        const std::string_view name = stage.value.as_view().front().name;
        constexpr std::string_view allowed[] = {
            "$set", "$addFields", "$unset", "$project", "$replaceRoot", "$replaceWith"};
        constexpr std::string_view forbidden[] = {
            "$group",       "$match",           "$sort",    "$limit",
            "$skip",        "$unwind",          "$lookup",  "$facet",
            "$count",       "$sample",          "$merge",   "$out",
            "$bucket",      "$unionWith",       "$redact",  "$bucketAuto",
            "$sortByCount", "$graphLookup",     "$geoNear", "$collStats",
            "$indexStats",  "$setWindowFields", "$densify", "$fill",
            "$changeStream"};
        if (std::find(std::begin(allowed), std::end(allowed), name) != std::end(allowed)) continue;
        if (std::find(std::begin(forbidden), std::end(forbidden), name) == std::end(forbidden)) {
            continue;  // Unknown to everybody: the compiler says so.
        }
        return Error(ErrorCode::invalid_options,
                     fmt::format("{} is not allowed to be used within an update", name));
    }
    if (options_.pipelines == nullptr) {
        return Error(ErrorCode::not_implemented, "pipeline-style updates are not supported here");
    }
    TRY(update_.transform_, options_.pipelines->compile(pipeline, options_.constants));
    return {};
}

}  // namespace tessera::query
