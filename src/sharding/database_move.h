// SPDX-License-Identifier: Apache-2.0
//
// movePrimary: the unsharded collections of a database move to another shard, which becomes its
// primary shard. DatabaseMoveSource runs on the primary shard's primary: it blocks writes of the
// unsharded collections (reads go on), lets the recipient copy them, blocks reads, asks the config
// servers to commit, and drops what it has left. DatabaseMoveDestination pulls on the recipient's
// primary. What the donor must remember is in config.system.sharding_ddl_coordinators.
//
// Safety: as with ranges (migration.h) the outcome is what the config servers committed: both name
// the database version they expect, and asking for the outcome raises it unless it has been
// committed, so that a late commit cannot come through. A new donor primary asks before it serves.
// Collections are told apart by UUID; nothing is dropped under another one.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "sharding/migration.h"

namespace tessera::sharding {

/// One move's identity, as the donor stores it and the recipient is told.
struct DatabaseMove {
    struct Collection {
        std::string name;
        bson::Uuid uuid;
        bool is_sharded = false;  // Only its shape goes along.
    };
    bson::Uuid id;
    std::string db;
    ShardName from;
    ShardName to;
    routing::DatabaseVersion version;  // Before the move.
    std::vector<Collection> collections;
    static Result<DatabaseMove> parse(bson::View document);
    bson::Document to_document() const;
};

class DatabaseMoveSource {
public:
    explicit DatabaseMoveSource(MigrationEnvironment environment) : environment_(environment) {}

    /// Runs a whole move; one at a time on a shard (117). Nothing to do where `to` is the primary
    /// shard already. Fails with NamespaceNotFound (26) for a database nobody knows.
    async::Task<Status> move(std::string db, ShardName to, bson::Uuid id, Instant deadline);
    /// What sessions did with the collections that move, for the recipient; on a worker.
    Result<bson::Document> next_session_changes(const bson::Uuid& id);
    /// Whether a move of this database has not been cleaned up after here.
    bool is_moving(const std::string& db) const;

    /// After step-up: as MigrationSource::inherited() and resolve_inherited().
    Result<std::vector<DatabaseMove>> inherited();
    async::Task<void> resolve_inherited(std::vector<DatabaseMove> moves);

private:
    struct Active;
    async::Task<Result<std::shared_ptr<Active>>> begin(std::string db,
                                                       ShardName to,
                                                       bson::Uuid id,
                                                       Instant deadline);
    async::Task<Status> list_collections(std::shared_ptr<Active> active, Instant deadline);
    async::Task<Status> transfer(std::shared_ptr<Active> active, Instant deadline);
    async::Task<Status> commit(std::shared_ptr<Active> active);
    async::Task<Result<bool>> resolve(DatabaseMove move);
    async::Task<void> settle_records(DatabaseMove move, bool is_committed);
    async::Task<Status> finish(DatabaseMove move, bool is_committed);
    void forget_active();

    const MigrationEnvironment environment_;
    mutable std::mutex mutex_;                // Guards what follows.
    std::shared_ptr<Active> active_;          // Shared with the running task.
    std::vector<std::string> not_cleaned_up_;  // Databases of inherited moves.
};

class DatabaseMoveDestination {
public:
    explicit DatabaseMoveDestination(MigrationEnvironment environment)
        : environment_(environment) {}

    using EnsureLike = MigrationDestination::EnsureLike;
    /// Takes the one place for a move; checks with the config servers that it may still commit.
    async::Task<Status> start(DatabaseMove move, Instant deadline);
    async::Task<void> pull(DatabaseMove move, EnsureLike ensure_like, void* context);
    bson::Document status(const bson::Uuid& id) const;
    /// The donor knows the outcome: keeps or drops what was received.
    async::Task<Status> release(DatabaseMove move, bool is_committed, Instant deadline);
    void on_step_down();

private:
    struct Active;
    async::Task<Status> run(std::shared_ptr<Active> active, EnsureLike ensure_like, void* context);
    async::Task<Status> clone(std::shared_ptr<Active> active, CollectionIdentity collection);
    async::Task<Status> take_sessions(std::shared_ptr<Active> active);
    async::Task<Result<bool>> is_primary_shard(DatabaseMove move, Instant deadline);
    async::Task<Status> drop_received(DatabaseMove move, Instant deadline);

    const MigrationEnvironment environment_;
    mutable std::mutex mutex_;        // Guards active_.
    std::shared_ptr<Active> active_;  // Shared with the running task.
};

}  // namespace tessera::sharding
