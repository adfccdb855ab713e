// SPDX-License-Identifier: Apache-2.0
//
// Checks values against a schema's rules, and tells which they break.
#include "query/match/schema.h"

#include <algorithm>
#include <cmath>

#include "bson/compare.h"
#include "bson/decimal.h"

namespace tessera::query {

using bson::Type;
using bson::Value;
using bson::View;
using Kind = Rule::Kind;

namespace {

/// Characters, not bytes.
std::int64_t length_of(std::string_view text) {
    return std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U;
    });
}

bool is_multiple(const Value& value, const Value& divisor) {
    if (value.type() == Type::decimal128 || divisor.type() == Type::decimal128) {
        const auto decimal = [](const Value& v) {
            if (v.type() == Type::decimal128) return v.as_decimal128();
            if (v.type() == Type::number_double) return bson::decimal_from(v.as_double());
            return bson::decimal_from(v.to_int64());
        };
        return bson::is_zero(bson::modulo(decimal(value), decimal(divisor)));
    }
    if (value.type() == Type::number_double || divisor.type() == Type::number_double) {
        return std::fmod(value.to_double(), divisor.to_double()) == 0;
    }
    return value.to_int64() % divisor.to_int64() == 0;
}

/// The first element equal to an earlier one; missing when all differ.
Value duplicate_in(View array) {
    std::vector<Value> sorted;
    for (const auto& element : array)
        sorted.push_back(element.value);
    std::stable_sort(sorted.begin(), sorted.end(), [](const Value& a, const Value& b) {
        return bson::compare(a, b) < 0;
    });
    const auto at = std::adjacent_find(sorted.begin(), sorted.end(), bson::equal);
    return at == sorted.end() ? Value() : *at;
}

bool is_additional(const Rule& rule, std::string_view name, RegexScratch& scratch) {
    if (std::find(rule.names.begin(), rule.names.end(), name) != rule.names.end()) return false;
    return std::none_of(rule.patterns.begin(), rule.patterns.end(), [&](const Regex& regex) {
        return regex.matches(name, scratch);
    });
}

bool holds_number(const Rule& rule, const Value& value) {
    if (!value.is_number()) return true;
    if (rule.kind == Kind::multiple_of) return is_multiple(value, rule.operand);
    if (std::isnan(value.to_double()) || std::isnan(rule.operand.to_double())) {
        return !rule.is_exclusive && std::isnan(value.to_double()) &&
               std::isnan(rule.operand.to_double());
    }
    int order = bson::compare(value, rule.operand);
    if (rule.kind == Kind::maximum) order = -order;
    return rule.is_exclusive ? order > 0 : order >= 0;
}

bool holds_array(const Rule& rule, const Value& value, RegexScratch& scratch) {
    if (!value.is_array()) return true;
    const View array = value.as_view();
    if (rule.kind == Kind::min_items) return static_cast<std::int64_t>(array.count()) >= rule.count;
    if (rule.kind == Kind::max_items) return static_cast<std::int64_t>(array.count()) <= rule.count;
    if (rule.kind == Kind::unique_items) {
        return !rule.operand.as_bool() || duplicate_in(array).is_missing();
    }
    std::size_t index = 0;
    for (const auto& element : array) {
        const std::size_t place = index++;
        if (rule.kind == Kind::additional_items) {
            if (rule.count < 0 || place < static_cast<std::size_t>(rule.count)) continue;
            if (rule.is_forbidden) return false;
            if (!rule.schemas.empty() && !rule.schemas[0].holds(element.value, scratch))
                return false;
            continue;
        }
        const std::size_t which = rule.is_one_schema ? 0 : place;
        if (which < rule.schemas.size() && !rule.schemas[which].holds(element.value, scratch)) {
            return false;
        }
    }
    return true;
}

bool holds_dependency(const NamedSchema& named, View object, RegexScratch& scratch) {
    if (!object.has(named.name)) return true;
    if (!named.has_names) return named.schema.holds(object.as_object_value(), scratch);
    return std::all_of(named.names.begin(), named.names.end(), [&](const std::string& name) {
        return object.has(name);
    });
}

bool holds_object(const Rule& rule, const Value& value, RegexScratch& scratch) {
    if (!value.is_object()) return true;
    const View object = value.as_view();
    switch (rule.kind) {
        case Kind::min_properties:
            return static_cast<std::int64_t>(object.count()) >= rule.count;
        case Kind::max_properties:
            return static_cast<std::int64_t>(object.count()) <= rule.count;
        case Kind::required:
            return std::all_of(rule.names.begin(), rule.names.end(), [&](const std::string& name) {
                return object.has(name);
            });
        case Kind::dependencies:
            return std::all_of(rule.named.begin(), rule.named.end(), [&](const NamedSchema& named) {
                return holds_dependency(named, object, scratch);
            });
        case Kind::properties:
            return std::all_of(rule.named.begin(), rule.named.end(), [&](const NamedSchema& named) {
                const Value at = object[named.name];
                return at.is_missing() || named.schema.holds(at, scratch);
            });
        default:
            break;
    }
    for (const auto& element : object) {
        if (rule.kind == Kind::additional_properties) {
            if (!is_additional(rule, element.name, scratch)) continue;
            if (rule.is_forbidden) return false;
            if (!rule.schemas.empty() && !rule.schemas[0].holds(element.value, scratch))
                return false;
            continue;
        }
        for (const NamedSchema& named : rule.named) {
            if (named.pattern->matches(element.name, scratch) &&
                !named.schema.holds(element.value, scratch)) {
                return false;
            }
        }
    }
    return true;
}

void specified(const Rule& rule, bson::Builder& out) {
    auto inner = out.object("specifiedAs");
    inner.append(rule.keyword, rule.operand);
    if (rule.is_exclusive) {
        inner.append(rule.kind == Kind::minimum ? "exclusiveMinimum" : "exclusiveMaximum", true);
    }
}

std::string_view reason_of(Kind kind) {
    switch (kind) {
        case Kind::type:
            return "type did not match";
        case Kind::enumeration:
            return "value was not found in enum";
        case Kind::minimum:
        case Kind::maximum:
            return "comparison failed";
        case Kind::multiple_of:
            return "considered value is not a multiple of the specified value";
        case Kind::min_length:
        case Kind::max_length:
            return "specified string length was not satisfied";
        case Kind::pattern:
            return "regular expression did not match";
        case Kind::min_items:
        case Kind::max_items:
            return "array did not match specified length";
        case Kind::unique_items:
            return "found a duplicate item";
        case Kind::min_properties:
        case Kind::max_properties:
            return "specified number of properties was not satisfied";
        default:
            return "";
    }
}

void describe_properties(const Rule& rule, View object, RegexScratch& scratch, bson::Builder& out) {
    auto list = out.array("propertiesNotSatisfied");
    for (const NamedSchema& named : rule.named) {
        const Value at = object[named.name];
        if (at.is_missing() || named.schema.holds(at, scratch)) continue;
        auto entry = list.object();
        entry.append("propertyName", named.name);
        entry.append("title", named.schema.title);
        entry.append("description", named.schema.description);
        auto details = entry.array("details");
        named.schema.describe(at, scratch, details);
    }
}

void describe_patterns(const Rule& rule, View object, RegexScratch& scratch, bson::Builder& out) {
    auto list = out.array("details");
    for (const auto& element : object) {
        for (const NamedSchema& named : rule.named) {
            if (!named.pattern->matches(element.name, scratch) ||
                named.schema.holds(element.value, scratch)) {
                continue;
            }
            auto entry = list.object();
            entry.append("propertyName", element.name);
            entry.append("regexMatched", named.name);
            auto details = entry.array("details");
            named.schema.describe(element.value, scratch, details);
        }
    }
}

void describe_additional(const Rule& rule, View object, RegexScratch& scratch, bson::Builder& out) {
    specified(rule, out);
    if (rule.is_forbidden) {
        auto list = out.array("additionalProperties");
        for (const auto& element : object) {
            if (is_additional(rule, element.name, scratch)) list.append(element.name);
        }
        return;
    }
    for (const auto& element : object) {
        if (!is_additional(rule, element.name, scratch) ||
            rule.schemas[0].holds(element.value, scratch)) {
            continue;
        }
        out.append("reason", "at least one additional property did not match the subschema");
        out.append("failingProperty", element.name);
        auto details = out.array("details");
        rule.schemas[0].describe(element.value, scratch, details);
        return;
    }
}

void describe_items(const Rule& rule, View array, RegexScratch& scratch, bson::Builder& out) {
    std::int32_t index = 0;
    for (const auto& element : array) {
        const std::int32_t place = index++;
        const Schema* schema = nullptr;
        if (rule.kind == Kind::additional_items) {
            if (place < rule.count) continue;
            if (!rule.schemas.empty()) schema = &rule.schemas[0];
        } else {
            const auto which = rule.is_one_schema ? 0U : static_cast<std::size_t>(place);
            if (which < rule.schemas.size()) schema = &rule.schemas[which];
            if (schema == nullptr) continue;
        }
        if (schema != nullptr && schema->holds(element.value, scratch)) continue;
        out.append("reason", "At least one item did not match the sub-schema");
        out.append("itemIndex", place);
        if (schema == nullptr) return;
        auto details = out.array("details");
        schema->describe(element.value, scratch, details);
        return;
    }
}

void describe_schemas(const Rule& rule,
                      const Value& value,
                      RegexScratch& scratch,
                      bson::Builder& out) {
    if (rule.kind == Kind::negation) {
        out.append("reason", "child expression matched");
        return;
    }
    std::vector<std::int32_t> matching;
    for (std::size_t i = 0; i < rule.schemas.size(); ++i) {
        if (rule.schemas[i].holds(value, scratch)) matching.push_back(static_cast<std::int32_t>(i));
    }
    if (rule.kind == Kind::one_of && matching.size() > 1) {
        out.append("reason", "more than one subschema matched");
        auto list = out.array("matchingSchemaIndexes");
        for (const std::int32_t index : matching)
            list.append(index);
        return;
    }
    auto list = out.array("schemasNotSatisfied");
    for (std::size_t i = 0; i < rule.schemas.size(); ++i) {
        if (rule.schemas[i].holds(value, scratch)) continue;
        auto entry = list.object();
        entry.append("index", static_cast<std::int32_t>(i));
        auto details = entry.array("details");
        rule.schemas[i].describe(value, scratch, details);
    }
}

void describe_dependencies(const Rule& rule,
                           View object,
                           RegexScratch& scratch,
                           bson::Builder& out) {
    auto list = out.array("failingDependencies");
    for (const NamedSchema& named : rule.named) {
        if (holds_dependency(named, object, scratch)) continue;
        auto entry = list.object();
        entry.append("conditionalProperty", named.name);
        if (named.has_names) {
            auto missing = entry.array("missingProperties");
            for (const std::string& name : named.names) {
                if (!object.has(name)) missing.append(name);
            }
        } else {
            auto details = entry.array("details");
            named.schema.describe(object.as_object_value(), scratch, details);
        }
    }
}

}  // namespace

bool Rule::holds(const Value& value, RegexScratch& scratch) const {
    switch (kind) {
        case Kind::type:
            return types.has(value.type());
        case Kind::enumeration: {
            const View list = operand.as_view();
            return std::any_of(list.begin(), list.end(), [&](const bson::Element& element) {
                return bson::equal(element.value, value);
            });
        }
        case Kind::minimum:
        case Kind::maximum:
        case Kind::multiple_of:
            return holds_number(*this, value);
        case Kind::min_length:
            return !value.is_string() || length_of(value.as_string()) >= count;
        case Kind::max_length:
            return !value.is_string() || length_of(value.as_string()) <= count;
        case Kind::pattern:
            return !value.is_string() || patterns[0].matches(value.as_string(), scratch);
        case Kind::min_items:
        case Kind::max_items:
        case Kind::unique_items:
        case Kind::items:
        case Kind::additional_items:
            return holds_array(*this, value, scratch);
        case Kind::negation:
            return !schemas[0].holds(value, scratch);
        case Kind::all_of:
        case Kind::any_of:
        case Kind::one_of: {
            const auto count_held = static_cast<std::size_t>(
                std::count_if(schemas.begin(), schemas.end(), [&](const Schema& schema) {
                    return schema.holds(value, scratch);
                }));
            if (kind == Kind::all_of) return count_held == schemas.size();
            return kind == Kind::any_of ? count_held > 0 : count_held == 1;
        }
        default:
            return holds_object(*this, value, scratch);
    }
}

void Rule::describe(const Value& value, RegexScratch& scratch, bson::ArrayBuilder& out) const {
    bson::Builder entry = out.object();
    entry.append("operatorName", keyword);
    switch (kind) {
        case Kind::properties:
            describe_properties(*this, value.as_view(), scratch, entry);
            return;
        case Kind::pattern_properties:
            describe_patterns(*this, value.as_view(), scratch, entry);
            return;
        case Kind::additional_properties:
            describe_additional(*this, value.as_view(), scratch, entry);
            return;
        case Kind::dependencies:
            describe_dependencies(*this, value.as_view(), scratch, entry);
            return;
        case Kind::items:
        case Kind::additional_items:
            describe_items(*this, value.as_view(), scratch, entry);
            return;
        case Kind::all_of:
        case Kind::any_of:
        case Kind::one_of:
        case Kind::negation:
            describe_schemas(*this, value, scratch, entry);
            return;
        default:
            break;
    }
    specified(*this, entry);
    if (kind == Kind::required) {
        auto missing = entry.array("missingProperties");
        for (const std::string& name : names) {
            if (!value.as_view().has(name)) missing.append(name);
        }
        return;
    }
    entry.append("reason", reason_of(kind));
    if (kind == Kind::min_properties || kind == Kind::max_properties) {
        entry.append("numberOfProperties", static_cast<std::int32_t>(value.as_view().count()));
        return;
    }
    entry.append("consideredValue", value);
    if (kind == Kind::type) entry.append("consideredType", bson::type_name(value.type()));
    if (kind == Kind::unique_items) entry.append("duplicatedValue", duplicate_in(value.as_view()));
}

bool Schema::holds(const Value& value, RegexScratch& scratch) const {
    return std::all_of(
        rules.begin(), rules.end(), [&](const Rule& rule) { return rule.holds(value, scratch); });
}

void Schema::describe(const Value& value, RegexScratch& scratch, bson::ArrayBuilder& out) const {
    for (const Rule& rule : rules) {
        if (!rule.holds(value, scratch)) rule.describe(value, scratch, out);
    }
}

}  // namespace tessera::query
