// SPDX-License-Identifier: Apache-2.0
#include "storage/data_directory.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "bson/builder.h"
#include "bson/json.h"

namespace tessera::storage {
namespace {

Error system_error(const std::string& what) {
    const int code = errno;
    const ErrorCode mapped =
        code == ENOSPC || code == EDQUOT ? ErrorCode::out_of_disk_space : ErrorCode::internal_error;
    return {mapped, what + ": " + std::strerror(code)};
}

// What is to be done about a marker that was damaged: it holds nothing that cannot be restored.
constexpr const char* marker_advice =
    ". Restore it: {\"formatVersion\": 1, \"role\": R}, where R is standalone, replica, shard or "
    "config, whatever served this directory; or choose another --dbpath";

// Config and shard data never stand in for one another; a standalone's may join either way.
bool may_become(const std::string& from, const std::string& to) {
    if (from == to || from.empty()) return true;
    return from != "config" && to != "config";
}

}  // namespace

std::uint64_t free_disk_bytes(const std::string& path) {
    struct statvfs status {};
    if (::statvfs(path.c_str(), &status) != 0) return UINT64_MAX;
    return std::uint64_t{status.f_bavail} * status.f_frsize;
}

Result<DataDirectoryLock> DataDirectoryLock::acquire(const std::string& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
        return Error(location(nonexistent_path),
                     "Data directory " + path +
                         " not found. Create the missing directory or specify another path using "
                         "(1) the --dbpath command line option, or (2) by adding the "
                         "'storage.dbPath' option in the configuration file.");
    }
    const std::string name = path + "/mongod.lock";
    const int file = ::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0) return system_error("Unable to create/open the lock file: " + name);
    if (::flock(file, LOCK_EX | LOCK_NB) != 0) {
        char owner[32] = {};
        const auto length = ::pread(file, owner, sizeof(owner) - 1, 0);
        ::close(file);
        std::string pid(owner, length > 0 ? static_cast<std::size_t>(length) : 0);
        while (!pid.empty() && pid.back() == '\n')
            pid.pop_back();
        return Error(location(db_path_in_use),
                     "Unable to lock the lock file: " + name + ". Another process" +
                         (pid.empty() ? std::string() : " (pid " + pid + ")") +
                         " is running on the " + path +
                         " directory: stop it or choose another "
                         "--dbpath");
    }
    const bool was_unclean = ::fstat(file, &status) == 0 && status.st_size > 0;
    const std::string pid = std::to_string(::getpid()) + "\n";
    if (::ftruncate(file, 0) != 0 ||
        ::pwrite(file, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
        const Error error = system_error("Unable to write the lock file: " + name);
        ::close(file);
        return error;
    }
    return DataDirectoryLock(file, was_unclean);
}

DataDirectoryLock::DataDirectoryLock(DataDirectoryLock&& other) noexcept
    : file_(other.file_), was_unclean_(other.was_unclean_) {
    other.file_ = -1;
}

DataDirectoryLock::~DataDirectoryLock() {
    if (file_ < 0) return;
    // An empty file says: shut down cleanly.
    [[maybe_unused]] const int truncated = ::ftruncate(file_, 0);
    ::close(file_);
}

Result<DirectoryMarker> read_marker(const std::string& path) {
    const std::string name = path + "/tessera.json";
    std::ifstream input(name);
    if (!input) return DirectoryMarker{};
    std::stringstream text;
    text << input.rdbuf();
    auto document = bson::from_json(text.str());
    if (!document) {
        return Error(ErrorCode::failed_to_parse,
                     name + " cannot be understood: " + document.error().reason() + marker_advice);
    }
    const bson::Value version = (*document)["formatVersion"];
    const bson::Value role = (*document)["role"];
    if (!version.is_number() || !role.is_string()) {
        return Error(ErrorCode::failed_to_parse,
                     name + " cannot be understood: it needs formatVersion and role" +
                         marker_advice);
    }
    return DirectoryMarker{static_cast<int>(version.to_int64()), std::string(role.as_string())};
}

Status write_marker(const std::string& path, const DirectoryMarker& marker) {
    const std::string name = path + "/tessera.json";
    const std::string fresh = name + ".new";
    const std::string text =
        bson::to_json(bson::make("formatVersion", marker.format_version, "role", marker.role)) +
        "\n";
    const int file = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0) return system_error("Cannot write " + fresh);
    const bool is_written =
        ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
        ::fsync(file) == 0;
    ::close(file);
    if (!is_written || ::rename(fresh.c_str(), name.c_str()) != 0) {
        return system_error("Cannot write " + name);
    }
    const int directory = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory >= 0) {
        ::fsync(directory);
        ::close(directory);
    }
    return ok();
}

Status check_marker(const std::string& path, const std::string& role) {
    TRY(const DirectoryMarker found, read_marker(path));
    if (found.role.empty()) return write_marker(path, {data_format_version, role});
    if (found.format_version != data_format_version) {
        return Error(location(incompatible_server_version),
                     "The data in " + path + " has format version " +
                         std::to_string(found.format_version) + ", this server reads version " +
                         std::to_string(data_format_version) +
                         ": use the server that wrote it, or another --dbpath");
    }
    if (!may_become(found.role, role)) {
        return Error(ErrorCode::bad_value,
                     "The data in " + path + " belongs to a " + found.role +
                         " server and cannot be opened as " + role +
                         ": start it with its old role, or choose another --dbpath");
    }
    if (found.role == role) return ok();
    return write_marker(path, {data_format_version, role});
}

}  // namespace tessera::storage
