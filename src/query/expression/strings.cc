// SPDX-License-Identifier: Apache-2.0
//
// $concat, $substr..., case, lengths, positions.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "bson/decimal.h"
#include "bson/view.h"
#include "query/expression/convert.h"
#include "query/expression/node.h"
#include "query/expression/text.h"

namespace tessera::query::expression {

std::size_t count_code_points(std::string_view text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return !is_continuation(c); }));
}

std::size_t code_point_offset(std::string_view text, std::size_t index) {
    std::size_t at = 0;
    while (at < text.size() && index > 0) {
        ++at;
        while (at < text.size() && is_continuation(text[at]))
            ++at;
        --index;
    }
    return at;
}

Result<std::string> coerce_to_string(const Value& value) {
    switch (value.type()) {
        case Type::missing:
        case Type::null:
        case Type::undefined:
            return std::string();
        case Type::string:
        case Type::symbol:
        case Type::code:
            return std::string(value.as_string());
        case Type::int32:
        case Type::int64:
            return std::to_string(value.to_int64());
        case Type::number_double:
            return double_to_string(value.as_double());
        case Type::decimal128:
            return bson::to_string(value.as_decimal128());
        case Type::date:
            return date_to_iso(value.as_date());
        case Type::timestamp: {
            const Timestamp timestamp = value.as_timestamp();
            return date_to_iso({std::int64_t{timestamp.seconds} * 1000});
        }
        default:
            return failure(
                16007, fmt::format("can't convert from BSON type {} to String", type_text(value)));
    }
}

namespace {

Result<Value> concat(Evaluation& evaluation, Args args) {
    std::string& result = evaluation.scratch();
    for (const Value& arg : args) {
        if (arg.is_nullish()) return null();
        if (!arg.is_string())
            return failure(16702,
                           fmt::format("$concat only supports strings, not {}", type_text(arg)));
        TRY_OK(check_memory(evaluation, result.size() + arg.bytes().size()));
        result.append(arg.as_string());
    }
    return evaluation.arena().make(std::string_view(result));
}

template <class Change>
Result<Value> change_case(Evaluation& evaluation, Args args, Change change) {
    TRY(std::string text, coerce_to_string(args[0]));
    for (char& c : text)
        c = change(c);
    return evaluation.arena().make(std::string_view(text));
}
char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}
char upper(char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
}
Result<Value> to_lower(Evaluation& evaluation, Args args) {
    return change_case(evaluation, args, lower);
}
Result<Value> to_upper(Evaluation& evaluation, Args args) {
    return change_case(evaluation, args, upper);
}

Result<Value> compare_ignoring_case(Evaluation& evaluation, Args args) {
    TRY(std::string one, coerce_to_string(args[0]));
    TRY(std::string two, coerce_to_string(args[1]));
    std::transform(one.begin(), one.end(), one.begin(), upper);
    std::transform(two.begin(), two.end(), two.begin(), upper);
    const int result = one.compare(two);
    return evaluation.arena().make(std::int32_t{result < 0 ? -1 : result > 0 ? 1 : 0});
}

Result<Value> substring_bytes(Evaluation& evaluation, Args args) {
    TRY(const std::string text, coerce_to_string(args[0]));
    if (!args[1].is_number())
        return failure(16034,
                       fmt::format("$substrBytes:  starting index must be a numeric type "
                                   "(is BSON type {})",
                                   type_text(args[1])));
    if (!args[2].is_number())
        return failure(16035,
                       fmt::format("$substrBytes:  length must be a numeric type (is BSON "
                                   "type {})",
                                   type_text(args[2])));
    const std::int64_t from = args[1].to_int64();
    const std::int64_t length = args[2].to_int64();
    if (from < 0)
        return failure(50752,
                       fmt::format("$substrBytes:  starting index must be non-negative "
                                   "(got: {})",
                                   from));
    const auto size = static_cast<std::int64_t>(text.size());
    if (from >= size) return evaluation.arena().make(std::string_view());
    const auto start = static_cast<std::size_t>(from);
    if (is_continuation(text[start]))
        return failure(28656,
                       "$substrBytes:  Invalid range, starting index is a UTF-8 "
                       "continuation byte.");
    const std::size_t count =
        length < 0 || length > size - from ? text.size() - start : static_cast<std::size_t>(length);
    if (start + count < text.size() && is_continuation(text[start + count]))
        return failure(28657,
                       "$substrBytes:  Invalid range, ending index is in the middle of a "
                       "UTF-8 character.");
    return evaluation.arena().make(std::string_view(text).substr(start, count));
}

Result<Value> substring_code_points(Evaluation& evaluation, Args args) {
    TRY(const std::string text, coerce_to_string(args[0]));
    for (std::size_t i = 1; i < 3; ++i) {
        const std::string_view what = i == 1 ? "starting index" : "length";
        if (!args[i].is_number())
            return failure(i == 1 ? 34450 : 34452,
                           fmt::format("$substrCP: {} must be a numeric type (is BSON type {})",
                                       what,
                                       type_text(args[i])));
        if (!args[i].is_integral())
            return failure(i == 1 ? 34451 : 34453,
                           fmt::format("$substrCP: {} cannot be represented as a 32-bit integral "
                                       "value: {}",
                                       what,
                                       args[i].to_double()));
        if (args[i].to_int64() < 0)
            return failure(
                i == 1 ? 34455 : 34454,
                fmt::format("$substrCP: {} must be {} integer.",
                            what,
                            i == 1 ? "the starting index must be a nonnegative" : "a nonnegative"));
    }
    const std::size_t start = code_point_offset(text, static_cast<std::size_t>(args[1].to_int64()));
    const std::string_view rest = std::string_view(text).substr(start);
    return evaluation.arena().make(
        rest.substr(0, code_point_offset(rest, static_cast<std::size_t>(args[2].to_int64()))));
}

Result<Value> length_bytes(Evaluation& evaluation, Args args) {
    if (!args[0].is_string())
        return failure(
            34473,
            fmt::format("$strLenBytes requires a string argument, found: {}", type_text(args[0])));
    return evaluation.arena().make(static_cast<std::int32_t>(args[0].as_string().size()));
}
Result<Value> length_code_points(Evaluation& evaluation, Args args) {
    if (!args[0].is_string())
        return failure(
            34471,
            fmt::format("$strLenCP requires a string argument, found: {}", type_text(args[0])));
    return evaluation.arena().make(
        static_cast<std::int32_t>(count_code_points(args[0].as_string())));
}

struct Range {
    std::int64_t start = 0;
    std::int64_t end = INT32_MAX;
};

/// The optional start and end of $indexOf...: integers, not negative.
Result<Range> index_range(std::string_view name, Args args) {
    Range range;
    for (std::size_t i = 2; i < args.size(); ++i) {
        const std::string_view which = i == 2 ? "starting" : "ending";
        if (!args[i].is_number() || !args[i].is_integral())
            return failure(40096,
                           fmt::format("{} requires an integral {} index, found a value of "
                                       "type: {}, with value: {}",
                                       name,
                                       which,
                                       type_text(args[i]),
                                       args[i].to_double()));
        if (args[i].to_int64() < 0)
            return failure(40097,
                           fmt::format("{} requires a nonnegative {} index, found: {}",
                                       name,
                                       which,
                                       args[i].to_int64()));
        (i == 2 ? range.start : range.end) = args[i].to_int64();
    }
    return range;
}

Status check_strings(std::string_view name, Args args, int first_code) {
    if (!args[0].is_string())
        return failure(first_code,
                       fmt::format("{} requires a string as the first argument, "
                                   "found: {}",
                                   name,
                                   type_text(args[0])));
    if (!args[1].is_string())
        return failure(first_code + 1,
                       fmt::format("{} requires a string as the second argument, "
                                   "found: {}",
                                   name,
                                   type_text(args[1])));
    return {};
}

Result<Value> index_of_bytes(Evaluation& evaluation, Args args) {
    if (args[0].is_nullish()) return null();
    TRY_OK(check_strings("$indexOfBytes", args, 40091));
    TRY(const Range range, index_range("$indexOfBytes", args));
    const std::string_view text = args[0].as_string();
    const auto end = std::min(range.end, static_cast<std::int64_t>(text.size()));
    std::int32_t result = -1;
    if (range.start <= end) {
        const std::size_t at =
            text.substr(0, static_cast<std::size_t>(end))
                .find(args[1].as_string(), static_cast<std::size_t>(range.start));
        if (at != std::string_view::npos) result = static_cast<std::int32_t>(at);
    }
    return evaluation.arena().make(result);
}

Result<Value> index_of_code_points(Evaluation& evaluation, Args args) {
    if (args[0].is_nullish()) return null();
    TRY_OK(check_strings("$indexOfCP", args, 40093));
    TRY(const Range range, index_range("$indexOfCP", args));
    const std::string_view text = args[0].as_string();
    const auto count = static_cast<std::int64_t>(count_code_points(text));
    const std::int64_t last = std::min(range.end, count);
    std::int32_t result = -1;
    if (range.start <= last) {
        const std::size_t from = code_point_offset(text, static_cast<std::size_t>(range.start));
        const std::size_t to = code_point_offset(text, static_cast<std::size_t>(last));
        const std::size_t at = text.substr(0, to).find(args[1].as_string(), from);
        if (at != std::string_view::npos)
            result = static_cast<std::int32_t>(count_code_points(text.substr(0, at)));
    }
    return evaluation.arena().make(result);
}

Result<Value> binary_size(Evaluation& evaluation, Args args) {
    const Value& value = args[0];
    if (value.is_nullish()) return null();
    if (value.is_string())
        return evaluation.arena().make(static_cast<std::int32_t>(value.as_string().size()));
    if (value.type() == Type::binary)
        return evaluation.arena().make(static_cast<std::int32_t>(value.as_binary().bytes.size()));
    return failure(51276,
                   fmt::format("$binarySize requires a string or BinData argument, found: {}",
                               type_text(value)));
}

constexpr Function functions[] = {
    {"$concat", 0, -1, concat},
    {"$toLower", 1, 1, to_lower},
    {"$toUpper", 1, 1, to_upper},
    {"$strcasecmp", 2, 2, compare_ignoring_case},
    {"$substr", 3, 3, substring_bytes},
    {"$substrBytes", 3, 3, substring_bytes},
    {"$substrCP", 3, 3, substring_code_points},
    {"$strLenBytes", 1, 1, length_bytes},
    {"$strLenCP", 1, 1, length_code_points},
    {"$indexOfBytes", 2, 4, index_of_bytes},
    {"$indexOfCP", 2, 4, index_of_code_points},
    {"$binarySize", 1, 1, binary_size},
};

}  // namespace

OperatorTable string_operators() {
    return {functions, {}, {}};
}

}  // namespace tessera::query::expression
