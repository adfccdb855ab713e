// SPDX-License-Identifier: Apache-2.0
//
// What the launcher says while it works, on standard error: a line that changes on a terminal,
// lines one after the other elsewhere. Results go to standard output, and not through here.
#pragma once

#include <mutex>
#include <string>
#include <string_view>

namespace tessera::launcher {

class Progress {
public:
    /// Quiet: says nothing but errors.
    explicit Progress(bool is_quiet);
    ~Progress() { clear(); }
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    /// Something that stays to be read. Any thread.
    void say(std::string_view line);
    /// What goes on at the moment: shown on a terminal alone. Any thread.
    void show(std::string_view line);
    /// An error, quiet or not.
    void complain(std::string_view text);

private:
    void clear();

    const bool is_quiet_;
    const bool is_terminal_;
    std::mutex mutex_;  // Guards the terminal's line.
    bool has_line_ = false;
};

}  // namespace tessera::launcher
