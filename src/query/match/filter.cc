// SPDX-License-Identifier: Apache-2.0
#include "query/match/filter.h"

#include <algorithm>

#include <fmt/format.h>

#include "bson/json.h"
#include "query/match/parser.h"

namespace tessera::query {

using bson::Value;
using bson::View;

namespace {

/// Gives each leaf below `node` the slot of its path's first component; `fields` names the slots.
void assign_slots(Node& node, std::vector<std::string>& fields) {
    if (node.is_leaf()) {
        if (!node.path.is_empty()) {
            const std::string& name = node.path[0].name;
            const auto at = std::find(fields.begin(), fields.end(), name);
            node.slot = static_cast<std::uint32_t>(at - fields.begin());
            if (at == fields.end()) fields.push_back(name);
        }
        if (node.kind == NodeKind::element_match_object) {
            assign_slots(node.children[0], node.fields);
        } else if (node.kind == NodeKind::element_match_value) {
            std::vector<std::string> none;  // Its leaves have no path, but may hold $elemMatch.
            assign_slots(node.children[0], none);
        }
        return;
    }
    for (Node& child : node.children)
        assign_slots(child, fields);
}

void collect_dependencies(const Node& node, std::vector<std::string>& paths) {
    if (node.is_leaf()) {
        paths.push_back(node.path.dotted());
        return;
    }
    if (node.kind == NodeKind::expression) node.expression->add_dependencies(paths);
    if (node.kind == NodeKind::schema) paths.emplace_back();
    for (const Node& child : node.children)
        collect_dependencies(child, paths);
}

void serialize_operator(const Node& node, bson::Builder& out);

void serialize_values(const Node& node, bson::Builder& out) {
    auto list = out.array("$in");
    for (const Value& value : node.values)
        list.append(value);
    bson::Arena arena;
    for (const Regex& regex : node.regexes) {
        bson::Builder holder;
        holder.append("r", bson::Regex{regex.pattern(), regex.options()});
        const bson::Document document = std::move(holder).finish();
        list.append(document["r"]);
    }
}

void serialize_element_match(const Node& node, bson::Builder& out) {
    auto inner = out.object("$elemMatch");
    const Node& child = node.children[0];
    if (node.kind == NodeKind::element_match_object) {
        child.serialize(inner);
        return;
    }
    for (const Node& leaf : child.children)
        serialize_operator(leaf, inner);
}

/// Appends {$op: operand} of a leaf, without its path.
void serialize_operator(const Node& node, bson::Builder& out) {
    const std::string_view name = name_of(node.kind);
    switch (node.kind) {
        case NodeKind::in:
            serialize_values(node, out);
            return;
        case NodeKind::regex: {
            out.append("$regex", node.regexes[0].pattern());
            if (!node.regexes[0].options().empty()) {
                out.append("$options", node.regexes[0].options());
            }
            return;
        }
        case NodeKind::mod: {
            auto list = out.array(name);
            list.append(node.divisor);
            list.append(node.remainder);
            return;
        }
        case NodeKind::type: {
            auto list = out.array(name);
            for (const bson::Type type : node.types.types()) {
                list.append(type == bson::Type::min_key ? -1 : static_cast<int>(type));
            }
            return;
        }
        case NodeKind::bits_all_set:
        case NodeKind::bits_all_clear:
        case NodeKind::bits_any_set:
        case NodeKind::bits_any_clear: {
            auto list = out.array(name);
            for (const std::uint32_t position : node.bits.positions) {
                list.append(static_cast<std::int32_t>(position));
            }
            return;
        }
        case NodeKind::exists:
            out.append(name, true);
            return;
        case NodeKind::size:
            out.append_integer(name, node.count);
            return;
        case NodeKind::element_match_object:
        case NodeKind::element_match_value:
            serialize_element_match(node, out);
            return;
        case NodeKind::negation: {
            auto inner = out.object("$not");
            serialize_operator(node.children[0], inner);
            return;
        }
        case NodeKind::conjunction:
            for (const Node& child : node.children)
                serialize_operator(child, out);
            return;
        default:
            out.append(name, node.operand);
            return;
    }
}

/// Whether every leaf below has one and the same path, so that {path: {$not: {...}}} can say it.
const Path* common_path(const Node& node) {
    if (node.is_leaf()) return &node.path;
    if (node.kind != NodeKind::conjunction || node.children.empty()) return nullptr;
    const Path* path = nullptr;
    for (const Node& child : node.children) {
        if (!child.is_leaf()) return nullptr;
        if (path != nullptr && path->dotted() != child.path.dotted()) return nullptr;
        path = &child.path;
    }
    return path;
}

void serialize_negation(const Node& node, bson::Builder& out) {
    const Node& child = node.children[0];
    const Path* const path = common_path(child);
    if (path == nullptr) {
        auto list = out.array("$nor");
        auto inner = list.object();
        child.serialize(inner);
        return;
    }
    auto field = out.object(path->dotted());
    if (child.kind == NodeKind::equal && child.operand.type() != bson::Type::regex) {
        auto inner = field.object("$not");
        inner.append("$eq", child.operand);
        return;
    }
    auto inner = field.object("$not");
    serialize_operator(child, inner);
}

}  // namespace

std::string_view name_of(NodeKind kind) {
    switch (kind) {
        case NodeKind::always_true:
            return "$alwaysTrue";
        case NodeKind::always_false:
            return "$alwaysFalse";
        case NodeKind::conjunction:
            return "$and";
        case NodeKind::disjunction:
            return "$or";
        case NodeKind::nor:
            return "$nor";
        case NodeKind::negation:
            return "$not";
        case NodeKind::equal:
            return "$eq";
        case NodeKind::less:
            return "$lt";
        case NodeKind::less_or_equal:
            return "$lte";
        case NodeKind::greater:
            return "$gt";
        case NodeKind::greater_or_equal:
            return "$gte";
        case NodeKind::in:
            return "$in";
        case NodeKind::regex:
            return "$regex";
        case NodeKind::mod:
            return "$mod";
        case NodeKind::type:
            return "$type";
        case NodeKind::bits_all_set:
            return "$bitsAllSet";
        case NodeKind::bits_all_clear:
            return "$bitsAllClear";
        case NodeKind::bits_any_set:
            return "$bitsAnySet";
        case NodeKind::bits_any_clear:
            return "$bitsAnyClear";
        case NodeKind::exists:
            return "$exists";
        case NodeKind::size:
            return "$size";
        case NodeKind::element_match_object:
        case NodeKind::element_match_value:
            return "$elemMatch";
        case NodeKind::expression:
            return "$expr";
        case NodeKind::sample_rate:
            return "$sampleRate";
        case NodeKind::schema:
            return "$jsonSchema";
    }
    return "";
}

void Node::serialize(bson::Builder& out) const {
    switch (kind) {
        case NodeKind::always_true:
        case NodeKind::always_false:
            out.append(name_of(kind), 1);
            return;
        case NodeKind::conjunction:
            if (children.empty()) return;
            [[fallthrough]];
        case NodeKind::disjunction:
        case NodeKind::nor: {
            auto list = out.array(name_of(kind));
            for (const Node& child : children) {
                auto inner = list.object();
                child.serialize(inner);
            }
            return;
        }
        case NodeKind::negation:
            serialize_negation(*this, out);
            return;
        case NodeKind::sample_rate:
            out.append(name_of(kind), rate);
            return;
        case NodeKind::expression:
        case NodeKind::schema:
            out.append(name_of(kind), source);
            return;
        default:
            break;
    }
    auto inner = out.object(path.dotted());
    serialize_operator(*this, inner);
}

Filter::Filter()
    : source_(std::make_unique<bson::Document>()),
      root_(std::make_unique<Node>(NodeKind::conjunction)) {}

Result<Filter> Filter::parse(View filter, const FilterOptions& options) {
    Filter result;
    result.source_ = std::make_unique<bson::Document>(filter);
    TRY(Node root, FilterParser(options).parse_document(result.source_->view(), 0));
    result.root_ = std::make_unique<Node>(std::move(root));
    assign_slots(*result.root_, result.fields_);
    return result;
}

Result<Filter> Filter::parse_value(const Value& operand, const FilterOptions& options) {
    Filter result;
    bson::Builder holder;
    holder.append("", operand);
    result.source_ = std::make_unique<bson::Document>(std::move(holder).finish());
    Node root(NodeKind::conjunction);
    TRY_OK(FilterParser(options).parse_field(Path(), (*result.source_)[""], 0, root.children));
    result.root_ = std::make_unique<Node>(std::move(root));
    assign_slots(*result.root_, result.fields_);
    return result;
}

Filter Filter::subset(const std::vector<const Node*>& nodes) const {
    Filter result;
    if (nodes.size() == 1) {
        result.root_ = std::make_unique<Node>(*nodes[0]);
    } else {
        for (const Node* node : nodes)
            result.root_->children.push_back(*node);
    }
    assign_slots(*result.root_, result.fields_);
    return result;
}

std::optional<Value> Filter::exact_id() const {
    if (root_->kind != NodeKind::equal || root_->path.dotted() != "_id") return std::nullopt;
    const Value& value = root_->operand;
    if (value.is_array() || value.is_null() || value.type() == bson::Type::regex) {
        return std::nullopt;
    }
    return value;
}

void Filter::add_dependencies(std::vector<std::string>& paths) const {
    collect_dependencies(*root_, paths);
}

bson::Document Filter::serialize() const {
    bson::Builder out;
    root_->serialize(out);
    return std::move(out).finish();
}

Status check_collation(const Value& collation) {
    if (collation.is_missing()) return {};
    if (!collation.is_object()) {
        return Error(ErrorCode::type_mismatch,
                     fmt::format("BSON field 'collation' is the wrong type '{}', expected type "
                                 "'object'",
                                 bson::type_name(collation.type())));
    }
    const View document = collation.as_view();
    if (document.is_empty()) return {};
    const Value locale = document["locale"];
    if (locale.is_missing()) {
        return Error(location(40414),
                     "BSON field 'collation.locale' is missing but a required field");
    }
    if (!locale.is_string()) {
        return Error(ErrorCode::type_mismatch,
                     fmt::format("BSON field 'collation.locale' is the wrong type '{}', expected "
                                 "type 'string'",
                                 bson::type_name(locale.type())));
    }
    if (locale.as_string() == "simple") return {};
    const std::string_view name = locale.as_string();
    const bool is_plausible = name.size() >= 2 && name.size() <= 3 + 1 + 4 + 1 + 4 &&
                              name.substr(0, 2).find_first_not_of("abcdefghijklmnopqrstuvwxyz") ==
                                  std::string_view::npos &&
                              (name.size() == 2 || name[2] == '_') && name != "xx" &&
                              !name.starts_with("xx_");
    if (!is_plausible) {
        return Error(ErrorCode::bad_value,
                     fmt::format("Field 'locale' is invalid in: {}",
                                 bson::to_json(document, bson::JsonMode::message)));
    }
    return Error(ErrorCode::not_implemented,
                 fmt::format("collation with locale '{}' is not supported", name));
}

}  // namespace tessera::query
