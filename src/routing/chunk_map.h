// SPDX-License-Identifier: Apache-2.0
//
// ChunkMap: which shard owns which part of a sharded collection's key space, at one version.
// Immutable: a refresh makes a new map that shares the chunks that did not change, so readers keep
// the one they have for as long as they need it.
//
// Invariant: chunks-cover-once - the chunks, in order, start at MinKey, end at MaxKey, and each
// starts where the one before it ends. Every map is checked when it is made (docs/sharding.md).
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "routing/chunk.h"
#include "routing/key_range.h"

namespace tessera::routing {

class ChunkMap {
public:
    using Chunks = std::vector<std::shared_ptr<const Chunk>>;  // Owners: the maps that hold it.
    using Pointer = std::shared_ptr<const ChunkMap>;  // Owners: the cache, requests, filters.
    struct ShardSummary {
        Placement placement_max;
        std::size_t chunks = 0;
    };

    /// Builds a map of all chunks of the collection. Fails with ConflictingOperationInProgress
    /// (117) when they do not cover the key space exactly once: they were read while being changed,
    /// or are damaged.
    static Result<Pointer> make(CollectionEntry collection,
                                const std::vector<bson::Document>& chunks);
    static Result<Pointer> make(CollectionEntry collection, std::vector<Chunk> chunks);
    /// Returns the map after a refresh that read the chunks with lastmod >= version().placement, in
    /// any order. Fails as make() does, and when `collection` is of another generation, key or
    /// UUID (ConflictingOperationInProgress): read all chunks then.
    Result<Pointer> updated(CollectionEntry collection,
                            const std::vector<bson::Document>& changed) const;
    Result<Pointer> updated(CollectionEntry collection, std::vector<Chunk> changed) const;

    const CollectionEntry& collection() const { return collection_; }
    const ShardKeyPattern& key() const { return collection_.key; }
    /// The newest placement of any chunk, under the collection's generation.
    ChunkVersion version() const { return {collection_.generation, placement_max_}; }
    /// The newest placement of the shard's chunks; major 0 when it owns none.
    ChunkVersion version_of(const ShardName& shard) const;
    const std::map<ShardName, ShardSummary>& shards() const { return shards_; }
    bool owns_any(const ShardName& shard) const { return shards_.contains(shard); }

    const Chunks& chunks() const { return chunks_; }
    /// The chunk a full key falls into.
    const Chunk& chunk_of(std::string_view key) const;
    /// The chunk with exactly these bounds; nullptr when there is none.
    const Chunk* chunk_with(const Range& range) const;
    /// Indexes [first, last) into chunks() of those that overlap the range.
    std::pair<std::size_t, std::size_t> chunks_overlapping(const KeyRange& range) const;
    /// The shards that own some part of the ranges, sorted.
    std::vector<ShardName> shards_of(const KeyRanges& ranges) const;
    /// As shards_of, as it was at a cluster time; StaleChunkHistory (250) when that is not known.
    Result<std::vector<ShardName>> shards_of(const KeyRanges& ranges, Timestamp at) const;
    /// Whether the shard owns all of [min, max), by the chunks' bounds.
    bool owns_range(const ShardName& shard, const Range& range) const;
    /// The keys the shard owns, sorted, neighbours joined. Linear in chunks.
    KeyRanges ranges_of(const ShardName& shard) const;
    /// Adds what a chunk holds to ranges that lie before it.
    void add_range(const Chunk& chunk, KeyRanges& ranges) const;

private:
    explicit ChunkMap(CollectionEntry collection) : collection_(std::move(collection)) {}
    static Result<Pointer> build(CollectionEntry collection,
                                 const Chunks& base,
                                 std::vector<Chunk> changed);
    Status check_and_summarize();

    CollectionEntry collection_;
    Chunks chunks_;
    std::map<ShardName, ShardSummary> shards_;
    Placement placement_max_;
};

}  // namespace tessera::routing
