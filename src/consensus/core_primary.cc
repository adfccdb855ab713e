// SPDX-License-Identifier: Apache-2.0
//
// From winning an election to accepting writes (protocol.md 1.4), and out again (1.5): asked to,
// with a hand-off, or at once when a higher term or the loss of the majority demands it.
#include <algorithm>

#include "consensus/core.h"
#include "consensus/limits.h"

namespace tessera::consensus {

void Core::win_election(Instant now) {
    const auto reason = std::get<Candidate>(role_).reason;
    ASSERT(ballot_durable_ == term_ && ballot_.candidate_id == *self_);
    ++election_counts_.by_reason[reason].successful;
    Primary primary;
    primary.applied_when_elected = applied_.optime;
    const Duration limit = config_->settings.catch_up_timeout;
    primary.catch_up_deadline = limit < 0s ? Instant::max() : now + limit;
    primary.first_request = last_request_ + 1;
    primary.elected_at = now;
    for (const auto& [member, peer] : peers_)  // Not for the old primary, silent for a time-out.
        if (peer.up && now - peer.last_update < election_timeout()) primary.unheard.insert(member);
    role_ = std::move(primary);
    set_primary(*self_);
    election_deadline_ = priority_takeover_at_ = catch_up_takeover_at_ = Instant::max();
    source_commit_.reset();
    heartbeat_commit_.reset();
    for (auto& [member, peer] : peers_)
        peer.last_update = now;  // Everybody gets a full timeout.
    output_.roles.push_back({RoleChange::Kind::elected, term_, "election succeeded"});
    heartbeat_all(now);
    ++election_counts_.catch_ups;
    consider_catch_up(now);
}

/// Ends catch-up when this node has all that any live member had when it was elected.
void Core::consider_catch_up(Instant now) {
    auto* primary = std::get_if<Primary>(&role_);
    if (primary == nullptr || primary->phase != Primary::Phase::catching_up) return;
    if (primary->catch_up_deadline <= now) {
        ++election_counts_.catch_ups_timed_out;
        return begin_drain(now);
    }
    if (!primary->unheard.empty()) return;
    OpTime target = applied_.optime;
    for (const auto& [member, peer] : peers_)
        if (peer.up && peer.last_heartbeat >= primary->elected_at)
            target = std::max(target, peer.applied.optime);
    if (candidate_metrics_) candidate_metrics_->target_catch_up = target;
    if (applied_.optime < target) return;
    if (applied_.optime == primary->applied_when_elected)
        ++election_counts_.catch_ups_already_caught_up;
    else
        ++election_counts_.catch_ups_succeeded;
    begin_drain(now);
}

void Core::begin_drain(Instant /*now*/) {
    std::get<Primary>(role_).phase = Primary::Phase::draining;
    output_.roles.push_back({RoleChange::Kind::drain, term_, "catch-up is over"});
}

void Core::abort_catch_up(Instant now) {
    const auto* primary = std::get_if<Primary>(&role_);
    if (primary == nullptr || primary->phase != Primary::Phase::catching_up) return;
    ++election_counts_.catch_ups_aborted;
    begin_drain(now);
    finish(now);
}

bool Core::drained(Term term, Instant now) {
    auto* primary = std::get_if<Primary>(&role_);
    if (primary == nullptr || term != term_ || primary->phase != Primary::Phase::draining)
        return false;
    primary->phase = Primary::Phase::starting_term;
    sync_source_ = {};
    output_.roles.push_back({RoleChange::Kind::write_new_term_entry, term_, "drained"});
    finish(now);
    return true;
}

bool Core::wrote_new_term_entry(OpTimeAndWall first, Instant now) {
    auto* primary = std::get_if<Primary>(&role_);
    if (primary == nullptr || first.optime.term != term_ ||
        primary->phase != Primary::Phase::starting_term)
        return false;
    primary->first_of_term = first.optime;
    primary->phase = Primary::Phase::writable;
    if (candidate_metrics_) candidate_metrics_->new_term_started_at = now;
    output_.roles.push_back({RoleChange::Kind::writable, term_, "new term entry written"});
    offer_config_of_my_term();
    applied(first, now);
    heartbeat_all(now);
    update_commit_point(now);
    consider_newly_added(now);
    finish(now);
    return true;
}

void Core::note_election_timestamp(Timestamp timestamp) {
    election_timestamp_ = timestamp;
}

// ---- Ceasing to be
// --------------------------------------------------------------------------------

void Core::become_follower(const std::string& reason, Instant now) {
    if (auto* primary = std::get_if<Primary>(&role_)) {
        if (primary->step_down)
            output_.step_down_result = Status(Error(ErrorCode::primary_stepped_down,
                                                    "stepped down while stepping down: " + reason));
        output_.roles.push_back({RoleChange::Kind::step_down, term_, reason});
        output_.reconsider_sync_source = true;
        output_.progress = true;
        sync_source_ = {};
    }
    role_ = Follower{};
    if (self_ && primary_ == *self_) set_primary(no_member);
    arm_election_timer(now);
}

void Core::relinquish(const std::string& reason, Instant now) {
    if (is_primary() || std::holds_alternative<Candidate>(role_)) become_follower(reason, now);
    finish(now);
}

Status Core::step_down(const StepDownRequest& request, Instant now) {
    if (request.period <= 0s)
        return Error(ErrorCode::bad_value, "stepdown period must be a positive integer");
    if (request.catch_up_period < 0s)
        return Error(ErrorCode::bad_value,
                     "secondaryCatchUpPeriodSecs period must be a positive or absent");
    if (request.period < request.catch_up_period)
        return Error(ErrorCode::bad_value,
                     "stepdown period must be longer than secondaryCatchUpPeriodSecs");
    auto* primary = std::get_if<Primary>(&role_);
    if (primary == nullptr)
        return Error(ErrorCode::not_writable_primary, "not primary so can't step down");
    if (primary->step_down)
        return Error(ErrorCode::conflicting_operation_in_progress,
                     "A stepdown attempt is already in progress");
    if (primary->phase != Primary::Phase::writable && !request.force)
        return Error(ErrorCode::not_writable_primary,
                     "not writable primary yet, so can't step down");
    // From here on nothing more is written, so that the others can reach the end.
    primary->step_down =
        StepDownAttempt{now + request.catch_up_period, now + request.period, request.force};
    consider_step_down(now);
    finish(now);
    return {};
}

bool Core::is_majority_caught_up() const {
    int reached = 0;
    for (const auto& member : config_->members) {
        if (!member.is_voter() || !member.is_data_bearing()) continue;
        const auto peer = peers_.find(member.id);
        const OpTime has = member.id == *self_    ? applied_.optime
                           : peer != peers_.end() ? peer->second.applied.optime
                                                  : OpTime{};
        if (has >= applied_.optime) ++reached;
    }
    return reached >= config_->write_majority_count();
}

/// The caught-up electable secondary of highest priority, then nearest, then lowest id.
MemberId Core::choose_hand_off() const {
    const MemberConfig* best = nullptr;
    for (const auto& member : config_->members) {
        const auto peer = peers_.find(member.id);
        if (peer == peers_.end() || !member.is_electable() || !peer->second.up ||
            peer->second.state != MemberState::secondary ||
            peer->second.applied.optime < applied_.optime)
            continue;
        if (best == nullptr || member.priority > best->priority ||
            (member.priority == best->priority && peer->second.ping < peers_.at(best->id).ping))
            best = &member;
    }
    return best != nullptr ? best->id : no_member;
}

void Core::consider_step_down(Instant now) {
    auto* primary = std::get_if<Primary>(&role_);
    if (primary == nullptr || !primary->step_down) return;
    if (is_majority_caught_up() && choose_hand_off() != no_member) return finish_step_down(now);
    if (now < primary->step_down->catch_up_deadline) return;
    if (primary->step_down->force) return finish_step_down(now);
    primary->step_down.reset();
    output_.step_down_result = Status(
        Error(ErrorCode::exceeded_time_limit,
              "No electable secondaries caught up. Please use the replSetStepDown command with the "
              "argument {force: true} to force node to step down."));
}

void Core::finish_step_down(Instant now) {
    auto& primary = std::get<Primary>(role_);
    const MemberId successor = choose_hand_off();
    no_election_until_ = std::max(no_election_until_, primary.step_down->until);
    primary.step_down.reset();
    become_follower("replSetStepDown", now);
    output_.step_down_result = Status{};
    if (!options_.election_handoff || successor == no_member) return;
    Request request;
    request.kind = Request::Kind::step_up;
    request.host = config_->find(successor)->host;
    request.member = successor;
    request.term = term_;
    send_request(std::move(request), StepUpRequest{true}, election_timeout(), now);
}

// ---- Keeping the majority -----------------------------------------------------------------------

Instant Core::liveness_deadline() const {
    // When enough voters have been silent for an election timeout: the moment at which those heard
    // since are one too few for a majority.
    std::vector<Instant> heard;
    for (const auto& member : config_->members)
        if (const auto peer = peers_.find(member.id); member.is_voter() && peer != peers_.end())
            heard.push_back(peer->second.last_update);
    const auto others_needed = static_cast<std::size_t>(config_->majority_vote_count() - 1);
    if (others_needed == 0) return Instant::max();
    if (heard.size() < others_needed) return Instant::min();
    std::sort(heard.rbegin(), heard.rend());
    return heard[others_needed - 1] + election_timeout();
}

void Core::tick_primary(Instant now) {
    if (!is_primary()) return;
    if (liveness_deadline() <= now)
        return become_follower("can't see a majority of the set, relinquishing primary", now);
    consider_catch_up(now);
    consider_step_down(now);
    consider_newly_added(now);
}

}  // namespace tessera::consensus
