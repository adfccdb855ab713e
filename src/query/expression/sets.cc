// SPDX-License-Identifier: Apache-2.0
//
// Operators that take arrays as sets. Results are in the BSON order, as MongoDB's are sorted.
#include <algorithm>

#include <fmt/format.h>

#include "query/expression/node.h"
#include "query/expression/value_map.h"

namespace tessera::query::expression {
namespace {

Value make_sorted(std::vector<Value> values, Arena& arena) {
    std::sort(values.begin(), values.end(), [](const Value& one, const Value& two) {
        return bson::compare(one, two) < 0;
    });
    ArrayMaker maker;
    for (const Value& value : values)
        maker.add(value);
    return std::move(maker).make(arena);
}

ValueMap set_of(const Value& array) {
    ValueMap set;
    for (const auto& element : array.as_view())
        set.insert(element.value);
    return set;
}

Result<Value> set_union(Evaluation& evaluation, Args args) {
    ValueMap set;
    for (const Value& arg : args) {
        if (arg.is_nullish()) return null();
        if (!arg.is_array())
            return failure(17043,
                           fmt::format("All operands of $setUnion must be arrays. One "
                                       "argument is of type: {}",
                                       type_text(arg)));
        for (const auto& element : arg.as_view())
            set.insert(element.value);
    }
    return make_sorted(set.keys(), evaluation.arena());
}

Result<Value> set_intersection(Evaluation& evaluation, Args args) {
    std::vector<Value> current;
    bool is_first = true;
    for (const Value& arg : args) {
        if (arg.is_nullish()) return null();
        if (!arg.is_array())
            return failure(17047,
                           fmt::format("All operands of $setIntersection must be arrays. "
                                       "One argument is of type: {}",
                                       type_text(arg)));
        const ValueMap set = set_of(arg);
        if (is_first)
            current = set.keys();
        else
            std::erase_if(current,
                          [&](const Value& value) { return set.find(value) == ValueMap::none; });
        is_first = false;
    }
    return make_sorted(std::move(current), evaluation.arena());
}

Result<Value> set_difference(Evaluation& evaluation, Args args) {
    for (const Value& arg : args)
        if (arg.is_nullish()) return null();
    for (std::size_t i = 0; i < 2; ++i)
        if (!args[i].is_array())
            return failure(
                17048 + static_cast<int>(i),
                fmt::format("both operands of $setDifference must be arrays. {} argument "
                            "is of type: {}",
                            i == 0 ? "First" : "Second",
                            type_text(args[i])));
    const ValueMap without = set_of(args[1]);
    ValueMap seen;
    ArrayMaker maker;
    for (const auto& element : args[0].as_view())
        if (without.find(element.value) == ValueMap::none && seen.insert(element.value).is_new)
            maker.add(element.value);
    return std::move(maker).make(evaluation.arena());
}

bool is_subset(const ValueMap& inner, const ValueMap& outer) {
    return std::all_of(inner.keys().begin(), inner.keys().end(), [&](const Value& value) {
        return outer.find(value) != ValueMap::none;
    });
}

Result<Value> set_is_subset(Evaluation&, Args args) {
    for (std::size_t i = 0; i < 2; ++i)
        if (!args[i].is_array())
            return failure(i == 0 ? 17046 : 17042,
                           fmt::format("both operands of $setIsSubset must be arrays. {} argument "
                                       "is of type: {}",
                                       i == 0 ? "First" : "Second",
                                       type_text(args[i])));
    return boolean(is_subset(set_of(args[0]), set_of(args[1])));
}

Result<Value> set_equals(Evaluation&, Args args) {
    for (const Value& arg : args)
        if (!arg.is_array())
            return failure(17044,
                           fmt::format("All operands of $setEquals must be arrays. {} "
                                       "argument is of type: {}",
                                       &arg - args.data() + 1,
                                       type_text(arg)));
    const ValueMap one = set_of(args[0]);
    for (std::size_t i = 1; i < args.size(); ++i) {
        const ValueMap other = set_of(args[i]);
        if (one.size() != other.size() || !is_subset(one, other)) return boolean(false);
    }
    return boolean(true);
}

Result<Value> any_element_true(Evaluation&, Args args) {
    if (!args[0].is_array())
        return failure(17041,
                       fmt::format("$anyElementTrue's argument must be an array, but is {}",
                                   type_text(args[0])));
    for (const auto& element : args[0].as_view())
        if (element.value.is_truthy()) return boolean(true);
    return boolean(false);
}

Result<Value> all_elements_true(Evaluation&, Args args) {
    if (!args[0].is_array())
        return failure(17040,
                       fmt::format("$allElementsTrue's argument must be an array, but is {}",
                                   type_text(args[0])));
    for (const auto& element : args[0].as_view())
        if (!element.value.is_truthy()) return boolean(false);
    return boolean(true);
}

constexpr Function functions[] = {
    {"$setUnion", 0, -1, set_union},
    {"$setIntersection", 0, -1, set_intersection},
    {"$setDifference", 2, 2, set_difference},
    {"$setIsSubset", 2, 2, set_is_subset},
    {"$setEquals", 2, -1, set_equals},
    {"$anyElementTrue", 1, 1, any_element_true},
    {"$allElementsTrue", 1, 1, all_elements_true},
};

}  // namespace

OperatorTable set_operators() {
    return {functions, {}, {}};
}

}  // namespace tessera::query::expression
