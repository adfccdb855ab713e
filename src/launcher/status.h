// SPDX-License-Identifier: Apache-2.0
//
// What a cluster is at this moment: every process as the system and as its set see it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "launcher/processes.h"
#include "launcher/topology.h"

namespace tessera::launcher {

struct NodeStatus {
    const Node* node = nullptr;
    ProcessState process = ProcessState::gone;
    int pid = 0;
    std::string member;  // "router", "primary", "secondary", "arbiter", "starting",
                         // "no answer", "frozen", "down".
    std::optional<double> lag_seconds;
    double uptime_seconds = 0;
    std::int64_t resident_bytes = 0;
};

enum class Health { healthy, degraded, unavailable, down };  // Exit codes 0, 1, 2, 3.
std::string_view health_name(Health health);

struct ClusterStatus {
    Health health = Health::down;
    std::vector<NodeStatus> nodes;               // In the topology's order.
    std::map<std::string, std::int64_t> chunks;  // By shard, where a router says it.
    std::vector<std::string> registered;         // Shards a router knows.
    std::string balancer;                        // "on", "off", or empty when nobody says.
};

/// Processes alone: asks nobody.
std::vector<NodeStatus> process_states(const Topology& topology);
/// Asks every process at the same time, each at most status_wait_max.
ClusterStatus read_status(const Topology& topology);
/// What the parts together amount to.
Health judge(const Topology& topology,
             const std::vector<NodeStatus>& nodes,
             std::size_t shards_registered);

std::string status_json(const Topology& topology, const ClusterStatus& status);
std::string status_text(const Topology& topology, const ClusterStatus& status);

}  // namespace tessera::launcher
