// SPDX-License-Identifier: Apache-2.0
//
// Evaluates filters. A scope (the document, or an element under $elemMatch) is walked once for the
// first components of all paths; each leaf then follows the rest of its path, through arrays.
#include <algorithm>
#include <cmath>

#include "bson/compare.h"
#include "query/match/filter.h"
#include "query/match/json_schema.h"

namespace tessera::query {

using bson::Type;
using bson::Value;
using bson::View;

class Evaluator {
public:
    explicit Evaluator(MatchContext& context) : context_(context) {}

    bool scope(const Node& root, const std::vector<std::string>& fields, View document) {
        const std::size_t base = context_.slots_.size();
        if (!fields.empty()) collect(fields, document, base);
        const bool result = evaluate(root, base, document);
        context_.slots_.resize(base);
        return result;
    }
    /// For a scope of one field, whose value is given.
    bool field(const Node& root, const Value& at) {
        context_.slots_.assign(1, at);
        return evaluate(root, 0, View());
    }
    /// For nodes with an empty path.
    bool value(const Node& node, const Value& at) { return evaluate_value(node, at); }

private:
    void collect(const std::vector<std::string>& fields, View document, std::size_t base);
    bool evaluate(const Node& node, std::size_t base, View document);
    bool evaluate_value(const Node& node, const Value& at);
    bool without_index(const Node& node, std::size_t base, View document);
    bool expression(const Node& node, View document);
    bool reach(const Node& node, std::size_t part, const Value& at, std::int32_t outer);
    bool through(const Node& node, std::size_t part, View array, std::int32_t outer);
    bool at_end(const Node& node, const Value& at, std::int32_t outer);
    bool element_match(const Node& node, const Value& at, std::int32_t outer);
    bool test(const Node& node, const Value& at);
    bool test_in(const Node& node, const Value& at);
    bool found(std::int32_t index) {
        if (index >= 0 && context_.wants_index_) context_.matched_index = index;
        return true;
    }

    MatchContext& context_;
    bool is_element_ = false;  // Within $elemMatch of values: arrays stand for themselves.
};

namespace {

bool is_nan(const Value& value) {
    if (value.type() == Type::number_double) return std::isnan(value.as_double());
    return value.type() == Type::decimal128 && std::isnan(value.to_double());
}

bool holds(NodeKind kind, int order) {
    switch (kind) {
        case NodeKind::equal:
            return order == 0;
        case NodeKind::less:
            return order < 0;
        case NodeKind::less_or_equal:
            return order <= 0;
        case NodeKind::greater:
            return order > 0;
        default:
            return order >= 0;
    }
}

bool compares(NodeKind kind, const Value& at, const Value& operand) {
    if (operand.is_null()) {
        return kind != NodeKind::less && kind != NodeKind::greater && at.is_nullish();
    }
    if (at.type() == Type::int32 && operand.type() == Type::int32) {
        const std::int32_t one = at.as_int32();
        const std::int32_t two = operand.as_int32();
        return holds(kind, one < two ? -1 : static_cast<int>(one > two));
    }
    if (bson::canonical_type(at.type()) != bson::canonical_type(operand.type())) {
        // Types do not mix, but MinKey and MaxKey bound everything.
        const bool is_bound = operand.type() == Type::min_key || operand.type() == Type::max_key;
        return is_bound && holds(kind, bson::compare(at, operand));
    }
    if (at.is_missing()) return false;
    if (at.is_number() && (is_nan(at) || is_nan(operand))) {
        return kind != NodeKind::less && kind != NodeKind::greater && is_nan(at) && is_nan(operand);
    }
    return holds(kind, bson::compare(at, operand));
}

bool test_mod(const Node& node, const Value& at) {
    if (!at.is_number() || is_nan(at)) return false;
    if (at.type() == Type::number_double || at.type() == Type::decimal128) {
        const double value = at.to_double();
        if (!(value >= -0x1p63 && value < 0x1p63)) return false;
    }
    if (node.divisor == -1) return node.remainder == 0;
    return at.to_int64() % node.divisor == node.remainder;
}

// Calls is_set(position) for each position until the operator's answer is known.
template <class IsSet>
bool test_positions(const Node& node, const IsSet& is_set) {
    const bool wants_set =
        node.kind == NodeKind::bits_all_set || node.kind == NodeKind::bits_any_set;
    const bool needs_all =
        node.kind == NodeKind::bits_all_set || node.kind == NodeKind::bits_all_clear;
    for (const std::uint32_t position : node.bits.positions) {
        const bool is_wanted = is_set(position) == wants_set;
        if (is_wanted != needs_all) return !needs_all;
    }
    return needs_all;
}

bool test_bits(const Node& node, const Value& at) {
    if (at.is_number()) {
        if (!at.is_integral()) return false;
        const std::int64_t number = at.to_int64();
        return test_positions(node, [number](std::uint32_t position) {
            return position >= 64 ? number < 0 : (number >> position & 1) != 0;
        });
    }
    if (at.type() == Type::binary) {
        const std::string_view bytes = at.as_binary().bytes;
        return test_positions(node, [bytes](std::uint32_t position) {
            const std::size_t byte = position / 8;
            return byte < bytes.size() &&
                   (static_cast<unsigned char>(bytes[byte]) >> (position % 8) & 1U) != 0;
        });
    }
    return false;
}

bool expands_end(NodeKind kind) {
    return kind != NodeKind::exists && kind != NodeKind::size &&
           kind != NodeKind::element_match_object && kind != NodeKind::element_match_value;
}

}  // namespace

void Evaluator::collect(const std::vector<std::string>& fields, View document, std::size_t base) {
    auto& slots = context_.slots_;
    if (fields.size() == 1) {
        slots.push_back(document[fields.front()]);
        return;
    }
    slots.resize(base + fields.size());
    std::fill(slots.begin() + static_cast<std::ptrdiff_t>(base), slots.end(), Value());
    std::size_t left = fields.size();
    for (const auto& element : document) {
        for (std::size_t i = 0; i < fields.size(); ++i) {
            if (fields[i] != element.name || !slots[base + i].is_missing()) continue;
            slots[base + i] = element.value;
            if (--left == 0) return;
            break;
        }
    }
}

bool Evaluator::without_index(const Node& node, std::size_t base, View document) {
    const bool old = context_.wants_index_;
    context_.wants_index_ = false;
    const bool result = evaluate(node, base, document);
    context_.wants_index_ = old;
    return result;
}

bool Evaluator::expression(const Node& node, View document) {
    if (context_.error_) return false;
    auto result = node.expression->evaluate(document, context_.arena_);
    if (!result) {
        context_.error_ = result.error();
        return false;
    }
    return result->is_truthy();
}

bool Evaluator::evaluate(const Node& node, std::size_t base, View document) {
    switch (node.kind) {
        case NodeKind::always_true:
            return true;
        case NodeKind::always_false:
            return false;
        case NodeKind::conjunction:
            return std::all_of(node.children.begin(), node.children.end(), [&](const Node& child) {
                return evaluate(child, base, document);
            });
        case NodeKind::disjunction:
            return std::any_of(node.children.begin(), node.children.end(), [&](const Node& child) {
                return evaluate(child, base, document);
            });
        case NodeKind::nor:
            return std::none_of(node.children.begin(), node.children.end(), [&](const Node& child) {
                return without_index(child, base, document);
            });
        case NodeKind::negation:
            return !without_index(node.children[0], base, document);
        case NodeKind::expression:
            return expression(node, document);
        case NodeKind::sample_rate:
            return context_.random.fraction() < node.rate;
        case NodeKind::schema:
            return node.schema->matches(document, context_);
        default:
            break;
    }
    const Value first = context_.slots_[base + node.slot];
    return reach(node, 1, first, -1);
}

bool Evaluator::evaluate_value(const Node& node, const Value& at) {
    switch (node.kind) {
        case NodeKind::always_true:
            return true;
        case NodeKind::always_false:
            return false;
        case NodeKind::conjunction:
            return std::all_of(node.children.begin(), node.children.end(), [&](const Node& child) {
                return evaluate_value(child, at);
            });
        case NodeKind::disjunction:
            return std::any_of(node.children.begin(), node.children.end(), [&](const Node& child) {
                return evaluate_value(child, at);
            });
        case NodeKind::nor:
            return std::none_of(node.children.begin(), node.children.end(), [&](const Node& child) {
                return evaluate_value(child, at);
            });
        case NodeKind::negation:
            return !evaluate_value(node.children[0], at);
        default:
            break;
    }
    const bool old = context_.wants_index_;
    context_.wants_index_ = false;
    const bool result = at_end(node, at, -1);
    context_.wants_index_ = old;
    return result;
}

// `at` is what stands at the first `part` components of the path.
bool Evaluator::reach(const Node& node, std::size_t part, const Value& at, std::int32_t outer) {
    if (part == node.path.size()) return at_end(node, at, outer);
    if (at.is_object()) return reach(node, part + 1, at.as_view()[node.path[part].name], outer);
    if (at.is_array()) return through(node, part, at.as_view(), outer);
    return test(node, Value());
}

// An array in the middle of a path stands for its objects, and for the element a number names.
bool Evaluator::through(const Node& node, std::size_t part, View array, std::int32_t outer) {
    std::int32_t index = 0;
    for (const auto& element : array) {
        const std::int32_t outermost = outer < 0 ? index : outer;
        if (element.value.is_object() && reach(node, part, element.value, outermost)) return true;
        if (node.path[part].index == index && reach(node, part + 1, element.value, outermost)) {
            return true;
        }
        ++index;
    }
    return false;
}

bool Evaluator::at_end(const Node& node, const Value& at, std::int32_t outer) {
    if (!at.is_array()) return test(node, at) && found(outer);
    // The conditions of {$elemMatch: {$gte: 1}} are on the element itself, even when it is an
    // array.
    if (is_element_ && expands_end(node.kind)) return test(node, at) && found(outer);
    if (!expands_end(node.kind)) {
        if (node.kind == NodeKind::exists || node.kind == NodeKind::size) {
            return test(node, at) && found(outer);
        }
        return element_match(node, at, outer);
    }
    std::int32_t index = 0;
    for (const auto& element : at.as_view()) {
        if (test(node, element.value)) return found(outer < 0 ? index : outer);
        ++index;
    }
    return test(node, at) && found(outer);
}

bool Evaluator::element_match(const Node& node, const Value& at, std::int32_t outer) {
    const bool old = context_.wants_index_;
    const bool was_element = is_element_;
    context_.wants_index_ = false;
    is_element_ = node.kind == NodeKind::element_match_value;
    std::int32_t index = 0;
    bool is_match = false;
    for (const auto& element : at.as_view()) {
        if (node.kind == NodeKind::element_match_value) {
            is_match = evaluate_value(node.children[0], element.value);
        } else if (element.value.is_object() || element.value.is_array()) {
            is_match = scope(node.children[0], node.fields, element.value.as_view());
        }
        if (is_match) break;
        ++index;
    }
    context_.wants_index_ = old;
    is_element_ = was_element;
    return is_match && found(outer < 0 ? index : outer);
}

bool Evaluator::test_in(const Node& node, const Value& at) {
    const Value wanted = at.is_nullish() ? bson::Arena::make_null() : at;
    const bool is_listed = std::binary_search(
        node.values.begin(), node.values.end(), wanted, [](const Value& a, const Value& b) {
            return bson::compare(a, b) < 0;
        });
    if (is_listed) return true;
    if (node.regexes.empty()) return false;
    if (at.is_string() || at.type() == Type::symbol) {
        return std::any_of(node.regexes.begin(), node.regexes.end(), [&](const Regex& regex) {
            return regex.matches(at.as_string(), context_.regex_);
        });
    }
    if (at.type() != Type::regex) return false;
    return std::any_of(node.regexes.begin(), node.regexes.end(), [&](const Regex& regex) {
        return regex.pattern() == at.as_regex().pattern && regex.options() == at.as_regex().options;
    });
}

bool Evaluator::test(const Node& node, const Value& at) {
    switch (node.kind) {
        case NodeKind::equal:
        case NodeKind::less:
        case NodeKind::less_or_equal:
        case NodeKind::greater:
        case NodeKind::greater_or_equal:
            return compares(node.kind, at, node.operand);
        case NodeKind::in:
        case NodeKind::regex:
            return test_in(node, at);
        case NodeKind::mod:
            return test_mod(node, at);
        case NodeKind::type:
            return !at.is_missing() && node.types.has(at.type());
        case NodeKind::bits_all_set:
        case NodeKind::bits_all_clear:
        case NodeKind::bits_any_set:
        case NodeKind::bits_any_clear:
            return test_bits(node, at);
        case NodeKind::exists:
            return !at.is_missing();
        case NodeKind::size:
            return at.is_array() && node.count >= 0 &&
                   at.as_view().count() == static_cast<std::size_t>(node.count);
        default:
            return false;
    }
}

Result<bool> Filter::matches(View document, MatchContext& context) const {
    context.matched_index = -1;
    context.wants_index_ = true;
    context.slots_.clear();
    const bool result = Evaluator(context).scope(*root_, fields_, document);
    if (context.arena_.used() != 0) context.arena_.clear();
    if (context.error_) {
        Error error = *std::move(context.error_);
        context.error_.reset();
        return error;
    }
    return result;
}

Result<bool> Filter::matches_field(const Value& value, MatchContext& context) const {
    ENSURE(fields_.size() <= 1);
    context.matched_index = -1;
    return Evaluator(context).field(*root_, value);
}

Result<bool> Filter::matches_value(const Value& value, MatchContext& context) const {
    context.matched_index = -1;
    context.slots_.clear();
    return Evaluator(context).value(*root_, value);
}

}  // namespace tessera::query
