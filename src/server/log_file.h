// SPDX-License-Identifier: Apache-2.0
//
// The file of --logpath as the log's sink, and its rotation.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tessera::server {

class LogFile {
public:
    struct Options {
        std::string path;
        bool appends = false;  // Else a file that is there is set aside first.
        bool reopens = false;  // On rotation; else the file is set aside.
    };

    /// Opens the file. Fails with FileOpenFailed's like, naming the path.
    static Result<std::shared_ptr<LogFile>> open(Options options);
    ~LogFile();
    LogFile(const LogFile&) = delete;
    LogFile& operator=(const LogFile&) = delete;

    /// Appends the line; any thread. A log that cannot be written does not stop the process.
    void write(std::string_view line);
    /// Sets the file aside under a name with the time in it and begins a new one, or reopens it.
    /// On failure lines go on to the old one.
    Status rotate();
    int descriptor() const { return descriptor_; }

private:
    LogFile(Options options, int descriptor)
        : options_(std::move(options)), descriptor_(descriptor) {}

    const Options options_;
    std::mutex mutex_;  // Guards what the descriptor stands for: rotation replaces it in place.
    const int descriptor_;
};

}  // namespace tessera::server
