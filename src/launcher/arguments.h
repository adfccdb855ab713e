// SPDX-License-Identifier: Apache-2.0
//
// The launcher's own command line: one table of flags, and which verbs take which.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "launcher/topology.h"

namespace tessera::launcher {

struct Arguments {
    std::string verb;
    std::vector<std::string> words;         // What stands without dashes: NAME, TAGs.
    std::vector<std::string> after_dashes;  // What follows "--".

    // Which cluster.
    std::string directory;  // --dir, absolute.
    std::string name;       // --name.

    // up
    std::optional<std::int64_t> shards, members, routers, config, arbiters;
    std::optional<std::uint16_t> port;
    std::uint16_t port_offset = 0;
    bool any_port = false;
    bool is_ephemeral = false;
    bool is_dry_run = false;
    bool in_foreground = false;
    Duration wait = 0s;           // 0: the default.
    double memory_gigabytes = 0;  // 0: the default for each member.
    ExtraFlags flags;

    // Output.
    bool json = false;
    bool quiet = false;

    // Others.
    bool yes = false;
    bool all = false;
    bool follow = false;
    std::int64_t tail = 20;
    std::string grep;
    std::string signal;
    std::string shell = "bash";
    std::string direct;  // uri --direct NODE
};

struct Verb {
    std::string_view name;
    std::string_view words;  // "[NAME]", "[TAG ...]"
    std::string_view help;
};
const std::vector<Verb>& all_verbs();

/// `words` after the program's name. Fails with BadValue: the exit code is then 2.
Result<Arguments> parse_arguments(const std::vector<std::string>& words);
/// "60s", "500ms", "2m", or a number of seconds. Fails with BadValue.
Result<Duration> parse_duration(std::string_view text);
/// "2GB", "512MB", or a number of gigabytes, in gigabytes. Fails with BadValue.
Result<double> parse_memory(std::string_view text);
/// "KILL", "SIGKILL", "9". Fails with BadValue.
Result<int> parse_signal(std::string_view text);

/// `tessera help`, `tessera help VERB`; empty for a verb there is not.
std::string help_text();
std::string help_text(std::string_view verb);

}  // namespace tessera::launcher
