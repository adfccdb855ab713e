// SPDX-License-Identifier: Apache-2.0
//
// The first chunks of a newly sharded collection (protocol.md 4.8): a range key starts with one
// chunk on the primary shard (or one a zone range and gap), a hashed key of an empty collection
// with evenly spread chunks on every shard.
#pragma once

#include <map>
#include <set>
#include <vector>

#include "routing/chunk_changes.h"
#include "routing/zones.h"

namespace tessera::routing {

struct InitialChunksRequest {
    ShardName primary;
    std::vector<ShardName> shards;  // That may receive chunks: not draining.
    std::map<ShardName, std::set<std::string>> zones_of_shard;
    Zones zones;
    bool is_empty = true;                 // The collection holds no documents.
    std::int64_t num_initial_chunks = 0;  // 0: one a shard. Only for hashed-first keys.
    bool presplit_hashed_zones = false;
};

struct PlannedChunk {
    Range range;
    ShardName shard;
};

/// Fails with InvalidOptions (72) where numInitialChunks does not apply or is out of range, with
/// BadValue when a zone has no shard, with NotImplemented (238) on presplitHashedZones.
Result<std::vector<PlannedChunk>> plan_initial_chunks(const ShardKeyPattern& pattern,
                                                      const InitialChunksRequest& request);

/// The chunks of version 1|0, 1|1, ... for a plan, ready to be inserted.
Result<std::vector<Chunk>> make_initial_chunks(const ShardKeyPattern& pattern,
                                               const std::vector<PlannedChunk>& plan,
                                               Timestamp valid_after,
                                               IdContext context);

/// `chunks - 1` points that cut the hash space evenly, around 0.
std::vector<std::int64_t> hash_split_points(std::int64_t chunks);

}  // namespace tessera::routing
