// SPDX-License-Identifier: Apache-2.0
//
// The verbs that end and start processes: down, stop, start, restart, kill, destroy.
#include <csignal>
#include <filesystem>
#include <iterator>

#include <fmt/format.h>
#include <unistd.h>

#include "launcher/clusters.h"
#include "launcher/files.h"
#include "launcher/limits.h"
#include "launcher/ports.h"
#include "launcher/shutdown.h"
#include "launcher/startup.h"
#include "launcher/status.h"
#include "launcher/tags.h"
#include "launcher/verbs.h"

namespace tessera::launcher {
namespace {

std::vector<const Node*> all_nodes(const Topology& topology) {
    std::vector<const Node*> all;
    for (const Node& node : topology.nodes)
        all.push_back(&node);
    return all;
}

// The processes the words mean; all of them where there are no words.
Result<std::vector<const Node*>> chosen_nodes(const Topology& topology,
                                              const std::vector<std::string>& words) {
    if (words.empty()) return all_nodes(topology);
    const auto states =
        needs_status(words) ? read_status(topology).nodes : process_states(topology);
    return select_nodes(topology, words, states);
}

int report_stop(const StopReport& report, Progress& progress) {
    for (const std::string& failure : report.failures)
        progress.complain("tessera: " + failure);
    if (report.ended + report.killed == 0)
        progress.say("nothing to stop: no such process runs");
    else
        progress.say(fmt::format("stopped {} processes{}",
                                 report.ended + report.killed,
                                 report.killed == 0
                                     ? std::string()
                                     : fmt::format(", {} of them by SIGKILL", report.killed)));
    return report.failures.empty() ? exit_code::clean : exit_code::failed;
}

std::vector<const Node*> those_down(const Topology& topology,
                                    const std::vector<const Node*>& nodes) {
    std::vector<const Node*> down;
    for (const Node* node : nodes) {
        const auto identity = load_identity(topology.folder_of(*node));
        if (!identity || state_of(*identity) == ProcessState::gone) down.push_back(node);
    }
    return down;
}

int start_nodes(const Topology& topology,
                const std::vector<const Node*>& nodes,
                const Arguments& arguments,
                Progress& progress,
                Signals& signals) {
    const auto down = those_down(topology, nodes);
    if (down.empty()) {
        progress.say("nothing to start: all of them run");
        return exit_code::clean;
    }
    std::vector<std::uint16_t> ports;
    for (const Node* node : down)
        ports.push_back(node->port);
    for (const PortHolder& holder : taken_ports(ports)) {
        progress.complain(
            fmt::format("tessera: port {} is taken by pid {}: {}\nNothing was started",
                        holder.port,
                        holder.pid,
                        holder.command_line));
        return exit_code::port_taken;
    }
    Startup startup(topology, progress, signals);
    const Duration wait = arguments.wait > 0s ? arguments.wait : ready_wait_default;
    const auto failure = startup.run_nodes(down, wait);
    if (!failure) {
        std::string names;
        for (const Node* node : down)
            names += " " + node->name;
        progress.say(fmt::format("started{} ({:.2f} s)", names, startup.seconds()));
        return exit_code::clean;
    }
    std::string text = "tessera: " + failure->reason;
    if (failure->node != nullptr) {
        const std::string log = topology.log_of(*failure->node);
        for (const std::string& line : last_lines(log, failure_log_lines))
            text += "\n    " + line;
        text += "\n  log: " + log;
    }
    progress.complain(text);
    stop_nodes(topology, startup.started(), progress, signals, stop_wait_max);
    return failure->exit_code;
}

}  // namespace

int complain(Progress& progress, const Error& error) {
    progress.complain("tessera: " + error.reason());
    if (error.code() == ErrorCode::bad_value) return exit_code::bad_usage;
    if (error.code() == location(exit_code::port_taken)) return exit_code::port_taken;
    return exit_code::failed;
}

int delete_cluster(const Topology& topology, Progress& progress) {
    Signals signals;
    const StopReport report =
        stop_nodes(topology, all_nodes(topology), progress, signals, stop_wait_max);
    for (const std::string& failure : report.failures)
        progress.complain("tessera: " + failure);
    if (!report.failures.empty()) return exit_code::failed;
    std::error_code failure;
    // Only what this made: the folder may be one that holds other things.
    for (const Node& node : topology.nodes)
        std::filesystem::remove_all(topology.folder_of(node), failure);
    for (const char* const name : {"cluster.json", "cluster.json.new", "lock"})
        std::filesystem::remove(topology.directory + "/" + name, failure);
    unregister_name({topology.name, topology.directory});
    ::rmdir(topology.directory.c_str());  // Fails where something else is in it: it stays.
    if (std::filesystem::exists(topology.folder_of(topology.nodes.front()), failure)) {
        progress.complain(
            fmt::format("tessera: cannot delete everything in {}", topology.directory));
        return exit_code::failed;
    }
    progress.say(fmt::format("deleted {}", short_path(topology.directory)));
    return exit_code::clean;
}

int run_down(Arguments arguments) {
    Progress progress(arguments.quiet || arguments.json);
    const auto topology = find_cluster(arguments);
    if (!topology) return complain(progress, topology.error());
    if (!arguments.words.empty())
        return complain(progress,
                        {ErrorCode::bad_value,
                         fmt::format("there is no cluster named {}; tessera stop takes "
                                     "TAGs",
                                     arguments.words[0])});
    const auto lock = ClusterLock::acquire(topology->directory);
    if (!lock) return complain(progress, lock.error());
    if (topology->is_ephemeral) return delete_cluster(*topology, progress);
    Signals signals;
    return report_stop(
        stop_nodes(*topology, all_nodes(*topology), progress, signals, stop_wait_max), progress);
}

int run_destroy(Arguments arguments) {
    Progress progress(arguments.quiet || arguments.json);
    const auto topology = find_cluster(arguments);
    if (!topology) {
        if (topology.error().code() != ErrorCode::no_such_key)
            return complain(progress, topology.error());
        progress.say("nothing to destroy: " + topology.error().reason());
        return exit_code::clean;
    }
    if (!arguments.yes) {
        if (::isatty(STDIN_FILENO) == 0)
            return complain(progress,
                            {ErrorCode::bad_value, "destroy deletes the data: say --yes"});
        fmt::print(stderr,
                   "Delete the cluster {} and its data in {}? [y/N] ",
                   topology->name,
                   short_path(topology->directory));
        char answer[8] = {};
        if (std::fgets(answer, sizeof(answer), stdin) == nullptr ||
            (answer[0] != 'y' && answer[0] != 'Y'))
            return exit_code::failed;
    }
    const auto lock = ClusterLock::acquire(topology->directory);
    if (!lock) return complain(progress, lock.error());
    return delete_cluster(*topology, progress);
}

int run_start(Arguments arguments) {
    Progress progress(arguments.quiet || arguments.json);
    const auto topology = find_cluster(arguments);
    if (!topology) return complain(progress, topology.error());
    const auto nodes = chosen_nodes(*topology, arguments.words);
    if (!nodes) return complain(progress, nodes.error());
    const auto lock = ClusterLock::acquire(topology->directory);
    if (!lock) return complain(progress, lock.error());
    Signals signals;
    return start_nodes(*topology, *nodes, arguments, progress, signals);
}

int run_stop(Arguments arguments) {
    Progress progress(arguments.quiet || arguments.json);
    const auto topology = find_cluster(arguments);
    if (!topology) return complain(progress, topology.error());
    const auto nodes = chosen_nodes(*topology, arguments.words);
    if (!nodes) return complain(progress, nodes.error());
    const auto lock = ClusterLock::acquire(topology->directory);
    if (!lock) return complain(progress, lock.error());
    Signals signals;
    return report_stop(stop_nodes(*topology, *nodes, progress, signals, stop_wait_max), progress);
}

int run_restart(Arguments arguments) {
    Progress progress(arguments.quiet || arguments.json);
    const auto topology = find_cluster(arguments);
    if (!topology) return complain(progress, topology.error());
    const auto nodes = chosen_nodes(*topology, arguments.words);
    if (!nodes) return complain(progress, nodes.error());
    const auto lock = ClusterLock::acquire(topology->directory);
    if (!lock) return complain(progress, lock.error());
    Signals signals;
    const int stopped =
        report_stop(stop_nodes(*topology, *nodes, progress, signals, stop_wait_max), progress);
    if (stopped != exit_code::clean) return stopped;
    return start_nodes(*topology, *nodes, arguments, progress, signals);
}

int run_kill(Arguments arguments) {
    Progress progress(arguments.quiet || arguments.json);
    std::string signal = arguments.signal.empty() ? "KILL" : arguments.signal;
    if (arguments.verb == "freeze") signal = "STOP";
    if (arguments.verb == "thaw") signal = "CONT";
    const auto number = parse_signal(signal);
    if (!number) return complain(progress, number.error());
    const auto topology = find_cluster(arguments);
    if (!topology) return complain(progress, topology.error());
    if (arguments.words.empty())
        return complain(progress,
                        {ErrorCode::bad_value,
                         fmt::format("{0} needs TAGs, e.g. tessera {0} shard-1 primary; all "
                                     "processes are: all",
                                     arguments.verb)});
    const auto nodes = chosen_nodes(*topology, arguments.words);
    if (!nodes) return complain(progress, nodes.error());
    const auto lock = ClusterLock::acquire(topology->directory);
    if (!lock) return complain(progress, lock.error());
    const StopReport report = signal_nodes(*topology, *nodes, *number, progress);
    for (const std::string& failure : report.failures)
        progress.complain("tessera: " + failure);
    return report.failures.empty() ? exit_code::clean : exit_code::failed;
}

}  // namespace tessera::launcher
