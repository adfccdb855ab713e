// SPDX-License-Identifier: Apache-2.0
//
// A compiled regular expression of a filter: PCRE2 with JIT, UTF-8, and MongoDB's option letters
// i (case), m (multi-line), s (dot matches all), x (extended), u (accepted, always on).
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tessera::query {

/// What one thread needs to run regular expressions; reusable for any number of them.
class RegexScratch {
public:
    RegexScratch();
    ~RegexScratch();
    RegexScratch(const RegexScratch&) = delete;
    RegexScratch& operator=(const RegexScratch&) = delete;

private:
    friend class Regex;
    struct State;
    std::unique_ptr<State> state_;
};

class Regex {
public:
    /// Longest pattern accepted.
    static constexpr std::size_t pattern_bytes_max = 32764;

    /// Fails with 51108 for an unknown option, 51091 for a bad pattern.
    static Result<Regex> compile(std::string_view pattern, std::string_view options);

    /// Whether the pattern matches anywhere in `text`.
    bool matches(std::string_view text, RegexScratch& scratch) const;

    const std::string& pattern() const { return pattern_; }
    const std::string& options() const { return options_; }

    /// The literal text every match starts with ("^abc.*" gives "abc"), for index bounds; empty
    /// when the pattern has none. When `is_exact_prefix`, the pattern matches exactly the strings
    /// that start with it.
    const std::string& prefix() const { return prefix_; }
    bool is_exact_prefix() const { return is_exact_prefix_; }

private:
    Regex() = default;
    void find_prefix();

    std::string pattern_;
    std::string options_;
    std::string prefix_;
    bool is_exact_prefix_ = false;
    std::shared_ptr<void> code_;  // pcre2_code, immutable; shared by copies of this object.
};

}  // namespace tessera::query
