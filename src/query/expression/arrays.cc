// SPDX-License-Identifier: Apache-2.0
//
// Operators on arrays that take plain arguments.
#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "query/expression/node.h"

namespace tessera::query::expression {
namespace {

/// What $range may make: the manual's 100 MB for a stage, at an array element's 16 bytes.
constexpr std::int64_t range_elements_max = 100 * 1024 * 1024 / 16;

bool is_int32(const Value& value) {
    return value.is_number() && value.is_integral() &&
           value.to_int64() >= std::numeric_limits<std::int32_t>::min() &&
           value.to_int64() <= std::numeric_limits<std::int32_t>::max();
}

Value nth(const Value& array, std::int64_t index) {
    const View view = array.as_view();
    if (index < 0) index += static_cast<std::int64_t>(view.count());
    if (index < 0) return {};
    for (const auto& element : view)
        if (index-- == 0) return element.value;
    return {};
}

Result<Value> array_element_at(Evaluation&, Args args) {
    if (args[0].is_nullish() || args[1].is_nullish()) return null();
    if (!args[0].is_array())
        return failure(28689,
                       fmt::format("$arrayElemAt's first argument must be an array, but is "
                                   "{}",
                                   type_text(args[0])));
    if (!args[1].is_number())
        return failure(28690,
                       fmt::format("$arrayElemAt's second argument must be a numeric value,"
                                   " but is {}",
                                   type_text(args[1])));
    if (!is_int32(args[1]))
        return failure(28691,
                       fmt::format("$arrayElemAt's second argument must be representable as "
                                   "a 32-bit integer: {}",
                                   args[1].to_double()));
    return nth(args[0], args[1].to_int64());
}

Result<Value> end_element(std::string_view name, Args args, std::int64_t index) {
    if (args[0].is_nullish()) return null();
    if (!args[0].is_array())
        return failure(
            28689,
            fmt::format("{}'s argument must be an array, but is {}", name, type_text(args[0])));
    return nth(args[0], index);
}
Result<Value> first(Evaluation&, Args args) {
    return end_element("$first", args, 0);
}
Result<Value> last(Evaluation&, Args args) {
    return end_element("$last", args, -1);
}

Result<Value> concat_arrays(Evaluation& evaluation, Args args) {
    ArrayMaker maker;
    for (const Value& arg : args) {
        if (arg.is_nullish()) return null();
        if (!arg.is_array())
            return failure(
                28664, fmt::format("$concatArrays only supports arrays, not {}", type_text(arg)));
        TRY_OK(check_memory(evaluation, maker.bytes() + arg.bytes().size()));
        for (const auto& element : arg.as_view())
            maker.add(element.value);
    }
    return std::move(maker).make(evaluation.arena());
}

Result<Value> in(Evaluation&, Args args) {
    if (!args[1].is_array())
        return failure(40081,
                       fmt::format("$in requires an array as a second argument, found: {}",
                                   type_text(args[1])));
    for (const auto& element : args[1].as_view())
        if (bson::equal(args[0], element.value)) return boolean(true);
    return boolean(false);
}

Result<Value> index_of_array(Evaluation& evaluation, Args args) {
    if (args[0].is_nullish()) return null();
    if (!args[0].is_array())
        return failure(40090,
                       fmt::format("$indexOfArray requires an array as a first argument, "
                                   "found: {}",
                                   type_text(args[0])));
    std::int64_t range[2] = {0, std::numeric_limits<std::int32_t>::max()};
    for (std::size_t i = 2; i < args.size(); ++i) {
        const std::string_view which = i == 2 ? "starting" : "ending";
        if (!is_int32(args[i]))
            return failure(40096,
                           fmt::format("$indexOfArray requires an integral {} index, found "
                                       "a value of type: {}, with value: {}",
                                       which,
                                       type_text(args[i]),
                                       args[i].to_double()));
        if (args[i].to_int64() < 0)
            return failure(40097,
                           fmt::format("$indexOfArray requires a nonnegative {} index, "
                                       "found: {}",
                                       which,
                                       args[i].to_int64()));
        range[i - 2] = args[i].to_int64();
    }
    std::int32_t index = 0;
    for (const auto& element : args[0].as_view()) {
        if (index >= range[0] && index < range[1] && bson::equal(element.value, args[1]))
            return evaluation.arena().make(index);
        ++index;
    }
    return evaluation.arena().make(std::int32_t{-1});
}

Result<Value> is_array(Evaluation&, Args args) {
    return boolean(args[0].is_array());
}

Result<Value> range(Evaluation& evaluation, Args args) {
    constexpr std::string_view names[] = {"a starting value", "an ending value", "a step value"};
    for (std::size_t i = 0; i < args.size(); ++i) {
        if (!args[i].is_number())
            return failure(34443 + static_cast<int>(i) * 2,
                           fmt::format("$range requires a numeric {}, found value of type: {}",
                                       names[i].substr(names[i].find(' ') + 1),
                                       type_text(args[i])));
        if (!is_int32(args[i]))
            return failure(34444 + static_cast<int>(i) * 2,
                           fmt::format("$range requires {} that can be represented as a 32-bit "
                                       "integer, found value: {}",
                                       names[i],
                                       args[i].to_double()));
    }
    const std::int64_t start = args[0].to_int64();
    const std::int64_t end = args[1].to_int64();
    const std::int64_t step = args.size() == 3 ? args[2].to_int64() : 1;
    if (step == 0) return failure(34449, "$range requires a non-zero step value");
    const std::int64_t count =
        step > 0 ? (end - start + step - 1) / step : (start - end - step - 1) / -step;
    if (count > range_elements_max)
        return Error(ErrorCode::exceeded_memory_limit,
                     fmt::format("$range would use too much memory ({} elements)", count));
    if (count > 0) TRY_OK(check_memory(evaluation, static_cast<std::size_t>(count) * 16));
    bson::ArrayBuilder builder;
    for (std::int64_t i = start; step > 0 ? i < end : i > end; i += step)
        builder.append(static_cast<std::int32_t>(i));
    const bson::Document array = std::move(builder).finish();
    return evaluation.arena().make_array(array.view());
}

Result<Value> reverse_array(Evaluation& evaluation, Args args) {
    if (args[0].is_nullish()) return null();
    if (!args[0].is_array())
        return failure(34435,
                       fmt::format("The argument to $reverseArray must be an array, but was "
                                   "of type: {}",
                                   type_text(args[0])));
    const auto values = elements(args[0]);
    ArrayMaker maker;
    for (auto value = values.rbegin(); value != values.rend(); ++value)
        maker.add(*value);
    return std::move(maker).make(evaluation.arena());
}

Result<Value> size(Evaluation& evaluation, Args args) {
    if (!args[0].is_array())
        return failure(17124,
                       fmt::format("The argument to $size must be an array, but was of "
                                   "type: {}",
                                   type_text(args[0])));
    return evaluation.arena().make(static_cast<std::int32_t>(args[0].as_view().count()));
}

Result<Value> slice(Evaluation& evaluation, Args args) {
    for (const Value& arg : args)
        if (arg.is_nullish()) return null();
    if (!args[0].is_array())
        return failure(28724,
                       fmt::format("First argument to $slice must be an array, but is of "
                                   "type: {}",
                                   type_text(args[0])));
    for (std::size_t i = 1; i < args.size(); ++i) {
        const std::string_view which = i == 1 ? "Second" : "Third";
        if (!args[i].is_number())
            return failure(i == 1 ? 28725 : 28727,
                           fmt::format("{} argument to $slice must be numeric, but is of type: {}",
                                       which,
                                       type_text(args[i])));
        if (!is_int32(args[i]))
            return failure(i == 1 ? 28726 : 28728,
                           fmt::format("{} argument to $slice can't be represented as a 32-bit "
                                       "integer: {}",
                                       which,
                                       args[i].to_double()));
    }
    const auto values = elements(args[0]);
    const auto count = static_cast<std::int64_t>(values.size());
    std::int64_t from = 0;
    std::int64_t to = count;
    const std::int64_t second = args[1].to_int64();
    if (args.size() == 2) {
        if (second >= 0)
            to = std::min(second, count);
        else
            from = std::max<std::int64_t>(0, count + second);
    } else {
        const std::int64_t length = args[2].to_int64();
        if (length <= 0)
            return failure(28729,
                           fmt::format("Third argument to $slice must be positive: {}", length));
        from = second >= 0 ? std::min(second, count) : std::max<std::int64_t>(0, count + second);
        to = std::min(from + length, count);
    }
    ArrayMaker maker;
    for (std::int64_t i = from; i < to; ++i)
        maker.add(values[static_cast<std::size_t>(i)]);
    return std::move(maker).make(evaluation.arena());
}

Result<std::int64_t> parse_n(std::string_view name, const Value& n) {
    if (!n.is_number() || !n.is_integral())
        return failure(
            5787902,
            fmt::format("Value for 'n' must be of integral type, but found {}", type_text(n)));
    if (n.to_int64() <= 0)
        return failure(5787908, fmt::format("'n' must be greater than 0, found {}", n.to_int64()));
    (void)name;
    return n.to_int64();
}

enum class Keep { first, last, max, min };

Result<Value> keep_n(Evaluation& evaluation, Args args, std::string_view name, Keep keep) {
    TRY(const std::int64_t n, parse_n(name, args[1]));
    if (!args[0].is_array()) return failure(5788200, fmt::format("Input must be an array"));
    auto values = elements(args[0]);
    if (keep == Keep::max || keep == Keep::min) {
        std::erase_if(values, [](const Value& value) { return value.is_nullish(); });
        std::stable_sort(values.begin(), values.end(), [&](const Value& one, const Value& two) {
            const int order = bson::compare(one, two);
            return keep == Keep::min ? order < 0 : order > 0;
        });
    }
    const std::size_t count = std::min(values.size(), static_cast<std::size_t>(n));
    const std::size_t from = keep == Keep::last ? values.size() - count : 0;
    ArrayMaker maker;
    for (std::size_t i = from; i < from + count; ++i)
        maker.add(values[i]);
    return std::move(maker).make(evaluation.arena());
}
Result<Value> first_n(Evaluation& evaluation, Args args) {
    return keep_n(evaluation, args, "$firstN", Keep::first);
}
Result<Value> last_n(Evaluation& evaluation, Args args) {
    return keep_n(evaluation, args, "$lastN", Keep::last);
}
Result<Value> max_n(Evaluation& evaluation, Args args) {
    return keep_n(evaluation, args, "$maxN", Keep::max);
}
Result<Value> min_n(Evaluation& evaluation, Args args) {
    return keep_n(evaluation, args, "$minN", Keep::min);
}

Result<Value> zip(Evaluation& evaluation, Args args) {
    const bool longest = !is_absent(args[1]) && args[1].is_truthy();
    if (!args[0].is_array())
        return failure(
            34461,
            fmt::format("inputs must be an array of expressions, found {}", type_text(args[0])));
    std::vector<std::vector<Value>> inputs;
    std::size_t rows = longest ? 0 : std::numeric_limits<std::size_t>::max();
    for (const auto& input : args[0].as_view()) {
        if (input.value.is_nullish()) return null();
        if (!input.value.is_array())
            return failure(34468,
                           fmt::format("$zip found a non-array expression in input: {}",
                                       type_text(input.value)));
        inputs.push_back(elements(input.value));
        rows =
            longest ? std::max(rows, inputs.back().size()) : std::min(rows, inputs.back().size());
    }
    if (inputs.empty()) return failure(34465, "$zip requires at least one input array");
    std::vector<Value> defaults(inputs.size(), null());
    if (!is_absent(args[2])) {
        if (!args[2].is_array())
            return failure(34462,
                           fmt::format("defaults must be an array of expressions, found {}",
                                       type_text(args[2])));
        if (!longest)
            return failure(34466, "cannot specify defaults unless useLongestLength is true");
        const auto given = elements(args[2]);
        if (given.size() != inputs.size())
            return failure(34467, "defaults and inputs must have the same length");
        defaults = given;
    }
    ArrayMaker maker;
    for (std::size_t row = 0; row < rows; ++row) {
        ArrayMaker tuple;
        for (std::size_t i = 0; i < inputs.size(); ++i)
            tuple.add(row < inputs[i].size() ? inputs[i][row] : defaults[i]);
        TRY_OK(check_memory(evaluation, maker.bytes() + tuple.bytes()));
        maker.add(std::move(tuple).make(evaluation.arena()));
    }
    return std::move(maker).make(evaluation.arena());
}

constexpr Function functions[] = {
    {"$arrayElemAt", 2, 2, array_element_at},
    {"$first", 1, 1, first},
    {"$last", 1, 1, last},
    {"$concatArrays", 0, -1, concat_arrays},
    {"$in", 2, 2, in},
    {"$indexOfArray", 2, 4, index_of_array},
    {"$isArray", 1, 1, is_array},
    {"$range", 2, 3, range},
    {"$reverseArray", 1, 1, reverse_array},
    {"$size", 1, 1, size},
    {"$slice", 2, 3, slice},
};
constexpr Parameter n_parameters[] = {{"input", true}, {"n", true}};
constexpr Parameter zip_parameters[] = {{"inputs", true}, {"useLongestLength"}, {"defaults"}};
constexpr NamedFunction named[] = {
    {"$firstN", n_parameters, first_n, {5787801, 5787901, 5787906}},
    {"$lastN", n_parameters, last_n, {5787801, 5787901, 5787906}},
    {"$maxN", n_parameters, max_n, {5787900, 5787901, 5787906}},
    {"$minN", n_parameters, min_n, {5787900, 5787901, 5787906}},
    {"$zip", zip_parameters, zip, {34460, 34464, 34465}},
};

}  // namespace

OperatorTable array_operators() {
    return {functions, named, {}};
}

}  // namespace tessera::query::expression
