// SPDX-License-Identifier: Apache-2.0
//
// ConfigCatalog: the operations on config.* that only the config primary carries out, each one
// replicated transaction, answered when a majority has it (protocol.md 4.1). One at a time for a
// collection or the shard list: it holds the lock of what it changes. Changes and their reasons are
// written to config.changelog.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "async/event.h"
#include "routing/chunk_changes.h"
#include "routing/initial_chunks.h"
#include "sharding/shard_registry.h"

namespace tessera::sharding {

/// The config primary's own storage, as documents. Implemented over catalog and WriteUnit
/// (config_store.cc); a transaction of several writes is one applied unit.
class ConfigStore {
public:
    struct Write {
        enum class Kind { put, remove };
        std::string collection;  // "chunks"
        Kind kind = Kind::put;
        bson::Document document;  // Whole, or {_id} to remove. put inserts or replaces by _id.
    };
    virtual ~ConfigStore() = default;
    virtual Result<std::optional<bson::Document>> find_one(const std::string& collection,
                                                           bson::View id) = 0;
    virtual Result<std::vector<bson::Document>> find(const std::string& collection,
                                                     bson::View equality) = 0;
    /// All or nothing, in order; resumes when a majority has it. Fails with NotWritablePrimary ...
    virtual async::Task<Status> apply(std::vector<Write> writes) = 0;
    /// The cluster time, for validAfter and generations.
    virtual Timestamp cluster_time() = 0;
    virtual WallTime wall_time() = 0;
};

struct ShardCollectionRequest {
    std::string ns;
    routing::ShardKeyPattern key;
    bson::Uuid uuid;
    bool is_unique = false;
    bson::Document default_collation;
    routing::InitialChunksRequest chunks;  // Shards, zones and primary are filled in here.
};

struct RemoveShardReport {
    std::string state;  // "started", "ongoing", "completed"
    std::int64_t chunks = 0;
    std::int64_t databases = 0;
    std::int64_t jumbo_chunks = 0;
    std::vector<std::string> databases_to_move;
};

class ConfigCatalog {
public:
    ConfigCatalog(ConfigStore& store, bson::ObjectIdSource& ids, async::Clock& clock);

    /// Makes config.version (clusterId) and the indexes of config.chunks, tags, ... where missing.
    async::Task<Status> initialize();

    // ---- Shards --------------------------------------------------------------------------------
    /// Idempotent for the same set. The caller has checked the set and written its shardIdentity.
    async::Task<Result<ShardName>> add_shard(SetAddress address, std::string name);
    /// Starts draining, tells how far it is, removes the shard when nothing is left.
    async::Task<Result<RemoveShardReport>> remove_shard(ShardName shard);
    async::Task<Status> add_shard_to_zone(ShardName shard, std::string zone);
    /// ZoneStillInUse (163) when it is the zone's last shard and ranges use it.
    async::Task<Status> remove_shard_from_zone(ShardName shard, std::string zone);
    async::Task<Status> update_zone_key_range(std::string ns,
                                              routing::Range range,
                                              std::optional<std::string> zone);

    // ---- Databases and collections -------------------------------------------------------------
    /// Idempotent. DatabaseDifferCase (13297); without a wish the shard with the least data.
    async::Task<Result<routing::DatabaseEntry>> create_database(std::string db,
                                                                std::optional<ShardName> primary);
    async::Task<Status> drop_database(std::string db);
    async::Task<Result<routing::DatabaseEntry>> move_primary(std::string db, ShardName to);
    /// AlreadyInitialized (23) when it is sharded by another key; the same key again is no change.
    async::Task<Result<routing::ChunkMap::Pointer>> shard_collection(
        ShardCollectionRequest request);
    async::Task<Status> drop_collection(std::string ns);
    async::Task<Status> rename_collection(std::string from, std::string to);
    async::Task<Status> set_allow_migrations(std::string ns, bool allowed);
    async::Task<Status> configure_balancing(std::string ns, bson::Document options);

    // ---- Chunks --------------------------------------------------------------------------------
    async::Task<Result<routing::ChunkVersion>> commit_split(std::string ns,
                                                            routing::Generation generation,
                                                            routing::Range range,
                                                            std::vector<bson::Document> points);
    async::Task<Result<routing::ChunkVersion>> commit_merge(std::string ns,
                                                            routing::Generation generation,
                                                            routing::Range range);
    /// Idempotent: a move that has happened already is a success.
    async::Task<Result<routing::ChunkVersion>> commit_move(std::string ns,
                                                           routing::Generation generation,
                                                           routing::Range range,
                                                           ShardName from,
                                                           ShardName to);
    async::Task<Status> set_jumbo(std::string ns, routing::Range range, bool is_jumbo);

    /// config.changelog, config.actionlog.
    async::Task<Status> log_change(std::string what, std::string ns, bson::Document details);

private:
    Result<routing::ChunkMap::Pointer> load(const std::string& ns, bool& is_sharded);

    ConfigStore& store_;
    bson::ObjectIdSource& ids_;
    async::Clock& clock_;
    async::Semaphore changes_{1};  // One change at a time; held over co_await.
};

}  // namespace tessera::sharding
