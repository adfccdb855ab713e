// SPDX-License-Identifier: Apache-2.0
//
// A filter is read as a tree of conjunctions whose leaves are conditions on one path. Conditions of
// one conjunction narrow FieldBounds together; each $or is then the union of its branches, each
// narrowed on top of what the conjunction around it says. What several $or of one conjunction leave
// is intersected. Work is linear in the filter.
#include "routing/filter_bounds.h"

#include "bson/compare.h"
#include "routing/limits.h"

namespace tessera::routing {
namespace {

using bson::Type;
using bson::Value;
using bson::View;

/// Whether the bytes of the value say how a non-simple collation compares it: nothing with text in.
bool holds_text(const Value& value) {
    if (value.is_string() || value.type() == Type::symbol) return true;
    if (!value.is_object() && !value.is_array()) return false;
    for (const auto& element : value.as_view()) {
        if (holds_text(element.value)) return true;
    }
    return false;
}

/// {$gt: 5, ...}: operators, not a value to be equal to.
bool is_operators(const Value& value) {
    if (!value.is_object() || value.as_view().is_empty()) return false;
    return value.as_view().front().name.starts_with('$');
}

/// Whether the key's value of a match must be exactly this one. An array could match as an element
/// of one does, and undefined matches in odd ways.
bool fixes_key(const Value& value, const FilterOptions& options) {
    if (value.is_array() || value.type() == Type::undefined) return false;
    return options.is_collation_simple || !holds_text(value);
}

class Reader {
public:
    Reader(const ShardKeyPattern& pattern, const FilterOptions& options)
        : pattern_(pattern), options_(options) {}

    /// The ranges a filter leaves, given what is known around it. `bounds` is narrowed by its
    /// conjunctive part.
    KeyRanges read(View filter, FieldBounds& bounds, std::size_t depth) {
        std::vector<View> alternatives;  // The arrays of each $or.
        read_conjunction(filter, bounds, alternatives, depth);
        if (bounds.is_contradiction()) return {};
        KeyRanges ranges = bounds.to_ranges();
        for (const View branches : alternatives) {
            KeyRanges either;
            for (const auto& branch : branches) {
                if (!branch.value.is_object()) return ranges;
                FieldBounds narrower = bounds;
                either = unite(either, read(branch.value.as_view(), narrower, depth + 1));
            }
            ranges = intersect(ranges, either);
        }
        return ranges;
    }

private:
    void read_conjunction(View filter,
                          FieldBounds& bounds,
                          std::vector<View>& alternatives,
                          std::size_t depth) {
        if (depth >= limits::filter_depth) return;
        for (const auto& [name, value] : filter) {
            if (name == "$and" && value.is_array()) {
                for (const auto& part : value.as_view()) {
                    if (!part.value.is_object()) continue;
                    read_conjunction(part.value.as_view(), bounds, alternatives, depth + 1);
                }
            } else if (name == "$or" && value.is_array()) {
                if (!value.as_view().is_empty()) alternatives.push_back(value.as_view());
            } else if (!name.starts_with('$')) {
                read_path(name, value, bounds);
            }
        }
    }

    void read_path(std::string_view path, const Value& value, FieldBounds& bounds) {
        if (!pattern_.touches(path)) return;
        if (!is_operators(value)) {
            if (value.type() != Type::regex) equal_to(path, value, bounds);
            return;
        }
        for (const auto& [name, operand] : value.as_view()) {
            if (name == "$eq") {
                equal_to(path, operand, bounds);
            } else if (name == "$in" && operand.is_array()) {
                one_of(path, operand.as_view(), bounds);
            } else if (name == "$gt" || name == "$gte") {
                compare(path, operand, bounds, true, name == "$gte");
            } else if (name == "$lt" || name == "$lte") {
                compare(path, operand, bounds, false, name == "$lte");
            }
        }
    }

    bool is_usable(const Value& value) const { return fixes_key(value, options_); }

    void equal_to(std::string_view path, const Value& value, FieldBounds& bounds) {
        for (std::size_t i = 0; i < pattern_.fields().size(); ++i) {
            const std::string& field = pattern_.fields()[i].path;
            if (field == path) {
                if (is_usable(value)) bounds.narrow_to_points(pattern_, i, {value});
            } else if (value.is_object() && field.size() > path.size() && field.starts_with(path) &&
                       field[path.size()] == '.') {
                // {a: {b: 5}} fixes the key field "a.b", as null when it is not there.
                const Value nested =
                    value_within(value, std::string_view(field).substr(path.size() + 1));
                if (is_usable(nested)) bounds.narrow_to_points(pattern_, i, {nested});
            }
        }
    }

    /// The value at a path below an object; an array on the way makes it unusable (an array).
    static Value value_within(const Value& object, std::string_view path) {
        Value value = object;
        while (!path.empty()) {
            if (value.is_array()) return value;
            if (!value.is_object()) return {};
            const std::size_t dot = path.find('.');
            value = value.as_view()[path.substr(0, dot)];
            path = dot == std::string_view::npos ? std::string_view() : path.substr(dot + 1);
        }
        return value;
    }

    void one_of(std::string_view path, View values, FieldBounds& bounds) {
        for (std::size_t i = 0; i < pattern_.fields().size(); ++i) {
            if (pattern_.fields()[i].path != path) continue;
            std::vector<Value> points;
            for (const auto& element : values) {
                if (!is_usable(element.value) || element.value.type() == Type::regex) return;
                points.push_back(element.value);
            }
            bounds.narrow_to_points(pattern_, i, points);
        }
    }

    void compare(std::string_view path,
                 const Value& value,
                 FieldBounds& bounds,
                 bool is_above,
                 bool inclusive) {
        if (!is_usable(value)) return;
        for (std::size_t i = 0; i < pattern_.fields().size(); ++i) {
            if (pattern_.fields()[i].path != path || pattern_.fields()[i].is_hashed) continue;
            const FieldInterval interval = is_above ? FieldInterval::above(value, inclusive)
                                                    : FieldInterval::below(value, inclusive);
            bounds.narrow(i, normalized({interval}));
        }
    }

    const ShardKeyPattern& pattern_;
    const FilterOptions& options_;
};

/// Looks through $and for an equality on _id.
Value find_exact_id(View filter, const FilterOptions& options, std::size_t depth) {
    if (depth >= limits::filter_depth) return {};
    for (const auto& [name, value] : filter) {
        Value id;
        if (name == "_id") {
            if (!is_operators(value)) {
                id = value;
            } else {
                id = value.as_view()["$eq"];
            }
        } else if (name == "$and" && value.is_array()) {
            for (const auto& part : value.as_view()) {
                if (!part.value.is_object()) continue;
                id = find_exact_id(part.value.as_view(), options, depth + 1);
                if (!id.is_missing()) return id;
            }
        }
        const bool is_exact = !id.is_missing() && !id.is_array() && id.type() != Type::regex &&
                              id.type() != Type::undefined;
        if (is_exact && (options.is_collation_simple || !holds_text(id))) return id;
    }
    return {};
}

}  // namespace

FilterBounds bounds_of(const ShardKeyPattern& pattern, View filter, const FilterOptions& options) {
    FilterBounds result;
    FieldBounds bounds(pattern);
    result.ranges = Reader(pattern, options).read(filter, bounds, 0);
    result.key = bounds.single_key();
    return result;
}

std::optional<Key> exact_key_of(const ShardKeyPattern& pattern,
                                View filter,
                                const FilterOptions& options) {
    for (const ShardKeyPattern::Field& field : pattern.fields()) {
        if (field.parts.size() != 1) return std::nullopt;
        const Value value = filter[field.path];
        if (value.is_missing() || is_operators(value) || value.type() == Type::regex ||
            !fixes_key(value, options))
            return std::nullopt;
    }
    // The filter is a document that has the key.
    auto key = pattern.key_of(filter);
    if (!key) return std::nullopt;
    return *std::move(key);
}

bson::Value exact_id_of(View filter, const FilterOptions& options) {
    return find_exact_id(filter, options, 0);
}

}  // namespace tessera::routing
