// SPDX-License-Identifier: Apache-2.0
//
// $split, the trims, and replacement.
#include "query/expression/text.h"

#include <algorithm>

#include <fmt/format.h>

#include "query/expression/node.h"

namespace tessera::query::expression {
namespace {

Result<Value> split(Evaluation& evaluation, Args args) {
    if (args[0].is_nullish() || args[1].is_nullish()) return null();
    if (!args[0].is_string())
        return failure(40085,
                       fmt::format("$split requires an expression that evaluates to a "
                                   "string as a first argument, found: {}",
                                   type_text(args[0])));
    if (!args[1].is_string())
        return failure(40086,
                       fmt::format("$split requires an expression that evaluates to a "
                                   "string as a second argument, found: {}",
                                   type_text(args[1])));
    std::string_view text = args[0].as_string();
    const std::string_view separator = args[1].as_string();
    if (separator.empty()) return failure(40087, "$split requires a non-empty separator");
    bson::ArrayBuilder builder;
    while (true) {
        const std::size_t at = text.find(separator);
        builder.append(text.substr(0, at));
        if (at == std::string_view::npos) break;
        text.remove_prefix(at + separator.size());
    }
    const bson::Document array = std::move(builder).finish();
    return evaluation.arena().make_array(array.view());
}

/// What the manual lists as whitespace: NUL, ASCII space characters, and Unicode's spaces.
constexpr std::string_view whitespace[] = {std::string_view("\0", 1),
                                           " ",
                                           "\t",
                                           "\n",
                                           "\v",
                                           "\f",
                                           "\r",
                                           "\xc2\xa0",
                                           "\xe1\x9a\x80",
                                           "\xe2\x80\x80",
                                           "\xe2\x80\x81",
                                           "\xe2\x80\x82",
                                           "\xe2\x80\x83",
                                           "\xe2\x80\x84",
                                           "\xe2\x80\x85",
                                           "\xe2\x80\x86",
                                           "\xe2\x80\x87",
                                           "\xe2\x80\x88",
                                           "\xe2\x80\x89",
                                           "\xe2\x80\x8a"};

std::vector<std::string_view> characters(std::string_view text) {
    std::vector<std::string_view> result;
    while (!text.empty()) {
        const std::size_t length = code_point_offset(text, 1);
        result.push_back(text.substr(0, length));
        text.remove_prefix(length);
    }
    return result;
}

Result<Value> trim(
    Evaluation& evaluation, Args args, std::string_view name, bool left, bool right) {
    const Value& input = args[0];
    if (input.is_nullish()) return null();
    if (!input.is_string())
        return failure(50699,
                       fmt::format("{} requires its input to be a string, got {} (of type "
                                   "{}) instead.",
                                   name,
                                   type_text(input),
                                   type_text(input)));
    std::vector<std::string_view> set(std::begin(whitespace), std::end(whitespace));
    if (!is_absent(args[1])) {
        if (args[1].is_nullish()) return null();
        if (!args[1].is_string())
            return failure(50700,
                           fmt::format("{} requires 'chars' to be a string, got {} (of type "
                                       "{}) instead.",
                                       name,
                                       type_text(args[1]),
                                       type_text(args[1])));
        set = characters(args[1].as_string());
    }
    std::string_view text = input.as_string();
    const auto in_set = [&](std::string_view character) {
        return std::find(set.begin(), set.end(), character) != set.end();
    };
    while (left && !text.empty()) {
        const std::size_t length = code_point_offset(text, 1);
        if (!in_set(text.substr(0, length))) break;
        text.remove_prefix(length);
    }
    while (right && !text.empty()) {
        std::size_t at = text.size() - 1;
        while (at > 0 && is_continuation(text[at]))
            --at;
        if (!in_set(text.substr(at))) break;
        text.remove_suffix(text.size() - at);
    }
    return evaluation.arena().make(text);
}
Result<Value> trim_both(Evaluation& evaluation, Args args) {
    return trim(evaluation, args, "$trim", true, true);
}
Result<Value> trim_left(Evaluation& evaluation, Args args) {
    return trim(evaluation, args, "$ltrim", true, false);
}
Result<Value> trim_right(Evaluation& evaluation, Args args) {
    return trim(evaluation, args, "$rtrim", false, true);
}

Result<Value> replace(Evaluation& evaluation, Args args, std::string_view name, bool all) {
    constexpr struct {
        std::string_view name;
        int code;
    } parameters[] = {{"input", 51746}, {"find", 51745}, {"replacement", 51744}};
    bool is_null = false;
    for (std::size_t i = 0; i < 3; ++i) {
        if (args[i].is_nullish()) {
            is_null = true;
        } else if (!args[i].is_string()) {
            return failure(parameters[i].code,
                           fmt::format("{} requires that '{}' be a string, found: {}",
                                       name,
                                       parameters[i].name,
                                       type_text(args[i])));
        }
    }
    if (is_null) return null();
    const std::string_view find = args[1].as_string();
    const std::string_view replacement = args[2].as_string();
    std::string_view text = args[0].as_string();
    std::string& result = evaluation.scratch();
    if (find.empty()) {  // Before each code point (and at the end), as MongoDB does.
        result.append(replacement);
        if (!all) {
            result.append(text);
            return evaluation.arena().make(std::string_view(result));
        }
        for (const std::string_view character : characters(text)) {
            result.append(character);
            result.append(replacement);
            TRY_OK(check_memory(evaluation, result.size()));
        }
        return evaluation.arena().make(std::string_view(result));
    }
    while (true) {
        const std::size_t at = text.find(find);
        result.append(text.substr(0, at));
        if (at == std::string_view::npos) break;
        result.append(replacement);
        TRY_OK(check_memory(evaluation, result.size()));
        text.remove_prefix(at + find.size());
        if (!all) {
            result.append(text);
            break;
        }
    }
    return evaluation.arena().make(std::string_view(result));
}
Result<Value> replace_one(Evaluation& evaluation, Args args) {
    return replace(evaluation, args, "$replaceOne", false);
}
Result<Value> replace_all(Evaluation& evaluation, Args args) {
    return replace(evaluation, args, "$replaceAll", true);
}

constexpr Parameter trim_parameters[] = {{"input", true}, {"chars"}};
constexpr Parameter replace_parameters[] = {{"input", true}, {"find", true}, {"replacement", true}};
constexpr Function functions[] = {{"$split", 2, 2, split}};
constexpr NamedFunction named[] = {
    {"$trim", trim_parameters, trim_both, {50696, 50694, 50695}},
    {"$ltrim", trim_parameters, trim_left, {50696, 50694, 50695}},
    {"$rtrim", trim_parameters, trim_right, {50696, 50694, 50695}},
    {"$replaceOne", replace_parameters, replace_one, {51751, 51750, 51749}},
    {"$replaceAll", replace_parameters, replace_all, {51751, 51750, 51749}},
};

}  // namespace

OperatorTable text_operators() {
    return {functions, named, {}};
}

}  // namespace tessera::query::expression
