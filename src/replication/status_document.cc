// SPDX-License-Identifier: Apache-2.0
#include "replication/status_document.h"

#include "bson/builder.h"

namespace tessera::replication {
namespace {

using consensus::MemberState;
using consensus::MemberStatus;
using consensus::StatusView;

WallTime date_of(OpTime optime) {
    return {std::int64_t{optime.timestamp.seconds} * 1000};
}

class Renderer {
public:
    explicit Renderer(const StatusTimes& times) : times_(times) {}

    WallTime date(Instant at) const {
        return {times_.wall.milliseconds - to_milliseconds(times_.now - at)};
    }
    std::int64_t seconds_since(Instant at) const { return to_milliseconds(times_.now - at) / 1000; }

    void append_optimes(const StatusView& view, bson::Builder out) const {
        out.append("lastCommittedOpTime", view.committed.optime);
        out.append("lastCommittedWallTime", view.committed.wall);
        out.append("readConcernMajorityOpTime", view.committed.optime);
        out.append("appliedOpTime", view.applied.optime);
        out.append("durableOpTime", view.durable.optime);
        out.append("lastAppliedWallTime", view.applied.wall);
        out.append("lastDurableWallTime", view.durable.wall);
    }

    void append_candidate(const consensus::CandidateMetrics& metrics, bson::Builder out) const {
        out.append("lastElectionReason", consensus::to_string(metrics.reason));
        out.append("lastElectionDate", date(metrics.election_at));
        out.append("electionTerm", metrics.term);
        out.append("lastCommittedOpTimeAtElection", metrics.last_committed_at_election);
        out.append("lastSeenOpTimeAtElection", metrics.last_seen_at_election);
        out.append("numVotesNeeded", metrics.votes_needed);
        out.append("priorityAtElection", metrics.priority);
        out.append("electionTimeoutMillis",
                   std::int64_t{to_milliseconds(metrics.election_timeout)});
        if (metrics.prior_primary) out.append("priorPrimaryMemberId", *metrics.prior_primary);
        if (metrics.target_catch_up) out.append("targetCatchupOpTime", *metrics.target_catch_up);
        out.append("numCatchUpOps", metrics.catch_up_ops);
        if (metrics.new_term_started_at)
            out.append("newTermStartDate", date(*metrics.new_term_started_at));
        if (metrics.majority_write_available_at)
            out.append("wMajorityWriteAvailabilityDate",
                       date(*metrics.majority_write_available_at));
    }

    void append_participant(const consensus::ParticipantMetrics& metrics, bson::Builder out) const {
        out.append("votedForCandidate", metrics.voted).append("electionTerm", metrics.term);
        out.append("lastVoteDate", date(metrics.voted_at));
        out.append("electionCandidateMemberId", metrics.candidate);
        out.append("voteReason", metrics.reason);
        out.append("lastAppliedOpTimeAtElection", metrics.last_applied_at_election);
        out.append("maxAppliedOpTimeInSet", metrics.max_applied_in_set);
        out.append("priorityAtElection", metrics.priority);
        if (metrics.new_term_applied_at)
            out.append("newTermAppliedDate", date(*metrics.new_term_applied_at));
    }

    void append_member(const MemberStatus& member, bson::Builder out) const {
        out.append("_id", member.id).append("name", member.host.to_string());
        const bool is_up = member.is_self || member.healthy;
        out.append("health", is_up ? 1.0 : 0.0);
        out.append("state", static_cast<std::int32_t>(is_up ? member.state : MemberState::down));
        out.append("stateStr",
                   is_up ? consensus::to_string(member.state)
                         : std::string_view("(not reachable/healthy)"));
        out.append_integer("uptime", is_up ? seconds_since(member.up_since) : 0);
        if (member.state != MemberState::arbiter) append_positions(member, out);
        if (!member.is_self) {
            out.append("lastHeartbeat",
                       member.last_heartbeat ? date(*member.last_heartbeat) : WallTime{});
            out.append("lastHeartbeatRecv",
                       member.last_heartbeat_received ? date(*member.last_heartbeat_received)
                                                      : WallTime{});
            out.append("pingMs", std::int64_t{to_milliseconds(member.ping)});
            out.append("lastHeartbeatMessage", member.last_heartbeat_message);
        }
        out.append("syncSourceHost", member.sync_source.to_string());
        out.append("syncSourceId", member.sync_source_id);
        const bool has_reason = member.is_self && !times_.message.empty();
        out.append("infoMessage",
                   has_reason ? times_.message : std::string_view(member.info_message));
        if (member.election_time && !member.election_time->is_null()) {
            out.append("electionTime", *member.election_time);
            out.append("electionDate",
                       WallTime{std::int64_t{member.election_time->seconds} * 1000});
        }
        out.append_integer("configVersion", member.config.version);
        out.append_integer("configTerm", member.config.term);
        if (member.is_self) out.append("self", true).append("lastHeartbeatMessage", "");
    }

private:
    void append_positions(const MemberStatus& member, bson::Builder& out) const {
        out.append("optime", member.applied.optime);
        if (!member.is_self) out.append("optimeDurable", member.durable.optime);
        out.append("optimeDate", date_of(member.applied.optime));
        if (!member.is_self) out.append("optimeDurableDate", date_of(member.durable.optime));
        out.append("lastAppliedWallTime", member.applied.wall);
        out.append("lastDurableWallTime", member.durable.wall);
    }

    const StatusTimes& times_;
};

}  // namespace

bson::Document status_to_bson(const StatusView& view, const StatusTimes& times) {
    const Renderer renderer(times);
    bson::Builder out;
    out.append("set", view.set_name).append("date", times.wall);
    out.append("myState", static_cast<std::int32_t>(view.my_state)).append("term", view.term);
    out.append("syncSourceHost", view.sync_source.to_string());
    out.append("syncSourceId", view.sync_source_id);
    if (view.configsvr) out.append("configsvr", true);
    out.append("heartbeatIntervalMillis", std::int64_t{to_milliseconds(view.heartbeat_interval)});
    out.append("majorityVoteCount", view.majority_vote_count);
    out.append("writeMajorityCount", view.write_majority_count);
    out.append("votingMembersCount", view.voting_member_count);
    out.append("writableVotingMembersCount", view.writable_voting_member_count);
    renderer.append_optimes(view, out.object("optimes"));
    if (!times.stable_recovery.is_null())
        out.append("lastStableRecoveryTimestamp", times.stable_recovery);
    if (view.candidate)
        renderer.append_candidate(*view.candidate, out.object("electionCandidateMetrics"));
    if (view.participant)
        renderer.append_participant(*view.participant, out.object("electionParticipantMetrics"));
    auto members = out.array("members");
    for (const MemberStatus& member : view.members)
        renderer.append_member(member, members.object());
    members.done();
    return std::move(out).finish();
}

}  // namespace tessera::replication
