// SPDX-License-Identifier: Apache-2.0
//
// Balancer: the loop on the config primary around routing::plan_round. Each round gathers shards,
// collections and data sizes, carries out splits and moves, and records what it did and why in
// config.actionlog. Obeys config.settings (mode, stopped, activeWindow, chunksize) and a
// collection's noBalance.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "async/event.h"
#include "routing/balancer.h"
#include "sharding/config_catalog.h"

namespace tessera::sharding {

struct BalancerSettings {
    bool is_enabled = true;
    std::int64_t chunk_bytes_max = routing::limits::chunk_bytes;
    int window_start = -1;  // Minutes of the day in UTC; -1: always.
    int window_stop = -1;
    bool waits_for_delete = false;

    static BalancerSettings parse(bson::View balancer, bson::View chunk_size);
    bool is_open_at(WallTime now) const;
};

class Balancer {
public:
    Balancer(async::Clock& clock, ShardRegistry& registry, ConfigCatalog& catalog)
        : clock_(clock), registry_(registry), catalog_(catalog) {}

    /// One round, if the settings allow it; returns how many ranges moved.
    async::Task<Result<std::int64_t>> run_round();
    Result<BalancerSettings> settings() const;
    bool is_in_round() const { return is_in_round_; }
    std::int64_t rounds() const { return rounds_; }
    /// "", "draining", "zoneViolation" or "chunksImbalance".
    async::Task<Result<std::string>> first_violation(std::string ns);

private:
    async::Task<Result<routing::BalancerInput>> gather(BalancerSettings settings,
                                                       std::string only_ns);
    async::Task<void> move(routing::Migration migration,
                           bool waits_for_delete,
                           std::atomic<std::int64_t>& moved);

    async::Clock& clock_;
    ShardRegistry& registry_;
    ConfigCatalog& catalog_;
    std::atomic<bool> is_in_round_{false};
    std::atomic<std::int64_t> rounds_{0};
    std::mutex mutex_;                               // Guards failed_.
    std::map<routing::FailedMove, Instant> failed_;  // Not tried again before.
};

}  // namespace tessera::sharding
