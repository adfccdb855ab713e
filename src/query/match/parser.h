// SPDX-License-Identifier: Apache-2.0
//
// The parser of filters; see filter.h for what callers use. Nodes view the bytes they are parsed
// from, so whoever parses keeps those alive.
#pragma once

#include <vector>

#include "query/match/filter.h"

namespace tessera::query {

/// Whether {field: value} holds operators ({$gt: 5}) rather than a value; a DBRef is a value.
bool is_operator_object(const bson::Value& value);

class FilterParser {
public:
    /// Levels of $and, $not, $elemMatch within each other.
    static constexpr int nesting_max = 100;

    explicit FilterParser(const FilterOptions& options) : options_(options) {}

    /// {field: ..., $and: [...]}.
    Result<Node> parse_document(bson::View filter, int depth);
    /// What stands at a field: operators, a regular expression, a value. Appends to `out`.
    Status parse_field(const Path& path,
                       const bson::Value& value,
                       int depth,
                       std::vector<Node>& out);

private:
    using Element = bson::Element;

    Status parse_top_operator(const Element& element, int depth, std::vector<Node>& out);
    Status parse_list(NodeKind kind, const Element& element, int depth, std::vector<Node>& out);
    Status parse_expression(const Element& element, std::vector<Node>& out);
    Status parse_operators(const Path& path,
                           bson::View operators,
                           int depth,
                           std::vector<Node>& out);
    Status parse_operator(const Path& path,
                          const Element& element,
                          bson::View siblings,
                          int depth,
                          std::vector<Node>& out);
    Status refuse_operator(std::string_view name);
    Status parse_not(const Path& path, const Element& element, int depth, std::vector<Node>& out);
    Status parse_all(const Path& path, const Element& element, int depth, std::vector<Node>& out);
    Result<Node> make_comparison(NodeKind kind, const Path& path, const Element& element);
    Result<Node> make_regex(const Path& path, bson::Regex regex);
    Result<Node> make_regex_of(const Path& path, bson::View siblings);
    Result<Node> make_in(const Path& path, const Element& element);
    Result<Node> make_mod(const Path& path, const Element& element);
    Result<Node> make_size(const Path& path, const Element& element);
    Result<Node> make_element_match(const Path& path, const Element& element, int depth);
    Result<Node> make_bits(NodeKind kind, const Path& path, const Element& element);

    const FilterOptions& options_;
};

}  // namespace tessera::query
