// SPDX-License-Identifier: Apache-2.0
//
// Why a document fails a validator, predicate by predicate.
#include "query/match/failure.h"

#include "bson/builder.h"
#include "query/match/json_schema.h"

namespace tessera::query {
namespace {

using bson::Value;
using bson::View;

bool matches(const Node& node, View document, MatchContext& context) {
    // A filter of this node alone: nodes are small, and this happens for failures only.
    bson::Builder out;
    node.serialize(out);
    const bson::Document text = std::move(out).finish();
    auto filter = Filter::parse(text, {});
    if (!filter) return false;
    auto result = filter->matches(document, context);
    return result.has_value() && *result;
}

std::string_view reason_of(NodeKind kind, bool is_negated) {
    if (is_negated) return "child expression matched";
    switch (kind) {
        case NodeKind::in:
            return "no matching value found in array";
        case NodeKind::regex:
            return "regular expression did not match";
        case NodeKind::mod:
            return "$mod did not evaluate to expected remainder";
        case NodeKind::type:
            return "type did not match";
        case NodeKind::exists:
            return "path does not exist";
        case NodeKind::size:
            return "array length was not equal to given size";
        case NodeKind::element_match_object:
        case NodeKind::element_match_value:
            return "array did not satisfy the child predicate";
        case NodeKind::bits_all_set:
        case NodeKind::bits_all_clear:
        case NodeKind::bits_any_set:
        case NodeKind::bits_any_clear:
            return "bitwise operator failed to match";
        default:
            return "comparison failed";
    }
}

void describe_leaf(const Node& node, View document, bool is_negated, bson::Builder& out) {
    out.append("operatorName", is_negated ? std::string_view("$not") : name_of(node.kind));
    {
        auto inner = out.object("specifiedAs");
        node.serialize(inner);
    }
    const Value at = document.at_path(node.path.dotted());
    if (at.is_missing() && !is_negated && node.kind != NodeKind::exists) {
        out.append("reason", "field was missing");
        return;
    }
    out.append("reason", reason_of(node.kind, is_negated));
    out.append("consideredValue", at);
    if (node.kind == NodeKind::type && !is_negated) {
        out.append("consideredType", bson::type_name(at.type()));
    }
}

void describe(const Node& node, View document, MatchContext& context, bson::Builder& out) {
    switch (node.kind) {
        case NodeKind::schema:
            node.schema->describe(document, context, out);
            return;
        case NodeKind::conjunction:
        case NodeKind::disjunction:
        case NodeKind::nor: {
            out.append("operatorName", name_of(node.kind));
            const bool wants_matches = node.kind == NodeKind::nor;
            auto list = out.array(wants_matches ? "clausesSatisfied" : "clausesNotSatisfied");
            for (std::size_t i = 0; i < node.children.size(); ++i) {
                const Node& child = node.children[i];
                if (matches(child, document, context) != wants_matches) continue;
                auto entry = list.object();
                entry.append("index", static_cast<std::int32_t>(i));
                auto details = entry.object("details");
                if (wants_matches && child.is_leaf()) {
                    describe_leaf(child, document, true, details);
                } else {
                    describe(child, document, context, details);
                }
            }
            return;
        }
        case NodeKind::negation:
            if (node.children[0].is_leaf()) {
                describe_leaf(node.children[0], document, true, out);
                return;
            }
            out.append("operatorName", "$not");
            out.append("reason", "child expression matched");
            return;
        default:
            break;
    }
    if (node.is_leaf()) {
        describe_leaf(node, document, false, out);
        return;
    }
    out.append("operatorName", name_of(node.kind));
    {
        auto inner = out.object("specifiedAs");
        node.serialize(inner);
    }
    out.append("reason",
               node.kind == NodeKind::expression ? "expression did not match"
                                                 : "expression always evaluates to false");
}

}  // namespace

bson::Document describe_failure(const Filter& validator, View document, MatchContext& context) {
    bson::Builder out;
    describe(validator.root(), document, context, out);
    return std::move(out).finish();
}

}  // namespace tessera::query
