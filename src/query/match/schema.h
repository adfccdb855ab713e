// SPDX-License-Identifier: Apache-2.0
//
// The parsed form of $jsonSchema: a list of rules, one a keyword.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bson/builder.h"
#include "bson/view.h"
#include "query/match/regex.h"
#include "query/match/type_set.h"

namespace tessera::query {

struct Rule;

struct Schema {
    std::vector<Rule> rules;
    bson::Value title;        // Missing, or a string shown with failures.
    bson::Value description;  // As title.

    bool holds(const bson::Value& value, RegexScratch& scratch) const;
    /// Appends the rules `value` breaks.
    void describe(const bson::Value& value, RegexScratch& scratch, bson::ArrayBuilder& out) const;
};

struct NamedSchema {
    std::string name;  // Of a property; a pattern's text.
    std::optional<Regex> pattern;
    Schema schema;
    std::vector<std::string> names;  // dependencies: properties needed instead of a schema.
    bool has_names = false;
};

struct Rule {
    // In the order in which failures are told.
    enum class Kind : std::uint8_t {
        type,
        enumeration,
        minimum,
        maximum,
        multiple_of,
        min_length,
        max_length,
        pattern,
        min_items,
        max_items,
        unique_items,
        items,
        additional_items,
        min_properties,
        max_properties,
        dependencies,
        properties,
        pattern_properties,
        additional_properties,
        required,
        all_of,
        any_of,
        one_of,
        negation,
    };

    Kind kind;
    std::string_view keyword;        // A literal.
    bson::Value operand;             // As written.
    TypeSet types;                   // type
    std::int64_t count = 0;          // lengths; additional_items: how many items have schemas
    bool is_exclusive = false;       // minimum, maximum
    bool is_forbidden = false;       // additional_...: false
    bool is_one_schema = false;      // items: one schema for all
    std::vector<Schema> schemas;     // items, all_of, any_of, one_of, negation, additional_...
    std::vector<NamedSchema> named;  // properties, pattern_properties, dependencies
    std::vector<std::string> names;  // required; additional_properties: the known ones
    std::vector<Regex> patterns;     // pattern; additional_properties: the known ones

    bool holds(const bson::Value& value, RegexScratch& scratch) const;
    void describe(const bson::Value& value, RegexScratch& scratch, bson::ArrayBuilder& out) const;
};

}  // namespace tessera::query
