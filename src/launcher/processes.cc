// SPDX-License-Identifier: Apache-2.0
#include "launcher/processes.h"

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <fstream>

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bson/builder.h"
#include "bson/json.h"
#include "launcher/files.h"

namespace tessera::launcher {
namespace {

struct Stat {
    char state = 'X';
    std::uint64_t start_time = 0;
    std::int64_t resident_pages = 0;
};

std::string read_all(const std::string& path) {
    std::ifstream input(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(input), {}};
}

// /proc/<pid>/stat: "pid (name) state ppid ...": the name may hold anything, so count from its end.
std::optional<Stat> read_stat(int pid) {
    const std::string text = read_all(fmt::format("/proc/{}/stat", pid));
    const std::size_t close = text.rfind(')');
    if (close == std::string::npos || close + 2 >= text.size()) return std::nullopt;
    Stat stat;
    stat.state = text[close + 2];
    std::size_t at = close + 2;
    for (int field = 3; field <= 24 && at < text.size(); ++field) {
        const std::size_t end = std::min(text.find(' ', at), text.size());
        if (field == 22) std::from_chars(text.data() + at, text.data() + end, stat.start_time);
        if (field == 24) std::from_chars(text.data() + at, text.data() + end, stat.resident_pages);
        at = end + 1;
    }
    return stat;
}

std::string boot_id() {
    std::string text = read_all("/proc/sys/kernel/random/boot_id");
    while (!text.empty() && text.back() == '\n')
        text.pop_back();
    return text;
}

std::string link_target(const std::string& link) {
    std::string target(4096, '\0');
    const ssize_t length = ::readlink(link.c_str(), target.data(), target.size());
    target.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
    return target;
}

// A binary that was built anew since reads "/path/tessera (deleted)".
std::string_view without_deleted(std::string_view path) {
    constexpr std::string_view suffix = " (deleted)";
    return path.ends_with(suffix) ? path.substr(0, path.size() - suffix.size()) : path;
}

bool is_same(const ProcessIdentity& identity, const Stat& stat) {
    return stat.start_time == identity.start_time && identity.boot_id == boot_id();
}

}  // namespace

std::vector<int> all_process_ids() {
    std::vector<int> ids;
    DIR* const directory = ::opendir("/proc");
    if (directory == nullptr) return ids;
    while (const dirent* const entry = ::readdir(directory)) {
        int pid = 0;
        const std::string_view name = entry->d_name;
        const auto [at, failure] = std::from_chars(name.data(), name.data() + name.size(), pid);
        if (failure == std::errc() && at == name.data() + name.size()) ids.push_back(pid);
    }
    ::closedir(directory);
    return ids;
}

std::string command_line_of(int pid) {
    std::string text = read_all(fmt::format("/proc/{}/cmdline", pid));
    while (!text.empty() && text.back() == '\0')
        text.pop_back();
    for (char& c : text)
        if (c == '\0' || c == '\n') c = ' ';
    return text;
}

std::optional<ProcessIdentity> identify(int pid) {
    const auto stat = read_stat(pid);
    if (!stat) return std::nullopt;
    return ProcessIdentity{
        pid, stat->start_time, boot_id(), link_target(fmt::format("/proc/{}/exe", pid))};
}

ProcessState state_of(const ProcessIdentity& identity) {
    const auto stat = read_stat(identity.pid);
    if (!stat || !is_same(identity, *stat) || stat->state == 'Z' || stat->state == 'X')
        return ProcessState::gone;
    return stat->state == 'T' || stat->state == 't' ? ProcessState::frozen : ProcessState::running;
}

std::int64_t resident_bytes(int pid) {
    const auto stat = read_stat(pid);
    return stat ? stat->resident_pages * ::sysconf(_SC_PAGESIZE) : 0;
}

double uptime_seconds(const ProcessIdentity& identity) {
    const std::string text = read_all("/proc/uptime");
    double since_boot = 0;
    std::from_chars(text.data(), text.data() + text.size(), since_boot);
    const double started =
        static_cast<double>(identity.start_time) / static_cast<double>(::sysconf(_SC_CLK_TCK));
    return state_of(identity) == ProcessState::gone ? 0 : std::max(0.0, since_boot - started);
}

std::string own_executable() {
    return std::string(without_deleted(link_target("/proc/self/exe")));
}

Result<ProcessIdentity> spawn(const std::string& executable,
                              const std::vector<std::string>& words,
                              const std::string& log) {
    std::vector<char*> argv;
    for (const std::string& word : words)
        argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(
        &actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::posix_spawn_file_actions_adddup2(&actions, 1, 2);
    sigset_t none;
    sigemptyset(&none);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
    pid_t pid = 0;
    const int failure =
        ::posix_spawn(&pid, executable.c_str(), &actions, &attributes, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
    if (failure != 0)
        return Error(ErrorCode::internal_error,
                     fmt::format("cannot start {}: {}", executable, std::strerror(failure)));
    auto identity = identify(pid);
    if (!identity)
        return Error(ErrorCode::internal_error,
                     fmt::format("{} (pid {}) is not to be seen in /proc", words.front(), pid));
    identity->executable = executable;
    return std::move(*identity);
}

Result<ProcessHandle> ProcessHandle::open(const ProcessIdentity& identity) {
    const int descriptor = static_cast<int>(::syscall(SYS_pidfd_open, identity.pid, 0));
    if (descriptor < 0) return Error(ErrorCode::no_such_key, "the process is gone");
    ProcessHandle handle(descriptor);
    const auto now = identify(identity.pid);
    if (!now || now->start_time != identity.start_time || now->boot_id != identity.boot_id)
        return Error(ErrorCode::no_such_key, "the process is gone");
    // A binary that was built anew under a running cluster may have moved before it was deleted
    // (linkers do that): pid, start time and boot then have to do.
    const std::string& executable = now->executable;
    const bool is_replaced = without_deleted(executable) != executable;
    if (!executable.empty() && !is_replaced && executable != identity.executable)
        return Error(ErrorCode::no_such_key,
                     fmt::format("pid {} now runs {}", identity.pid, executable));
    return handle;
}

ProcessHandle::~ProcessHandle() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

Status ProcessHandle::signal(int number) {
    if (::syscall(SYS_pidfd_send_signal, descriptor_, number, nullptr, 0) == 0 || errno == ESRCH)
        return ok();
    return Error(ErrorCode::internal_error, fmt::format("cannot signal: {}", std::strerror(errno)));
}

bool ProcessHandle::wait_ended(Duration limit) {
    pollfd watched{descriptor_, POLLIN, 0};
    return ::poll(&watched, 1, static_cast<int>(to_milliseconds(limit))) == 1;
}

std::optional<ProcessIdentity> load_identity(const std::string& folder) {
    const auto text = read_small_file(folder + "/process.json");
    if (!text) return std::nullopt;
    const auto document = bson::from_json(*text);
    if (!document || !(*document)["bootId"].is_string() || !(*document)["executable"].is_string())
        return std::nullopt;
    ProcessIdentity identity;
    identity.pid = static_cast<int>((*document)["pid"].to_int64());
    identity.start_time = static_cast<std::uint64_t>((*document)["startTime"].to_int64());
    identity.boot_id = (*document)["bootId"].as_string();
    identity.executable = (*document)["executable"].as_string();
    if (identity.pid <= 1) return std::nullopt;
    return identity;
}

Status save_identity(const std::string& folder, const ProcessIdentity& identity) {
    return write_small_file(folder + "/process.json",
                            bson::to_json(bson::make("pid",
                                                     identity.pid,
                                                     "startTime",
                                                     static_cast<std::int64_t>(identity.start_time),
                                                     "bootId",
                                                     identity.boot_id,
                                                     "executable",
                                                     identity.executable)) +
                                "\n");
}

}  // namespace tessera::launcher
