// SPDX-License-Identifier: Apache-2.0
//
// What a Core shows of itself: all that `hello` and `replSetGetStatus` need, as plain data.
// Instants are the core's; the driver converts them to dates.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "consensus/config.h"
#include "consensus/messages.h"

namespace tessera::consensus {

/// For `hello`. Without a configuration that names this node: is_initialized or is_member false.
struct TopologyView {
    /// Grows with every visible change: topologyVersion.counter.
    std::int64_t topology_version = 0;
    bool is_initialized = false;  // A configuration was received: else isreplicaset + info.
    bool is_member = false;       // ... and it names this node: else isreplicaset + info, REMOVED.
    bool is_writable_primary = false;
    bool is_secondary = false;
    std::string set_name;
    std::int64_t set_version = 0;
    Term term = term_uninitialized;
    std::vector<HostAndPort> hosts;     // Electable ones: not hidden, not delayed, priority > 0.
    std::vector<HostAndPort> passives;  // Priority 0, not hidden, not delayed.
    std::vector<HostAndPort> arbiters;
    std::optional<HostAndPort> primary;
    std::optional<HostAndPort> me;
    bool arbiter_only = false;
    bool passive = false;
    bool hidden = false;
    bool build_indexes = true;
    Duration secondary_delay{0};
    std::map<std::string, std::string> tags;
    /// A writable primary's term; electionId is 7fffffff and it, big-endian.
    std::optional<Term> election_term;
    OpTimeAndWall last_write;
    OpTimeAndWall majority_write;
    bool configsvr = false;
};

enum class ElectionReason {
    election_timeout,
    priority_takeover,
    catch_up_takeover,
    step_up_command,
    step_up_command_skip_dry_run,
    single_node,
    start_up,  // A set just initiated, or restarted whole: shown as electionTimeout.
};
/// As replSetGetStatus names it: "electionTimeout", "stepUpRequestSkipDryRun", ...
std::string_view to_string(ElectionReason reason);

struct CandidateMetrics {
    ElectionReason reason = ElectionReason::election_timeout;
    Instant election_at;
    Term term = term_uninitialized;
    OpTime last_committed_at_election;
    OpTime last_seen_at_election;
    int votes_needed = 0;
    double priority = 0;
    Duration election_timeout{0};
    std::optional<MemberId> prior_primary;
    std::optional<OpTime> target_catch_up;
    std::int64_t catch_up_ops = 0;
    std::optional<Instant> new_term_started_at;
    std::optional<Instant> majority_write_available_at;
};

struct ParticipantMetrics {
    bool voted = false;
    Term term = term_uninitialized;
    Instant voted_at;
    MemberId candidate = no_member;
    std::string reason;
    OpTime last_applied_at_election;
    OpTime max_applied_in_set;
    double priority = 0;
    std::optional<Instant> new_term_applied_at;
};

struct MemberStatus {
    MemberId id = no_member;
    HostAndPort host;
    bool is_self = false;
    bool healthy = true;
    MemberState state = MemberState::unknown;
    Instant up_since;  // Meaningful when healthy.
    OpTimeAndWall applied;
    OpTimeAndWall durable;
    std::optional<Instant> last_heartbeat;           // Last answer from it.
    std::optional<Instant> last_heartbeat_received;  // Last request from it.
    Duration ping{0};
    std::string last_heartbeat_message;
    HostAndPort sync_source;
    MemberId sync_source_id = no_member;
    std::string info_message;
    std::optional<Timestamp> election_time;  // Primary only.
    ConfigVersion config;
};

/// For replSetGetStatus.
struct StatusView {
    std::string set_name;
    MemberState my_state = MemberState::startup;
    Term term = term_uninitialized;
    HostAndPort sync_source;
    MemberId sync_source_id = no_member;
    bool configsvr = false;
    Duration heartbeat_interval{0};
    int majority_vote_count = 0;
    int write_majority_count = 0;
    int voting_member_count = 0;
    int writable_voting_member_count = 0;
    OpTimeAndWall committed;
    OpTimeAndWall applied;
    OpTimeAndWall durable;
    std::optional<CandidateMetrics> candidate;      // Of the last election this node won.
    std::optional<ParticipantMetrics> participant;  // Of the last election it voted in.
    std::vector<MemberStatus> members;              // By id.
};

/// How often each kind of election was called and won: serverStatus.electionMetrics.
struct ElectionCounts {
    struct Count {
        std::int64_t called = 0;
        std::int64_t successful = 0;
    };
    std::map<ElectionReason, Count> by_reason;
    std::int64_t step_downs_by_higher_term = 0;
    std::int64_t catch_ups = 0;
    std::int64_t catch_ups_already_caught_up = 0;
    std::int64_t catch_ups_succeeded = 0;
    std::int64_t catch_ups_timed_out = 0;
    std::int64_t catch_ups_aborted = 0;
};

}  // namespace tessera::consensus
