// SPDX-License-Identifier: Apache-2.0
#include "launcher/status.h"

#include <algorithm>
#include <thread>

#include <fmt/format.h>

#include "bson/builder.h"
#include "bson/json.h"
#include "launcher/conversation.h"
#include "launcher/files.h"
#include "launcher/limits.h"

namespace tessera::launcher {
namespace {

// How far each member is behind, by address, as the primary sees it.
std::map<std::string, double> read_lags(net::BlockingClient& client) {
    std::map<std::string, double> lags;
    const auto reply = client.run_ok("admin", bson::make("replSetGetStatus", 1), status_wait_max);
    if (!reply || !(*reply)["members"].is_array()) return lags;
    std::int64_t newest = 0;
    std::map<std::string, std::int64_t> dates;
    for (const auto& element : (*reply)["members"].as_view()) {
        if (!element.value.is_object()) continue;
        const bson::View member = element.value.as_view();
        const bson::Value name = member["name"];
        const bson::Value date = member["optimeDate"];
        if (!name.is_string() || date.type() != bson::Type::date) continue;
        dates[std::string(name.as_string())] = date.as_date().milliseconds;
        newest = std::max(newest, date.as_date().milliseconds);
    }
    for (const auto& [name, date] : dates)
        lags[name] = static_cast<double>(newest - date) / 1000.0;
    return lags;
}

void ask_member(NodeStatus& status, std::map<std::string, double>& lags) {
    status.member = "no answer";
    auto client = net::BlockingClient::connect(status.node->address(), status_wait_max);
    if (!client) return;
    const auto hello = ask_hello(*client, status_wait_max);
    if (!hello) return;
    if (hello->is_router)
        status.member = "router";
    else if (hello->is_primary)
        status.member = "primary";
    else if (hello->is_secondary)
        status.member = "secondary";
    else if (hello->is_arbiter)
        status.member = "arbiter";
    else
        status.member = "starting";
    if (hello->is_primary) lags = read_lags(*client);
}

bson::Document chunk_counts() {
    bson::Builder command;
    command.append("aggregate", "chunks");
    {
        auto pipeline = command.array("pipeline");
        auto stage = pipeline.object();
        stage.append("$group", bson::make("_id", "$shard", "n", bson::make("$sum", 1)));
    }
    command.append("cursor", bson::Document());
    return std::move(command).finish();
}

void ask_router(const Node& router, ClusterStatus& status) {
    auto client = net::BlockingClient::connect(router.address(), status_wait_max);
    if (!client) return;
    if (const auto reply = client->run_ok("admin", bson::make("listShards", 1), status_wait_max))
        status.registered = shards_of(*reply);
    if (const auto reply =
            client->run_ok("admin", bson::make("balancerStatus", 1), status_wait_max)) {
        const bson::Value mode = (*reply)["mode"];
        if (mode.is_string()) status.balancer = mode.as_string() == "off" ? "off" : "on";
    }
    const auto reply = client->run_ok("config", chunk_counts(), status_wait_max);
    if (!reply) return;
    const bson::Value batch = reply->view().at_path("cursor.firstBatch");
    if (!batch.is_array()) return;
    for (const auto& element : batch.as_view()) {
        if (!element.value.is_object()) continue;
        const bson::Value shard = element.value.as_view()["_id"];
        if (shard.is_string())
            status.chunks[std::string(shard.as_string())] = element.value.as_view()["n"].to_int64();
    }
}

std::string duration_text(double seconds) {
    const auto whole = static_cast<std::int64_t>(seconds);
    return fmt::format("{:02}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string member_text(const NodeStatus& status) {
    std::string text = fmt::format("{} {}", status.node->port, status.member);
    if (status.member == "secondary" && status.lag_seconds)
        text += fmt::format(" ({:.1f} s behind)", *status.lag_seconds);
    return text;
}

}  // namespace

std::string_view health_name(Health health) {
    switch (health) {
        case Health::healthy:
            return "healthy";
        case Health::degraded:
            return "degraded";
        case Health::unavailable:
            return "unavailable";
        case Health::down:
            break;
    }
    return "down";
}

std::vector<NodeStatus> process_states(const Topology& topology) {
    std::vector<NodeStatus> states;
    for (const Node& node : topology.nodes) {
        NodeStatus status;
        status.node = &node;
        const auto identity = load_identity(topology.folder_of(node));
        if (identity) status.process = state_of(*identity);
        status.member = status.process == ProcessState::gone ? "down" : "frozen";
        if (identity && status.process != ProcessState::gone) {
            status.pid = identity->pid;
            status.uptime_seconds = uptime_seconds(*identity);
            status.resident_bytes = resident_bytes(identity->pid);
        }
        states.push_back(std::move(status));
    }
    return states;
}

Health judge(const Topology& topology,
             const std::vector<NodeStatus>& nodes,
             std::size_t shards_registered) {
    bool is_all_well = shards_registered == static_cast<std::size_t>(topology.shape.shards);
    bool has_router = false;
    bool is_any_up = false;
    std::map<std::string, bool> has_primary;
    for (const NodeStatus& status : nodes) {
        const bool is_well = status.member == "router" || status.member == "primary" ||
                             status.member == "secondary" || status.member == "arbiter";
        is_all_well = is_all_well && is_well;
        is_any_up = is_any_up || status.process != ProcessState::gone;
        has_router = has_router || status.member == "router";
        if (!status.node->set.empty())
            has_primary[status.node->set] =
                has_primary[status.node->set] || status.member == "primary";
    }
    if (!is_any_up) return Health::down;
    const bool is_writable =
        has_router && std::all_of(has_primary.begin(), has_primary.end(), [](const auto& entry) {
            return entry.second;
        });
    if (!is_writable) return Health::unavailable;
    return is_all_well ? Health::healthy : Health::degraded;
}

ClusterStatus read_status(const Topology& topology) {
    ClusterStatus status;
    status.nodes = process_states(topology);
    std::vector<std::map<std::string, double>> lags(status.nodes.size());
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < status.nodes.size(); ++i) {
        if (status.nodes[i].process != ProcessState::running) continue;
        threads.emplace_back([&node = status.nodes[i], &lag = lags[i]] { ask_member(node, lag); });
    }
    for (const NodeStatus& node : status.nodes) {
        if (node.node->role != Role::router || node.process != ProcessState::running) continue;
        // The first router that runs speaks for all.
        threads.emplace_back([&status, router = node.node] { ask_router(*router, status); });
        break;
    }
    for (std::thread& thread : threads)
        thread.join();
    for (const auto& of_set : lags) {
        for (NodeStatus& node : status.nodes) {
            const auto found = of_set.find(node.node->address().to_string());
            if (found != of_set.end() && node.process == ProcessState::running)
                node.lag_seconds = found->second;
        }
    }
    status.health = judge(topology, status.nodes, status.registered.size());
    return status;
}

std::string status_json(const Topology& topology, const ClusterStatus& status) {
    bson::Builder out;
    out.append("name", topology.name).append("state", health_name(status.health));
    out.append("directory", topology.directory).append("uri", topology.uri());
    out.append("balancer", status.balancer);
    {
        auto shards = out.array("shards");
        for (const std::string& name : status.registered) {
            auto shard = shards.object();
            shard.append("name", name);
            const auto chunks = status.chunks.find(name);
            shard.append("chunks",
                         chunks == status.chunks.end() ? std::int64_t{0} : chunks->second);
        }
    }
    {
        auto nodes = out.array("nodes");
        for (const NodeStatus& node : status.nodes) {
            auto entry = nodes.object();
            entry.append("name", node.node->name).append("role", role_name(node.node->role));
            if (!node.node->set.empty()) entry.append("set", node.node->set);
            entry.append("address", node.node->address().to_string());
            entry.append("port", std::int32_t{node.node->port});
            entry.append("status",
                         node.process == ProcessState::gone      ? "down"
                         : node.process == ProcessState::running ? "running"
                                                                 : "frozen");
            entry.append("state", node.member);
            if (node.pid != 0) entry.append("pid", node.pid);
            if (node.lag_seconds) entry.append("lagSeconds", *node.lag_seconds);
            entry.append("uptimeSeconds", node.uptime_seconds);
            entry.append("residentBytes", node.resident_bytes);
            entry.append("log", topology.log_of(*node.node));
        }
    }
    return bson::to_json(std::move(out).finish());
}

std::string status_text(const Topology& topology, const ClusterStatus& status) {
    double uptime = 0;
    std::string down;
    std::map<std::string, std::string> lines;
    std::map<std::string, std::pair<int, int>> counts;
    std::vector<std::string> order;
    for (const NodeStatus& node : status.nodes) {
        const std::string group = node.node->set.empty() ? "routers" : node.node->set;
        if (lines.find(group) == lines.end()) order.push_back(group);
        lines[group] += "  " + member_text(node);
        counts[group].second += 1;
        counts[group].first += node.process == ProcessState::running ? 1 : 0;
        uptime = std::max(uptime, node.uptime_seconds);
        if (node.process == ProcessState::gone && down.empty()) down = node.node->name;
    }
    std::string text = fmt::format("cluster {}   {}   up {}   data {}\n",
                                   topology.name,
                                   health_name(status.health),
                                   duration_text(uptime),
                                   short_path(topology.directory));
    for (const std::string& group : order) {
        text += fmt::format(
            "  {:<10} {}/{}{}", group, counts[group].first, counts[group].second, lines[group]);
        if (const auto chunks = status.chunks.find(group); chunks != status.chunks.end())
            text += fmt::format("   {} chunks", chunks->second);
        text += '\n';
    }
    if (!status.balancer.empty()) text += fmt::format("  balancer   {}\n", status.balancer);
    if (status.health == Health::down)
        text += "next: tessera up\n";
    else if (!down.empty())
        text += fmt::format("next: tessera start {0}   |   tessera logs {0} --tail 50\n", down);
    return text;
}

}  // namespace tessera::launcher
