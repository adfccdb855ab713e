// SPDX-License-Identifier: Apache-2.0
//
// The pure core of a replica set member: MongoDB's protocol version 1, which is Raft with the log
// pulled. It decides who may vote, lead, write, count as committed and be a sync source; it knows
// positions, never documents. Time is an argument, randomness one Random&, everything to do comes
// out of take_output(). One executor owns it; nothing here blocks, throws or calls back.
//
// The driver's loop:
//     core.<event>(..., now);                  // any number of them
//     Output out = core.take_output();         // do everything in it
//     timer.expires_at(core.next_deadline());  // then core.tick(now)
// `Output::save` is made durable in the background and answered by ballot_saved(); what depends
// on it stays inside the core until then, so outputs may be carried out without further order.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "base/host_and_port.h"
#include "base/optime.h"
#include "base/random.h"
#include "base/result.h"
#include "base/time.h"
#include "consensus/config.h"
#include "consensus/messages.h"
#include "consensus/sync_source.h"
#include "consensus/views.h"
#include "consensus/write_concern.h"

namespace tessera::consensus {

/// What the process was started with.
struct Options {
    /// --replSet.
    std::string set_name;
    /// The name other members reach this process by, put in heartbeats until a configuration
    /// names it otherwise.
    HostAndPort host;
    /// The server parameter enableElectionHandoff.
    bool election_handoff = true;
};

/// What a node remembers over a restart.
struct Durable {
    std::optional<ReplicaSetConfig> config;
    /// This node's id in `config`; absent: not in it, or no configuration.
    std::optional<MemberId> self;
    Ballot ballot;
    /// The newest entry of the log after startup recovery: applied and durable.
    OpTimeAndWall last;
};

/// A change of role the driver must carry out.
struct RoleChange {
    enum class Kind {
        /// Won: state PRIMARY, not writable. Go on fetching (any source, choose_sync_source) to
        /// catch up; nothing else to do.
        elected,
        /// Catch-up is over: stop the fetcher, apply all that is buffered, then drained().
        drain,
        /// drained() was accepted: write the no-op "new primary" in `term`, then
        /// wrote_new_term_entry(). Writes stay refused until that call.
        write_new_term_entry,
        /// Writable now. hello says so.
        writable,
        /// No longer primary (or primary-elect): refuse writes (the core already says so), kill
        /// conflicting operations with InterruptedDueToReplStateChange, abort unprepared
        /// transactions, start fetching.
        step_down,
    };
    Kind kind = Kind::elected;
    Term term = term_uninitialized;
    std::string reason;
};

/// Everything to do since the last take_output().
struct Output {
    /// Must be made durable (fsync), then ballot_saved(). A newer one replaces an older one.
    std::optional<Ballot> save;
    /// May go at once, in any order.
    std::vector<Envelope> send;
    /// The commit point advanced to this; also the hello's majority write.
    std::optional<OpTimeAndWall> commit_point;
    /// In order.
    std::vector<RoleChange> roles;
    /// A newer configuration (from a heartbeat, or with this primary's term): find out which
    /// member this node is, make it durable, then install_config(); or config_refused().
    std::optional<ReplicaSetConfig> install_config;
    /// The attempt begun by step_down() ended: with success (a step_down role change came too) or
    /// with ExceededTimeLimit, writable again, or with what interrupted it.
    std::optional<Status> step_down_result;
    /// Some member's position, the commit point or the configuration changed: look again at the
    /// write-concern waiters.
    bool progress = false;
    /// The sync source should be chosen anew, because roles, states or configuration changed.
    bool reconsider_sync_source = false;
    /// topology_version() changed: wake the awaitable hellos.
    bool topology_changed = false;
};

/// Arguments of replSetStepDown.
struct StepDownRequest {
    Duration period = 60s;
    Duration catch_up_period = 10s;
    bool force = false;
};

class Core {
public:
    /// `random` outlives the core. The node is in STARTUP until set_follower_mode().
    Core(Options options, Durable restored, Random& random, Instant now);

    // ---- Messages and time ------------------------------------------------------------------

    /// A request or a reply from a peer. A reply's id is the one its request went out with.
    void receive(const Envelope& envelope, Instant now);
    /// The request with this id will have no answer.
    void request_failed(RequestId id,
                        RequestFailure failure,
                        const std::string& reason,
                        Instant now);
    /// Time passed; idempotent, cheap when nothing is due.
    void tick(Instant now);
    /// When tick() has something to do at the latest; Instant::max() for never.
    Instant next_deadline() const;
    [[nodiscard]] Output take_output();

    // ---- This node's log and disk -----------------------------------------------------------

    /// The ballot of an Output::save (or a newer one) is durable.
    void ballot_saved(const Ballot& ballot, Instant now);
    /// Our log was applied up to `last` (a primary: committed to the engine, no holes below).
    /// Smaller than before: ignored.
    void applied(OpTimeAndWall last, Instant now);
    /// ... and is durable up to `last`. May lag behind or run ahead of applied(): it is counted
    /// only up to what is applied.
    void durable(OpTimeAndWall last, Instant now);
    /// Rollback, or initial sync, put the log's end at `top` (applied and durable).
    /// Requires: not primary.
    void reset_log(OpTimeAndWall top, Instant now);

    // ---- What this node is doing -----------------------------------------------------------

    /// STARTUP2 (initial sync), RECOVERING, ROLLBACK or SECONDARY; an arbiter or a removed node
    /// keeps its own state and only remembers the mode. Ends a candidacy.
    /// Fails with NotSecondary (95) on a primary; ROLLBACK then also ends its catch-up.
    Status set_follower_mode(MemberState mode, Instant now);
    /// Ends a primary-elect's catch-up now (replSetAbortPrimaryCatchUp; the source's log parts from
    /// mine; no source is left). What was not fetched will be rolled back by its holders.
    void abort_catch_up(Instant now);
    /// The applier has nothing left, after RoleChange::drain. False: stale, do nothing.
    [[nodiscard]] bool drained(Term term, Instant now);
    /// The no-op of the new term is in the log (call applied() too, before or after).
    /// False: this node is no longer the primary of that term; the entry stays, harmlessly.
    [[nodiscard]] bool wrote_new_term_entry(OpTimeAndWall first, Instant now);
    /// What a primary shows as its electionTime (a Timestamp taken when it was elected).
    void note_election_timestamp(Timestamp timestamp);

    // ---- Configuration ------------------------------------------------------------------------

    /// A configuration is durable and in force from now on. Older than or equal to the present
    /// one: ignored, unless forced. A primary that may no longer lead steps down.
    void install_config(const ReplicaSetConfig& config,
                        std::optional<MemberId> self,
                        Instant now,
                        bool forced = false);
    /// The configuration of Output::install_config could not be installed.
    void config_refused();
    /// replSetInitiate made this configuration durable on this node (with an initial entry in the
    /// log, already told by applied() and durable(), and mode SECONDARY): installs it, and as soon
    /// as a majority has it too this node calls an election, without waiting a timeout.
    /// Requires: config.term is 0 (ReplicaSetConfig::validate_for_initiate says why).
    void initiated(const ReplicaSetConfig& config, std::optional<MemberId> self, Instant now);
    /// replSetReconfig on this node: checks everything (state, succession, both waits of 1.16
    /// unless forced) and returns the configuration to make durable and pass to install_config
    /// (with `forced`), or to give up with abort_reconfig(). One at a time
    /// (ConfigurationInProgress). `self`: which member of `proposed` this node is.
    Result<ReplicaSetConfig> prepare_reconfig(ReplicaSetConfig proposed,
                                              std::optional<MemberId> self,
                                              bool force);
    void abort_reconfig();
    /// 1.16 (a): a majority of the voters has exactly the present configuration, in my term.
    bool is_config_committed() const;
    /// 1.16 (b): what was committed in the configuration before is on a majority of this one.
    bool is_config_oplog_committed() const;

    // ---- Commands -----------------------------------------------------------------------------

    /// replSetStepUp. OK: a candidacy began (its end shows in role()).
    /// Fails with CommandFailed and why this node is not electable.
    Status step_up(bool skip_dry_run, Instant now);
    /// replSetStepDown. OK: the attempt began (this node refuses writes until it ends) and
    /// Output::step_down_result follows, perhaps at once.
    /// Fails with NotWritablePrimary, BadValue or ConflictingOperationInProgress.
    Status step_down(const StepDownRequest& request, Instant now);
    /// replSetFreeze: no candidacy for so long; 0 ends it. Returns the info for the reply.
    /// Fails with NotSecondary on a primary or candidate.
    Result<std::string> freeze(Duration period, Instant now);
    /// Gives up the leadership unconditionally (shutdown, a failed disk).
    void relinquish(const std::string& reason, Instant now);

    // ---- Pulling the log --------------------------------------------------------------------

    /// Whom to fetch from. `last_fetched`: newest entry of my log, applied or not. Nothing: ask
    /// again after limits::sync_source_retry or on Output::reconsider_sync_source. Clears a
    /// replSetSyncFrom wish by using it.
    std::optional<HostAndPort> choose_sync_source(OpTime last_fetched, Instant now);
    /// The fetcher's present source; an empty host for none. Position updates go there.
    void set_sync_source(const HostAndPort& source, Instant now);
    /// A batch came from the sync source and its first batch had passed check_first_batch: adopts
    /// the term, postpones the election timer when the source names or is the primary, learns the
    /// commit point. Call before appending the batch.
    void fetched(const HostAndPort& source,
                 const ReplMetadata& metadata,
                 const OplogQueryMetadata& query,
                 Instant now);
    /// Whether to leave `source`, judged after a batch. `last_fetched` as above.
    bool should_change_sync_source(const HostAndPort& source,
                                   const ReplMetadata& metadata,
                                   const OplogQueryMetadata& query,
                                   OpTime last_fetched,
                                   Instant now) const;
    /// Whether nothing more is to be expected of `source`: it is down, or cannot be read.
    bool is_source_lost(const HostAndPort& source) const;
    /// Whether to give up a fetch from `source` that waits for its answer: the source is lost, or
    /// it was the primary and another one is now.
    bool should_abandon_source(const HostAndPort& source) const;
    void denylist_sync_source(const HostAndPort& source, Instant until);
    /// replSetSyncFrom. Fails with the protocol's errors; returns the source before.
    Result<HostAndPort> sync_from(const HostAndPort& source, OpTime last_fetched);

    // ---- What it shows --------------------------------------------------------------------------

    Term term() const { return term_; }
    MemberState state() const;
    bool is_primary() const { return std::holds_alternative<Primary>(role_); }
    /// Whether writes of clients are accepted now.
    bool is_writable_primary() const;
    bool is_readable_secondary() const { return state() == MemberState::secondary; }
    MemberId primary_id() const { return primary_; }
    std::optional<HostAndPort> primary_host() const;
    const HostAndPort& sync_source() const { return sync_source_; }
    OpTimeAndWall last_applied() const { return applied_; }
    /// Never beyond last_applied().
    OpTimeAndWall last_durable() const {
        return durable_.optime > applied_.optime ? applied_ : durable_;
    }
    OpTimeAndWall commit_point() const { return commit_point_; }
    const std::optional<ReplicaSetConfig>& config() const { return config_; }
    std::optional<MemberId> self() const { return self_; }
    const Ballot& ballot() const { return ballot_; }
    /// $replData of this node, for its replies.
    ReplMetadata metadata() const;
    OplogQueryMetadata oplog_query_metadata(std::int32_t rollback_id) const;
    /// Positions for is_satisfied(); `config` points into this core.
    ReplicationProgress replication_progress() const;
    std::int64_t topology_version() const { return topology_version_; }
    TopologyView topology() const;
    /// Fails with NotYetInitialized (94) or InvalidReplicaSetConfig (93: removed).
    Result<StatusView> status(Instant now) const;
    const ElectionCounts& election_counts() const { return election_counts_; }
    /// Why this node may not become primary now; empty if it may.
    std::string unelectable_reason(Instant now) const;

    /// Asserts the invariants of one node (docs/replication.md).
    void check_invariants() const;

private:
    struct Follower {};
    struct Candidate {
        enum class Phase { dry_run, saving, voting };
        Phase phase = Phase::dry_run;
        ElectionReason reason = ElectionReason::election_timeout;
        std::set<MemberId> granted;
        std::set<MemberId> answered;
        Instant deadline;
    };
    struct StepDownAttempt {
        Instant catch_up_deadline;
        Instant until;
        bool force = false;
    };
    struct Primary {
        enum class Phase { catching_up, draining, starting_term, writable };
        Phase phase = Phase::catching_up;
        OpTime applied_when_elected;
        Instant elected_at;
        Instant catch_up_deadline;
        /// Requests from this id on were sent as primary.
        RequestId first_request = 0;
        /// Members whose position at the election is not known yet.
        std::set<MemberId> unheard;
        /// Invariant: no-commit-below-own-term.
        OpTime first_of_term;
        std::optional<StepDownAttempt> step_down;
    };
    /// What is known of another member.
    struct Peer {
        MemberState state = MemberState::unknown;
        bool up = false;
        Instant up_since;
        Instant last_update;  // Any sign of life, direct or relayed.
        std::optional<Instant> last_heartbeat;
        std::optional<Instant> last_heartbeat_received;
        ConfigVersion config;
        Term term = term_uninitialized;
        MemberId primary = no_member;
        OpTimeAndWall applied;
        OpTimeAndWall durable;
        Instant position_at;  // When `applied` or `durable` was last heard.
        OpTime last_committed;
        HostAndPort syncing_to;
        Timestamp election_time;
        std::string message;
        Duration ping{0};
        std::int64_t pings = 0;

        Instant next_heartbeat;
        Instant round_started;
        RequestId heartbeat = 0;  // In flight, or 0.
        int retries = 0;
    };
    struct Request {
        enum class Kind { heartbeat, config_fetch, vote, position, step_up };
        Kind kind = Kind::heartbeat;
        HostAndPort host;
        MemberId member = no_member;
        Instant sent;
        Instant deadline;
        Term term = term_uninitialized;
        bool dry_run = false;
    };
    struct HeldVote {
        Term term = term_uninitialized;
        Envelope reply;
    };
    /// What a change of must bump the topology version.
    struct Visible {
        ConfigVersion config;
        MemberState state = MemberState::startup;
        bool writable = false;
        MemberId primary = no_member;
        bool operator==(const Visible&) const = default;
    };

    // Every public event ends here.
    void finish(Instant now);
    const MemberConfig* my_config() const;
    bool is_member() const { return config_.has_value() && self_.has_value(); }
    HostAndPort my_host() const;
    Duration heartbeat_interval() const;
    Duration heartbeat_timeout() const;
    Duration election_timeout() const;
    Duration random_election_offset();
    OpTimeAndWall reported_applied() const;
    OpTimeAndWall reported_durable() const;
    bool is_arbiter() const;

    // Messages.
    RequestId send_request(Request request, Message message, Duration timeout, Instant now);
    void send_reply(const Envelope& request, Message message);
    void on_request_lost(const Request& request,
                         RequestId id,
                         const std::string& reason,
                         Instant now);

    // Heartbeats.
    HeartbeatRequest make_heartbeat() const;
    void heartbeat_now(MemberId member, Peer& peer, Instant now);
    void heartbeat_all(Instant now);
    void fetch_config_from(const HostAndPort& host, Instant now);
    void on_heartbeat_request(const Envelope& envelope,
                              const HeartbeatRequest& request,
                              Instant now);
    Status check_heartbeat_request(const HeartbeatRequest& request) const;
    void note_heartbeat_sender(const HeartbeatRequest& request, Instant now);
    HeartbeatReply make_heartbeat_reply(const HeartbeatRequest& request, Instant now) const;
    void on_heartbeat_reply(const Request& request,
                            RequestId id,
                            const HeartbeatReply& reply,
                            Instant now);
    void update_peer(Peer& peer, const Request& request, const HeartbeatReply& reply, Instant now);
    void learn_from_report(MemberId member, Peer& peer, const SenderReport& report, Instant now);
    Duration heartbeat_pause(MemberId member) const;
    bool yields_heartbeats_to(MemberId member) const;
    void heard_primary(MemberId member, Peer& peer, Instant now);
    void on_heartbeat_failed(MemberId member, Peer& peer, const std::string& reason, Instant now);
    void offer_config(const ReplicaSetConfig& config);
    void set_primary(MemberId primary);

    // Elections.
    void adopt_term(Term term, Instant now);
    void arm_election_timer(Instant now);
    void start_election(ElectionReason reason, bool skip_dry_run, Instant now);
    void begin_real_election(Instant now);
    void ask_for_votes(bool dry_run, Instant now);
    void on_vote_request(const Envelope& envelope, const VoteRequest& request, Instant now);
    std::string reason_to_refuse(const VoteRequest& request) const;
    void on_vote_reply(const Request& request, const VoteReply& reply, Instant now);
    int voters_to_hear(const Candidate& candidate, Instant now) const;
    void count_vote(MemberId member, bool granted, Instant now);
    void lose_election(Instant now);
    void win_election(Instant now);
    void consider_early_election(Instant now);
    bool is_best_candidate() const;
    void consider_takeover(const Peer& primary, Instant now);
    bool is_fresh_for_priority_takeover() const;
    bool is_fresh_for_catch_up_takeover() const;
    int priority_rank() const;
    OpTime latest_known_optime() const;
    bool can_see_majority() const;

    // Being primary, and ceasing to be.
    void consider_catch_up(Instant now);
    void begin_drain(Instant now);
    void consider_step_down(Instant now);
    void finish_step_down(Instant now);
    MemberId choose_hand_off() const;
    bool is_majority_caught_up() const;
    void become_follower(const std::string& reason, Instant now);
    void consider_newly_added(Instant now);
    Instant liveness_deadline() const;

    // Positions and the commit point.
    void update_commit_point(Instant now);
    void advance_commit_point(OpTimeAndWall to, Instant now);
    void learn_commit_point(OpTimeAndWall heard, bool from_sync_source, Instant now);
    void on_position_update(const Envelope& envelope, const PositionUpdate& update, Instant now);
    void send_positions(Instant now);
    bool may_send_positions() const;
    Instant positions_due() const;
    void positions_changed(Instant now);

    // Reconfiguration.
    void adopt_config(const ReplicaSetConfig& config, std::optional<MemberId> self, Instant now);
    bool is_newer_config(const ConfigVersion& other) const;
    void offer_config_of_my_term();
    bool keeps_committed(const ReplicaSetConfig& next) const;

    // Sync source.
    enum class Pass { strict, lenient };
    MemberId pick_sync_source(Pass pass, OpTime last_fetched, Instant now) const;
    bool is_possible_source(const MemberConfig& member, OpTime last_fetched, Instant now) const;
    bool is_good_source(const MemberConfig& member) const;
    bool is_denylisted(const HostAndPort& host, Instant now) const;

    // Timers.
    void tick_elections(Instant now);
    void tick_primary(Instant now);

    // Constant after construction.
    const Options options_;
    Random& random_;

    // Configuration.
    std::optional<ReplicaSetConfig> config_;
    std::optional<MemberId> self_;
    bool config_offered_ = false;  // Output::install_config waits for its answer.
    bool reconfig_prepared_ = false;
    OpTime committed_in_previous_config_;

    // Term and vote. Invariant: term_ >= ballot_.term; neither ever falls.
    Term term_ = term_uninitialized;
    Ballot ballot_;
    Term ballot_durable_ = term_uninitialized;
    std::vector<HeldVote> held_votes_;

    // Role.
    std::variant<Follower, Candidate, Primary> role_;
    MemberState mode_ = MemberState::startup;
    MemberId primary_ = no_member;
    Timestamp election_timestamp_;

    // Log. Invariant: commit_point_ <= applied_.
    OpTimeAndWall applied_;
    OpTimeAndWall durable_;
    OpTimeAndWall commit_point_;
    std::optional<OpTimeAndWall> source_commit_;     // From the sync source, clamped on use.
    std::optional<OpTimeAndWall> heartbeat_commit_;  // Of a term; used only in that term's log.

    // The other members.
    std::map<MemberId, Peer> peers_;
    std::map<RequestId, Request> requests_;
    RequestId last_request_ = 0;

    // Timers; Instant::max() for "not set".
    Instant started_;
    Instant election_deadline_ = Instant::max();
    Instant priority_takeover_at_ = Instant::max();
    Instant catch_up_takeover_at_ = Instant::max();
    Instant no_election_until_ = Instant::min();
    int quick_retries_ = 0;  // Since a primary was last seen.
    Instant next_position_at_ = Instant::max();

    // Until a primary was ever seen (or this was done once), an election may be called without a
    // timeout, since there is nobody to depose: see consider_early_election.
    bool early_election_spent_ = false;
    bool just_initiated_ = false;

    // Pulling.
    HostAndPort sync_source_;
    HostAndPort forced_source_;
    std::map<HostAndPort, Instant> denylist_;
    std::vector<Instant> source_changes_;  // Because of ping, within the last hour.
    RequestId position_request_ = 0;
    bool positions_dirty_ = false;
    bool position_lost_ = false;  // The last update may not have arrived.
    bool relays_life_ = false;    // Somebody's sign of life is to be passed on.
    bool source_led_ = false;     // The sync source was the primary when it was chosen.

    // Shown.
    std::int64_t topology_version_ = 0;
    Visible visible_;
    std::optional<CandidateMetrics> candidate_metrics_;
    std::optional<ParticipantMetrics> participant_metrics_;
    ElectionCounts election_counts_;

    Output output_;
};

}  // namespace tessera::consensus
