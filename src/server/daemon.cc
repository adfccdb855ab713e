// SPDX-License-Identifier: Apache-2.0
#include "server/daemon.h"

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/settings.h"

namespace tessera::server {
namespace {

constexpr int shutdown_milliseconds_max = 60'000;

Error failure(const std::string& what) {
    return {ErrorCode::bad_value, what + ": " + std::strerror(errno)};
}

// The parent: one byte says ready; the pipe's end without one, that the child has ended.
[[noreturn]] void wait_for_child(pid_t child, int pipe) {
    fmt::print(
        "about to fork child process, waiting until server is ready for connections.\n"
        "forked process: {}\n",
        child);
    std::fflush(stdout);
    char byte = 0;
    ssize_t length = 0;
    do {
        length = ::read(pipe, &byte, 1);
    } while (length < 0 && errno == EINTR);
    if (length == 1) {
        fmt::print("child process started successfully, parent exiting\n");
        std::fflush(stdout);
        std::_Exit(exit_code::clean);
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    fmt::print(
        "ERROR: child process failed, exited with {}\n"
        "To see additional information in this output, start without the \"--fork\" option.\n",
        code);
    std::fflush(stdout);
    std::_Exit(code == 0 ? exit_code::uncaught : code);
}

bool is_held(const std::string& lock_file) {
    const int file = ::open(lock_file.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return false;
    const bool held = ::flock(file, LOCK_EX | LOCK_NB) != 0;
    ::close(file);
    return held;
}

}  // namespace

Background Background::enter() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
        fmt::print(stderr, "cannot fork: {}\n", std::strerror(errno));
        std::_Exit(exit_code::uncaught);
    }
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child < 0) {
        fmt::print(stderr, "cannot fork: {}\n", std::strerror(errno));
        std::_Exit(exit_code::uncaught);
    }
    if (child > 0) {
        ::close(ends[1]);
        wait_for_child(child, ends[0]);
    }
    ::close(ends[0]);
    ::setsid();
    if (const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC); null >= 0) {
        ::dup2(null, STDIN_FILENO);
        ::close(null);
    }
    return Background(ends[1]);
}

void Background::report_ready(int log) {
    if (pipe_ < 0) return;
    ::dup2(log, STDOUT_FILENO);
    ::dup2(log, STDERR_FILENO);
    [[maybe_unused]] const auto written = ::write(pipe_, "r", 1);
    ::close(pipe_);
    pipe_ = -1;
}

Result<PidFile> PidFile::write(const std::string& path) {
    PidFile file;
    if (path.empty()) return file;
    std::ofstream output(path, std::ios::trunc);
    output << ::getpid() << '\n';
    output.flush();
    if (!output) return failure("Cannot write pid file " + path);
    // The folder may be another one when the process ends.
    char* const absolute = ::realpath(path.c_str(), nullptr);
    file.path_ = absolute != nullptr ? absolute : path;
    std::free(absolute);  // realpath() allocates with malloc().
    return file;
}

PidFile::~PidFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
}

Status shut_down_holder(const std::string& db_path) {
    const std::string name = db_path + "/mongod.lock";
    std::ifstream input(name);
    std::string text;
    std::getline(input, text);
    pid_t pid = 0;
    const auto [at, mistake] = std::from_chars(text.data(), text.data() + text.size(), pid);
    // The lock proves that the process in the file is still that process.
    if (mistake != std::errc() || pid <= 1 || !is_held(name))
        return Error(ErrorCode::bad_value,
                     "There doesn't seem to be a server running with dbpath: " + db_path);
    const int descriptor = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
    if (descriptor < 0) return failure(fmt::format("cannot watch process {}", pid));
    fmt::print("killing process with pid: {}\n", pid);
    std::fflush(stdout);
    if (::syscall(SYS_pidfd_send_signal, descriptor, SIGTERM, nullptr, 0) != 0) {
        const Error error = failure(fmt::format("cannot end process {}", pid));
        ::close(descriptor);
        return error;
    }
    pollfd ended{descriptor, POLLIN, 0};
    const int count = ::poll(&ended, 1, shutdown_milliseconds_max);
    ::close(descriptor);
    if (count == 1) return ok();
    return Error(ErrorCode::bad_value,
                 fmt::format("process {} did not end within a minute; see its log", pid));
}

}  // namespace tessera::server
