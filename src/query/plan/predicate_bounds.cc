// SPDX-License-Identifier: Apache-2.0
#include "query/plan/predicate_bounds.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "bson/compare.h"
#include "bson/decimal.h"
#include "bson/hashed.h"

namespace tessera::query {

using bson::Arena;
using bson::Type;
using bson::Value;

namespace {

constexpr Type ranks[] = {Type::min_key,
                          Type::undefined,
                          Type::null,
                          Type::number_double,
                          Type::string,
                          Type::object,
                          Type::array,
                          Type::binary,
                          Type::object_id,
                          Type::boolean,
                          Type::date,
                          Type::timestamp,
                          Type::regex,
                          Type::db_pointer,
                          Type::code,
                          Type::code_with_scope,
                          Type::max_key};

Value undefined() {
    return {Type::undefined, "", 0};
}

Value raw(Type type, std::string_view bytes) {
    return {type, bytes.data(), static_cast<std::uint32_t>(bytes.size())};
}

bool is_nan(const Value& value) {
    if (value.type() == Type::number_double) return std::isnan(value.as_double());
    return value.type() == Type::decimal128 && bson::is_nan(value.as_decimal128());
}

/// The least value of a rank.
Value least(Type type, Arena& arena) {
    using namespace std::string_view_literals;
    switch (type) {
        case Type::string:
        case Type::symbol:
            return raw(Type::string, "\1\0\0\0\0"sv);
        case Type::object:
            return raw(Type::object, "\5\0\0\0\0"sv);
        case Type::array:
            return raw(Type::array, "\5\0\0\0\0"sv);
        case Type::binary:
            return raw(Type::binary, "\0\0\0\0\0"sv);
        case Type::object_id:
            return arena.make(bson::ObjectId{});
        case Type::boolean:
            return Arena::make_bool(false);
        case Type::date:
            return arena.make(WallTime{INT64_MIN});
        case Type::timestamp:
            return arena.make(Timestamp{});
        case Type::regex:
            return raw(Type::regex, "\0\0"sv);
        case Type::db_pointer:
            return raw(Type::db_pointer, "\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"sv);
        case Type::code:
            return raw(Type::code, "\1\0\0\0\0"sv);
        case Type::code_with_scope:
            return raw(Type::code_with_scope, "\x0e\0\0\0\1\0\0\0\0\5\0\0\0\0"sv);
        case Type::undefined:
            return undefined();
        case Type::null:
            return Arena::make_null();
        case Type::max_key:
            return Arena::make_max_key();
        case Type::min_key:
            return Arena::make_min_key();
        default:
            return arena.make(std::numeric_limits<double>::quiet_NaN());
    }
}

/// The values of a type's rank, NaN left out of numbers unless `with_nan`.
Interval whole_rank(Type type, Arena& arena, bool with_nan) {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    bson::ObjectId last;
    last.bytes.fill(0xff);
    switch (type) {
        case Type::number_double:
        case Type::int32:
        case Type::int64:
        case Type::decimal128:
            return {with_nan ? least(type, arena) : arena.make(-infinity), arena.make(infinity)};
        case Type::boolean:
            return {Arena::make_bool(false), Arena::make_bool(true)};
        case Type::object_id:
            return {least(type, arena), arena.make(last)};
        case Type::date:
            return {least(type, arena), arena.make(WallTime{INT64_MAX})};
        case Type::timestamp:
            return {least(type, arena), arena.make(Timestamp::unpack(UINT64_MAX))};
        case Type::undefined:
        case Type::null:
        case Type::min_key:
        case Type::max_key:
            return {least(type, arena), least(type, arena)};
        default:
            break;
    }
    const int rank = bson::canonical_type(type);
    const auto* next = std::find_if(std::begin(ranks), std::end(ranks), [&](Type other) {
        return bson::canonical_type(other) > rank;
    });
    return {least(type, arena), least(*next, arena), true, false};
}

Intervals null_points() {
    return unite(point(undefined()), point(Arena::make_null()));
}

FieldBounds nothing() {
    return {{}, Tightness::exact};
}
FieldBounds anything() {
    return {all_values(), Tightness::inexact_fetch};
}

Tightness looser(Tightness one, Tightness two) {
    return std::max(one, two);
}

FieldBounds equal_bounds(const Value& operand) {
    if (operand.is_null()) return {null_points(), Tightness::inexact_fetch};
    if (!operand.is_array()) return {point(operand), Tightness::exact};
    // An array is found by its first element, or whole where it is an element itself.
    const bson::View elements = operand.as_view();
    const Value first = elements.is_empty() ? undefined() : elements.front().value;
    return {unite(point(first), point(operand)), Tightness::inexact_fetch};
}

FieldBounds range_bounds(NodeKind kind, const Value& operand, Arena& arena) {
    const bool is_strict = kind == NodeKind::less || kind == NodeKind::greater;
    if (operand.is_null()) return is_strict ? nothing() : equal_bounds(operand);
    if (operand.is_array() || operand.type() == Type::min_key || operand.type() == Type::max_key) {
        return anything();  // Whole arrays compare too, and are not in the index.
    }
    if (is_nan(operand)) return is_strict ? nothing() : equal_bounds(operand);
    Interval interval = whole_rank(operand.type(), arena, false);
    if (kind == NodeKind::less || kind == NodeKind::less_or_equal) {
        interval.end = operand;
        interval.has_end = !is_strict;
    } else {
        interval.start = operand;
        interval.has_start = !is_strict;
    }
    return {range(interval), Tightness::exact};
}

FieldBounds regex_bounds(const Regex& regex, Arena& arena) {
    std::string bytes = regex.pattern();
    bytes.push_back('\0');
    bytes += regex.options();
    bytes.push_back('\0');
    const Value itself = raw(Type::regex, arena.copy(bytes));
    Interval text = whole_rank(Type::string, arena, false);
    if (!regex.prefix().empty()) {
        text.start = arena.make(std::string_view(regex.prefix()));
        std::string end = regex.prefix();
        while (!end.empty() && end.back() == '\xff')
            end.pop_back();
        if (!end.empty()) {
            end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
            text.end = arena.make(std::string_view(end));
        }
    }
    const bool is_exact = !regex.prefix().empty() && regex.is_exact_prefix();
    return {unite({text}, point(itself)), is_exact ? Tightness::exact : Tightness::inexact_covered};
}

FieldBounds in_bounds(const Node& node, Arena& arena) {
    FieldBounds result;
    // The values are sorted: uniting one by one would be quadratic.
    Intervals simple;
    for (const Value& value : node.values) {
        if (!value.is_null() && !value.is_array()) {
            simple.push_back({value, value});
            continue;
        }
        const FieldBounds bounds = equal_bounds(value);
        result.intervals = unite(result.intervals, bounds.intervals);
        result.tightness = looser(result.tightness, bounds.tightness);
    }
    result.intervals = unite(simple, result.intervals);
    for (const Regex& regex : node.regexes) {
        const FieldBounds bounds = regex_bounds(regex, arena);
        result.intervals = unite(result.intervals, bounds.intervals);
        result.tightness = looser(result.tightness, bounds.tightness);
    }
    return result;
}

FieldBounds type_bounds(const Node& node, Arena& arena) {
    FieldBounds result;
    const TypeSet& types = node.types;
    for (const Type type : types.types()) {
        if (type == Type::array) return anything();
        result.intervals = unite(result.intervals, range(whole_rank(type, arena, true)));
        Tightness tightness = Tightness::exact;
        if (type == Type::null || type == Type::undefined) tightness = Tightness::inexact_fetch;
        const int rank = bson::canonical_type(type);
        const bool has_all_numbers = types.has(Type::int32) && types.has(Type::int64) &&
                                     types.has(Type::number_double) && types.has(Type::decimal128);
        if (rank == bson::canonical_type(Type::int32) && !has_all_numbers) {
            tightness = Tightness::inexact_covered;
        }
        if (rank == bson::canonical_type(Type::string) &&
            !(types.has(Type::string) && types.has(Type::symbol))) {
            tightness = Tightness::inexact_covered;
        }
        result.tightness = looser(result.tightness, tightness);
    }
    return result;
}

FieldBounds bits_bounds(Arena& arena) {
    return {unite(range(whole_rank(Type::int32, arena, false)),
                  range(whole_rank(Type::binary, arena, false))),
            Tightness::inexact_covered};
}

FieldBounds element_bounds(const Node& node, Arena& arena) {
    FieldBounds result{all_values(), Tightness::inexact_fetch};
    for (const Node& child : node.children[0].children) {
        // An element is one value: the bounds of several demands on it meet.
        if (const auto bounds = bounds_of(child, {}, arena)) {
            result.intervals = intersect(result.intervals, bounds->intervals);
        }
    }
    return result;
}

FieldBounds leaf_bounds(const Node& node, Arena& arena) {
    switch (node.kind) {
        case NodeKind::equal:
            return equal_bounds(node.operand);
        case NodeKind::less:
        case NodeKind::less_or_equal:
        case NodeKind::greater:
        case NodeKind::greater_or_equal:
            return range_bounds(node.kind, node.operand, arena);
        case NodeKind::in:
            return in_bounds(node, arena);
        case NodeKind::regex:
            return regex_bounds(node.regexes[0], arena);
        case NodeKind::mod:
            return {range(whole_rank(Type::int32, arena, false)), Tightness::inexact_covered};
        case NodeKind::type:
            return type_bounds(node, arena);
        case NodeKind::bits_all_set:
        case NodeKind::bits_all_clear:
        case NodeKind::bits_any_set:
        case NodeKind::bits_any_clear:
            return bits_bounds(arena);
        case NodeKind::element_match_value:
            return element_bounds(node, arena);
        default:
            return anything();
    }
}

/// What a hashed field can say: equality alone, and that not surely.
std::optional<FieldBounds> hashed_bounds(const Node& node, Arena& arena) {
    std::vector<Value> values;
    if (node.kind == NodeKind::equal) {
        values.push_back(node.operand);
    } else if (node.kind == NodeKind::in && node.regexes.empty()) {
        values = node.values;
    } else {
        return std::nullopt;
    }
    FieldBounds result{{}, Tightness::inexact_fetch};
    for (const Value& value : values) {
        result.intervals = unite(result.intervals, point(arena.make(bson::shard_hash(value))));
        if (!value.is_null()) continue;
        result.intervals =
            unite(result.intervals, point(arena.make(bson::shard_hash(undefined()))));
    }
    return result;
}

/// Whether no array at all is involved in what `node` demands, so that its bounds can be inverted.
bool is_invertible(const Node& node) {
    switch (node.kind) {
        case NodeKind::equal:
        case NodeKind::less:
        case NodeKind::less_or_equal:
        case NodeKind::greater:
        case NodeKind::greater_or_equal:
            return true;
        case NodeKind::in:
            return node.regexes.empty();
        default:
            return false;
    }
}

std::optional<FieldBounds> negated_bounds(const Node& child, FieldFacts facts, Arena& arena) {
    if (child.kind == NodeKind::conjunction && child.children.size() == 1) {
        return negated_bounds(child.children[0], facts, arena);
    }
    if (child.kind == NodeKind::exists) return FieldBounds{null_points(), Tightness::inexact_fetch};
    if (!is_invertible(child)) return std::nullopt;
    const FieldBounds bounds = leaf_bounds(child, arena);
    if (bounds.tightness == Tightness::exact) {
        // Over arrays "no element does" is less than "some element does not".
        return FieldBounds{complement(bounds.intervals),
                           facts.is_multikey ? Tightness::inexact_fetch : Tightness::exact};
    }
    const bool is_null = child.operand.is_null() && child.kind != NodeKind::in;
    if (is_null && !facts.is_multikey) {
        return FieldBounds{complement(bounds.intervals), Tightness::inexact_fetch};
    }
    return std::nullopt;
}

}  // namespace

std::optional<FieldBounds> bounds_of(const Node& node, FieldFacts facts, Arena& arena) {
    if (facts.is_hashed) return hashed_bounds(node, arena);
    if (node.kind == NodeKind::negation) return negated_bounds(node.children[0], facts, arena);
    if (!node.is_leaf()) return std::nullopt;
    return leaf_bounds(node, arena);
}

namespace {

bool has_array_operand(const Node& node) {
    if (node.operand.is_array()) return true;
    return std::any_of(node.values.begin(), node.values.end(), [](const Value& value) {
        return value.is_array();
    });
}

bool is_same(const Node& one, const Node& two) {
    bson::Builder first;
    one.serialize(first);
    bson::Builder second;
    two.serialize(second);
    return std::move(first).finish().bytes() == std::move(second).finish().bytes();
}

bool leaf_implies(const Node& query, const Node& demanded, Arena& arena) {
    if (!query.is_leaf() || !demanded.is_leaf()) return false;
    if (query.path.dotted() != demanded.path.dotted()) return false;
    if (has_array_operand(query) || has_array_operand(demanded)) return false;
    const FieldBounds have = leaf_bounds(query, arena);
    if (demanded.kind == NodeKind::exists) {
        return !contains(have.intervals, Arena::make_null()) &&
               !contains(have.intervals, undefined());
    }
    const FieldBounds need = leaf_bounds(demanded, arena);
    const bool is_element_wise = query.kind != NodeKind::size && query.kind != NodeKind::exists &&
                                 query.kind != NodeKind::element_match_object;
    return is_element_wise && need.tightness == Tightness::exact &&
           is_within(have.intervals, need.intervals);
}

}  // namespace

bool implies(const Node& query, const Node& demanded, Arena& arena) {
    if (demanded.kind == NodeKind::always_true) return true;
    if (demanded.kind == NodeKind::conjunction) {
        return std::all_of(demanded.children.begin(),
                           demanded.children.end(),
                           [&](const Node& child) { return implies(query, child, arena); });
    }
    if (query.kind == NodeKind::disjunction) {
        return !query.children.empty() &&
               std::all_of(query.children.begin(), query.children.end(), [&](const Node& child) {
                   return implies(child, demanded, arena);
               });
    }
    if (query.kind == NodeKind::conjunction) {
        const bool has =
            std::any_of(query.children.begin(), query.children.end(), [&](const Node& child) {
                return implies(child, demanded, arena);
            });
        if (has) return true;
    }
    if (demanded.kind == NodeKind::disjunction) {
        return std::any_of(demanded.children.begin(),
                           demanded.children.end(),
                           [&](const Node& child) { return implies(query, child, arena); });
    }
    return is_same(query, demanded) || leaf_implies(query, demanded, arena);
}

}  // namespace tessera::query
