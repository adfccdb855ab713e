// SPDX-License-Identifier: Apache-2.0
#include "server/program.h"

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/log.h"
#include "bson/json.h"
#include "commands/node.h"
#include "server/command_line.h"
#include "server/daemon.h"
#include "server/log_file.h"
#include "server/options.h"
#include "server/process.h"

namespace tessera::server {
namespace {

constexpr int shutdown_failure = 1;

std::string_view name_of(Program program) {
    return program == Program::mongod ? "mongod" : "mongos";
}

void print_version(Program program) {
    fmt::print(
        "{} version v{}\n", program == Program::mongod ? "db" : "mongos", commands::server_version);
    fmt::print(
        "Build Info: {{\n    \"version\": \"{}\",\n    \"gitVersion\": \"tessera\",\n"
        "    \"modules\": [],\n    \"allocator\": \"system\",\n    \"environment\": {{\n"
        "        \"distarch\": \"x86_64\",\n        \"target_arch\": \"x86_64\"\n    }}\n"
        "}}\n",
        commands::server_version);
}

bool allows_open_bind() {
    const char* const value = std::getenv(open_bind_variable);
    return value != nullptr && std::string_view(value) == "1";
}

std::string host_name() {
    char name[256] = {};
    gethostname(name, sizeof(name) - 1);
    return name;
}

// The lines launchers read first; 23403 before all others.
void log_start(const Settings& settings) {
    using log::Component;
    log::info(Component::control,
              23403,
              "Build Info",
              {{"buildInfo",
                log::Json{fmt::format(
                    R"({{"version":"{}","gitVersion":"tessera","modules":[],"allocator":"system",)"
                    R"("environment":{{"distarch":"x86_64","target_arch":"x86_64"}}}})",
                    commands::server_version)}}});
    if (settings.program == Program::mongod)
        log::info(Component::control,
                  4615611,
                  "MongoDB starting",
                  {{"pid", std::int64_t{getpid()}},
                   {"port", std::int64_t{settings.effective_port()}},
                   {"dbPath", settings.db_path},
                   {"architecture", "64-bit"},
                   {"host", host_name()}});
    utsname system{};
    ::uname(&system);
    log::info(Component::control,
              51765,
              "Operating System",
              {{"os",
                log::Json{fmt::format(R"({{"name":{},"version":{}}})",
                                      log::quote_json(system.sysname),
                                      log::quote_json(system.release))}}});
    log::info(Component::control,
              21951,
              "Options set by command line",
              {{"options", log::Json{bson::to_json(settings.parsed)}}});
}

void warn_of_start(const CommandLine& line) {
    for (const std::string& warning : line.warnings)
        log::startup_warning(log::Component::control, 9000110, warning);
    log::startup_warning(log::Component::access,
                         22120,
                         "Access control is not enabled for the database. Read and write access to "
                         "data and configuration is unrestricted");
    bool is_local = true;
    for (const std::string& address : line.settings.bind_addresses)
        is_local = is_local && (address.starts_with("/") || HostAndPort{address, 0}.is_loopback());
    if (!is_local)
        log::startup_warning(log::Component::access,
                             9000111,
                             "This server listens at addresses other machines may reach, and "
                             "nobody has to authenticate");
}

int complain(Program program, const Error& error) {
    fmt::print(stderr,
               "Error parsing command line: {}\ntry '{} --help' for more information\n",
               error.reason(),
               name_of(program));
    return exit_code::bad_options;
}

int run_role(CommandLine line) {
    Settings& settings = line.settings;
    Background background;
    if (settings.forks) background = Background::enter();
    std::shared_ptr<LogFile> log_file;  // Also owned by the sink.
    if (!settings.log_path.empty()) {
        auto opened =
            LogFile::open({settings.log_path, settings.appends_log, settings.reopens_log});
        if (!opened) {
            fmt::print(stderr, "{}: {}\n", name_of(settings.program), opened.error().reason());
            return exit_code::bad_options;
        }
        log_file = std::move(*opened);
        log::set_sink([log_file](std::string_view text) { log_file->write(text); });
    }
    log::set_thread_context(settings.program == Program::mongod ? "initandlisten" : "mongosMain");
    log::set_verbosity(settings.verbosity);
    log_start(settings);
    warn_of_start(line);
    auto pid_file = PidFile::write(settings.pid_file);
    if (!pid_file) {
        log::error(log::Component::control,
                   9000112,
                   "Cannot write the pid file",
                   {{"error", pid_file.error()}});
        fmt::print(stderr, "{}: {}\n", name_of(settings.program), pid_file.error().reason());
        return exit_code::bad_options;
    }
    settings.on_log_rotation = [log_file] {
        if (log_file == nullptr) return;
        const auto status = log_file->rotate();
        if (!status)
            log::error(log::Component::control,
                       9000113,
                       "Log rotation failed",
                       {{"error", status.error()}});
        else
            log::info(log::Component::control, 23166, "Log rotated", {});
    };
    settings.on_accepting = [&background, log_file] {
        if (log_file != nullptr) background.report_ready(log_file->descriptor());
    };
    return settings.program == Program::mongod ? run_member(settings) : run_router(settings);
}

}  // namespace

int run_program(Program program, std::vector<std::string> argv) {
    ::prctl(PR_SET_NAME, name_of(program).data(), 0, 0, 0);
    auto line = parse_command_line(program, std::move(argv), allows_open_bind());
    if (!line) return complain(program, line.error());
    switch (line->action) {
        case Action::help:
            fmt::print("{}", help_text(program));
            return exit_code::clean;
        case Action::version:
            print_version(program);
            return exit_code::clean;
        case Action::shut_down: {
            const auto status = shut_down_holder(line->settings.db_path);
            if (status) return exit_code::clean;
            fmt::print(stderr, "{}\n", status.error().reason());
            return shutdown_failure;
        }
        case Action::run:
            break;
    }
    // Before anything is opened; the role sets them for good.
    commands::ServerParameters trial;
    for (const auto& [name, value] : line->settings.parameters) {
        const auto set = trial.set_at_startup(name, value);
        if (!set) return complain(program, set.error());
    }
    return run_role(std::move(*line));
}

}  // namespace tessera::server
