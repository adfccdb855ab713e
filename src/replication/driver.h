// SPDX-License-Identifier: Apache-2.0
//
// Drives consensus::Core: hands it what happens (messages, time, the log's growth) and carries out
// what it wants done. Everything lives on the control executor unless it says otherwise; what other
// threads ask is answered from a copy (View) renewed after every step of the core.
//
//   driver.cc             the loop: pump(), roles, publication of the View
//   driver_start.cc       start-up recovery, shutdown
//   driver_network.cc     messages out and in, which member we are
//   driver_commands.cc    replSetInitiate, replSetReconfig and the like
//   fetcher.cc            pulling and applying the oplog
//   initial_sync.cc       making an empty member's data
//   rollback.cc           going back to the common point
//   driver_builds.cc      seeing index builds to their end
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "async/event.h"
#include "consensus/core.h"
#include "replication/applier.h"
#include "replication/local_state.h"
#include "replication/message_documents.h"
#include "replication/replication.h"
#include "replication/waiters.h"

namespace tessera::replication {

/// What other threads may know, copied after each step.
struct MemberView {
    consensus::MemberState state = consensus::MemberState::startup;
    consensus::TopologyView topology;
    consensus::ReplMetadata metadata;
    consensus::OpTimeAndWall commit_point;
    OpTime applied;
    std::shared_ptr<const consensus::ReplicaSetConfig> config;  // Shared with waiters.
    consensus::MemberId self = consensus::no_member;
};

class Replication::Driver {
public:
    explicit Driver(Replication& owner);
    ~Driver();

    // ---- From any thread ----------------------------------------------------------------------
    MemberView view() const;
    consensus::MemberState state() const { return state_.load(); }
    AppliedCounts applied_counts() const { return applier_.counts(); }
    OpTime commit_point() const;
    std::int32_t rollback_id() const { return rollback_id_.load(); }
    bson::Uuid make_uuid();
    /// Syncs the journal and tells the core what is durable then.
    void request_flush();
    void observe_term(Term term);
    /// Takes away every index build in progress; what is on record of them stays.
    void end_builds(const Error& why);
    /// Sees a build that was just begun to its end.
    void drive_soon(const catalog::IndexBuildPtr& build);
    /// As primary: gives a build up on every member. Does nothing when it has ended.
    Status abort_build(const catalog::IndexBuild& build, const Error& cause);

    // ---- On the starting thread ---------------------------------------------------------------
    Status start();

    // ---- On the control executor --------------------------------------------------------------
    async::Task<void> shutdown(Duration quiesce);
    async::Task<Result<bson::Document>> initiate(bson::Document document);
    async::Task<Result<bson::Document>> reconfig(bson::Document document,
                                                 bool force,
                                                 Instant deadline);
    async::Task<Status> step_down(consensus::StepDownRequest request);
    Status step_up(bool skip_dry_run);
    Result<bson::Document> freeze(Duration period);
    Result<bson::Document> sync_from(const HostAndPort& source);
    Status set_maintenance(bool on);
    async::Task<bool> hold_applying(Instant deadline);
    void release_applying();
    Result<bson::Document> status();
    /// Hands a message to the core and waits for its answer.
    async::Task<Result<bson::Document>> answer(HostAndPort from, consensus::Message request);
    async::Task<void> nudge_primary(Timestamp wanted);
    /// A member says that its part of a build is done.
    async::Task<Result<bson::Document>> take_build_vote(bson::Uuid id, HostAndPort from);

    // Any thread.
    std::vector<RoleObserver*> observers;
    Waiters waiters;
    async::Notification topology_changed;
    async::Notification committed;  // The commit point or the configuration moved.
    async::Notification builds_changed;  // An index build went on, or may go on.
    /// Asked now and then by the primary of an index build; its failure ends the build. Set before
    /// start().
    std::function<Status()> build_check;
    const std::string instance_id;  // Tells this process from all others (_isSelf).

    const consensus::ElectionCounts election_counts() const;

private:
    // What other threads leave for the control executor; outlives the driver in their callbacks.
    struct Mailbox {
        explicit Mailbox(async::Executor& executor) : control(executor) {}
        async::Executor& control;
        Driver* driver = nullptr;  // Null once shut down. Control executor only.
        std::mutex mutex;          // Guards what follows.
        std::optional<consensus::OpTimeAndWall> durable;
        bool is_posted = false;
    };
    struct Inbound {
        std::optional<consensus::Message> reply;
        async::Notification arrived;
    };
    struct Fetched {
        std::vector<bson::Document> entries;
        std::size_t bytes = 0;
    };
    struct Source {
        HostAndPort host;
        std::unique_ptr<async::Stream> stream;
        std::int32_t rollback_id = 0;
        OpTime oldest;
        std::int64_t cursor = 0;
        OpTime newest;
        bool is_asked_for = false;  // By replSetSyncFrom.
    };
    // An initial sync's second conversation with its source: the log from the clone's beginning,
    // written to our own as it comes, so that the source need not keep it until the clone is done.
    struct LogTail {
        Source source;
        OpTime begin;
        OpTime stored;               // The newest entry written; null until the first has come.
        std::optional<OpTime> upto;  // Set when the clone is done: not further than needed.
        bool is_done = false;
        Status status;
        async::Notification moved;
    };
    enum class Next { go_on, choose_again, roll_back, stop };

    Instant now() const { return env_.clock.now(); }
    WallTime wall() const { return env_.clock.wall_now(); }
    WallTime last_wall() const;
    const consensus::ReplicaSetConfig* config() const {
        return core_->config() ? &*core_->config() : nullptr;
    }

    // Index builds.
    struct DrivenBuild;
    void pause_builds(bool pauses);
    void drive(const catalog::IndexBuildPtr& build);
    async::Task<void> drive_build(catalog::IndexBuildPtr build);
    async::Task<void> resume_builds();
    std::vector<catalog::IndexBuildPtr> begin_noted_builds();
    Result<catalog::IndexBuildPtr> begin_noted(const catalog::Collection& collection,
                                               const catalog::NotedBuild& noted);
    Status fill_more(DrivenBuild& driven);
    Status lead_build(DrivenBuild& driven);
    Status commit_build(const catalog::IndexBuildPtr& build);
    void fail_build(DrivenBuild& driven, const Error& cause);
    async::Task<bool> vote_for_build(bson::Uuid id);

    // The loop.
    void pump();
    void carry_out(consensus::Output output);
    void carry_out_role(const consensus::RoleChange& change);
    void publish(bool topology_moved, bool progress);
    void sync_writability();
    void arm_timer();
    void read_mail();
    static void post_mail(const std::shared_ptr<Mailbox>& mailbox);
    void note_growth();
    void save_ballot(const consensus::Ballot& ballot);
    async::Task<void> drain(Term term);
    void write_new_term_entry(Term term);
    void config_changed();
    void fatal(const Error& error);
    async::Task<Status> flushed();
    void flush_soon();

    // Start.
    Status open_oplog();
    /// After the catalog was read anew; the Oplog itself lives on, others hold it.
    void adopt_oplog_collection();
    Status set_first_stable();
    Status replay(Timestamp after, OpTime upto, ApplyMode mode);
    void begin();
    async::Task<void> write_periodic_noops();
    async::Task<void> truncate_periodically();
    Status truncate_oplog();

    // Messages.
    void send(const consensus::Envelope& envelope);
    async::Task<void> send_request(consensus::Envelope envelope);
    std::optional<consensus::MemberId> self_by_name(
        const consensus::ReplicaSetConfig& config) const;
    async::Task<std::optional<consensus::MemberId>> find_self(consensus::ReplicaSetConfig config);
    async::Task<void> install(consensus::ReplicaSetConfig config);
    async::Task<Result<bson::Document>> call(HostAndPort target,
                                             bson::Document command,
                                             Duration timeout);
    async::Task<Status> check_quorum(const consensus::ReplicaSetConfig& config,
                                     consensus::MemberId self,
                                     bool is_initiate);
    async::Task<void> check_member(HostAndPort host, bson::Document command, Status& outcome);
    Result<consensus::ReplicaSetConfig> default_config() const;
    Status write_initial_state(const consensus::ReplicaSetConfig& config);
    void set_mode_by_data();
    /// SECONDARY, or RECOVERING where something keeps this member from being one.
    consensus::MemberState follower_mode() const;
    /// Why this member is too stale: no source's oplog fits its own. Empty: one does.
    void set_misfit(std::string reason);

    // Pulling.
    async::Task<void> pull();
    bool should_pull() const;
    OpTime last_fetched() const;
    async::Task<std::optional<Source>> open_source(bool is_initial_sync);
    async::Task<Result<bson::Document>> ask(Source& source, bson::Document command, Duration slack);
    async::Task<Next> follow(Source& source);
    async::Task<Next> take_first_batch(Source& source);
    async::Task<Next> take_batch(Source& source, bson::View reply, std::size_t skip);
    bson::Document find_command(Timestamp from) const;
    bson::Document get_more_command(const Source& source) const;
    Duration await_time() const;
    async::Task<void> apply_fetched();
    /// Takes the entries of the buffer's front that secondaryDelaySecs lets be applied by now;
    /// waits for the first of them. None: the buffer was given up.
    async::Task<std::vector<bson::Document>> take_due();
    void drop_buffer();
    Duration delay() const;  // secondaryDelaySecs of this member.
    bool has_delay() const { return delay() > Duration::zero(); }
    bool has_buffered() const { return !buffer_.empty() || is_applying_; }

    // Initial sync.
    async::Task<void> synchronize();
    async::Task<Status> attempt_sync();
    async::Task<Status> copy_from(Source& source);
    async::Task<Status> catch_up(Source& source, OpTime begin, OpTime top);
    async::Task<Status> clone(Source& source);
    async::Task<Status> clone_database(Source& source, std::string db);
    async::Task<Status> clone_collection(Source& source, std::string db, bson::Document info);
    async::Task<void> keep_log(std::shared_ptr<LogTail> tail);
    async::Task<Status> keep_log_from(LogTail& tail);
    Status store_log(LogTail& tail, bson::View batch);
    async::Task<Result<bson::Document>> newest_of(Source& source);
    Status drop_all_data();
    Status store_cloned(const Namespace& ns, bson::View batch);
    Status build_indexes(const Namespace& ns, bson::View specs);
    Status clear_oplog();
    Status finish_sync(OpTime top, WallTime wall);

    // Rollback.
    async::Task<Status> roll_back(Source& source);
    async::Task<Result<OpTime>> find_common_point(Source& source);
    Result<std::optional<OpTime>> local_entry_at_or_before(Timestamp at);
    Status truncate_after(OpTime common);
    async::Task<Status> recover_engine();

    Replication& owner_;
    const Environment& env_;
    const Options& options_;
    std::shared_ptr<Mailbox> mailbox_;  // Shared with callbacks on other threads.
    LocalState local_;
    Applier applier_;
    Random core_random_;
    async::TaskGroup tasks_;
    async::Cancellation stopping_;
    async::Notification stop_;

    // Any thread.
    mutable std::mutex mutex_;  // Guards view_, uuid_random_ and counts_.
    MemberView view_;
    Random uuid_random_;
    consensus::ElectionCounts counts_;
    std::atomic<consensus::MemberState> state_{consensus::MemberState::startup};
    std::atomic<std::int32_t> rollback_id_{1};
    std::atomic<bool> is_writable_{false};
    std::mutex builds_mutex_;  // Guards are_builds_paused_, and what begins where it is false.
    bool are_builds_paused_ = false;

    // Control executor.
    std::unique_ptr<Oplog> oplog_;
    std::shared_ptr<catalog::Collection> oplog_collection_;  // Also the catalog's.
    std::optional<consensus::Core> core_;
    bool is_pumping_ = false;
    bool has_more_ = false;
    bool is_stopping_ = false;
    Instant timer_due_ = Instant::max();
    async::Clock::TimerId timer_ = 0;
    std::shared_ptr<const consensus::ReplicaSetConfig> shared_config_;
    consensus::RequestId last_inbound_ = 0;
    std::map<consensus::RequestId, std::shared_ptr<Inbound>> inbound_;  // Shared with who waits.
    std::optional<Status> step_down_result_;
    async::Notification step_down_ended_;
    std::int64_t shown_topology_ = -1;
    int maintenance_ = 0;
    bool is_initiating_ = false;
    bool is_flush_armed_ = false;
    bool is_flushing_ = false;

    // Pulling. Control executor.
    bool is_pull_running_ = false;
    bool is_sync_running_ = false;
    std::optional<Term> draining_;  // From the end of catch-up until this member steps down.
    bool is_broken_ = false;        // An entry could not be applied: this member can go no further.
    bool is_applying_ = false;
    bool is_in_batch_ = false;  // A worker applies now.
    bool is_held_ = false;      // See hold_applying().
    HostAndPort asked_source_;
    std::string misfit_;  // See set_misfit().
    async::Notification pull_changed_;
    std::deque<Fetched> buffer_;
    std::size_t buffer_bytes_ = 0;
    OpTime last_buffered_;
    std::optional<async::Cancellation> fetching_;
};

}  // namespace tessera::replication
