// SPDX-License-Identifier: Apache-2.0
//
// $regexMatch, $regexFind, $regexFindAll, over PCRE2 in UTF-8.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <memory>

#include <fmt/format.h>
#include <pcre2.h>

#include "query/expression/node.h"
#include "query/expression/text.h"

namespace tessera::query::expression {
namespace {

struct FreeCode {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatch {
    void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
};
using Code = std::unique_ptr<pcre2_code, FreeCode>;
using Match = std::unique_ptr<pcre2_match_data, FreeMatch>;

/// Steps one match may take before it fails, so that no pattern can run for ever.
constexpr std::uint32_t match_steps_max = 10'000'000;

Result<Code> compile(std::string_view name, std::string_view pattern, std::string_view options) {
    std::uint32_t flags = PCRE2_UTF;
    for (const char option : options) {
        switch (option) {
            case 'i':
                flags |= PCRE2_CASELESS;
                break;
            case 'm':
                flags |= PCRE2_MULTILINE;
                break;
            case 's':
                flags |= PCRE2_DOTALL;
                break;
            case 'x':
                flags |= PCRE2_EXTENDED;
                break;
            case 'u':
                break;
            default:
                return failure(51108,
                               fmt::format("{} invalid flag in regex options: {}", name, options));
        }
    }
    int error = 0;
    std::size_t offset = 0;
    Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()),
                            pattern.size(),
                            flags,
                            &error,
                            &offset,
                            nullptr));
    if (!code) {
        unsigned char text[256];
        pcre2_get_error_message(error, text, sizeof(text));
        return failure(
            51111,
            fmt::format("Invalid Regex in {}: {}", name, reinterpret_cast<const char*>(text)));
    }
    return code;
}

/// What one evaluation searches for, and where.
struct Search {
    std::string_view name;
    std::string_view input;
    Code code;  // Null: the answer is "no match".
    Match match;
    std::size_t byte_at = 0;
    std::size_t code_points_at = 0;

    /// Finds the next match from byte_at on.
    Result<bool> next() {
        std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> context(
            pcre2_match_context_create(nullptr), pcre2_match_context_free);
        pcre2_set_match_limit(context.get(), match_steps_max);
        const int count = pcre2_match(code.get(),
                                      reinterpret_cast<PCRE2_SPTR>(input.data()),
                                      input.size(),
                                      byte_at,
                                      0,
                                      match.get(),
                                      context.get());
        if (count == PCRE2_ERROR_NOMATCH) return false;
        if (count < 0)
            return failure(51156,
                           fmt::format("Error occurred while executing the regular "
                                       "expression in {}. Result code: {}",
                                       name,
                                       count));
        return true;
    }
    /// {match, idx, captures} of the match found.
    Value describe(Arena& arena) {
        const std::size_t* const offsets = pcre2_get_ovector_pointer(match.get());
        code_points_at += count_code_points(input.substr(byte_at, offsets[0] - byte_at));
        byte_at = offsets[0];
        bson::Builder builder;
        builder.append("match", input.substr(offsets[0], offsets[1] - offsets[0]));
        builder.append("idx", static_cast<std::int32_t>(code_points_at));
        {
            auto captures = builder.array("captures");
            for (std::uint32_t i = 1; i < pcre2_get_ovector_count(match.get()); ++i) {
                if (offsets[2 * i] == PCRE2_UNSET)
                    captures.append_null();
                else
                    captures.append(
                        input.substr(offsets[2 * i], offsets[2 * i + 1] - offsets[2 * i]));
            }
        }
        const bson::Document document = std::move(builder).finish();
        return arena.make_object(document.view());
    }
};

Result<Search> prepare(std::string_view name, Args args) {
    Search search;
    search.name = name;
    const Value& input = args[0];
    const Value& regex = args[1];
    if (!input.is_nullish() && !input.is_string())
        return failure(51104, fmt::format("{} needs 'input' to be of type string", name));
    if (!regex.is_nullish() && !regex.is_string() && regex.type() != Type::regex)
        return failure(51105, fmt::format("{} needs 'regex' to be of type string or regex", name));
    if (!args[2].is_nullish() && !args[2].is_string())
        return failure(51106, fmt::format("{} needs 'options' to be of type string", name));
    std::string_view pattern;
    std::string_view options;
    if (regex.type() == Type::regex) {
        const bson::Regex value = regex.as_regex();
        pattern = value.pattern;
        options = value.options;
        if (!args[2].is_nullish() && !options.empty())
            return failure(51107,
                           fmt::format("{}: found regex option(s) specified in both 'regex' "
                                       "and 'option' fields",
                                       name));
    } else if (regex.is_string()) {
        pattern = regex.as_string();
        if (pattern.find('\0') != std::string_view::npos)
            return failure(51109,
                           fmt::format("{}: regular expression cannot contain an embedded "
                                       "null byte",
                                       name));
    }
    if (args[2].is_string()) options = args[2].as_string();
    if (input.is_nullish() || regex.is_nullish()) return search;
    TRY(search.code, compile(name, pattern, options));
    search.match.reset(pcre2_match_data_create_from_pattern(search.code.get(), nullptr));
    search.input = input.as_string();
    return search;
}

Result<Value> regex_match(Evaluation&, Args args) {
    TRY(Search search, prepare("$regexMatch", args));
    if (!search.code) return boolean(false);
    TRY(const bool is_match, search.next());
    return boolean(is_match);
}

Result<Value> regex_find(Evaluation& evaluation, Args args) {
    TRY(Search search, prepare("$regexFind", args));
    if (!search.code) return null();
    TRY(const bool is_match, search.next());
    return is_match ? search.describe(evaluation.arena()) : null();
}

Result<Value> regex_find_all(Evaluation& evaluation, Args args) {
    TRY(Search search, prepare("$regexFindAll", args));
    ArrayMaker maker;
    if (!search.code) return std::move(maker).make(evaluation.arena());
    do {  // An empty input is searched once; past the end there is no further empty match.
        TRY(const bool is_match, search.next());
        if (!is_match) break;
        maker.add(search.describe(evaluation.arena()));
        TRY_OK(check_memory(evaluation, maker.bytes()));
        std::size_t next = pcre2_get_ovector_pointer(search.match.get())[1];
        if (next == search.byte_at)  // An empty match: step over one code point.
            next += code_point_offset(search.input.substr(next), 1);
        search.code_points_at +=
            count_code_points(search.input.substr(search.byte_at, next - search.byte_at));
        search.byte_at = next;
    } while (search.byte_at < search.input.size());
    return std::move(maker).make(evaluation.arena());
}

constexpr Parameter parameters[] = {{"input", true}, {"regex", true}, {"options"}};
constexpr NamedFunction named[] = {
    {"$regexMatch", parameters, regex_match, {51103, 31024, 31022}},
    {"$regexFind", parameters, regex_find, {51103, 31024, 31022}},
    {"$regexFindAll", parameters, regex_find_all, {51103, 31024, 31022}},
};

}  // namespace

OperatorTable regex_operators() {
    return {{}, named, {}};
}

}  // namespace tessera::query::expression
