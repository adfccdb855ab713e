// SPDX-License-Identifier: Apache-2.0
#include "launcher/progress.h"

#include <cstdio>

#include <fmt/format.h>
#include <unistd.h>

namespace tessera::launcher {

Progress::Progress(bool is_quiet)
    : is_quiet_(is_quiet), is_terminal_(::isatty(STDERR_FILENO) == 1) {}

void Progress::clear() {
    if (!has_line_) return;
    fmt::print(stderr, "\r\033[K");
    has_line_ = false;
}

void Progress::say(std::string_view line) {
    if (is_quiet_) return;
    const std::lock_guard lock(mutex_);
    clear();
    fmt::print(stderr, "{}\n", line);
}

void Progress::show(std::string_view line) {
    if (is_quiet_ || !is_terminal_) return;
    const std::lock_guard lock(mutex_);
    fmt::print(stderr, "\r\033[K{}", line);
    std::fflush(stderr);
    has_line_ = true;
}

void Progress::complain(std::string_view text) {
    const std::lock_guard lock(mutex_);
    clear();
    fmt::print(stderr, "{}\n", text);
}

}  // namespace tessera::launcher
