// SPDX-License-Identifier: Apache-2.0
//
// ConfigCatalog: the operations on config.* that only the config primary carries out, each one
// replicated unit, answered when a majority has it (protocol.md 4.1). One change at a time. What
// also concerns shards (creating, dropping, sharding) is ConfigCoordinator's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "async/event.h"
#include "routing/balancer.h"
#include "routing/chunk_changes.h"
#include "routing/initial_chunks.h"
#include "sharding/collection_rename.h"
#include "sharding/document_store.h"
#include "sharding/shard_registry.h"

namespace tessera::sharding {

/// config.shards.
struct ShardEntry {
    ShardName name;
    SetAddress address;
    bool is_draining = false;
    std::vector<std::string> zones;
    bson::Document document;
};

/// A move that is about to be committed.
struct MoveCommit {
    std::string ns;
    routing::Generation generation;
    routing::Range range;
    ShardName from;
    ShardName to;
    /// Of the chunk the range lies in, as the donor knew it: a recovery that gave the move up has
    /// raised it, so that a late commit cannot come through.
    routing::Placement expected;
};

/// A movePrimary that is about to be committed.
struct DatabaseCommit {
    std::string db;
    ShardName from;
    ShardName to;
    routing::DatabaseVersion expected;
};

class ConfigCatalog {
public:
    ConfigCatalog(DocumentStore& store, bson::ObjectIdSource& ids, Random& random, HostAndPort host)
        : store_(store), ids_(ids), random_(random), host_(std::move(host)) {}

    /// Makes config.version (clusterId) and the collections where missing. As primary.
    async::Task<Status> initialize();
    Result<bson::ObjectId> cluster_id() const;

    // ---- Reading -------------------------------------------------------------------------------
    Result<std::vector<ShardEntry>> shards() const;
    Result<ShardEntry> shard(const ShardName& name) const;  // ShardNotFound (70).
    Result<std::vector<routing::DatabaseEntry>> databases() const;
    Result<std::optional<routing::DatabaseEntry>> database(const std::string& db) const;
    Result<std::vector<routing::CollectionEntry>> collections() const;
    Result<std::optional<routing::CollectionEntry>> collection(const std::string& ns) const;
    /// NamespaceNotSharded (118).
    Result<routing::ChunkMap::Pointer> chunks(const std::string& ns) const;
    Result<routing::Zones> zones(const routing::CollectionEntry& collection) const;
    DocumentStore& store() const { return store_; }

    // ---- Shards --------------------------------------------------------------------------------
    async::Task<Status> add_shard(ShardName name, SetAddress address);
    async::Task<Status> set_draining(ShardName shard, bool is_draining);
    async::Task<Status> remove_shard(ShardName shard);
    async::Task<Status> add_shard_to_zone(ShardName shard, std::string zone);
    /// ZoneStillInUse (163) when it is the zone's last shard and ranges use it.
    async::Task<Status> remove_shard_from_zone(ShardName shard, std::string zone);
    async::Task<Status> update_zone_key_range(std::string ns,
                                              routing::Range range,
                                              std::optional<std::string> zone);

    // ---- Databases and collections -------------------------------------------------------------
    /// Idempotent. DatabaseDifferCase (13297).
    async::Task<Result<routing::DatabaseEntry>> create_database(std::string db, ShardName primary);
    async::Task<Status> drop_database(std::string db);
    /// Gives a database to another primary shard. Idempotent; StaleDbVersion (249) when its version
    /// is another than the donor knew.
    async::Task<Status> commit_move_primary(DatabaseCommit move);
    /// Whether that has been committed; if not, it never will be.
    async::Task<Result<bool>> resolve_move_primary(DatabaseCommit move);
    async::Task<Status> create_collection(routing::CollectionEntry entry,
                                          std::vector<routing::Chunk> chunks);
    /// Forgets the collection, and a drop of it that was noted.
    async::Task<Status> drop_collection(std::string ns);
    /// What a config primary that comes after this one is to finish.
    async::Task<Status> note_drop(routing::CollectionEntry entry);
    async::Task<Status> forget_drop(std::string ns);
    Result<std::vector<std::pair<std::string, bson::Uuid>>> noted_drops() const;
    /// noBalance, chunkSize ... of one collection: fields to set in its entry.
    async::Task<Status> set_collection_fields(std::string ns, bson::Document fields);

    // ---- Renaming (config_catalog_rename.cc) -------------------------------------------------
    Result<std::vector<CollectionRename>> renames() const;
    Result<std::optional<CollectionRename>> rename_of(const std::string& from) const;
    /// Writes down that it begins; ConflictingOperationInProgress (117) when one of the same
    /// collection has not ended.
    async::Task<Status> begin_rename(CollectionRename rename);
    /// Gives the collection its new name, with its zones, in place of the one that has it, in one
    /// unit with the document that says so. Needs rename.uuid. Fails with
    /// ConflictingOperationInProgress (117) when the rename was given up.
    async::Task<Status> commit_rename(CollectionRename rename);
    /// Whether that has been committed; if not, it never will be.
    async::Task<Result<CollectionRename>> resolve_rename(CollectionRename rename);
    /// Every shard has done its part.
    async::Task<Status> end_rename(CollectionRename rename);

    // ---- Chunks --------------------------------------------------------------------------------
    async::Task<Status> split(std::string ns,
                              routing::Range range,
                              std::vector<bson::Document> points);
    async::Task<Status> merge(std::string ns, routing::Range range);
    /// Every run of neighbours of a shard that has been there for limits::history_window, between
    /// zone bounds; at most `limit` runs.
    async::Task<Status> merge_all_on_shard(std::string ns, ShardName shard, std::size_t limit);
    /// Of the chunk with exactly these bounds; BadValue when there is none.
    async::Task<Status> clear_jumbo(std::string ns, routing::Range range);
    /// Idempotent: a move that has happened already is a success.
    async::Task<Status> commit_move(MoveCommit move);
    /// Whether the move has been committed; if not, it never will be.
    async::Task<Result<bool>> resolve_move(MoveCommit move);

    /// config.changelog, config.actionlog ("balancer.round").
    async::Task<void> log_change(std::string collection,
                                 std::string what,
                                 std::string ns,
                                 bson::Document details);
    /// A new generation: unique in time and epoch.
    routing::Generation new_generation();
    bson::ObjectId new_id();
    bson::Uuid new_uuid();

private:
    async::Task<Status> confirm();
    Status remove_collection(const std::string& ns, std::vector<DocumentWrite>& writes) const;
    Status move_zones(const std::string& from,
                      const std::string& to,
                      std::vector<DocumentWrite>& writes) const;
    async::Task<Status> apply_changes(const routing::ChunkMap& map, routing::ChunkChanges changes);
    /// A cluster time nobody has seen yet.
    Timestamp now() { return store_.new_cluster_time(); }

    DocumentStore& store_;
    bson::ObjectIdSource& ids_;
    Random& random_;
    const HostAndPort host_;
    async::Semaphore changes_{1};  // One change at a time; held over co_await.
    std::mutex ids_mutex_;         // Guards ids_ and random_.
};

}  // namespace tessera::sharding
