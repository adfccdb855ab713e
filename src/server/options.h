// SPDX-License-Identifier: Apache-2.0
//
// The options of mongod and mongos, each named once: its flag, its place in a configuration file
// (and in getCmdLineOpts.parsed), what it does to the settings, and its line of --help.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "server/settings.h"

namespace tessera::server {

enum class Kind : std::uint8_t { flag, text, integer, number };
enum class Use : std::uint8_t {
    applied,
    ignored,  // Accepted with one warning line: it changes nothing a client could tell.
    refused,  // Known, and not supported: the help text says why and what to do.
};

/// A value as it was written, and as its option's kind reads it.
struct OptionValue {
    std::string text;
    bool flag = false;
    std::int64_t integer = 0;
    double number = 0;
};

struct Option {
    std::string_view name;  // Without its dashes; empty: only in files.
    char letter;            // A short form, or 0.
    unsigned programs;      // Bits of for_mongod, for_mongos.
    Kind kind;
    Use use;
    std::string_view path;  // In files and in "parsed"; empty: only on the command line.
    std::string_view help;
    Status (*apply)(Settings& settings, const OptionValue& value);  // Null: nothing to do.
};

inline constexpr unsigned for_mongod = 1;
inline constexpr unsigned for_mongos = 2;

std::span<const Option> all_options();
/// By flag ("port"), letter ('f') or path ("net.port"); null when `program` has no such option.
const Option* find_option(Program program, std::string_view name);
const Option* find_letter(Program program, char letter);
const Option* find_path(Program program, std::string_view path);
/// The known name closest to a misspelt one; empty when none is close. Of flags, or of paths.
std::string_view nearest_option(Program program, std::string_view name);
std::string_view nearest_path(Program program, std::string_view path);

/// Reads `text` as `option` wants it. Fails with BadValue.
Result<OptionValue> read_value(const Option& option, std::string text);

/// What --help prints: a line an option, its long form first.
std::string help_text(Program program);

}  // namespace tessera::server
