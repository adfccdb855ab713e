// SPDX-License-Identifier: Apache-2.0
#include "server/log_file.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

namespace tessera::server {
namespace {

constexpr int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
constexpr mode_t mode = 0600;
constexpr int names_max = 1000;  // Files set aside within one second.

Error failure(const std::string& what, const std::string& path) {
    return {ErrorCode::bad_value,
            fmt::format("Can't initialize rotatable log file :: caused by :: {} {}: {}",
                        what,
                        path,
                        std::strerror(errno))};
}

// A pipe or a terminal (/dev/stdout, /proc/1/fd/1) cannot be set aside.
bool is_regular(const std::string& path) {
    struct stat status {};
    return ::lstat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

Status set_aside(const std::string& path) {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    gmtime_r(&now, &parts);
    const std::string stem = fmt::format("{}.{:04}-{:02}-{:02}T{:02}-{:02}-{:02}",
                                         path,
                                         parts.tm_year + 1900,
                                         parts.tm_mon + 1,
                                         parts.tm_mday,
                                         parts.tm_hour,
                                         parts.tm_min,
                                         parts.tm_sec);
    std::string name = stem;
    for (int i = 1; i < names_max && ::access(name.c_str(), F_OK) == 0; ++i)
        name = fmt::format("{}.{}", stem, i);
    if (::rename(path.c_str(), name.c_str()) != 0) return failure("cannot rename", path);
    return ok();
}

}  // namespace

Result<std::shared_ptr<LogFile>> LogFile::open(Options options) {
    if (!options.appends && is_regular(options.path)) TRY_OK(set_aside(options.path));
    const int descriptor = ::open(options.path.c_str(), flags, mode);
    if (descriptor < 0) return failure("cannot open", options.path);
    // Owned by the log's sink and by whoever asks for rotation.
    return std::shared_ptr<LogFile>(new LogFile(std::move(options), descriptor));
}

LogFile::~LogFile() {
    ::close(descriptor_);
}

void LogFile::write(std::string_view line) {
    char newline = '\n';
    std::array<iovec, 2> parts = {
        iovec{const_cast<char*>(line.data()), line.size()},  // writev() does not write to it.
        iovec{&newline, 1}};
    const std::lock_guard lock(mutex_);
    [[maybe_unused]] const auto written = ::writev(descriptor_, parts.data(), parts.size());
}

Status LogFile::rotate() {
    const std::lock_guard lock(mutex_);
    if (!options_.reopens && is_regular(options_.path)) TRY_OK(set_aside(options_.path));
    const int fresh = ::open(options_.path.c_str(), flags, mode);
    if (fresh < 0) return failure("cannot open", options_.path);
    const bool is_replaced = ::dup3(fresh, descriptor_, O_CLOEXEC) >= 0;
    ::close(fresh);
    if (!is_replaced) return failure("cannot replace", options_.path);
    return ok();
}

}  // namespace tessera::server
