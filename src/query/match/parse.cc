// SPDX-License-Identifier: Apache-2.0
//
// Parses filters. parse_document() reads {field: ..., $and: [...]}; parse_field() what stands at a
// field; parse_operator() one {$op: operand}. Messages and codes are those real servers answer.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "bson/compare.h"
#include "bson/json.h"
#include "query/match/filter.h"
#include "query/match/json_schema.h"
#include "query/match/parser.h"

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

/// "name: value", as messages show an element.
std::string show(const Element& element) {
    return fmt::format(
        "{}: {}", element.name, bson::to_json(element.value, bson::JsonMode::message));
}

bool is_reference_field(std::string_view name) {
    return name == "$ref" || name == "$id" || name == "$db";
}

}  // namespace

bool is_operator_object(const Value& value) {
    if (!value.is_object() || value.as_view().is_empty()) return false;
    const std::string_view name = value.as_view().front().name;
    return name.starts_with('$') && !is_reference_field(name);
}

Result<Node> FilterParser::parse_document(View filter, int depth) {
    if (depth > nesting_max) {
        return bad_value(fmt::format("exceeded maximum query tree depth of {}", nesting_max));
    }
    std::vector<Node> children;
    for (const auto& element : filter) {
        if (element.name.starts_with('$')) {
            TRY_OK(parse_top_operator(element, depth, children));
        } else {
            TRY_OK(parse_field(Path(element.name), element.value, depth, children));
        }
    }
    if (children.size() == 1) return std::move(children[0]);
    Node root(NodeKind::conjunction);
    for (Node& child : children) {
        if (child.kind != NodeKind::conjunction) {
            root.children.push_back(std::move(child));
            continue;
        }
        for (Node& grandchild : child.children)
            root.children.push_back(std::move(grandchild));
    }
    return root;
}

Status FilterParser::parse_top_operator(const Element& element, int depth, std::vector<Node>& out) {
    const std::string_view name = element.name;
    if (name == "$and") return parse_list(NodeKind::conjunction, element, depth, out);
    if (name == "$or") return parse_list(NodeKind::disjunction, element, depth, out);
    if (name == "$nor") return parse_list(NodeKind::nor, element, depth, out);
    if (name == "$comment") return {};
    if (name == "$expr") return parse_expression(element, out);
    if (name == "$alwaysTrue" || name == "$alwaysFalse") {
        if (!element.value.is_integral() || element.value.to_int64() != 1) {
            return failed_to_parse(fmt::format("{} must be an integer value of 1", name));
        }
        out.emplace_back(name == "$alwaysTrue" ? NodeKind::always_true : NodeKind::always_false);
        return {};
    }
    if (name == "$sampleRate") {
        const double rate = element.value.to_double();
        if (!element.value.is_number()) {
            return bad_value("argument to $sampleRate must be a numeric type");
        }
        if (!(rate >= 0 && rate <= 1)) {
            return bad_value("numeric argument to $sampleRate must be in [0, 1]");
        }
        out.emplace_back(NodeKind::sample_rate).rate = rate;
        return {};
    }
    if (name == "$jsonSchema") {
        TRY(auto schema, SchemaPredicate::parse(element.value));
        Node& node = out.emplace_back(NodeKind::schema);
        node.schema = std::move(schema);
        node.source = element.value;
        return {};
    }
    if (name == "$where") {
        return bad_value(options_.is_pipeline ? "$where is not allowed in this context"
                                              : "no globalScriptEngine in $where parsing");
    }
    if (name == "$text") {
        return Error(ErrorCode::index_not_found, "text index required for $text query");
    }
    if (is_reference_field(name)) return parse_field(Path(name), element.value, depth, out);
    return bad_value(fmt::format(
        "unknown top level operator: {}. If you have a field name that starts with a '$' symbol, "
        "consider using $getField or $setField.",
        name));
}

Status FilterParser::parse_list(NodeKind kind,
                                const Element& element,
                                int depth,
                                std::vector<Node>& out) {
    if (!element.value.is_array()) {
        return bad_value(fmt::format("{} must be an array", element.name));
    }
    if (element.value.as_view().is_empty()) {
        return bad_value("$and/$or/$nor must be a nonempty array");
    }
    Node node(kind);
    for (const auto& entry : element.value.as_view()) {
        if (!entry.value.is_object()) {
            return bad_value("$or/$and/$nor entries need to be full objects");
        }
        TRY(Node child, parse_document(entry.value.as_view(), depth + 1));
        if (kind == NodeKind::conjunction && child.kind == NodeKind::conjunction) {
            for (Node& grandchild : child.children) {
                node.children.push_back(std::move(grandchild));
            }
        } else {
            node.children.push_back(std::move(child));
        }
    }
    const bool is_wrapper = kind != NodeKind::nor && node.children.size() == 1;
    out.push_back(is_wrapper ? std::move(node.children[0]) : std::move(node));
    return {};
}

Status FilterParser::parse_expression(const Element& element, std::vector<Node>& out) {
    if (options_.expressions == nullptr) {
        return bad_value("$expr is not allowed in this context");
    }
    TRY(auto compiled, options_.expressions->compile(element.value));
    Node& node = out.emplace_back(NodeKind::expression);
    node.expression = std::move(compiled);
    node.source = element.value;
    return {};
}

Status FilterParser::parse_field(const Path& path,
                                 const Value& value,
                                 int depth,
                                 std::vector<Node>& out) {
    if (is_operator_object(value)) return parse_operators(path, value.as_view(), depth, out);
    if (value.type() == Type::regex) {
        TRY(Node node, make_regex(path, value.as_regex()));
        out.push_back(std::move(node));
        return {};
    }
    TRY(Node node, make_comparison(NodeKind::equal, path, {"$eq", value}));
    out.push_back(std::move(node));
    return {};
}

Status FilterParser::parse_operators(const Path& path,
                                     View operators,
                                     int depth,
                                     std::vector<Node>& out) {
    if (depth > nesting_max) {
        return bad_value(fmt::format("exceeded maximum query tree depth of {}", nesting_max));
    }
    for (const auto& element : operators) {
        TRY_OK(parse_operator(path, element, operators, depth, out));
    }
    return {};
}

namespace {

struct NamedKind {
    std::string_view name;
    NodeKind kind;
};

constexpr NamedKind comparisons[] = {{"$eq", NodeKind::equal},
                                     {"$lt", NodeKind::less},
                                     {"$lte", NodeKind::less_or_equal},
                                     {"$gt", NodeKind::greater},
                                     {"$gte", NodeKind::greater_or_equal}};
constexpr NamedKind bit_tests[] = {{"$bitsAllSet", NodeKind::bits_all_set},
                                   {"$bitsAllClear", NodeKind::bits_all_clear},
                                   {"$bitsAnySet", NodeKind::bits_any_set},
                                   {"$bitsAnyClear", NodeKind::bits_any_clear}};

Node negate(Node node) {
    Node result(NodeKind::negation);
    result.children.push_back(std::move(node));
    return result;
}

}  // namespace

Status FilterParser::parse_operator(
    const Path& path, const Element& element, View siblings, int depth, std::vector<Node>& out) {
    const std::string_view name = element.name;
    const auto add = [&out](Result<Node> node, bool is_negated = false) -> Status {
        if (!node) return std::move(node).error();
        out.push_back(is_negated ? negate(std::move(node).value()) : std::move(node).value());
        return {};
    };
    for (const auto& comparison : comparisons) {
        if (comparison.name == name) return add(make_comparison(comparison.kind, path, element));
    }
    if (name == "$ne") {
        if (element.value.type() == Type::regex)
            return bad_value("Can't have regex as arg to $ne.");
        return add(make_comparison(NodeKind::equal, path, element), true);
    }
    if (name == "$in") return add(make_in(path, element));
    if (name == "$nin") return add(make_in(path, element), true);
    if (name == "$exists") {
        Node node(NodeKind::exists);
        node.path = path;
        return add(std::move(node), !element.value.is_truthy());
    }
    if (name == "$type") {
        Node node(NodeKind::type);
        node.path = path;
        node.source = element.value;
        TRY(node.types, TypeSet::parse(element.value));
        return add(std::move(node));
    }
    if (name == "$not") return parse_not(path, element, depth, out);
    if (name == "$mod") return add(make_mod(path, element));
    if (name == "$size") return add(make_size(path, element));
    if (name == "$all") return parse_all(path, element, depth, out);
    if (name == "$elemMatch") return add(make_element_match(path, element, depth));
    if (name == "$regex") return add(make_regex_of(path, siblings));
    if (name == "$options") {
        if (!siblings.has("$regex")) return bad_value("$options needs a $regex");
        return {};
    }
    for (const auto& bit_test : bit_tests) {
        if (bit_test.name == name) return add(make_bits(bit_test.kind, path, element));
    }
    if (name == "$comment") return {};
    return refuse_operator(name);
}

Status FilterParser::refuse_operator(std::string_view name) {
    if (name == "$near" || name == "$nearSphere" || name == "$geoNear") {
        if (options_.is_pipeline) {
            return bad_value(fmt::format("{} is not allowed in this context", name));
        }
        return Error(ErrorCode::no_query_execution_plans,
                     "error processing query: planner returned error :: caused by :: unable to "
                     "find index for $geoNear query");
    }
    if (name == "$geoWithin" || name == "$geoIntersects" || name == "$within") {
        return Error(ErrorCode::not_implemented, fmt::format("{} is not supported", name));
    }
    if (name == "$expr" || name == "$where" || name == "$text" || name == "$jsonSchema") {
        return bad_value(fmt::format("{} can only be applied to the top-level document", name));
    }
    return bad_value(fmt::format("unknown operator: {}", name));
}

Result<Node> FilterParser::make_comparison(NodeKind kind,
                                           const Path& path,
                                           const Element& element) {
    const Value& operand = element.value;
    if (operand.type() == Type::undefined) return bad_value("cannot compare to undefined");
    if (operand.type() == Type::regex && kind != NodeKind::equal) {
        return bad_value(
            fmt::format("Can't have RegEx as arg to predicate over field '{}'.", path.dotted()));
    }
    Node node(kind);
    node.path = path;
    node.operand = operand;
    return node;
}

Result<Node> FilterParser::make_regex(const Path& path, bson::Regex regex) {
    TRY(Regex compiled, Regex::compile(regex.pattern, regex.options));
    Node node(NodeKind::regex);
    node.path = path;
    node.regexes.push_back(std::move(compiled));
    return node;
}

Result<Node> FilterParser::make_regex_of(const Path& path, View siblings) {
    bson::Regex regex;
    const Value pattern = siblings["$regex"];
    const Value options = siblings["$options"];
    if (pattern.is_string()) {
        regex.pattern = pattern.as_string();
    } else if (pattern.type() == Type::regex) {
        regex = pattern.as_regex();
    } else {
        return bad_value("$regex has to be a string");
    }
    if (!options.is_missing()) {
        if (!options.is_string()) return bad_value("$options has to be a string");
        if (!regex.options.empty()) {
            return Error(location(51075), "options set in both $regex and $options");
        }
        regex.options = options.as_string();
    }
    return make_regex(path, regex);
}

Result<Node> FilterParser::make_in(const Path& path, const Element& element) {
    if (!element.value.is_array()) return bad_value(fmt::format("{} needs an array", element.name));
    Node node(NodeKind::in);
    node.path = path;
    for (const auto& entry : element.value.as_view()) {
        if (is_operator_object(entry.value)) {
            return bad_value(fmt::format("cannot nest $ under {}", element.name));
        }
        if (entry.value.type() == Type::undefined) {
            return bad_value("InMatchExpression equality cannot be undefined");
        }
        if (entry.value.type() == Type::regex) {
            const bson::Regex regex = entry.value.as_regex();
            TRY(Regex compiled, Regex::compile(regex.pattern, regex.options));
            node.regexes.push_back(std::move(compiled));
        } else {
            node.values.push_back(entry.value);
        }
    }
    const auto before = [](const Value& a, const Value& b) { return bson::compare(a, b) < 0; };
    std::stable_sort(node.values.begin(), node.values.end(), before);
    const auto last = std::unique(node.values.begin(), node.values.end(), bson::equal);
    node.values.erase(last, node.values.end());
    return node;
}

Status FilterParser::parse_not(const Path& path,
                               const Element& element,
                               int depth,
                               std::vector<Node>& out) {
    const Value& operand = element.value;
    if (operand.type() == Type::regex) {
        TRY(Node node, make_regex(path, operand.as_regex()));
        out.push_back(negate(std::move(node)));
        return {};
    }
    if (!operand.is_object()) return bad_value("$not needs a regex or a document");
    if (operand.as_view().is_empty()) return bad_value("$not cannot be empty");
    std::vector<Node> children;
    TRY_OK(parse_operators(path, operand.as_view(), depth + 1, children));
    if (children.size() == 1) {
        out.push_back(negate(std::move(children[0])));
        return {};
    }
    Node all(NodeKind::conjunction);
    all.children = std::move(children);
    out.push_back(negate(std::move(all)));
    return {};
}

namespace {

Result<std::int64_t> mod_argument(const Value& value, std::string_view which) {
    if (!value.is_number()) {
        return bad_value(fmt::format("malformed mod, {} not a number", which));
    }
    const double number = value.to_double();
    if (std::isnan(number) || std::isinf(number)) {
        return bad_value(
            fmt::format("malformed mod, {} value is invalid :: caused by :: "
                        "Unable to coerce NaN/Inf to integral type",
                        which));
    }
    if ((value.type() == Type::number_double || value.type() == Type::decimal128) &&
        !(number >= -0x1p63 && number < 0x1p63)) {
        return bad_value(fmt::format(
            "malformed mod, {} value is invalid :: caused by :: Out of bounds coercing to integral "
            "value",
            which));
    }
    return value.to_int64();
}

}  // namespace

Result<Node> FilterParser::make_mod(const Path& path, const Element& element) {
    if (!element.value.is_array()) return bad_value("malformed mod, needs to be an array");
    const std::size_t count = element.value.as_view().count();
    if (count < 2) return bad_value("malformed mod, not enough elements");
    if (count > 2) return bad_value("malformed mod, too many elements");
    Node node(NodeKind::mod);
    node.path = path;
    TRY(node.divisor, mod_argument(element.value.as_view()["0"], "divisor"));
    TRY(node.remainder, mod_argument(element.value.as_view()["1"], "remainder"));
    if (node.divisor == 0) return bad_value("divisor cannot be 0");
    return node;
}

Result<Node> FilterParser::make_size(const Path& path, const Element& element) {
    const Value& operand = element.value;
    const auto refuse = [&](std::string_view what) {
        return bad_value(
            fmt::format("Failed to parse $size. Expected {} in: {}", what, show(element)));
    };
    if (!operand.is_number()) return refuse("a number");
    if (!operand.is_integral()) {
        return bad_value(
            fmt::format("Failed to parse $size. Expected an integer: {}", show(element)));
    }
    if (operand.to_int64() < 0) return refuse("a non-negative number");
    Node node(NodeKind::size);
    node.path = path;
    node.count = operand.to_int64();
    return node;
}

Status FilterParser::parse_all(const Path& path,
                               const Element& element,
                               int depth,
                               std::vector<Node>& out) {
    if (!element.value.is_array()) return bad_value("$all needs an array");
    const View list = element.value.as_view();
    if (list.is_empty()) {
        out.emplace_back(NodeKind::always_false);
        return {};
    }
    const auto is_element_match = [](const Value& value) {
        return is_operator_object(value) && value.as_view().front().name == "$elemMatch";
    };
    const bool wants_element_match = is_element_match(list.front().value);
    Node all(NodeKind::conjunction);
    for (const auto& entry : list) {
        if (wants_element_match) {
            if (!is_element_match(entry.value)) {
                return bad_value("$all/$elemMatch has to be consistent");
            }
            TRY(Node node, make_element_match(path, entry.value.as_view().front(), depth + 1));
            all.children.push_back(std::move(node));
            continue;
        }
        if (is_operator_object(entry.value)) return bad_value("no $ expressions in $all");
        if (entry.value.type() == Type::regex) {
            TRY(Node node, make_regex(path, entry.value.as_regex()));
            all.children.push_back(std::move(node));
        } else {
            TRY(Node node, make_comparison(NodeKind::equal, path, entry));
            all.children.push_back(std::move(node));
        }
    }
    out.push_back(all.children.size() == 1 ? std::move(all.children[0]) : std::move(all));
    return {};
}

Result<Node> FilterParser::make_element_match(const Path& path, const Element& element, int depth) {
    if (!element.value.is_object()) return bad_value("$elemMatch needs an Object");
    const View operand = element.value.as_view();
    bool is_value = is_operator_object(element.value);
    if (is_value) {
        const std::string_view first = operand.front().name;
        is_value = first != "$and" && first != "$or" && first != "$nor" && first != "$where" &&
                   first != "$expr" && first != "$jsonSchema" && first != "$alwaysTrue" &&
                   first != "$alwaysFalse" && first != "$text";
    }
    Node node(is_value ? NodeKind::element_match_value : NodeKind::element_match_object);
    node.path = path;
    if (is_value) {
        Node all(NodeKind::conjunction);
        TRY_OK(parse_operators(Path(), operand, depth + 1, all.children));
        node.children.push_back(std::move(all));
        return node;
    }
    const auto refuse = [](std::string_view name) {
        return bad_value(fmt::format("{} can only be applied to the top-level document", name));
    };
    if (operand.has("$where")) return refuse("$where");
    if (operand.has("$expr")) return refuse("$expr");
    if (operand.has("$jsonSchema")) return refuse("$jsonSchema");
    TRY(Node child, parse_document(operand, depth + 1));
    node.children.push_back(std::move(child));
    return node;
}

namespace {

Status bits_of_array(const Element& element, BitPositions& bits) {
    for (const auto& entry : element.value.as_view()) {
        if (!entry.value.is_integral()) {
            return bad_value(
                fmt::format("bit positions must be an integer but got: {}", show(entry)));
        }
        const std::int64_t position = entry.value.to_int64();
        if (position < 0) {
            return bad_value(fmt::format("bit positions must be >= 0 but got: {}", show(entry)));
        }
        if (position > INT32_MAX) {
            return bad_value(fmt::format(
                "bit positions cannot be represented as a 32-bit signed integer: {}", show(entry)));
        }
        bits.positions.push_back(static_cast<std::uint32_t>(position));
    }
    return {};
}

}  // namespace

Result<Node> FilterParser::make_bits(NodeKind kind, const Path& path, const Element& element) {
    const Value& operand = element.value;
    Node node(kind);
    node.path = path;
    node.source = operand;
    BitPositions& bits = node.bits;
    if (operand.is_array()) {
        TRY_OK(bits_of_array(element, bits));
    } else if (operand.is_number()) {
        if (!operand.is_integral()) {
            return failed_to_parse(fmt::format("Expected an integer: {}", show(element)));
        }
        const std::int64_t mask = operand.to_int64();
        if (mask < 0) {
            return failed_to_parse(
                fmt::format("Expected a non-negative number in: {}", show(element)));
        }
        for (std::uint32_t i = 0; i < 64; ++i) {
            if ((mask >> i & 1) != 0) bits.positions.push_back(i);
        }
    } else if (operand.type() == Type::binary) {
        const std::string_view bytes = operand.as_binary().bytes;
        for (std::uint32_t i = 0; i < bytes.size() * 8; ++i) {
            if ((static_cast<unsigned char>(bytes[i / 8]) >> (i % 8) & 1U) != 0) {
                bits.positions.push_back(i);
            }
        }
    } else {
        return bad_value(fmt::format("{} takes an Array, a number, or a BinData but received: {}",
                                     element.name,
                                     show(element)));
    }
    std::sort(bits.positions.begin(), bits.positions.end());
    const auto last = std::unique(bits.positions.begin(), bits.positions.end());
    bits.positions.erase(last, bits.positions.end());
    for (const std::uint32_t position : bits.positions) {
        if (position < 64) {
            bits.mask |= std::uint64_t{1} << position;
        } else {
            bits.has_high = true;
        }
    }
    return node;
}

}  // namespace tessera::query
