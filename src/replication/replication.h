// SPDX-License-Identifier: Apache-2.0
//
// Replication: what the rest of a member sees of its replica set. Drives consensus::Core (on the
// control executor), pulls and applies the oplog, and answers the three questions commands ask: may
// I write or read here now, what time is it in the oplog, and have enough members got this.
// On a standalone everything is writable, readable and acknowledged at once and there is no oplog.
//
// Threads: public functions may be called from any thread unless said otherwise; the core and the
// fetcher live on the control executor.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "async/clock.h"
#include "async/event.h"
#include "async/transport.h"
#include "base/namespace.h"
#include "catalog/catalog.h"
#include "consensus/core.h"
#include "replication/logical_clock.h"
#include "replication/oplog.h"
#include "replication/oplog_entry.h"
#include "replication/read_write_concern.h"
#include "storage/durability_flusher.h"
#include "storage/engine.h"

namespace tessera::replication {

struct CommitQuorum;

struct Options {
    std::string set_name;           // --replSet; empty: standalone.
    HostAndPort host;               // How we think others reach us; used by replSetInitiate {}.
    bool is_config_server = false;  // --configsvr: hello shows configsvr: 2.
    std::int64_t oplog_bytes_max = std::int64_t{1024} * 1024 * 1024;  // --oplogSize.
    /// Written by no-op every so often on an idle primary (periodicNoopIntervalSecs).
    Duration periodic_noop_interval = 10s;
};

/// Told of changes of role, on the control executor. Must not block.
class RoleObserver {
public:
    virtual ~RoleObserver() = default;
    /// Writable in `term` from now on.
    virtual void on_step_up(Term term) = 0;
    /// No longer writable. Kill what must not go on.
    virtual void on_step_down() = 0;
    /// The data went back in time: forget what was cached from it (sessions, cursors, counts).
    virtual void on_rollback() = 0;
};

/// How a client wants to read: from `$readPreference`.
struct ReadAccess {
    bool allows_secondary = false;
    /// The client said helloOk: texts say "not primary" rather than "not master".
    bool speaks_hello = true;
};

class Replication {
public:
    struct Environment {
        storage::Engine& engine;
        catalog::Catalog& catalog;
        storage::DurabilityFlusher& flusher;
        async::Clock& clock;
        async::Transport& transport;
        async::Executor& control;  // A strand.
        async::Executor& workers;  // A pool: applying, initial sync, fsync waits.
        LogicalClock& logical_clock;
        Random& random;
    };
    Replication(Environment environment, Options options);
    ~Replication();

    /// Recovers (replays the oplog from the last checkpoint, loads configuration and ballot) before
    /// returning, then joins the set in the background. On the starting thread.
    Status start();
    /// Steps down if primary (handing off when `Duration` allows), stops every background task.
    async::Task<void> shutdown(Duration quiesce);
    void add_observer(RoleObserver& observer);  // Before start().

    bool is_replica_set() const { return !options_.set_name.empty(); }
    const Options& options() const { return options_; }
    catalog::Catalog& catalog() const { return environment_.catalog; }

    // ---- Gates -------------------------------------------------------------------------------
    /// Whether a client may write to `ns` here now; NotWritablePrimary (10107) otherwise, or
    /// InterruptedDueToReplStateChange and the like in between. `local` is always writable.
    Status check_writable(const Namespace& ns, bool speaks_hello = true) const;
    /// NotPrimaryNoSecondaryOk (13435), NotPrimaryOrSecondary (13436).
    Status check_readable(const Namespace& ns, const ReadAccess& access) const;
    /// In which this member accepts writes; term_uninitialized while it does not.
    Term writable_term() const { return writable_term_.load(); }
    bool is_writable_primary() const { return writable_term_.load() != term_uninitialized; }
    consensus::MemberState state() const;

    // ---- The oplog ---------------------------------------------------------------------------
    /// Null on a standalone and before the set is initiated.
    Oplog* oplog() const { return oplog_ptr_.load(); }
    /// Something was committed: the journal is to be synced within its interval.
    void on_commit() { environment_.flusher.on_commit(); }
    /// A fresh UUID from the member's randomness. Any thread.
    bson::Uuid make_uuid();
    LogicalClock& logical_clock() const { return environment_.logical_clock; }
    OpTime last_applied() const;
    /// What a command goes by that finds done already what it was to do: it is as certain as the
    /// newest write that has committed here, which readers of the oplog may not see yet.
    OpTime newest_write() const;
    OpTime commit_point() const;
    /// What this member has applied as others wrote it.
    AppliedCounts applied_counts() const;
    /// Writes a no-op entry {msg...} as primary and returns its position.
    Result<OpTime> write_noop(bson::View object);

    // ---- Index builds (index_builds.h) --------------------------------------------------------
    /// Sees a build that start_index_build() began to its end, whoever is primary then.
    void drive_build(const catalog::IndexBuildPtr& build);
    /// As primary: gives a build up on every member. Does nothing when it has ended. Takes the
    /// collection's exclusive lock.
    Status abort_build(const catalog::IndexBuild& build, const Error& cause);
    /// Whether the present configuration can satisfy a build's commitQuorum.
    Status check_satisfiable(const CommitQuorum& quorum) const;
    /// Notified when a build goes on or ends, perhaps more often.
    async::Notification& builds_changed();
    /// Asked now and then by the primary of a build; its failure ends the build. Before start().
    void set_build_check(std::function<Status()> check);

    // ---- Waiting -----------------------------------------------------------------------------
    /// Waits until `at` is replicated as `concern` asks. On a standalone waits for the journal when
    /// j is set. Fails with UnsatisfiableWriteConcern, UnknownReplWriteConcern,
    /// WriteConcernTimeout (the reply adds errInfo.wtimeout), PrimarySteppedDown, shutdown codes,
    /// or MaxTimeMSExpired at `deadline`.
    async::Task<Status> await_write_concern(OpTime at,
                                            WriteConcern concern,
                                            Instant deadline,
                                            async::Cancellation cancellation);
    /// Waits until this member can serve the read concern and returns the timestamp to read at
    /// (null: latest). linearizable is completed after the read by await_linearizable.
    async::Task<Result<Timestamp>> await_read_concern(ReadConcern concern,
                                                      Instant deadline,
                                                      async::Cancellation cancellation);
    /// Writes a no-op and waits until a majority has it: what was read before was the truth.
    async::Task<Status> await_linearizable(Instant deadline, async::Cancellation cancellation);
    /// The default when a command states none (1.17).
    WriteConcern default_write_concern() const;

    // ---- hello -------------------------------------------------------------------------------
    /// The present view; cheap. `lastWrite` fields are filled from the oplog's present state.
    consensus::TopologyView topology() const;
    std::int64_t topology_version() const { return topology_version_.load(); }
    /// Notified when topology_version() grows.
    async::Notification& topology_changed();

    // ---- Commands; each returns the reply's own fields ----------------------------------------
    async::Task<Result<bson::Document>> initiate(bson::Document config);
    async::Task<Result<bson::Document>> reconfig(bson::Document config,
                                                 bool force,
                                                 Instant deadline);
    Result<bson::Document> config_document() const;  // replSetGetConfig's "config"
    async::Task<Result<bson::Document>> status();    // replSetGetStatus
    async::Task<Status> step_down(consensus::StepDownRequest request);
    async::Task<Status> step_up(bool skip_dry_run);
    async::Task<Result<bson::Document>> freeze(Duration period);
    async::Task<Result<bson::Document>> sync_from(HostAndPort source);
    async::Task<Status> set_maintenance(bool on);
    /// Fetched entries are not applied until they are released (fsync with lock). Comes back when
    /// none is being applied; false: the deadline was first, and nothing is held.
    async::Task<bool> hold_applying(Instant deadline);
    async::Task<void> release_applying();
    std::int32_t rollback_id() const;
    /// Tells this process from all others: what _isSelf answers as "id".
    const std::string& instance_id() const;

    // Between members (the dispatcher lets only members send them).
    async::Task<Result<bson::Document>> on_heartbeat(bson::Document request);
    async::Task<Result<bson::Document>> on_request_votes(bson::Document request);
    async::Task<Result<bson::Document>> on_update_position(bson::Document request);
    async::Task<Result<bson::Document>> on_vote_commit_build(bson::Document request);
    /// $replData and $oplogQueryData for replies to oplog fetches that ask for them.
    void append_metadata(bson::Builder& reply, bool repl_data, bool oplog_query_data) const;
    /// A request carried this term: adopts a higher one.
    void observe_term(Term term);
    /// Electing and replication counters for serverStatus ("electionMetrics", "repl",
    /// "metrics.repl").
    void append_metrics(bson::Builder& repl) const;

private:
    class Driver;  // The core, heartbeats, fetcher and applier; src/replication/driver*.

    const Environment environment_;
    const Options options_;
    std::atomic<Oplog*> oplog_ptr_{nullptr};
    std::atomic<Term> writable_term_{term_uninitialized};
    std::atomic<std::int64_t> topology_version_{0};
    std::unique_ptr<Driver> driver_;
};

}  // namespace tessera::replication
