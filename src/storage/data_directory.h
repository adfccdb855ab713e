// SPDX-License-Identifier: Apache-2.0
//
// The data directory as a whole: who owns it and what is in it. The lock keeps a second process
// out; the marker, tessera.json {"formatVersion": 1, "role": "shard"}, keeps a process of another
// role or version from opening data it would misread.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace tessera::storage {

inline constexpr int data_format_version = 1;
/// Numbers of errors that have no name in base: NonExistentPath, DBPathInUse and
/// IncompatibleServerVersion. A server that meets one of them at start-up exits with 100 (the first
/// two) or 62.
inline constexpr std::int32_t nonexistent_path = 29;
inline constexpr std::int32_t db_path_in_use = 98;
inline constexpr std::int32_t incompatible_server_version = 188;

/// Bytes a file in `path` may still grow by; the largest number where that cannot be known.
std::uint64_t free_disk_bytes(const std::string& path);

/// Holds the directory's lock (mongod.lock, with the process id in it) until destroyed.
class DataDirectoryLock {
public:
    /// Makes the directory's lock file. Fails with NonExistentPath when there is no such directory
    /// (exit code 100), and with DBPathInUse when another process holds it (exit code 100).
    static Result<DataDirectoryLock> acquire(const std::string& path);
    DataDirectoryLock(DataDirectoryLock&& other) noexcept;
    DataDirectoryLock& operator=(DataDirectoryLock&&) = delete;
    ~DataDirectoryLock();
    /// Whether the last owner did not shut down cleanly (its id was still in the file).
    bool was_unclean() const { return was_unclean_; }

private:
    DataDirectoryLock(int file, bool was_unclean) : file_(file), was_unclean_(was_unclean) {}
    int file_ = -1;
    bool was_unclean_ = false;
};

struct DirectoryMarker {
    int format_version = data_format_version;
    std::string role;  // "standalone", "replica", "shard" or "config".
};

/// Reads the marker; an empty role when the directory has none. Fails with InvalidBSON's like,
/// FailedToParse, when the file cannot be understood.
Result<DirectoryMarker> read_marker(const std::string& path);
/// Writes the marker durably (new file, fsync, rename).
Status write_marker(const std::string& path, const DirectoryMarker& marker);
/// Checks that a process of `role` may open `path`, and marks a fresh directory. A standalone's
/// directory may become a replica's or a shard's (and back); config and shard never change into one
/// another. Fails with IncompatibleServerVersion or BadValue and the next step in its reason.
Status check_marker(const std::string& path, const std::string& role);

}  // namespace tessera::storage
