// SPDX-License-Identifier: Apache-2.0
//
// What a cluster consists of: its processes, their ports and flags. It is a file, cluster.json in
// the cluster's folder, written once; ports stay what they were for as long as the cluster lives.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/host_and_port.h"
#include "base/result.h"

namespace tessera::launcher {

enum class Role { router, config, shard };
std::string_view role_name(Role role);

struct Node {
    std::string name;  // "router-1", "config-2", "shard-1-3"
    Role role = Role::router;
    std::string set;  // "config", "shard-1"; empty for a router.
    bool is_arbiter = false;
    std::uint16_t port = 0;

    HostAndPort address() const { return {"127.0.0.1", port}; }
};

struct Shape {
    std::int64_t routers = 2;
    std::int64_t shards = 3;
    std::int64_t members = 3;
    std::int64_t arbiters = 0;  // Beside the members of each shard.
    std::int64_t config = 3;

    bool operator==(const Shape&) const = default;
    std::int64_t processes() const { return routers + config + shards * (members + arbiters); }
    /// "2 routers, 3 shards of 3 members, 3 config servers"
    std::string to_string() const;
};

/// Flags passed through to the processes.
struct ExtraFlags {
    std::vector<std::string> all;
    std::vector<std::string> router;
    std::vector<std::string> config;
    std::vector<std::string> shard;

    bool operator==(const ExtraFlags&) const = default;
};

struct Topology {
    std::string name;
    std::string directory;  // Absolute; not in the file, so that a cluster may be moved.
    Shape shape;
    ExtraFlags flags;
    double cache_gigabytes = 0.25;  // Of a member, at most.
    bool is_ephemeral = false;
    std::vector<Node> nodes;  // Routers, config servers, shards: the order of their ports.

    std::string folder_of(const Node& node) const { return directory + "/" + node.name; }
    std::string log_of(const Node& node) const;
    std::vector<const Node*> of_role(Role role) const;
    std::vector<const Node*> of_set(std::string_view set) const;
    /// "config", "shard-1", "shard-2", ...
    std::vector<std::string> sets() const;
    /// "config/127.0.0.1:27042,..."
    std::string seeds(std::string_view set) const;
    /// "mongodb://127.0.0.1:27040,127.0.0.1:27041/"
    std::string uri() const;
    /// The flags of a process, the program's name first: public ones, that a person could type.
    std::vector<std::string> command_line(const Node& node) const;
};

/// Names all processes and gives them the ports from `first_port` on.
Topology plan(const Shape& shape, std::uint16_t first_port);
void set_ports(Topology& topology, std::uint16_t first_port);

/// Fails with NonExistentPath's like, NoSuchKey, when there is no cluster in `directory`, and with
/// FailedToParse when its file cannot be understood.
Result<Topology> load_topology(const std::string& directory);
Status save_topology(const Topology& topology);
std::string topology_to_json(const Topology& topology);
Result<Topology> topology_from_json(std::string_view text);

}  // namespace tessera::launcher
