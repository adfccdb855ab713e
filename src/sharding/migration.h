// SPDX-License-Identifier: Apache-2.0
//
// Moving a range (protocol.md 4.6). MigrationSource runs on the donor's primary: it persists the
// intent, lets the recipient clone and catch up, blocks the collection for the commit on the config
// servers, and leaves the range to the RangeDeleter. MigrationDestination runs on the recipient's
// primary and pulls. What either must remember is in config.migrationCoordinators (donor),
// config.migrationRecipients and config.rangeDeletions.
//
// Safety: the outcome is what the config servers committed, never what the donor last heard; while
// it is unknown the donor stays in its critical section (protocol.md section 6, rule 13). A donor
// that was elected in between asks, and by asking makes a late commit impossible. Every document
// changed while it is copied is remembered by _id when its write has committed and read again when
// the recipient asks, so the order of changes does not matter. Whatever fails in between aborts.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "async/event.h"
#include "bson/ids.h"
#include "replication/session_catalog.h"
#include "sharding/document_store.h"
#include "sharding/local_data.h"
#include "sharding/placement_records.h"
#include "sharding/sharding_state.h"

namespace tessera::sharding {

struct MoveRangeRequest {
    std::string ns;
    ShardName from;
    ShardName to;
    bson::Document min;
    std::optional<bson::Document> max;  // Unset: up to bytes_max, at most the chunk's end.
    std::int64_t bytes_max = 0;
    bool force_jumbo = false;
    bool wait_for_delete = false;
    static Result<MoveRangeRequest> parse(bson::View command);
};

struct MigrationEnvironment {
    async::Clock& clock;
    async::Executor& workers;
    ShardRegistry& registry;
    ShardingState& state;
    DocumentStore& store;
    LocalData& data;
    replication::Replication& replication;
    replication::SessionCatalog& sessions;
    storage::Engine& engine;
    const std::atomic<std::int64_t>& orphan_delay_seconds;
    PlacementRecords& records;
};

/// One migration's identity, as both sides store it.
struct MigrationDocument {
    bson::Uuid id;
    std::string ns;
    bson::Uuid uuid;
    ShardName from;
    ShardName to;
    routing::Range range;
    routing::Generation generation;
    routing::Placement expected;
    bson::Document key;
    CollectionIdentity collection() const { return {Namespace::split(ns), uuid}; }
    static Result<MigrationDocument> parse(bson::View document);
    bson::Document to_document() const;
    /// config.rangeDeletions of this migration; `when` unset: pending.
    bson::Document range_deletion(std::optional<WallTime> when, std::int64_t orphans = 0) const;
};

class MigrationSource {
public:
    explicit MigrationSource(MigrationEnvironment environment) : environment_(environment) {}

    /// Runs a whole migration; one at a time on a shard (117). ChunkTooBig (153) for a large range.
    async::Task<Status> move_range(MoveRangeRequest request, bson::Uuid id, Instant deadline);

    // What the recipient asks; on a worker.
    Result<bson::Document> next_clone_batch(const bson::Uuid& id);
    Result<bson::Document> next_changes(const bson::Uuid& id);
    /// Entries of retryable writes to the collection, each once; none left: an empty array.
    Result<bson::Document> next_session_changes(const bson::Uuid& id);

    /// Whether a range of the collection is being moved away.
    bool is_moving(const std::string& ns) const;
    /// Called with every committed write of a document here.
    void on_write(const std::string& ns, bson::View document);
    /// After step-up: finishes or undoes what config.migrationCoordinators lists, the collections
    /// blocked meanwhile. Returns once they are blocked; the rest runs in the given task.
    Result<std::vector<MigrationDocument>> inherited();
    async::Task<void> resolve_inherited(std::vector<MigrationDocument> migrations);

private:
    struct Active;
    std::shared_ptr<Active> active(const bson::Uuid& id) const;
    async::Task<Result<std::shared_ptr<Active>>> begin(MoveRangeRequest request,
                                                       bson::Uuid id,
                                                       Instant deadline);
    async::Task<Status> transfer(std::shared_ptr<Active> active, Instant deadline);
    async::Task<Status> block_and_commit(std::shared_ptr<Active> active);
    async::Task<Result<bool>> resolve(MigrationDocument migration);
    async::Task<void> settle(MigrationDocument migration, bool is_committed, bool was_blocked);
    async::Task<Status> finish(MigrationDocument migration, bool is_committed);
    async::Task<Status> await_deletion(MigrationDocument migration, Instant deadline);
    void forget_active();

    const MigrationEnvironment environment_;
    mutable std::mutex mutex_;        // Guards active_.
    std::shared_ptr<Active> active_;  // Shared with the running task.
    std::atomic<bool> is_recording_{false};
};

class MigrationDestination {
public:
    explicit MigrationDestination(MigrationEnvironment environment) : environment_(environment) {}

    /// Makes a collection like a description says; commands' ensure_collection_like.
    using EnsureLike = Result<OpTime> (*)(void* context, const Namespace& ns, bson::View like);
    /// The pull of one migration; run in the background by whoever got `start`'s success.
    Status start(const MigrationDocument& migration);
    async::Task<void> pull(MigrationDocument migration, EnsureLike ensure_like, void* context);
    /// {state, errmsg?} of a migration.
    bson::Document status(const bson::Uuid& id) const;
    /// Takes what is left and waits until a majority has it.
    async::Task<Status> commit(bson::Uuid id, Instant deadline);
    void abort(const bson::Uuid& id);
    /// Whether a range of the collection is being received.
    bool is_receiving(const std::string& ns) const;
    /// The donor knows the outcome: keeps or gives up what was received.
    async::Task<Status> release(MigrationDocument migration, bool is_committed);
    /// What is being received is given up.
    void on_step_down();

private:
    struct Active;
    std::shared_ptr<Active> active(const bson::Uuid& id) const;
    async::Task<Status> prepare(std::shared_ptr<Active> active,
                                EnsureLike ensure_like,
                                void* context);
    async::Task<Result<std::size_t>> take_batch(std::shared_ptr<Active> active,
                                                const char* command);
    async::Task<Status> take_sessions(std::shared_ptr<Active> active);
    async::Task<Status> run(std::shared_ptr<Active> active, EnsureLike ensure_like, void* context);

    const MigrationEnvironment environment_;
    mutable std::mutex mutex_;        // Guards active_.
    std::shared_ptr<Active> active_;  // Shared with the running task.
    async::Semaphore releases_{1};    // One at a time; held over co_await.
};

/// Deletes what migrations left behind (config.rangeDeletions), when no request that could still
/// see it is running and the delay is over. Everything it knows is on disk. One pass over the tasks
/// that are due; returns how many ranges are gone.
async::Task<Result<int>> delete_ranges(const MigrationEnvironment& environment);

}  // namespace tessera::sharding
