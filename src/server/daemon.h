// SPDX-License-Identifier: Apache-2.0
//
// What a server process does as a process: going into the background, its pid file, ending another
// one by its data directory.
#pragma once

#include <string>

#include "base/result.h"

namespace tessera::server {

/// --fork. Call before any thread runs.
class Background {
public:
    /// In the parent: waits until the child accepts clients or ended, says so as mongod does, and
    /// leaves with exit code 0 or the child's. In the child: returns.
    static Background enter();
    /// Not in the background.
    Background() = default;

    /// In the child: lets the parent go, and with it the terminal. `log`: where standard output and
    /// error go from here on.
    void report_ready(int log);

private:
    explicit Background(int pipe) : pipe_(pipe) {}
    int pipe_ = -1;
};

/// The file of --pidfilepath, gone when this is.
class PidFile {
public:
    static Result<PidFile> write(const std::string& path);
    PidFile() = default;
    PidFile(PidFile&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }
    PidFile& operator=(PidFile&& other) noexcept {
        path_.swap(other.path_);
        return *this;
    }
    ~PidFile();

private:
    std::string path_;
};

/// mongod --shutdown: asks the process that holds `db_path` to end and waits until it has. Fails
/// when there is none, or when it does not end in time.
Status shut_down_holder(const std::string& db_path);

}  // namespace tessera::server
