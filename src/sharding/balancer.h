// SPDX-License-Identifier: Apache-2.0
//
// Balancer: the loop on the config primary around routing::plan_round. Each round gathers shards,
// collections and data sizes, carries out splits and moves, and records what it did and why in
// config.actionlog. Obeys config.settings (mode, stopped, activeWindow, chunksize).
#pragma once

#include <map>
#include <string>

#include "async/event.h"
#include "routing/balancer.h"
#include "sharding/config_catalog.h"

namespace tessera::sharding {

struct BalancerSettings {
    bool is_enabled = true;
    std::int64_t chunk_bytes_max = routing::limits::chunk_bytes;
    std::string window_start;  // "HH:MM", both or neither.
    std::string window_stop;
    bool wait_for_delete = false;

    static BalancerSettings parse(bson::View balancer, bson::View chunk_size);
    bool is_open_at(WallTime now) const;
};

class Balancer {
public:
    Balancer(async::Clock& clock,
             ShardRegistry& registry,
             ConfigStore& store,
             ConfigCatalog& catalog);

    /// Rounds until cancelled (step-down).
    async::Task<void> run(async::Cancellation cancellation);
    /// One round; returns how many ranges moved. For tests and for balancing at once.
    async::Task<Result<std::int64_t>> run_round();
    /// Wakes the loop: a setting changed, a shard was added.
    void wake();

    /// {mode, inBalancerRound, numBalancerRounds, term}.
    bson::Document status() const;
    /// {balancerCompliant, firstComplianceViolation, chunkSize}.
    async::Task<Result<bson::Document>> collection_status(std::string ns);
    /// What a round would do now, with reasons: a dry run.
    async::Task<Result<routing::BalancerPlan>> plan();
    /// moveChunk, moveRange: one move by hand.
    async::Task<Status> move_range(bson::Document request, Instant deadline);

private:
    async::Task<Result<routing::BalancerInput>> gather();
    struct Progress;
    async::Clock& clock_;
    ShardRegistry& registry_;
    ConfigStore& store_;
    ConfigCatalog& catalog_;
    std::shared_ptr<Progress> progress_;  // Shared with a running round.
};

}  // namespace tessera::sharding
