// SPDX-License-Identifier: Apache-2.0
//
// The documents of config.chunks, config.collections and config.databases, as values. Field names
// and meaning: protocol.md 4.1.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "bson/view.h"
#include "routing/shard_key.h"
#include "routing/versions.h"

namespace tessera::routing {

/// config.databases: {_id: db, primary, version}.
struct DatabaseEntry {
    std::string name;
    ShardName primary;
    DatabaseVersion version;
    Timestamp moved_at = {};  // When it came to its primary shard; null: it was made there.

    static Result<DatabaseEntry> parse(bson::View document);
    bson::Document to_document() const;
};

/// config.collections: one sharded collection.
struct CollectionEntry {
    std::string ns;
    bson::Uuid uuid;
    Generation generation;  // lastmodEpoch, timestamp
    WallTime last_modified;
    ShardKeyPattern key;
    bool is_unique = false;
    bool no_balance = false;
    bool allow_migrations = true;
    std::optional<std::int64_t> chunk_bytes_max;  // maxChunkSizeBytes
    bson::Document default_collation;             // Empty: simple.

    static Result<CollectionEntry> parse(bson::View document);
    bson::Document to_document() const;
};

struct ChunkHistory {
    Timestamp valid_after;
    ShardName shard;
    bool operator==(const ChunkHistory&) const = default;
};

/// One chunk. Immutable once made: maps share it.
struct Chunk {
    bson::ObjectId id;
    Range range;
    ShardName shard;
    Placement placement;  // lastmod
    Timestamp on_shard_since;
    std::vector<ChunkHistory> history;  // Newest first.
    bool is_jumbo = false;
    std::optional<std::int64_t> estimated_bytes;
    // The bounds' encodings. Invariant: min_key < max_key.
    Key min_key;
    Key max_key;

    bool contains(std::string_view key) const { return min_key <= key && key < max_key; }
    /// The shard that owned the chunk at a cluster time. Fails with StaleChunkHistory (250) when
    /// the history does not reach back so far.
    Result<ShardName> shard_at(Timestamp at) const;

    /// Fails with BadValue when the bounds do not fit the pattern or are not in order.
    static Result<Chunk> make(const ShardKeyPattern& pattern, Range range);
    /// Parses a config.chunks document; fails with NoSuchKey, TypeMismatch or BadValue.
    static Result<Chunk> parse(const ShardKeyPattern& pattern, bson::View document);
    bson::Document to_document(const bson::Uuid& collection) const;
};

}  // namespace tessera::routing
