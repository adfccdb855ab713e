// SPDX-License-Identifier: Apache-2.0
//
// Everything a server process can be told, as plain data, whatever said it: the flags of mongod and
// mongos, or a configuration file.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/host_and_port.h"
#include "bson/view.h"
#include "commands/profiler.h"

namespace tessera::server {

enum class Program { mongod, mongos };
enum class ClusterRole { none, shard, config };

struct Settings {
    Program program = Program::mongod;
    ClusterRole cluster_role = ClusterRole::none;

    // net
    std::vector<std::string> bind_addresses = {"127.0.0.1"};
    std::optional<std::uint16_t> port;  // Else 27017, --shardsvr 27018, --configsvr 27019.
    bool ipv6 = false;
    bool has_unix_socket = true;
    std::string unix_socket_directory = "/tmp";
    bool has_local_sockets = true;  // net/local_socket.h
    std::size_t connections_max = 65'536;
    std::size_t network_threads = 0;  // 0: chosen by cores.

    // storage
    std::string db_path = "/data/db";
    double cache_gigabytes = 0;                 // 0: the engine's default.
    std::string storage_engine = "wiredTiger";  // Or "memory".
    std::int64_t checkpoint_seconds = 60;

    // replication
    std::string set_name;
    std::int64_t oplog_megabytes = 0;  // 0: chosen by free disk space.

    // sharding
    std::string config_set_name;  // mongos: --configdb name/hosts.
    std::vector<HostAndPort> config_hosts;

    // process
    bool forks = false;
    std::string pid_file;
    std::string log_path;
    bool appends_log = false;
    bool reopens_log = false;  // On rotation, instead of renaming the old file.
    bool is_quiet = false;
    int verbosity = 0;
    std::vector<std::pair<std::string, std::string>> parameters;  // --setParameter.
    commands::ProfileDefaults profile;

    std::vector<std::string> argv;
    bson::Document parsed;  // getCmdLineOpts.parsed

    // What the program around the role wants to hear of; may be empty. From the control loop, and
    // from the thread that calls Machinery::accept().
    std::function<void()> on_log_rotation;
    std::function<void()> on_accepting;

    std::uint16_t effective_port() const {
        if (port) return *port;
        if (cluster_role == ClusterRole::config) return 27019;
        if (cluster_role == ClusterRole::shard) return 27018;
        return 27017;
    }
};

/// mongod's exit codes.
namespace exit_code {
inline constexpr int clean = 0;
inline constexpr int bad_options = 2;
inline constexpr int net_error = 48;       // Address in use.
inline constexpr int need_downgrade = 62;  // Data files of another version or role.
inline constexpr int uncaught = 100;       // The data directory is missing, locked or unusable.
}  // namespace exit_code

}  // namespace tessera::server
