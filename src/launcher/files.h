// SPDX-License-Identifier: Apache-2.0
//
// Small files read and replaced whole, and where clusters live.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tessera::launcher {

/// At most small_file_bytes_max; nothing when there is no such file.
std::optional<std::string> read_small_file(const std::string& path);
/// Replaces the file in one step (0600).
Status write_small_file(const std::string& path, std::string_view text);
/// Makes the folder (0700) and those above it.
Status make_directories(const std::string& path);
std::string absolute_path(const std::string& path);
/// With ~ for the home folder, for people to read.
std::string short_path(const std::string& path);
/// The last lines of a file, oldest first.
std::vector<std::string> last_lines(const std::string& path, std::size_t count);

/// $TESSERA_HOME, else $XDG_DATA_HOME/tessera, else ~/.local/share/tessera.
std::string clusters_home();

/// Keeps two launchers from working on one cluster at one time.
class ClusterLock {
public:
    /// Fails with the other's process id in the reason.
    static Result<ClusterLock> acquire(const std::string& directory);
    ClusterLock(ClusterLock&& other) noexcept : file_(other.file_) { other.file_ = -1; }
    ClusterLock& operator=(ClusterLock&&) = delete;
    ~ClusterLock();

private:
    explicit ClusterLock(int file) : file_(file) {}
    int file_ = -1;
};

}  // namespace tessera::launcher
