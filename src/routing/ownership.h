// SPDX-License-Identifier: Apache-2.0
//
// OwnershipFilter: which documents a shard may show at one version of the collection. What it holds
// beyond those is an orphan: not yet deleted after a migration away, or being received.
#pragma once

#include <memory>

#include "routing/chunk_map.h"

namespace tessera::routing {

/// Used by one request; keeps its ChunkMap alive. Not thread-safe: it reuses a buffer.
class OwnershipFilter {
public:
    OwnershipFilter(ChunkMap::Pointer map, const ShardName& shard);
    /// `ranges`: the map's ranges_of() the shard, for many filters.
    OwnershipFilter(ChunkMap::Pointer map, std::shared_ptr<const KeyRanges> ranges)
        : map_(std::move(map)), ranges_(std::move(ranges)) {}
    /// As owned at a cluster time; fails with StaleChunkHistory (250) when that is not known.
    static Result<OwnershipFilter> at(ChunkMap::Pointer map,
                                      const ShardName& shard,
                                      Timestamp time);

    /// Whether the document's shard key lies in a range of this shard. A document without a valid
    /// shard key (an array on its path) is owned by nobody.
    bool owns(bson::View document);
    bool owns_key(std::string_view key) const;
    /// The owned ranges, sorted, neighbours joined.
    const KeyRanges& ranges() const { return *ranges_; }
    const ChunkMap& map() const { return *map_; }

private:
    ChunkMap::Pointer map_;
    std::shared_ptr<const KeyRanges> ranges_;
    bson::KeyBuilder buffer_;
};

}  // namespace tessera::routing
