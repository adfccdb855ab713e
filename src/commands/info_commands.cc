// SPDX-License-Identifier: Apache-2.0
//
// Commands about the process itself, the same on members and routers: ping, buildInfo, hostInfo,
// getCmdLineOpts, getParameter, setParameter, getLog, whatsmyuri, connectionStatus, listCommands,
// features, logRotate, configureFailPoint.
#include "commands/info_commands.h"

#include <array>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <thread>

#include <openssl/crypto.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/log.h"
#include "bson/validate.h"
#include "commands/router.h"
#include "commands/support.h"

namespace tessera::commands {
namespace {

Status ping(Node&, Invocation&) {
    return {};
}

Status build_info(Node& node, Invocation& invocation) {
    bson::Builder& reply = invocation.reply;
    reply.append("version", server_version).append("gitVersion", node.process.git_version);
    reply.array("modules").append("tessera");
    reply.append("allocator", "system").append("javascriptEngine", "none");
    reply.append("sysInfo", "deprecated");
    {
        auto parts = reply.array("versionArray");
        std::istringstream text{std::string(server_version)};
        for (std::string part; std::getline(text, part, '.');)
            parts.append(std::stoi(part));
        parts.append(0);
    }
    reply.object("openssl").append("running", OpenSSL_version(OPENSSL_VERSION));
    {
        bson::Builder environment = reply.object("buildEnvironment");
        environment.append("cc", "g++ " __VERSION__).append("target_arch", "x86_64");
        environment.append("target_os", "linux");
    }
    reply.append("bits", 64).append("debug", false);
    reply.append_integer("maxBsonObjectSize", bson::document_bytes_max);
    auto engines = reply.array("storageEngines");
    engines.append("wiredTiger").append("memory");
    return {};
}

std::string first_line_of(const char* path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

Status host_info(Node& node, Invocation& invocation) {
    struct sysinfo memory {};
    struct utsname kernel {};
    sysinfo(&memory);
    uname(&kernel);
    const auto megabytes = static_cast<std::int64_t>(memory.totalram * memory.mem_unit >> 20);
    bson::Builder& reply = invocation.reply;
    {
        bson::Builder system = reply.object("system");
        system.append("currentTime", node.clock.wall_now());
        system.append("hostname", node.process.host.to_string());
        system.append("cpuAddrSize", 64).append("memSizeMB", megabytes);
        system.append("memLimitMB", megabytes);
        const auto cores = static_cast<std::int32_t>(std::thread::hardware_concurrency());
        system.append("numCores", cores).append("numPhysicalCores", cores);
        system.append("numCpuSockets", 1).append("cpuArch", kernel.machine);
        system.append("numaEnabled", false).append("numNumaNodes", 1);
    }
    {
        bson::Builder os = reply.object("os");
        os.append("type", "Linux").append("name", first_line_of("/etc/os-release"));
        os.append("version", std::string("Kernel ") + kernel.release);
    }
    bson::Builder extra = reply.object("extra");
    extra.append("versionString", first_line_of("/proc/version"));
    extra.append("kernelVersion", kernel.release);
    extra.append("pageSize", static_cast<std::int64_t>(sysconf(_SC_PAGESIZE)));
    extra.append("numPages", static_cast<std::int32_t>(sysconf(_SC_PHYS_PAGES)));
    extra.append("maxOpenFiles", static_cast<std::int32_t>(sysconf(_SC_OPEN_MAX)));
    return {};
}

Status get_cmd_line_opts(Node& node, Invocation& invocation) {
    {
        auto argv = invocation.reply.array("argv");
        for (const std::string& argument : node.process.argv)
            argv.append(argument);
    }
    invocation.reply.append("parsed", node.process.parsed_options);
    return {};
}

Status get_parameter(Node& node, Invocation& invocation) {
    const Request& request = invocation.request;
    const bson::Value first = request.body.front().value;
    bson::Builder& reply = invocation.reply;
    const bool wants_all = (first.is_string() && first.as_string() == "*") ||
                           (first.is_object() && first.as_view()["allParameters"].is_truthy());
    if (wants_all) {
        node.parameters.append_all(reply);
        return {};
    }
    bool has_found = false;
    bool is_first = true;
    for (const bson::Element& field : request.body) {
        if (std::exchange(is_first, false) || field.name.starts_with('$')) continue;
        has_found |= node.parameters.append(field.name, reply);
    }
    if (!has_found) return Error(ErrorCode::invalid_options, "no option found to get");
    return {};
}

Status set_parameter(Node& node, Invocation& invocation) {
    const Request& request = invocation.request;
    bool is_first = true;
    bool has_set = false;
    for (const bson::Element& field : request.body) {
        if (std::exchange(is_first, false) || field.name.starts_with('$') || field.name == "lsid" ||
            field.name == "comment" || field.name == "maxTimeMS" || field.name == "writeConcern" ||
            field.name == "readConcern" || field.name == "apiVersion")
            continue;
        bson::Builder ignored;  // Only the first parameter's old value is reported.
        TRY_OK(node.parameters.set(field.name, field.value, has_set ? ignored : invocation.reply));
        has_set = true;
    }
    if (!has_set)
        return Error(ErrorCode::invalid_options,
                     "no option found to set, use help:true to see "
                     "options ");
    return {};
}

Status get_log(Node&, Invocation& invocation) {
    const bson::Value which = invocation.request.body.front().value;
    if (!which.is_string())
        return Error(ErrorCode::type_mismatch, "Argument to getLog must be of type String");
    bson::Builder& reply = invocation.reply;
    if (which.as_string() == "*") {
        auto names = reply.array("names");
        names.append("global").append("startupWarnings");
        return {};
    }
    const bool is_global = which.as_string() == "global";
    if (!is_global && which.as_string() != "startupWarnings")
        return Error(ErrorCode::operation_failed,
                     "No log named '" + std::string(which.as_string()) + "'");
    const auto lines = is_global ? log::recent_lines() : log::startup_warnings();
    append_count(reply, "totalLinesWritten", static_cast<std::int64_t>(lines.size()));
    auto list = reply.array("log");
    for (const std::string& line : lines)
        list.append(line);
    return {};
}

Status whats_my_uri(Node&, Invocation& invocation) {
    invocation.reply.append("you", invocation.operation->client->remote);
    return {};
}

Status connection_status(Node&, Invocation& invocation) {
    bson::Builder info = invocation.reply.object("authInfo");
    info.array("authenticatedUsers");
    info.array("authenticatedUserRoles");
    if (invocation.request.body["showPrivileges"].is_truthy())
        info.array("authenticatedUserPrivileges");
    return {};
}

template <bool is_router>
Status list_commands(Node& node, Invocation& invocation) {
    bson::Builder list = invocation.reply.object("commands");
    for (const Command* command : all_commands()) {
        const bool is_here =
            is_router ? command->on_router != nullptr : command->on_member != nullptr;
        const bool is_hidden =
            (command->flags & (flags::hidden | flags::internal)) != 0 ||
            ((command->flags & flags::test_only) != 0 && !node.parameters.enable_test_commands);
        if (!is_here || is_hidden) continue;
        bson::Builder entry = list.object(command->name);
        entry.append("help", command->help).append("requiresAuth", false);
        entry.append("secondaryOk", (command->flags & flags::writes) == 0);
        entry.append("adminOnly", (command->flags & flags::admin_only) != 0);
        entry.array("apiVersions");
    }
    return {};
}

Status configure_fail_point(Node& node, Invocation& invocation) {
    const std::int64_t times = node.fail_points.times_entered();
    TRY_OK(node.fail_points.configure(invocation.request.body));
    append_count(invocation.reply, "count", times);
    return {};
}

Status shutdown(Node& node, Invocation& invocation) {
    node.request_shutdown(0);
    invocation.closes_connection = true;
    return {};
}

async::Task<Status> shutdown_member(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY(const bool force, bool_argument(request.body, "force", false, "shutdown"));
    CO_TRY(const std::int64_t seconds,
           integer_argument(request.body, "timeoutSecs", 15, "shutdown"));
    if (member.replication->is_writable_primary() && member.replication->is_replica_set()) {
        consensus::StepDownRequest step_down;
        step_down.period = std::chrono::seconds(seconds + 60);
        step_down.catch_up_period = std::chrono::seconds(seconds);
        step_down.force = force;
        const auto status = co_await member.replication->step_down(step_down);
        if (!status && !force) co_return status.error();
    }
    co_return shutdown(member, invocation);
}

}  // namespace

#define ON_BOTH(function) on_any_member<function>, router_adapter<function>
namespace {
template <Status (*Function)(Node&, Invocation&)>
async::Task<Status> router_adapter(Router& router, Invocation& invocation) {
    co_return Function(router, invocation);
}
constexpr unsigned always = flags::any_state;
}  // namespace

const std::array<Command, 13> info_commands = {{
    {"ping", always, ON_BOTH(ping), Counted::command, "Answers."},
    {"buildInfo", always, ON_BOTH(build_info), Counted::command, "Version and build."},
    {"buildinfo", always | flags::hidden, ON_BOTH(build_info), Counted::command, "buildInfo"},
    {"hostInfo", always, ON_BOTH(host_info), Counted::command, "The machine."},
    {"getCmdLineOpts",
     always | flags::admin_only,
     ON_BOTH(get_cmd_line_opts),
     Counted::command,
     "The command line and the configuration file."},
    {"getParameter",
     always | flags::admin_only,
     ON_BOTH(get_parameter),
     Counted::command,
     "Reads server parameters."},
    {"setParameter",
     always | flags::admin_only,
     ON_BOTH(set_parameter),
     Counted::command,
     "Sets a server parameter."},
    {"getLog",
     always | flags::admin_only,
     ON_BOTH(get_log),
     Counted::command,
     "The last lines of the log."},
    {"whatsmyuri", always, ON_BOTH(whats_my_uri), Counted::command, "The client's address."},
    {"connectionStatus",
     always,
     ON_BOTH(connection_status),
     Counted::command,
     "Who is authenticated."},
    {"listCommands",
     always,
     on_any_member<list_commands<false>>,
     router_adapter<list_commands<true>>,
     Counted::command,
     "The commands there are."},
    {"configureFailPoint",
     always | flags::admin_only | flags::test_only,
     ON_BOTH(configure_fail_point),
     Counted::command,
     "Makes commands fail, for tests."},
    {"shutdown",
     always | flags::admin_only,
     shutdown_member,
     router_adapter<shutdown>,
     Counted::command,
     "Stops the process in order."},
}};
#undef ON_BOTH

}  // namespace tessera::commands
