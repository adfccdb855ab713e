// SPDX-License-Identifier: Apache-2.0
//
// The balancing policy: given where data is, which ranges should move next, and why. Pure: the
// balancer loop of `sharding` gathers the input, carries out what comes out, and asks again.
//
// Order: splits where a chunk crosses a zone's edge; then moves: away from draining shards, out of
// shards of the wrong zone, then from the fullest to the emptiest shard when they differ by three
// chunk sizes or more of data. A shard takes part in one move a round.
//
// Why it ends: chunks on draining shards only decrease; then chunks outside their zone only
// decrease; then a size move of at most one chunk size between shards that differ by three lowers
// the sum of squares, so no move is ever undone by a later one.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "routing/chunk_map.h"
#include "routing/limits.h"
#include "routing/zones.h"

namespace tessera::routing {

struct BalancerShard {
    ShardName name;
    bool is_draining = false;
    std::set<std::string> zones;
    bool is_available = true;  // Unreachable shards neither give nor take.
};

struct BalancerCollection {
    ChunkMap::Pointer chunks;
    Zones zones;
    /// Bytes of owned data by shard; a shard that is not here has none.
    std::map<ShardName, std::int64_t> bytes;
    /// Bytes by chunk, where known, by min key: chunks with data are moved before empty ones.
    std::map<Key, std::int64_t> chunk_bytes;
};

struct FailedMove {
    std::string ns;
    Key min_key;
    auto operator<=>(const FailedMove&) const = default;
};

struct BalancerInput {
    std::vector<BalancerShard> shards;
    std::vector<BalancerCollection> collections;
    std::int64_t chunk_bytes_max = limits::chunk_bytes;
    /// Moves that failed lately (e.g. ChunkTooBig): not proposed again in this round.
    std::set<FailedMove> failed;
    /// Shards already busy with a migration.
    std::set<ShardName> busy;
    std::size_t migrations_max = 64;
};

enum class MoveReason { draining, zone_violation, data_imbalance };
/// "draining", "zoneViolation", "chunksImbalance".
std::string_view to_string(MoveReason reason);

struct Migration {
    std::string ns;
    bson::Uuid uuid;
    ShardName from;
    ShardName to;
    Range chunk;  // Move from chunk.min up to bytes_max, at most to chunk.max.
    ChunkVersion version;
    std::int64_t bytes_max = 0;
    bool force_jumbo = false;
    MoveReason reason = MoveReason::data_imbalance;
    std::string why;  // A sentence for people: config.actionlog, logs, dashboard.
};

struct ZoneSplit {
    std::string ns;
    Range chunk;
    std::vector<bson::Document> points;
};

struct BalancerPlan {
    std::vector<ZoneSplit> splits;
    std::vector<Migration> migrations;
    /// For each collection that gets no migration, by namespace: why not ("differs by 210 MB, under
    /// the threshold of 384 MB").
    std::map<std::string, std::string> idle;
};

BalancerPlan plan_round(const BalancerInput& input);

/// Whether a collection needs no action, and the first violation if it does: what
/// balancerCollectionStatus reports ("" , "draining", "zoneViolation", "chunksImbalance").
std::string first_compliance_violation(const BalancerInput& input,
                                       const BalancerCollection& collection);

}  // namespace tessera::routing
