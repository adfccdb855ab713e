// SPDX-License-Identifier: Apache-2.0
//
// What members say to each other, as plain data. The driver turns each into a command or its reply
// (replSetHeartbeat, replSetRequestVotes, replSetUpdatePosition, replSetStepUp) and back.
// Requests carry an id that the answer repeats; nothing else ties an answer to its question.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/error.h"
#include "base/host_and_port.h"
#include "base/optime.h"
#include "base/time.h"
#include "consensus/config.h"

namespace tessera::consensus {

/// The protocol's numbers.
enum class MemberState : std::int32_t {
    startup = 0,
    primary = 1,
    secondary = 2,
    recovering = 3,
    startup2 = 5,
    unknown = 6,
    arbiter = 7,
    down = 8,
    rollback = 9,
    removed = 10,
};
/// "PRIMARY", ...
std::string_view to_string(MemberState state);
constexpr bool is_readable(MemberState state) {
    return state == MemberState::primary || state == MemberState::secondary;
}

/// A position and when it was written, by the writer's wall clock.
struct OpTimeAndWall {
    OpTime optime;
    WallTime wall;

    bool operator==(const OpTimeAndWall&) const = default;
};

/// The last vote of a node; durable before anybody learns of it.
/// Invariant: one-vote-a-term.
struct Ballot {
    Term term = term_uninitialized;
    /// The candidate's index in the candidate's configuration (local.replset.election), or -1.
    std::int32_t candidate_index = -1;
    MemberId candidate_id = no_member;

    bool operator==(const Ballot&) const = default;
};

/// `$replData`: rides on heartbeats, position updates and oplog fetches.
struct ReplMetadata {
    Term term = term_uninitialized;
    OpTimeAndWall last_committed;
    OpTime last_visible;
    ConfigVersion config;
    std::optional<std::array<std::uint8_t, 12>> replica_set_id;
    MemberId primary_id = no_member;
    MemberId sync_source_id = no_member;
    bool is_primary = false;
};

/// `$oplogQueryData`: what a sync source says about itself with every batch.
struct OplogQueryMetadata {
    OpTimeAndWall last_committed;
    OpTime last_applied;
    std::int32_t rollback_id = 0;
    MemberId primary_id = no_member;
    MemberId sync_source_id = no_member;
};

/// What a member says about itself unasked: it spares the one it asks most of its own questions.
struct SenderReport {
    MemberState state = MemberState::unknown;
    OpTimeAndWall applied;
    OpTimeAndWall durable;
    OpTimeAndWall last_committed;
    HostAndPort syncing_to;
    Timestamp election_time;
};

struct HeartbeatRequest {
    std::string set_name;
    ConfigVersion config;
    HostAndPort from;
    MemberId from_id = no_member;
    Term term = term_uninitialized;
    MemberId primary_id = no_member;
    std::optional<SenderReport> sender;
};

struct HeartbeatReply {
    /// Set: the answer is that error, and no other field but `mismatch` means anything.
    std::optional<Error> error;
    bool mismatch = false;
    std::string set_name;
    MemberState state = MemberState::unknown;
    ConfigVersion config;
    Term term = term_uninitialized;
    MemberId primary_id = no_member;
    OpTimeAndWall applied;
    OpTimeAndWall durable;
    bool electable = false;
    HostAndPort syncing_to;
    /// When the sender, a primary, was elected (see Core::note_election_timestamp).
    Timestamp election_time;
    std::string message;
    /// The sender's configuration, when newer than the one the request named.
    std::optional<ReplicaSetConfig> new_config;
    ReplMetadata metadata;
};

struct VoteRequest {
    std::string set_name;
    bool dry_run = false;
    Term term = term_uninitialized;
    std::int32_t candidate_index = -1;
    MemberId candidate_id = no_member;
    ConfigVersion config;
    OpTime last_applied;
};

struct VoteReply {
    Term term = term_uninitialized;
    bool granted = false;
    std::string reason;
};

struct MemberPosition {
    MemberId member = no_member;
    std::int64_t config_version = -1;
    OpTimeAndWall applied;
    OpTimeAndWall durable;
};

struct PositionUpdate {
    std::vector<MemberPosition> positions;
    ReplMetadata metadata;
};
struct PositionReply {
    Term term = term_uninitialized;
};

struct StepUpRequest {
    bool skip_dry_run = false;
};
/// Sent when the candidacy has begun or was refused; its outcome comes by heartbeats.
struct StepUpReply {
    std::optional<Error> error;
};

using Message = std::variant<HeartbeatRequest, HeartbeatReply, VoteRequest, VoteReply,
                             PositionUpdate, PositionReply, StepUpRequest, StepUpReply>;

/// A request: `id` is the sender's, unique there. A reply: the request's `id`.
using RequestId = std::uint64_t;

struct Envelope {
    /// Where to, in an Output; where from, in Core::receive. For a reply it is what the request's
    /// Envelope said, unchanged: the driver may put anything there that finds its connection.
    HostAndPort peer;
    RequestId id = 0;
    Message message;
    /// For a request: give up then (Core::request_failed). The core also gives up by itself.
    Duration timeout{0};
};

/// Why a request came to nothing.
enum class RequestFailure {
    refused,    // Nobody listens there: the process is gone.
    timed_out,  // No answer in time.
    broken,     // Connection lost, undecodable answer, an error of the command layer.
};

}  // namespace tessera::consensus
