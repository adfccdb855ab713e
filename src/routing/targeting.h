// SPDX-License-Identifier: Apache-2.0
//
// Which shards a request goes to, and with which versions (protocol.md 4.4).
#pragma once

#include <optional>
#include <vector>

#include "routing/chunk_map.h"
#include "routing/filter_bounds.h"

namespace tessera::routing {

/// What a router knows of one namespace. No chunks: the collection is not sharded and lives on the
/// database's primary shard.
struct RoutingInfo {
    DatabaseEntry database;
    ChunkMap::Pointer chunks;

    bool is_sharded() const { return chunks != nullptr; }
};

/// One shard to send to, and the versions to attach.
struct ShardTarget {
    ShardName shard;
    ShardVersion shard_version;
    std::optional<DatabaseVersion> database_version;  // Set for unsharded collections.
    bool operator==(const ShardTarget&) const = default;

    /// Appends shardVersion and databaseVersion to a command.
    void append_versions(bson::Builder& command) const;
};

/// The target of a shard by name, e.g. for commands that go to all shards of a collection.
ShardTarget target_of(const RoutingInfo& routing, const ShardName& shard);
/// The database's primary shard.
ShardTarget target_primary(const RoutingInfo& routing);
/// Every shard that owns a chunk (the primary shard when not sharded).
std::vector<ShardTarget> target_all(const RoutingInfo& routing);

/// The shards that may hold matches of a filter; never empty.
std::vector<ShardTarget> target_query(const RoutingInfo& routing,
                                      bson::View filter,
                                      const FilterOptions& options = {});
/// As above for a caller that has the key ranges from a compiled filter.
std::vector<ShardTarget> target_ranges(const RoutingInfo& routing, const KeyRanges& ranges);
/// As of a cluster time, for snapshot reads. Fails with StaleChunkHistory (250) when that is not
/// known, and with SnapshotUnavailable (246) when the database's unsharded collections have been
/// moved since: the shard they were on has dropped them.
Result<std::vector<ShardTarget>> target_query_at(const RoutingInfo& routing,
                                                 bson::View filter,
                                                 Timestamp at,
                                                 const FilterOptions& options = {});

/// The one shard a document belongs to. `document` must have its _id already. Fails with
/// ShardKeyNotFound (61) when an array stands on the shard key.
Result<ShardTarget> target_insert(const RoutingInfo& routing, bson::View document);

enum class WriteKind {
    one_shard,  // Exactly one shard holds the document.
    by_id,      // One document by _id: ask all, done when one says n = 1, again when any is stale.
    multi,      // Many documents: every shard, versions not checked, not repeated.
    two_phase,  // One document, shard unknown: find it first, then write it where it is.
};
struct WriteTarget {
    WriteKind kind = WriteKind::one_shard;
    std::vector<ShardTarget> shards;
    /// The write is an upsert whose shard is known only if it matches; used with two_phase: when
    /// nothing matches, the document to insert is targeted by itself.
    bool is_upsert = false;
};

struct WriteStatement {
    enum class Kind { update_operators, replacement, pipeline, remove };
    Kind kind = Kind::remove;
    bson::View filter;
    bool is_multi = false;
    bool is_upsert = false;
    bool is_in_transaction = false;
    FilterOptions options;
};

/// Targets an update or delete (one statement), or the write part of findAndModify. Fails with
/// FailedToParse (9) on a replacement with multi, ShardKeyNotFound (61) on an upsert with multi
/// whose filter does not have the full shard key.
Result<WriteTarget> target_write(const RoutingInfo& routing, const WriteStatement& statement);

}  // namespace tessera::routing
