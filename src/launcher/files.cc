// SPDX-License-Identifier: Apache-2.0
#include "launcher/files.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/limits.h"

namespace tessera::launcher {
namespace {

Error system_error(const std::string& what) {
    return {ErrorCode::internal_error, what + ": " + std::strerror(errno)};
}

std::string home_folder() {
    const char* const home = std::getenv("HOME");
    return home != nullptr && *home != '\0' ? home : "/tmp";
}

}  // namespace

std::optional<std::string> read_small_file(const std::string& path) {
    std::ifstream input(path, std::ios::binary);
    if (!input) return std::nullopt;
    std::string text(small_file_bytes_max, '\0');
    input.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(input.gcount()));
    return text;
}

Status write_small_file(const std::string& path, std::string_view text) {
    const std::string fresh = path + ".new";
    const int file = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0) return system_error("cannot write " + fresh);
    const bool is_written =
        ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    if (!is_written) {
        const Error error = system_error("cannot write " + fresh);
        ::close(file);
        ::unlink(fresh.c_str());
        return error;
    }
    ::close(file);
    if (::rename(fresh.c_str(), path.c_str()) != 0) return system_error("cannot write " + path);
    return ok();
}

Status make_directories(const std::string& path) {
    for (std::size_t at = 1; at <= path.size(); ++at) {
        if (at != path.size() && path[at] != '/') continue;
        const std::string part = path.substr(0, at);
        if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST)
            return system_error("cannot make the folder " + part);
    }
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0 || !S_ISDIR(status.st_mode))
        return Error(ErrorCode::internal_error, path + " is no folder");
    return ok();
}

std::string absolute_path(const std::string& path) {
    std::error_code failure;
    auto result = std::filesystem::absolute(path, failure).lexically_normal().string();
    if (failure) return path;
    while (result.size() > 1 && result.back() == '/')
        result.pop_back();
    return result;
}

std::string short_path(const std::string& path) {
    const std::string home = home_folder();
    return path.starts_with(home + "/") ? "~" + path.substr(home.size()) : path;
}

std::vector<std::string> last_lines(const std::string& path, std::size_t count) {
    std::ifstream input(path, std::ios::binary);
    if (!input) return {};
    input.seekg(0, std::ios::end);
    const std::streamoff size = input.tellg();
    const std::streamoff from =
        std::max<std::streamoff>(0, size - static_cast<std::streamoff>(log_tail_bytes_max));
    input.seekg(from);
    std::deque<std::string> lines;
    std::string line;
    bool is_partial = from > 0;
    while (std::getline(input, line)) {
        if (is_partial) {
            is_partial = false;
            continue;
        }
        lines.push_back(std::move(line));
        if (lines.size() > count) lines.pop_front();
    }
    return {lines.begin(), lines.end()};
}

std::string clusters_home() {
    if (const char* const home = std::getenv("TESSERA_HOME"); home != nullptr && *home != '\0')
        return absolute_path(home);
    if (const char* const data = std::getenv("XDG_DATA_HOME"); data != nullptr && *data != '\0')
        return absolute_path(std::string(data) + "/tessera");
    return home_folder() + "/.local/share/tessera";
}

Result<ClusterLock> ClusterLock::acquire(const std::string& directory) {
    const std::string name = directory + "/lock";
    const int file = ::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) return system_error("cannot open " + name);
    if (::flock(file, LOCK_EX | LOCK_NB) != 0) {
        char owner[32] = {};
        const auto length = ::pread(file, owner, sizeof(owner) - 1, 0);
        ::close(file);
        return Error(
            ErrorCode::internal_error,
            fmt::format("another tessera (pid {}) works on the cluster in {}; wait for it",
                        std::string_view(owner, length > 0 ? static_cast<std::size_t>(length) : 0),
                        short_path(directory)));
    }
    const std::string pid = std::to_string(::getpid());
    if (::ftruncate(file, 0) != 0 || ::pwrite(file, pid.data(), pid.size(), 0) < 0) {
        const Error error = system_error("cannot write " + name);
        ::close(file);
        return error;
    }
    return ClusterLock(file);
}

ClusterLock::~ClusterLock() {
    if (file_ >= 0) ::close(file_);
}

}  // namespace tessera::launcher
