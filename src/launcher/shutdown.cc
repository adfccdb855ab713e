// SPDX-License-Identifier: Apache-2.0
#include "launcher/shutdown.h"

#include <chrono>
#include <csignal>

#include <fmt/format.h>
#include <poll.h>
#include <sys/wait.h>

#include "launcher/files.h"
#include "launcher/limits.h"
#include "launcher/processes.h"

namespace tessera::launcher {
namespace {

struct Target {
    const Node* node;
    ProcessIdentity identity;
    ProcessHandle handle;
};

std::vector<Target> running_targets(const Topology& topology,
                                    const std::vector<const Node*>& nodes,
                                    StopReport& report) {
    std::vector<Target> targets;
    for (const Node* node : nodes) {
        auto identity = load_identity(topology.folder_of(*node));
        if (!identity || state_of(*identity) == ProcessState::gone) continue;
        auto handle = ProcessHandle::open(*identity);
        if (!handle) {
            if (state_of(*identity) != ProcessState::gone)
                report.failures.push_back(node->name + ": " + handle.error().reason());
            continue;
        }
        targets.push_back({node, std::move(*identity), std::move(*handle)});
    }
    return targets;
}

// Returns those that still run when time is up or somebody is impatient.
std::vector<Target*> wait_for_ends(std::vector<Target*> waiting, Signals* signals, Duration limit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (!waiting.empty()) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(
            deadline - std::chrono::steady_clock::now());
        if (left.count() <= 0) break;
        std::vector<pollfd> watched;
        for (const Target* target : waiting)
            watched.push_back({target->handle.descriptor(), POLLIN, 0});
        if (signals != nullptr) watched.push_back({signals->descriptor(), POLLIN, 0});
        ::poll(watched.data(), watched.size(), static_cast<int>(left.count()));
        if (signals != nullptr && signals->take() != 0) break;
        std::vector<Target*> still;
        for (std::size_t i = 0; i < waiting.size(); ++i) {
            if (watched[i].revents == 0) {
                still.push_back(waiting[i]);
                continue;
            }
            // Where it is a child of this process, it must not stay a zombie.
            ::waitpid(waiting[i]->identity.pid, nullptr, WNOHANG);
        }
        waiting = std::move(still);
    }
    return waiting;
}

void send(Target& target, int number, StopReport& report) {
    const auto sent = target.handle.signal(number);
    if (!sent) report.failures.push_back(target.node->name + ": " + sent.error().reason());
}

void stop_tier(const Topology& topology,
               const std::vector<const Node*>& nodes,
               Signals& signals,
               Duration patience,
               StopReport& report) {
    std::vector<Target> targets = running_targets(topology, nodes, report);
    std::vector<Target*> waiting;
    for (Target& target : targets) {
        send(target, SIGTERM, report);
        // A frozen process hears nothing before it goes on.
        send(target, SIGCONT, report);
        waiting.push_back(&target);
    }
    const std::size_t all = waiting.size();
    const auto late = wait_for_ends(waiting, &signals, patience);
    for (Target* target : late)
        send(*target, SIGKILL, report);
    for (const Target* target : wait_for_ends(late, nullptr, kill_wait_max))
        report.failures.push_back(
            fmt::format("{} (pid {}) does not end", target->node->name, target->identity.pid));
    report.killed += static_cast<int>(late.size());
    report.ended += static_cast<int>(all - late.size());
}

}  // namespace

StopReport stop_nodes(const Topology& topology,
                      const std::vector<const Node*>& nodes,
                      Progress& progress,
                      Signals& signals,
                      Duration patience) {
    StopReport report;
    for (const Role role : {Role::router, Role::shard, Role::config}) {
        std::vector<const Node*> tier;
        for (const Node* node : nodes)
            if (node->role == role) tier.push_back(node);
        if (tier.empty()) continue;
        progress.show(
            fmt::format("stopping {} processes of role {}", tier.size(), role_name(role)));
        stop_tier(topology, tier, signals, patience, report);
    }
    return report;
}

StopReport signal_nodes(const Topology& topology,
                        const std::vector<const Node*>& nodes,
                        int number,
                        Progress& progress) {
    StopReport report;
    std::vector<Target> targets = running_targets(topology, nodes, report);
    std::vector<Target*> waiting;
    for (Target& target : targets) {
        send(target, number, report);
        progress.say(
            fmt::format("{} (pid {}): signal {}", target.node->name, target.identity.pid, number));
        waiting.push_back(&target);
    }
    if (number == SIGKILL)
        waiting = wait_for_ends(waiting, nullptr, kill_wait_max);
    else if (number == SIGTERM)
        waiting = wait_for_ends(waiting, nullptr, stop_wait_max);
    else
        waiting.clear();
    for (const Target* target : waiting)
        report.failures.push_back(fmt::format("{} (pid {}) still runs; its log: {}",
                                              target->node->name,
                                              target->identity.pid,
                                              short_path(topology.log_of(*target->node))));
    report.ended = static_cast<int>(targets.size() - waiting.size());
    return report;
}

}  // namespace tessera::launcher
