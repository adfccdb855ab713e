// SPDX-License-Identifier: Apache-2.0
//
// What a command may use: Node is what members and routers have alike; Member adds storage and
// replication, Router what it knows of shards. `roles` builds them; they outlive every command.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "async/clock.h"
#include "async/transport.h"
#include "bson/ids.h"
#include "catalog/catalog.h"
#include "commands/cursor_registry.h"
#include "commands/fail_points.h"
#include "commands/metrics.h"
#include "commands/operation.h"
#include "commands/profiler.h"
#include "commands/server_parameters.h"
#include "commands/write_gate.h"
#include "replication/replication.h"
#include "replication/session_catalog.h"
#include "storage/durability_flusher.h"
#include "storage/engine.h"

namespace tessera::commands {

inline constexpr std::string_view server_version = "7.0.14";
inline constexpr int wire_version_max = 21;

/// Facts of the process that never change.
struct ProcessInfo {
    HostAndPort host;                    // "hostname:port" as serverStatus.host shows it.
    std::string git_version;
    std::vector<std::string> argv;
    bson::Document parsed_options;       // getCmdLineOpts.parsed
    std::string db_path;                 // Empty on a router.
    std::string log_path;
    std::int64_t pid = 0;
    Instant started;
    WallTime started_wall;
    bson::ObjectId process_id;           // topologyVersion.processId
    bool is_config_server = false;
    bool is_shard_server = false;
    std::vector<std::string> bind_addresses;
};

/// Numbers the network layer knows, for serverStatus.
struct ConnectionCounts {
    std::int64_t current = 0;
    std::int64_t available = 0;
    std::int64_t total_created = 0;
    std::int64_t active = 0;
    std::int64_t exhaust_hello = 0;
    std::int64_t awaiting_topology_changes = 0;
    std::int64_t bytes_in = 0;  // As they came over the wire.
    std::int64_t bytes_out = 0;
    struct Compression {
        std::string_view name;
        std::int64_t compressed_in = 0;
        std::int64_t compressed_out = 0;
        std::int64_t decompressed_in = 0;
        std::int64_t decompressed_out = 0;
    };
    std::vector<Compression> compression;
};

struct Node {
    ProcessInfo process;
    async::Clock& clock;
    async::Transport& transport;
    async::Executor& control;            // A strand: heartbeats and other control traffic.
    async::Executor& workers;            // A pool: scans, sorts, builds, waits on disk.
    OperationRegistry operations;
    CursorRegistry cursors;
    FailPoints fail_points;
    ServerParameters parameters;
    Metrics metrics;
    Profiler profiler;
    std::function<ConnectionCounts()> connection_counts;
    /// Begins an orderly shutdown of the process (the shutdown command).
    std::function<void(int exit_code)> request_shutdown;
    std::atomic<bool> is_shutting_down{false};
    replication::LogicalClock logical_clock;

    Node(ProcessInfo info,
         async::Clock& its_clock,
         async::Transport& its_transport,
         async::Executor& its_control,
         async::Executor& its_workers,
         Random& random)
        : process(std::move(info)),
          clock(its_clock),
          transport(its_transport),
          control(its_control),
          workers(its_workers),
          operations(its_clock),
          cursors(its_clock, random.split()),
          random_(random.split()),
          object_ids_(random_) {}

    bson::ObjectId make_object_id() {
        const std::lock_guard lock(ids_mutex_);
        return object_ids_.next(clock.wall_now());
    }
    bson::Uuid make_uuid() {
        const std::lock_guard lock(ids_mutex_);
        return bson::make_uuid(random_);
    }
    std::uint64_t random_number() {
        const std::lock_guard lock(ids_mutex_);
        return random_.next();
    }

private:
    std::mutex ids_mutex_;  // Guards what follows.
    Random random_;
    bson::ObjectIdSource object_ids_;
};

struct MemberSharding;  // commands/sharding_member.h.
class PlacementGate;  // What sharding asks of commands on a shard; commands/placement.h.

struct Member : Node {
    using Node::Node;
    ~Member();

    std::unique_ptr<storage::Engine> engine;
    std::unique_ptr<storage::DurabilityFlusher> flusher;
    std::unique_ptr<catalog::Catalog> catalog;
    std::unique_ptr<replication::Replication> replication;
    std::unique_ptr<replication::SessionCatalog> sessions;
    /// Null on a plain replica set member or standalone.
    std::unique_ptr<PlacementGate> placement;
    /// Null on members that are neither a shard's nor config servers.
    std::unique_ptr<MemberSharding> sharding;
    /// Closed by fsync's lock: writes wait.
    WriteGate write_gate;
};

struct Router;

}  // namespace tessera::commands
