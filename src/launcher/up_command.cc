// SPDX-License-Identifier: Apache-2.0
//
// `tessera up`: plan or find the cluster, check its ports, start what is down, wait for readiness,
// show how to connect. Whatever fails leaves nothing running that was not running before.
#include <algorithm>
#include <filesystem>
#include <random>

#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bson/builder.h"
#include "bson/json.h"
#include "launcher/clusters.h"
#include "launcher/files.h"
#include "launcher/limits.h"
#include "launcher/ports.h"
#include "launcher/shutdown.h"
#include "launcher/startup.h"
#include "launcher/status.h"
#include "launcher/verbs.h"

namespace tessera::launcher {
namespace {

Shape wanted_shape(const Arguments& arguments) {
    const Shape usual;
    return {arguments.routers.value_or(usual.routers),
            arguments.shards.value_or(usual.shards),
            arguments.members.value_or(usual.members),
            arguments.arbiters.value_or(usual.arbiters),
            arguments.config.value_or(usual.config)};
}

Result<std::uint16_t> first_port(const Arguments& arguments, const Shape& shape) {
    const auto count = static_cast<std::size_t>(shape.processes());
    if (arguments.any_port) {
        std::random_device device;
        const auto draw = [&](std::uint64_t below) { return device() % below; };
        const auto found = find_free_block(count, listening_ports(), draw);
        if (!found)
            return Error(ErrorCode::internal_error,
                         fmt::format("no {} neighbouring free ports between {} and {}",
                                     count,
                                     any_port_first,
                                     any_port_last));
        return *found;
    }
    const std::size_t first =
        std::size_t{arguments.port.value_or(default_port)} + arguments.port_offset;
    if (first + count > 65'536)
        return Error(ErrorCode::bad_value,
                     fmt::format("{} ports from {} on: there are none above 65535", count, first));
    return static_cast<std::uint16_t>(first);
}

Result<Topology> plan_cluster(const Arguments& arguments, const Place& place) {
    const Shape shape = wanted_shape(arguments);
    TRY(const std::uint16_t port, first_port(arguments, shape));
    Topology topology = plan(shape, port);
    topology.name = place.name;
    topology.directory = place.directory;
    topology.flags = arguments.flags;
    topology.is_ephemeral = arguments.is_ephemeral;
    if (arguments.memory_gigabytes > 0) {
        const auto members = shape.config + shape.shards * shape.members;
        topology.cache_gigabytes = arguments.memory_gigabytes / static_cast<double>(members);
    }
    return topology;
}

// What is asked for must be what is there; only what somebody said is compared.
Status check_same(const Arguments& arguments, const Topology& topology) {
    std::string differences;
    const auto compare =
        [&](std::string_view flag, std::optional<std::int64_t> asked, std::int64_t has) {
            if (asked && *asked != has)
                differences += fmt::format("\n  --{} {}: it has {}", flag, *asked, has);
        };
    compare("shards", arguments.shards, topology.shape.shards);
    compare("members", arguments.members, topology.shape.members);
    compare("routers", arguments.routers, topology.shape.routers);
    compare("config", arguments.config, topology.shape.config);
    compare("arbiters", arguments.arbiters, topology.shape.arbiters);
    if (arguments.port) compare("port", *arguments.port, topology.nodes.front().port);
    if (arguments.flags != ExtraFlags() && arguments.flags != topology.flags)
        differences += "\n  server flags: it has others";
    if (differences.empty()) return ok();
    return Error(
        ErrorCode::internal_error,
        fmt::format("the cluster {} in {} is another one:{}\nNext step: tessera up without "
                    "these flags, another name or --dir, or tessera destroy first",
                    topology.name,
                    short_path(topology.directory),
                    differences));
}

Status check_ports(const Topology& topology, const std::vector<const Node*>& nodes) {
    std::vector<std::uint16_t> ports;
    for (const Node* node : nodes)
        ports.push_back(node->port);
    const auto taken = taken_ports(ports);
    if (taken.empty()) return ok();
    std::string text = "these ports are taken:";
    for (const PortHolder& holder : taken)
        text += holder.pid == 0
                    ? fmt::format("\n  {}  by a process of another user", holder.port)
                    : fmt::format(
                          "\n  {}  by pid {}: {}", holder.port, holder.pid, holder.command_line);
    text += fmt::format(
        "\nNothing was started. Next step:\n"
        "  if that is another cluster, stop it: tessera list, tessera down NAME\n"
        "  or use other ports: tessera up --port {}, or tessera up --any-port",
        default_port + 1000);
    (void)topology;
    return Error(location(exit_code::port_taken), std::move(text));
}

std::string address_line(const std::vector<const Node*>& nodes) {
    std::string text;
    for (const Node* node : nodes)
        text += (text.empty() ? "" : "  ") + node->address().to_string();
    return text;
}

std::string card(const Topology& topology, const std::string& headline) {
    const Node& router = *topology.of_role(Role::router)[0];
    std::string name;
    if (topology.name != default_name) name = " --name " + topology.name;
    if (absolute_path(clusters_home() + "/" + topology.name) != topology.directory)
        name = " --dir " + short_path(topology.directory);
    std::string text = fmt::format("{}\n\n", headline);
    text += fmt::format("  mongosh    mongosh \"mongodb://{}\"\n", router.address().to_string());
    text += fmt::format("  drivers    {}\n", topology.uri());
    text += fmt::format(
        "  import     mongoimport --host 127.0.0.1 --port {} --db tp --collection "
        "books --file FILE.json --jsonArray\n",
        router.port);
    text += fmt::format("  routers    {}\n", address_line(topology.of_role(Role::router)));
    for (const std::string& set : topology.sets())
        text += fmt::format("  {:<10} {}\n", set, address_line(topology.of_set(set)));
    text += fmt::format("  data, logs {}\n", short_path(topology.directory));
    text += fmt::format(
        "  next       tessera status{0} | tessera logs{0} -f | tessera kill{0} "
        "shard-1 primary | tessera down{0}\n",
        name);
    if (topology.is_ephemeral) text += "  ephemeral: `tessera down` deletes the data\n";
    return text;
}

std::string plan_text(const Topology& topology) {
    std::string text = fmt::format("{} in {}\n", topology.shape.to_string(), topology.directory);
    for (const Node& node : topology.nodes) {
        text += fmt::format("{:<12} {}  ", node.name, node.port);
        for (const std::string& word : topology.command_line(node))
            text += " " + word;
        text += '\n';
    }
    return text;
}

std::string plan_json(const Topology& topology) {
    bson::Builder out;
    out.append("name", topology.name).append("directory", topology.directory);
    out.append("uri", topology.uri());
    {
        auto nodes = out.array("nodes");
        for (const Node& node : topology.nodes) {
            auto entry = nodes.object();
            entry.append("name", node.name).append("role", role_name(node.role));
            if (!node.set.empty()) entry.append("set", node.set);
            entry.append("port", std::int32_t{node.port});
            entry.append("folder", topology.folder_of(node)).append("log", topology.log_of(node));
            auto words = entry.array("command");
            for (const std::string& word : topology.command_line(node))
                words.append(word);
        }
    }
    return bson::to_json(std::move(out).finish());
}

std::string ready_json(const Topology& topology, const Startup& startup, double seconds) {
    bson::Builder out;
    out.append("name", topology.name).append("directory", topology.directory);
    out.append("uri", topology.uri()).append("seconds", seconds);
    out.append("started", static_cast<std::int64_t>(startup.started().size()));
    {
        auto phases = out.object("phases");
        for (const auto& [name, when] : startup.phases())
            phases.append(name, when);
    }
    return bson::to_json(std::move(out).finish());
}

void show_failure(const Topology& topology, const StartFailure& failure, Progress& progress) {
    std::string text = "tessera: the cluster did not start: " + failure.reason;
    if (failure.node != nullptr) {
        const std::string log = topology.log_of(*failure.node);
        text += fmt::format("\n  last lines of {}:", short_path(log));
        for (const std::string& line : last_lines(log, failure_log_lines))
            text += "\n    " + line;
        text += fmt::format("\n  log: {}", log);
    }
    text += fmt::format(
        "\nWhat this had started is stopped again. Next step: look at the logs in {}, "
        "then tessera up",
        short_path(topology.directory));
    progress.complain(text);
}

// A cluster that never was ready leaves its logs and nothing else.
void forget_fresh(const Topology& topology) {
    std::error_code ignored;
    for (const Node& node : topology.nodes) {
        std::filesystem::remove_all(topology.folder_of(node) + "/data", ignored);
        std::filesystem::remove(topology.folder_of(node) + "/process.json", ignored);
    }
    std::filesystem::remove(topology.directory + "/cluster.json", ignored);
}

int stay_until_told(const Topology& topology, Progress& progress, Signals& signals) {
    progress.say("Ctrl-C stops the cluster; a second one kills it");
    pollfd told{signals.descriptor(), POLLIN, 0};
    while (signals.take() == 0)
        ::poll(&told, 1, -1);
    std::vector<const Node*> all;
    for (const Node& node : topology.nodes)
        all.push_back(&node);
    const StopReport report = stop_nodes(topology, all, progress, signals, stop_wait_max);
    for (const std::string& failure : report.failures)
        progress.complain("tessera: " + failure);
    progress.say(fmt::format("stopped {} processes, killed {}", report.ended, report.killed));
    if (topology.is_ephemeral) return delete_cluster(topology, progress);
    return report.failures.empty() ? exit_code::clean : exit_code::failed;
}

std::vector<const Node*> nodes_down(const Topology& topology) {
    std::vector<const Node*> down;
    for (const NodeStatus& status : process_states(topology))
        if (status.process == ProcessState::gone) down.push_back(status.node);
    return down;
}

// A frozen process holds its port and its data and answers nobody: nothing would become ready.
Status check_none_frozen(const Topology& topology) {
    std::string names;
    for (const NodeStatus& status : process_states(topology))
        if (status.process == ProcessState::frozen) names += " " + status.node->name;
    if (names.empty()) return ok();
    return Error(ErrorCode::illegal_operation,
                 fmt::format("frozen (SIGSTOP):{}\nNothing was started. Next step: tessera thaw{}, "
                             "then tessera up",
                             names,
                             names));
}

void show_ready(const Arguments& arguments,
                const Topology& topology,
                const Startup& startup,
                double seconds) {
    if (arguments.json) {
        fmt::print("{}\n", ready_json(topology, startup, seconds));
    } else if (arguments.quiet) {
        fmt::print("{}\n", topology.uri());
    } else {
        const std::string headline = startup.started().empty()
                                         ? fmt::format("Cluster {} is already running: {}",
                                                       topology.name,
                                                       topology.shape.to_string())
                                         : fmt::format("Cluster {} is ready after {:.2f} s: {}",
                                                       topology.name,
                                                       seconds,
                                                       topology.shape.to_string());
        fmt::print("{}", card(topology, headline));
    }
    std::fflush(stdout);
}

struct Attempt {
    int code = 0;
    bool may_repeat = false;  // Somebody took a port between the plan and the start.
};

Attempt bring_up(const Arguments& arguments,
                 const Topology& topology,
                 bool is_fresh,
                 Progress& progress) {
    const std::vector<const Node*> down = nodes_down(topology);
    if (const auto lively = check_none_frozen(topology); !lively)
        return {complain(progress, lively.error()), false};
    if (const auto free = check_ports(topology, down); !free)
        return {complain(progress, free.error()), false};
    if (const auto saved = save_topology(topology); !saved)
        return {complain(progress, saved.error()), false};
    Signals signals;
    if (!down.empty())
        progress.say(fmt::format(
            "starting {} processes in {}", down.size(), short_path(topology.directory)));
    Startup startup(topology, progress, signals);
    const Duration wait = arguments.wait > 0s ? arguments.wait : ready_wait_default;
    const auto failure = startup.run(down, wait);
    if (failure) {
        stop_nodes(topology, startup.started(), progress, signals, stop_wait_max);
        const bool may_repeat =
            failure->exit_code == exit_code::port_taken && is_fresh && arguments.any_port;
        if (!may_repeat) show_failure(topology, *failure, progress);
        if (is_fresh) forget_fresh(topology);
        return {failure->exit_code, may_repeat};
    }
    const double seconds = startup.seconds();
    show_ready(arguments, topology, startup, seconds);
    if (arguments.in_foreground) return {stay_until_told(topology, progress, signals), false};
    return {exit_code::clean, false};
}

}  // namespace

int run_up(const Arguments& arguments) {
    Progress progress(arguments.quiet || arguments.json);
    const auto place = place_for_up(arguments);
    if (!place) return complain(progress, place.error());
    for (int attempt = 1;; ++attempt) {
        auto topology = load_topology(place->directory);
        const bool is_fresh = !topology && topology.error().code() == ErrorCode::no_such_key;
        if (!topology && !is_fresh) return complain(progress, topology.error());
        if (is_fresh) topology = plan_cluster(arguments, *place);
        if (!topology) return complain(progress, topology.error());
        if (const auto same = check_same(arguments, *topology); !is_fresh && !same)
            return complain(progress, same.error());
        if (arguments.is_dry_run) {
            if (arguments.json)
                fmt::print("{}\n", plan_json(*topology));
            else
                fmt::print("{}", plan_text(*topology));
            return exit_code::clean;
        }
        if (const auto made = make_directories(place->directory); !made)
            return complain(progress, made.error());
        ::chmod(place->directory.c_str(), 0700);
        const auto lock = ClusterLock::acquire(place->directory);
        if (!lock) return complain(progress, lock.error());
        // Made by another launcher while this one waited to look.
        if (is_fresh && ::access((place->directory + "/cluster.json").c_str(), F_OK) == 0) continue;
        const bool is_named = !arguments.words.empty() || !arguments.name.empty();
        if (is_named && !arguments.directory.empty())
            if (const auto registered = register_name(*place); !registered)
                return complain(progress, registered.error());
        const Attempt outcome = bring_up(arguments, *topology, is_fresh, progress);
        if (!outcome.may_repeat || attempt == start_attempts_max) return outcome.code;
    }
}

}  // namespace tessera::launcher
