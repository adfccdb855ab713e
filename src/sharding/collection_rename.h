// SPDX-License-Identifier: Apache-2.0
//
// renameCollection where one of the two names is sharded, a shard's side. The config primary has
// every shard block both names (begin), changes its catalogue in one unit, and has every shard
// change its own part (end). Between the two a shard is bound: it has written down what it waits
// for (config.system.sharding_ddl_coordinators), so a new primary of its waits too, and a shard
// that hears nothing asks.
//
// Safety: the outcome is what the config servers committed. The rename's document there says so:
// "begun", then "committed" in the same unit as the catalogue; asking for the outcome of one that
// has begun removes it, so that a late commit finds none and fails. A shard's part is done by UUID
// and may be done twice.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "async/event.h"
#include "sharding/migration.h"

namespace tessera::sharding {

inline Namespace ddl_coordinators_ns() {
    return config_ns("system.sharding_ddl_coordinators");
}

/// One rename, as the config servers and every shard store it.
struct CollectionRename {
    bson::Uuid id;
    std::string from;
    std::string to;
    // What follows is the config servers'.
    bson::Uuid uuid;  // Of the collection.
    bool is_committed = false;

    static constexpr std::string_view operation_type = "renameCollection";
    static Result<CollectionRename> parse(bson::View document);
    bson::Document to_document() const;
    bson::Document document_id() const;
    static bson::Document id_of(const std::string& from);
};

/// What the config servers say of a rename.
struct RenameOutcome {
    bool is_committed = false;
    bson::Uuid uuid;
    ShardName primary;  // The database's primary shard: its oplog tells of the rename.
    static Result<RenameOutcome> parse(bson::View document);
    void append_to(bson::Builder& document) const;
};

class RenameParticipant {
public:
    using Spawn = std::function<void(async::Task<void>)>;
    /// `spawn` runs something in the background, on the control executor.
    RenameParticipant(MigrationEnvironment environment,
                      const MigrationSource& source,
                      const MigrationDestination& destination,
                      Spawn spawn)
        : environment_(environment),
          source_(source),
          destination_(destination),
          spawn_(std::move(spawn)) {}

    /// Blocks both names, waits for writes that run, and writes down that it did. Idempotent.
    /// `expected`: this shard must be the database's primary shard, of that version. Fails with
    /// ConflictingOperationInProgress (117) while a range of one of them is moved, with
    /// BackgroundOperationInProgressForNamespace (12587) while an index of one is built.
    async::Task<Status> begin(CollectionRename rename,
                              std::optional<routing::DatabaseVersion> expected,
                              Instant deadline);
    /// Does this shard's part of what has been decided and lets go of the names. Idempotent; a
    /// rename that did not begin here is a success.
    async::Task<Status> end(CollectionRename rename, RenameOutcome outcome);
    /// Until the rename has ended here: after `patience` asks the config servers how it ended.
    async::Task<void> watch(CollectionRename rename, Duration patience);
    /// Ends what waits, once the registry has been shut down.
    void shut_down() { ended_.notify(); }
    /// Whether a rename in this database has not ended here.
    bool is_renaming(const std::string& db) const;

    /// After step-up, with both names blocked: what watch() is to be run for.
    Result<std::vector<CollectionRename>> inherited();

private:
    struct Known {
        CollectionRename rename;
        bool is_doubted = false;  // Another has begun, so the config servers know how it ended.
    };
    async::Task<Status> block(CollectionRename rename,
                              std::optional<routing::DatabaseVersion> expected,
                              Instant deadline);
    std::uint64_t step_ups() const;
    Status check_quiet(const CollectionRename& rename) const;
    async::Task<Status> rename_here(CollectionRename rename, RenameOutcome outcome);
    async::Task<Status> move_range_deletions(CollectionRename rename, bson::Uuid uuid);
    bool is_known(const bson::Uuid& id) const;
    bool is_doubted(const bson::Uuid& id) const;
    void doubt_others(const CollectionRename& rename);
    void unblock(const CollectionRename& rename);

    const MigrationEnvironment environment_;
    const MigrationSource& source_;
    const MigrationDestination& destination_;
    const Spawn spawn_;
    async::Semaphore turn_{1};  // One step at a time; held over co_await.
    async::Notification ended_;
    mutable std::mutex mutex_;  // Guards what follows.
    std::vector<Known> known_;  // Begun here; at most one for each name.
    std::uint64_t step_ups_ = 0;
};

}  // namespace tessera::sharding
