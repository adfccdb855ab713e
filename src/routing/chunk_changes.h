// SPDX-License-Identifier: Apache-2.0
//
// What a split, a merge or a move does to config.chunks: which documents change and which version
// each gets (protocol.md 4.2). A split or merge raises minor. A move raises major: the moved chunk
// gets major+1|0, and what the donor keeps is raised with it (the pieces beside the moved range, or
// one other chunk of the donor, the control chunk), so that both shards' versions change.
#pragma once

#include <vector>

#include "bson/ids.h"
#include "routing/chunk_map.h"

namespace tessera::routing {

/// To be applied in one transaction by the config server: first what is removed, then what is put,
/// in order (config.chunks has a unique index on the collection's UUID and min).
struct ChunkChanges {
    std::vector<Chunk> put;  // Inserted, or replacing the chunk of that id.
    std::vector<bson::ObjectId> removed;
    Placement placement;  // The collection's newest afterwards.
    bool is_empty() const { return put.empty() && removed.empty(); }
};

/// Where new chunks get their ids from.
struct IdContext {
    bson::ObjectIdSource& ids;
    WallTime now;
};

/// Splits the chunk with exactly these bounds at the points (full shard keys, any order). Fails
/// with BadValue on no point, a point outside the chunk or on its bounds, too many points, and with
/// ConflictingOperationInProgress (117) when there is no such chunk.
Result<ChunkChanges> split_chunk(const ChunkMap& map,
                                 const Range& range,
                                 const std::vector<bson::Document>& points,
                                 IdContext context);

/// Merges the chunks that make up [min, max): at least two, all of one shard. A single chunk is no
/// change. Fails with BadValue when the bounds are not chunk bounds or shards differ.
Result<ChunkChanges> merge_chunks(const ChunkMap& map, const Range& range);

/// Every run of neighbouring chunks of a shard that are not jumbo and have been there since before
/// `settled_before`, at most `limit` runs. Neighbours of different zones are not merged when
/// `boundaries` (zone bounds, sorted) lie between them.
Result<ChunkChanges> merge_all_on_shard(const ChunkMap& map,
                                        const ShardName& shard,
                                        Timestamp settled_before,
                                        std::size_t limit,
                                        const std::vector<Key>& boundaries = {});

struct MoveRequest {
    Range range;  // A chunk, or a part of one.
    ShardName from;
    ShardName to;
    Timestamp valid_after;  // The new owner is right for reads at later cluster times.
    /// History entries that ended before this are dropped.
    Timestamp oldest_history;
};
/// Fails with ConflictingOperationInProgress (117) when `from` does not own the range or it is not
/// within one chunk, BadValue when from and to are one shard.
Result<ChunkChanges> move_range(const ChunkMap& map, const MoveRequest& request, IdContext context);

/// The map after the changes, as every cache will have it.
Result<ChunkMap::Pointer> applied(const ChunkMap& map, const ChunkChanges& changes);

}  // namespace tessera::routing
