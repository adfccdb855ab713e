// SPDX-License-Identifier: Apache-2.0
//
// Parses $jsonSchema.
#include "query/match/json_schema.h"

#include <algorithm>

#include <fmt/format.h>

#include "query/match/filter.h"
#include "query/match/schema.h"

namespace tessera::query {

using bson::Element;
using bson::Type;
using bson::Value;
using bson::View;
using Kind = Rule::Kind;

namespace {

Error mismatch(std::string_view keyword, std::string_view what) {
    return {ErrorCode::type_mismatch,
            fmt::format("$jsonSchema keyword '{}' must be {}", keyword, what)};
}
Error failed(std::string reason) {
    return {ErrorCode::failed_to_parse, std::move(reason)};
}

struct Keyword {
    std::string_view name;
    Kind kind;
};

constexpr Keyword keywords[] = {
    {"type", Kind::type},
    {"bsonType", Kind::type},
    {"enum", Kind::enumeration},
    {"minimum", Kind::minimum},
    {"maximum", Kind::maximum},
    {"multipleOf", Kind::multiple_of},
    {"minLength", Kind::min_length},
    {"maxLength", Kind::max_length},
    {"pattern", Kind::pattern},
    {"minItems", Kind::min_items},
    {"maxItems", Kind::max_items},
    {"uniqueItems", Kind::unique_items},
    {"items", Kind::items},
    {"additionalItems", Kind::additional_items},
    {"minProperties", Kind::min_properties},
    {"maxProperties", Kind::max_properties},
    {"dependencies", Kind::dependencies},
    {"properties", Kind::properties},
    {"patternProperties", Kind::pattern_properties},
    {"additionalProperties", Kind::additional_properties},
    {"required", Kind::required},
    {"allOf", Kind::all_of},
    {"anyOf", Kind::any_of},
    {"oneOf", Kind::one_of},
    {"not", Kind::negation},
};

Status parse_schema(View source, int depth, Schema& schema);

Status parse_type(const Element& element, Rule& rule) {
    if (element.name == "bsonType") {
        const Value& operand = element.value;
        if (!operand.is_string() && !operand.is_array()) {
            return mismatch("bsonType", "a string or an array of strings");
        }
        TRY(rule.types, TypeSet::parse(operand, "bsonType"));
        return {};
    }
    const auto add = [&rule](const Value& alias) -> Status {
        if (!alias.is_string()) return mismatch("type", "a string or an array of strings");
        const std::string_view name = alias.as_string();
        if (name == "integer") {
            return failed("$jsonSchema type 'integer' is not currently supported.");
        }
        if (name == "boolean") {
            rule.types.add(Type::boolean);
            return {};
        }
        const bool is_known = name == "object" || name == "array" || name == "number" ||
                              name == "string" || name == "null";
        if (!is_known) {
            return Error(ErrorCode::bad_value, fmt::format("Unknown type name alias: {}", name));
        }
        rule.types.add_alias(name);
        return {};
    };
    if (!element.value.is_array()) return add(element.value);
    for (const auto& alias : element.value.as_view())
        TRY_OK(add(alias.value));
    return {};
}

Status parse_count(const Element& element, Rule& rule) {
    if (!element.value.is_number()) return mismatch(element.name, "a number");
    if (!element.value.is_integral()) {
        return failed(
            fmt::format("$jsonSchema keyword '{}' must be a representable integer", element.name));
    }
    rule.count = element.value.to_int64();
    if (rule.count < 0) {
        return failed(
            fmt::format("$jsonSchema keyword '{}' must be a non-negative integer", element.name));
    }
    return {};
}

Status parse_names(const Element& element, std::vector<std::string>& names) {
    if (!element.value.is_array()) return mismatch(element.name, "an array");
    if (element.value.as_view().is_empty()) {
        return failed(
            fmt::format("$jsonSchema keyword '{}' cannot be an empty array", element.name));
    }
    for (const auto& name : element.value.as_view()) {
        if (!name.value.is_string()) {
            return mismatch(element.name, "an array of strings");
        }
        names.emplace_back(name.value.as_string());
    }
    std::vector<std::string> sorted = names;
    std::sort(sorted.begin(), sorted.end());
    if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
        return failed(fmt::format("$jsonSchema keyword '{}' array cannot contain duplicate values",
                                  element.name));
    }
    return {};
}

Status parse_list(const Element& element, int depth, Rule& rule) {
    if (!element.value.is_array()) return mismatch(element.name, "an array");
    if (element.value.as_view().is_empty()) {
        return failed(
            fmt::format("$jsonSchema keyword '{}' must be a non-empty array", element.name));
    }
    for (const auto& entry : element.value.as_view()) {
        if (!entry.value.is_object()) return mismatch(element.name, "an array of objects");
        TRY_OK(parse_schema(entry.value.as_view(), depth + 1, rule.schemas.emplace_back()));
    }
    return {};
}

Status parse_one(const Element& element, int depth, Rule& rule) {
    if (!element.value.is_object()) return mismatch(element.name, "an object");
    return parse_schema(element.value.as_view(), depth + 1, rule.schemas.emplace_back());
}

Status parse_additional(const Element& element, int depth, Rule& rule) {
    if (element.value.is_boolean()) {
        rule.is_forbidden = !element.value.as_bool();
        return {};
    }
    if (!element.value.is_object()) return mismatch(element.name, "either an object or a boolean");
    return parse_one(element, depth, rule);
}

Status parse_named(const Element& element, int depth, Rule& rule) {
    if (!element.value.is_object()) return mismatch(element.name, "an object");
    for (const auto& entry : element.value.as_view()) {
        NamedSchema& named = rule.named.emplace_back();
        named.name = entry.name;
        if (rule.kind == Kind::dependencies && entry.value.is_array()) {
            named.has_names = true;
            TRY_OK(parse_names(entry, named.names));
            continue;
        }
        if (!entry.value.is_object()) {
            return Error(
                ErrorCode::type_mismatch,
                fmt::format("Nested schema for $jsonSchema property '{}' must be an object",
                            entry.name));
        }
        if (rule.kind == Kind::pattern_properties) {
            TRY(named.pattern, Regex::compile(entry.name, ""));
        }
        TRY_OK(parse_schema(entry.value.as_view(), depth + 1, named.schema));
    }
    return {};
}

Status parse_rule(const Element& element, View siblings, int depth, Rule& rule) {
    switch (rule.kind) {
        case Kind::type:
            return parse_type(element, rule);
        case Kind::enumeration:
            if (!element.value.is_array()) return mismatch(element.name, "an array");
            if (element.value.as_view().is_empty()) {
                return failed("$jsonSchema keyword 'enum' cannot be an empty array");
            }
            return {};
        case Kind::minimum:
        case Kind::maximum: {
            if (!element.value.is_number()) return mismatch(element.name, "a number");
            const std::string_view other =
                rule.kind == Kind::minimum ? "exclusiveMinimum" : "exclusiveMaximum";
            const Value exclusive = siblings[other];
            if (!exclusive.is_missing() && !exclusive.is_boolean()) {
                return mismatch(other, "a boolean");
            }
            rule.is_exclusive = exclusive.is_boolean() && exclusive.as_bool();
            return {};
        }
        case Kind::multiple_of:
            if (!element.value.is_number()) return mismatch(element.name, "a number");
            if (!(element.value.to_double() > 0)) {
                return failed("$jsonSchema keyword 'multipleOf' must have a positive value");
            }
            return {};
        case Kind::min_length:
        case Kind::max_length:
        case Kind::min_items:
        case Kind::max_items:
        case Kind::min_properties:
        case Kind::max_properties:
            return parse_count(element, rule);
        case Kind::pattern: {
            if (!element.value.is_string()) return mismatch(element.name, "a string");
            TRY(Regex regex, Regex::compile(element.value.as_string(), ""));
            rule.patterns.push_back(std::move(regex));
            return {};
        }
        case Kind::unique_items:
            if (!element.value.is_boolean()) return mismatch(element.name, "a boolean");
            return {};
        case Kind::items:
            rule.is_one_schema = element.value.is_object();
            if (rule.is_one_schema) return parse_one(element, depth, rule);
            if (!element.value.is_array()) return mismatch(element.name, "an array or an object");
            if (element.value.as_view().is_empty()) return {};
            return parse_list(element, depth, rule);
        case Kind::additional_items:
            return parse_additional(element, depth, rule);
        case Kind::dependencies:
        case Kind::properties:
        case Kind::pattern_properties:
            return parse_named(element, depth, rule);
        case Kind::additional_properties:
            return parse_additional(element, depth, rule);
        case Kind::required:
            return parse_names(element, rule.names);
        case Kind::all_of:
        case Kind::any_of:
        case Kind::one_of:
            return parse_list(element, depth, rule);
        case Kind::negation:
            return parse_one(element, depth, rule);
    }
    return {};
}

/// What additionalProperties and additionalItems leave to their siblings.
Status link_additional(View source, Rule& rule) {
    if (rule.kind == Kind::additional_items) {
        const Value items = source["items"];
        rule.count = items.is_array() ? static_cast<std::int64_t>(items.as_view().count()) : -1;
        return {};
    }
    if (rule.kind != Kind::additional_properties) return {};
    const Value properties = source["properties"];
    if (properties.is_object()) {
        for (const auto& property : properties.as_view())
            rule.names.emplace_back(property.name);
    }
    const Value patterns = source["patternProperties"];
    if (patterns.is_object()) {
        for (const auto& pattern : patterns.as_view()) {
            TRY(Regex regex, Regex::compile(pattern.name, ""));
            rule.patterns.push_back(std::move(regex));
        }
    }
    return {};
}

Status parse_other(const Element& element, View source, Schema& schema) {
    const std::string_view name = element.name;
    if (name == "title" || name == "description") {
        if (!element.value.is_string()) return mismatch(name, "of type string");
        (name == "title" ? schema.title : schema.description) = element.value;
        return {};
    }
    if (name == "exclusiveMinimum" || name == "exclusiveMaximum") {
        const std::string_view needed = name == "exclusiveMinimum" ? "minimum" : "maximum";
        if (source.has(needed)) return {};
        return failed(fmt::format(
            "$jsonSchema keyword '{}' must be a present if {} is present", needed, name));
    }
    constexpr std::string_view unsupported[] = {
        "$ref", "$schema", "default", "definitions", "format", "id", "encrypt", "encryptMetadata"};
    if (std::find(std::begin(unsupported), std::end(unsupported), name) != std::end(unsupported)) {
        return failed(fmt::format("$jsonSchema keyword '{}' is not currently supported", name));
    }
    return failed(fmt::format("Unknown $jsonSchema keyword: {}", name));
}

Status parse_schema(View source, int depth, Schema& schema) {
    if (depth > SchemaPredicate::nesting_max) return failed("$jsonSchema is nested too deeply");
    if (source.has("type") && source.has("bsonType")) {
        return failed("Cannot specify both $jsonSchema keywords 'type' and 'bsonType'");
    }
    for (const auto& element : source) {
        const auto* const keyword =
            std::find_if(std::begin(keywords), std::end(keywords), [&](const Keyword& k) {
                return k.name == element.name;
            });
        if (keyword == std::end(keywords)) {
            TRY_OK(parse_other(element, source, schema));
            continue;
        }
        Rule rule{};
        rule.kind = keyword->kind;
        rule.keyword = keyword->name;
        rule.operand = element.value;
        TRY_OK(parse_rule(element, source, depth, rule));
        TRY_OK(link_additional(source, rule));
        schema.rules.push_back(std::move(rule));
    }
    std::stable_sort(schema.rules.begin(), schema.rules.end(), [](const Rule& a, const Rule& b) {
        return a.kind < b.kind;
    });
    return {};
}

}  // namespace

SchemaPredicate::SchemaPredicate() : schema_(std::make_unique<Schema>()) {}
SchemaPredicate::~SchemaPredicate() = default;

Result<std::shared_ptr<const SchemaPredicate>> SchemaPredicate::parse(const Value& schema) {
    if (!schema.is_object()) {
        return Error(ErrorCode::type_mismatch, "$jsonSchema must be an object");
    }
    std::shared_ptr<SchemaPredicate> result(new SchemaPredicate());
    result->source_ = bson::Document(schema.as_view());
    TRY_OK(parse_schema(result->source_.view(), 0, *result->schema_));
    return std::shared_ptr<const SchemaPredicate>(std::move(result));
}

bool SchemaPredicate::matches(View document, MatchContext& context) const {
    return schema_->holds(document.as_object_value(), context.regex_);
}

void SchemaPredicate::describe(View document, MatchContext& context, bson::Builder& details) const {
    details.append("operatorName", "$jsonSchema");
    details.append("title", schema_->title);
    details.append("description", schema_->description);
    auto rules = details.array("schemaRulesNotSatisfied");
    schema_->describe(document.as_object_value(), context.regex_, rules);
}

}  // namespace tessera::query
