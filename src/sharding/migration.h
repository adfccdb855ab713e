// SPDX-License-Identifier: Apache-2.0
//
// Moving a range (protocol.md 4.6). MigrationSource runs on the donor's primary: it persists the
// intent, lets the recipient clone and catch up, blocks writes then reads of the collection for the
// commit on the config servers, and leaves the range to the RangeDeleter. MigrationDestination runs
// on the recipient's primary and pulls. Both can be taken up again after a step-up from
// config.migrationCoordinators, config.migrationRecipients and config.rangeDeletions.
//
// Safety: the outcome is what the config servers committed, never what the donor last heard; while
// it is unknown the donor stays in its critical section (protocol.md section 6, rule 13).
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "async/event.h"
#include "bson/ids.h"
#include "routing/split_points.h"
#include "sharding/config_reader.h"
#include "sharding/sharding_state.h"

namespace tessera::sharding {

struct MoveRangeRequest {
    std::string ns;
    ShardName to;
    bson::Document min;
    std::optional<bson::Document> max;  // Unset: up to bytes_max, at most the chunk's end.
    std::int64_t bytes_max = 0;
    routing::Generation generation;
    bool force_jumbo = false;
    bool wait_for_delete = false;
};

/// A shard's own data, as migrations use it; implemented over catalog and replication
/// (local_data.cc), by plain maps in tests.
class LocalData {
public:
    virtual ~LocalData() = default;
    /// Reads owned documents with keys in the range, in key order, from `from_key` on; stops after
    /// `bytes_max`. Sets `from_key` to where to go on, empty at the end.
    virtual Result<std::vector<bson::Document>> read_range(const std::string& ns,
                                                           const routing::ShardKeyPattern& key,
                                                           const routing::Range& range,
                                                           routing::Key& from_key,
                                                           std::size_t bytes_max) = 0;
    virtual Result<std::optional<bson::Document>> find_by_id(const std::string& ns,
                                                             bson::View id) = 0;
    /// Upserts or deletes with fromMigrate: true. Returns the last optime.
    virtual Result<OpTime> apply_migrated(const std::string& ns,
                                          const std::vector<bson::Document>& put,
                                          const std::vector<bson::Document>& removed_ids) = 0;
    /// Deletes at most `limit` documents of the range, fromMigrate: true. Returns how many.
    virtual Result<std::int64_t> delete_range(const std::string& ns,
                                              const routing::ShardKeyPattern& key,
                                              const routing::Range& range,
                                              std::size_t limit) = 0;
    /// Options, UUID and indexes of a collection, and making it so here.
    virtual Result<bson::Document> describe(const std::string& ns) = 0;
    virtual async::Task<Status> ensure_like(const std::string& ns, bson::Document description) = 0;
    /// Documents of config.* on this shard (not replicated to clients): put, remove, find all.
    virtual async::Task<Status> put_local(std::string collection, bson::Document document) = 0;
    virtual async::Task<Status> remove_local(std::string collection, bson::Document id) = 0;
    virtual Result<std::vector<bson::Document>> find_local(const std::string& collection) = 0;
    virtual async::Task<Status> await_majority(OpTime at, Instant deadline) = 0;
};

class MigrationSource {
public:
    struct Environment {
        async::Clock& clock;
        ShardRegistry& registry;
        RoutingCache& cache;
        ShardingState& state;
        LocalData& data;
        Random& random;
    };
    explicit MigrationSource(Environment environment) : environment_(environment) {}

    /// Runs a whole migration; one at a time on a shard (117). ChunkTooBig (153) for a jumbo range.
    async::Task<Status> move_range(MoveRangeRequest request, async::Cancellation cancellation);

    // ---- What the recipient asks ----------------------------------------------------------------
    Result<bson::Document> next_clone_batch(const std::string& session);
    Result<bson::Document> next_changes(const std::string& session);
    Result<bson::Document> next_session_changes(const std::string& session);

    /// Called with every committed write of a document here, in commit order of each document.
    void on_write(const std::string& ns, bson::View id, bson::View document, bool is_delete);

    /// After step-up: finishes or undoes what config.migrationCoordinators lists.
    async::Task<Status> recover();
    /// currentOp's description of the running migration.
    std::optional<bson::Document> describe() const;

private:
    struct Active;
    const Environment environment_;
    mutable std::mutex mutex_;        // Guards active_.
    std::shared_ptr<Active> active_;  // Shared with the running task.
};

class MigrationDestination {
public:
    explicit MigrationDestination(MigrationSource::Environment environment)
        : environment_(environment) {}

    enum class State {
        ready,
        cloning,
        catching_up,
        steady,
        committing,
        critical,
        done,
        failed,
        aborted
    };

    /// _recvChunkStart: begins pulling in the background.
    async::Task<Status> start(bson::Document request);
    /// _recvChunkStatus: waits until steady or ended when asked to.
    async::Task<Result<bson::Document>> status(bson::Document request, Instant deadline);
    /// _recvChunkCommit: takes what is left, enters the critical section here.
    async::Task<Status> commit(bson::Document request, Instant deadline);
    Status abort(bson::View request);
    /// _recvChunkReleaseCritSec.
    async::Task<Status> release(bson::Document request);
    async::Task<Status> recover();
    /// Ends the background pull; before destruction.
    async::Task<void> shutdown();

private:
    struct Active;
    const MigrationSource::Environment environment_;
    mutable std::mutex mutex_;        // Guards active_.
    std::shared_ptr<Active> active_;  // Shared with the running task.
};

}  // namespace tessera::sharding
