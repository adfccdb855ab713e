// SPDX-License-Identifier: Apache-2.0
#include "query/match/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

namespace tessera::query {
namespace {

// Bounds what one match may cost: a pattern that backtracks without end fails to match.
constexpr std::uint32_t match_limit = 10'000'000;
constexpr std::size_t jit_stack_bytes_min = 32 * 1024;
constexpr std::size_t jit_stack_bytes_max = 512 * 1024;

Result<std::uint32_t> flags_of(std::string_view options) {
    std::uint32_t flags = PCRE2_UTF | PCRE2_MATCH_INVALID_UTF;
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
                break;  // UTF-8 is always on.
            default:
                return Error(location(51108),
                             fmt::format(" invalid flag in regex options: {}", option));
        }
    }
    return flags;
}

}  // namespace

struct RegexScratch::State {
    pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
    pcre2_match_context* context = pcre2_match_context_create(nullptr);
    pcre2_jit_stack* stack =
        pcre2_jit_stack_create(jit_stack_bytes_min, jit_stack_bytes_max, nullptr);

    State() {
        pcre2_set_match_limit(context, match_limit);
        pcre2_jit_stack_assign(context, nullptr, stack);
    }
    ~State() {
        pcre2_jit_stack_free(stack);
        pcre2_match_context_free(context);
        pcre2_match_data_free(data);
    }
    State(const State&) = delete;
    State& operator=(const State&) = delete;
};

RegexScratch::RegexScratch() = default;
RegexScratch::~RegexScratch() = default;

Result<Regex> Regex::compile(std::string_view pattern, std::string_view options) {
    TRY(const std::uint32_t flags, flags_of(options));
    if (pattern.find('\0') != std::string_view::npos) {
        return Error(ErrorCode::bad_value,
                     "Regular expression cannot contain an embedded null byte");
    }
    if (pattern.size() > pattern_bytes_max) {
        return Error(location(51091),
                     "Regular expression is invalid: regular expression is too large");
    }
    int code = 0;
    PCRE2_SIZE offset = 0;
    pcre2_code* compiled = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()),
                                         pattern.size(),
                                         flags,
                                         &code,
                                         &offset,
                                         nullptr);
    if (compiled == nullptr) {
        char text[256];
        pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(text), sizeof text);
        // PCRE 1, whose words clients know, said "missing )".
        std::string_view reason = text;
        if (reason == "missing closing parenthesis") reason = "missing )";
        return Error(location(51091), fmt::format("Regular expression is invalid: {}", reason));
    }
    pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);  // Where it fails, matching interprets.
    Regex result;
    result.pattern_ = pattern;
    result.options_ = options;
    result.code_ = std::shared_ptr<void>(
        compiled, [](void* p) { pcre2_code_free(static_cast<pcre2_code*>(p)); });
    result.find_prefix();
    return result;
}

bool Regex::matches(std::string_view text, RegexScratch& scratch) const {
    if (!scratch.state_) scratch.state_ = std::make_unique<RegexScratch::State>();
    const int found = pcre2_match(static_cast<const pcre2_code*>(code_.get()),
                                  reinterpret_cast<PCRE2_SPTR>(text.data()),
                                  text.size(),
                                  0,
                                  0,
                                  scratch.state_->data,
                                  scratch.state_->context);
    return found >= 0;
}

// Only "^" or "\A" followed by literals counts, without options that change what literals mean.
void Regex::find_prefix() {
    std::string_view rest = pattern_;
    for (const char option : options_) {
        if (option == 'i' || option == 'x') return;
        if (option == 'm' && rest.starts_with('^')) return;  // "^" then matches after newlines too.
    }
    if (rest.starts_with('^')) {
        rest.remove_prefix(1);
    } else if (rest.starts_with("\\A")) {
        rest.remove_prefix(2);
    } else {
        return;
    }
    if (rest.find('|') != std::string_view::npos) return;
    const bool dot_is_all = options_.find('s') != std::string::npos;
    while (!rest.empty()) {
        char literal = rest[0];
        std::size_t length = 1;
        if (literal == '\\') {
            if (rest.size() < 2) return;
            literal = rest[1];
            length = 2;
            const bool is_word = (literal >= '0' && literal <= '9') ||
                                 (literal >= 'a' && literal <= 'z') ||
                                 (literal >= 'A' && literal <= 'Z');
            if (is_word) return;  // A class or an assertion.
        } else if (std::string_view("^$.[]()*+?{}").find(literal) != std::string_view::npos) {
            is_exact_prefix_ = dot_is_all && rest == ".*";
            return;
        }
        const std::string_view after = rest.substr(length);
        const char next = after.empty() ? '\0' : after[0];
        if (next == '*' || next == '?' || next == '{') {
            // The literal may be absent; a multi-byte character goes as a whole.
            while (!prefix_.empty() && (static_cast<unsigned char>(literal) & 0xc0U) == 0x80U) {
                literal = prefix_.back();
                prefix_.pop_back();
            }
            return;
        }
        prefix_.push_back(literal);
        if (next == '+') return;
        rest = after;
    }
    is_exact_prefix_ = true;
}

}  // namespace tessera::query
