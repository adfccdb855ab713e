// SPDX-License-Identifier: Apache-2.0
//
// Elections (protocol.md 1.3): who may stand, the dry run, the ballot that is durable before
// anybody learns of it, the count; and the voter's rules, in their order.
#include <algorithm>
#include <utility>

#include "consensus/core.h"
#include "consensus/limits.h"

namespace tessera::consensus {

std::string_view to_string(ElectionReason reason) {
    switch (reason) {
        case ElectionReason::election_timeout:
        case ElectionReason::start_up:
            return "electionTimeout";
        case ElectionReason::priority_takeover:
            return "priorityTakeover";
        case ElectionReason::catch_up_takeover:
            return "catchupTakeover";
        case ElectionReason::step_up_command:
            return "stepUpRequest";
        case ElectionReason::step_up_command_skip_dry_run:
            return "stepUpRequestSkipDryRun";
        case ElectionReason::single_node:
            return "singleNodePromptElection";
    }
    return "electionTimeout";
}

void Core::adopt_term(Term term, Instant now) {
    if (term <= term_) return;
    term_ = term;  // Raft 5.1.
    if (is_primary()) {
        ++election_counts_.step_downs_by_higher_term;
        become_follower("saw a higher term " + std::to_string(term), now);
    } else if (std::holds_alternative<Candidate>(role_)) {
        role_ = Follower{};
    }
    set_primary(no_member);
}

void Core::arm_election_timer(Instant now) {
    const auto* me = my_config();
    if (me == nullptr || !me->is_electable() || is_primary()) {
        election_deadline_ = Instant::max();
        return;
    }
    election_deadline_ = now + election_timeout() + random_election_offset();
}

bool Core::can_see_majority() const {
    int seen = 0;
    for (const auto& member : config_->members) {
        if (!member.is_voter()) continue;
        const auto peer = peers_.find(member.id);
        if (member.id == *self_ || (peer != peers_.end() && peer->second.up)) ++seen;
    }
    return seen >= config_->majority_vote_count();
}

std::string Core::unelectable_reason(Instant now) const {
    const auto* me = my_config();
    if (me == nullptr) return "node is not a member of a valid replica set configuration";
    if (me->arbiter_only) return "member is an arbiter";
    if (me->priority <= 0) return "member has zero priority";
    if (!me->is_voter()) return "member has no vote";
    if (is_primary()) return "member is already primary";
    if (mode_ != MemberState::secondary) return "member is not currently a secondary";
    if (applied_.optime.is_null()) return "node has no applied oplog entries";
    if (!can_see_majority()) return "I cannot see a majority";
    if (now < no_election_until_) return "stepdown period is active";
    return {};
}

// ---- Candidate
// ------------------------------------------------------------------------------------

void Core::start_election(ElectionReason reason, bool skip_dry_run, Instant now) {
    arm_election_timer(now);
    priority_takeover_at_ = Instant::max();
    catch_up_takeover_at_ = Instant::max();
    ++election_counts_.by_reason[reason].called;
    Candidate candidate;
    candidate.reason = reason;
    candidate.granted = {*self_};
    candidate.deadline = now + election_timeout();
    role_ = std::move(candidate);
    if (skip_dry_run || config_->majority_vote_count() == 1) return begin_real_election(now);
    ask_for_votes(true, now);
}

void Core::begin_real_election(Instant now) {
    auto& candidate = std::get<Candidate>(role_);
    const auto* me = my_config();
    CandidateMetrics metrics;
    metrics.reason = candidate.reason;
    metrics.election_at = now;
    metrics.last_committed_at_election = commit_point_.optime;
    metrics.last_seen_at_election = latest_known_optime();
    metrics.votes_needed = config_->majority_vote_count();
    metrics.priority = me->priority;
    metrics.election_timeout = election_timeout();
    if (primary_ != no_member) metrics.prior_primary = primary_;

    term_ = std::max<Term>(term_, 0) + 1;
    set_primary(no_member);
    metrics.term = term_;
    candidate_metrics_ = metrics;
    ballot_ = {term_, config_->index_of(*self_), *self_};
    output_.save = ballot_;  // Invariant: one-vote-a-term. We vote for ourselves, durably, first.
    candidate.phase = Candidate::Phase::saving;
    candidate.deadline = now + election_timeout();
}

void Core::ask_for_votes(bool dry_run, Instant now) {
    auto& candidate = std::get<Candidate>(role_);
    candidate.granted = {*self_};
    candidate.answered = {*self_};
    VoteRequest vote;
    vote.set_name = config_->set_name;
    vote.dry_run = dry_run;
    vote.term = term_;
    vote.candidate_index = config_->index_of(*self_);
    vote.candidate_id = *self_;
    vote.config = config_->config_version();
    vote.last_applied = applied_.optime;
    for (const auto& member : config_->members) {
        if (!member.is_voter() || member.id == *self_) continue;
        Request request;
        request.kind = Request::Kind::vote;
        request.host = member.host;
        request.member = member.id;
        request.term = term_;
        request.dry_run = dry_run;
        send_request(std::move(request), vote, election_timeout(), now);
    }
}

void Core::ballot_saved(const Ballot& ballot, Instant now) {
    ballot_durable_ = std::max(ballot_durable_, ballot.term);
    for (auto& held : held_votes_)
        if (held.term <= ballot_durable_) output_.send.push_back(std::move(held.reply));
    std::erase_if(held_votes_, [this](const auto& held) { return held.term <= ballot_durable_; });
    if (auto* candidate = std::get_if<Candidate>(&role_);
        candidate != nullptr && candidate->phase == Candidate::Phase::saving &&
        ballot_durable_ == term_) {
        candidate->phase = Candidate::Phase::voting;
        candidate->deadline = now + election_timeout();
        ask_for_votes(false, now);
        count_vote(*self_, true, now);
    }
    finish(now);
}

void Core::on_vote_reply(const Request& request, const VoteReply& reply, Instant now) {
    adopt_term(reply.term, now);
    const auto* candidate = std::get_if<Candidate>(&role_);
    if (candidate == nullptr || request.term != term_ ||
        candidate->phase == Candidate::Phase::saving ||
        request.dry_run != (candidate->phase == Candidate::Phase::dry_run))
        return;
    count_vote(request.member, reply.granted, now);
}

/// Voters who have not answered. Once somebody refused, one silent for a time-out is not waited
/// for: two that split the vote of a frozen primary's set would both wait for that primary.
int Core::voters_to_hear(const Candidate& candidate, Instant now) const {
    const bool is_refused = candidate.answered.size() > candidate.granted.size();
    int open = 0;
    for (const auto& [member, peer] : peers_) {
        if (!config_->find(member)->is_voter() || candidate.answered.contains(member)) continue;
        if (!is_refused || now - peer.last_update < election_timeout()) ++open;
    }
    return open;
}

void Core::count_vote(MemberId member, bool granted, Instant now) {
    auto& candidate = std::get<Candidate>(role_);
    if (const auto* voter = config_->find(member); voter == nullptr || !voter->is_voter()) return;
    candidate.answered.insert(member);
    if (granted) candidate.granted.insert(member);
    const int needed = config_->majority_vote_count();
    const int votes = static_cast<int>(candidate.granted.size());
    const int open = voters_to_hear(candidate, now);
    if (votes >= needed) {
        if (candidate.phase == Candidate::Phase::dry_run) return begin_real_election(now);
        return win_election(now);
    }
    if (votes + open < needed) lose_election(now);
}

void Core::lose_election(Instant now) {
    const bool voted = std::get<Candidate>(role_).phase == Candidate::Phase::voting;
    role_ = Follower{};
    // The election timer has been running since the candidacy began, and mostly that is that. But
    // after a split vote the old primary's silence is proven already: only who stands next is open,
    // and a random pause far longer than a round of votes decides it.
    if (!voted || primary_ != no_member || quick_retries_ >= limits::quick_retries_max) return;
    ++quick_retries_;
    const Duration pause = election_timeout() / 20 + random_election_offset() * 2;
    election_deadline_ = std::min(election_deadline_, now + pause);
}

// ---- Voter
// ----------------------------------------------------------------------------------------

std::string Core::reason_to_refuse(const VoteRequest& request) const {
    if (!config_) return "no replica set config has been received";
    if (request.term < term_)
        return "candidate's term (" + std::to_string(request.term) + ") is lower than mine (" +
               std::to_string(term_) + ")";
    if (config_->config_version().is_newer_than(request.config))
        return "candidate's config with " + request.config.to_string() +
               " is older than mine with " + config_->config_version().to_string();
    if (request.set_name != config_->set_name)
        return "candidate's set name (" + request.set_name + ") differs from mine (" +
               config_->set_name + ")";
    // Raft 5.4.1: the log of a leader holds all that is committed.
    if (request.last_applied < applied_.optime)
        return "candidate's data is staler than mine. candidate's last applied OpTime: " +
               request.last_applied.to_string() +
               ", my last applied OpTime: " + applied_.optime.to_string();
    if (!request.dry_run && ballot_.term >= request.term)
        return "already voted for another candidate (member " +
               std::to_string(ballot_.candidate_id) + ") this term (" +
               std::to_string(ballot_.term) + ")";
    if (!is_arbiter() || primary_ == no_member) return {};
    const auto* candidate = config_->find(request.candidate_id);
    const auto* primary = config_->find(primary_);
    const auto peer = peers_.find(primary_);
    if (candidate != nullptr && primary != nullptr && peer != peers_.end() && peer->second.up &&
        primary->priority >= candidate->priority)
        return "can see a healthy primary of equal or greater priority";
    return {};
}

void Core::on_vote_request(const Envelope& envelope, const VoteRequest& request, Instant now) {
    const MemberId primary_before = primary_;
    // Safety rule 2: the term first, of any message. (But not from another set.)
    if (config_ && request.set_name == config_->set_name) adopt_term(request.term, now);
    VoteReply reply;
    reply.term = term_;
    // The arbiter's rule is about the primary seen until now, whatever the new term did to it.
    const MemberId primary_after =
        std::exchange(primary_, is_arbiter() ? primary_before : primary_);
    reply.reason = reason_to_refuse(request);
    primary_ = primary_after;
    reply.granted = reply.reason.empty();
    if (reply.granted && !request.dry_run && held_votes_.size() >= limits::held_votes_max) {
        reply.granted = false;
        reply.reason = "too many votes are waiting for the disk";
    }
    if (request.dry_run || !config_) return send_reply(envelope, reply);

    ParticipantMetrics metrics;
    metrics.voted = reply.granted;
    metrics.term = request.term;
    metrics.voted_at = now;
    metrics.candidate = request.candidate_id;
    metrics.reason = reply.reason;
    metrics.last_applied_at_election = applied_.optime;
    metrics.max_applied_in_set = latest_known_optime();
    if (const auto* me = my_config()) metrics.priority = me->priority;
    participant_metrics_ = metrics;
    if (!reply.granted) return send_reply(envelope, reply);

    ASSERT(!is_primary());
    role_ = Follower{};
    // Invariant: one-vote-a-term. The answer waits for ballot_saved().
    ballot_ = {request.term, request.candidate_index, request.candidate_id};
    output_.save = ballot_;
    held_votes_.push_back({request.term, {envelope.peer, envelope.id, reply, Duration{0}}});
    arm_election_timer(now);  // Raft 5.2: a granted vote gives the candidate its time.
}

// ---- Reasons to stand
// -----------------------------------------------------------------------------

OpTime Core::latest_known_optime() const {
    OpTime latest = applied_.optime;
    for (const auto& [member, peer] : peers_)
        if (peer.up) latest = std::max(latest, peer.applied.optime);
    return latest;
}

int Core::priority_rank() const {
    const auto* me = my_config();
    return static_cast<int>(
        std::count_if(config_->members.begin(), config_->members.end(), [me](const auto& member) {
            return member.priority > me->priority;
        }));
}

bool Core::is_fresh_for_priority_takeover() const {
    const OpTime latest = latest_known_optime();
    const OpTime mine = applied_.optime;
    if (mine.term != latest.term) return false;
    if (mine.timestamp.seconds != latest.timestamp.seconds)
        return mine.timestamp.seconds + limits::priority_takeover_freshness_seconds >=
               latest.timestamp.seconds;
    return mine.timestamp.increment + limits::priority_takeover_freshness_increments >=
           latest.timestamp.increment;
}

bool Core::is_fresh_for_catch_up_takeover() const {
    const auto primary = peers_.find(primary_);
    if (primary == peers_.end()) return false;
    return applied_.optime >= latest_known_optime() &&
           applied_.optime > primary->second.applied.optime && applied_.optime.term < term_;
}

void Core::consider_takeover(const Peer& primary, Instant now) {
    const auto* me = my_config();
    const auto* leader = config_->find(primary_);
    if (me == nullptr || leader == nullptr || !me->is_electable() ||
        !std::holds_alternative<Follower>(role_)) {
        priority_takeover_at_ = catch_up_takeover_at_ = Instant::max();
        return;
    }
    if (me->priority <= leader->priority) {
        priority_takeover_at_ = Instant::max();
    } else if (priority_takeover_at_ == Instant::max()) {
        priority_takeover_at_ =
            now + election_timeout() * (priority_rank() + 1) + random_election_offset();
    }
    const Duration delay = config_->settings.catch_up_takeover_delay;
    if (delay < 0s || !(primary.applied.optime < applied_.optime) ||
        !is_fresh_for_catch_up_takeover()) {
        catch_up_takeover_at_ = Instant::max();
    } else if (catch_up_takeover_at_ == Instant::max()) {
        catch_up_takeover_at_ = now + delay;
    }
}

bool Core::is_best_candidate() const {
    const auto* me = my_config();
    for (const auto& [member, peer] : peers_) {
        const auto* other = config_->find(member);
        if (!other->is_electable() || peer.state != MemberState::secondary) continue;
        if (other->priority != me->priority) {
            if (other->priority > me->priority) return false;
        } else if (peer.applied.optime != applied_.optime) {
            if (peer.applied.optime > applied_.optime) return false;
        } else if (member < me->id) {
            return false;
        }
    }
    return true;
}

/// A set that was just initiated, or restarted as a whole, has no primary whose silence an election
/// timeout could prove: once the others said so themselves, waiting proves nothing more.
void Core::consider_early_election(Instant now) {
    if (early_election_spent_ || primary_ != no_member || !is_member() ||
        !std::holds_alternative<Follower>(role_) || !unelectable_reason(now).empty())
        return;
    int ready = 0;
    for (const auto& member : config_->members) {
        if (!member.is_voter()) continue;
        const auto peer = peers_.find(member.id);
        if (member.id == *self_ ||
            (peer != peers_.end() && peer->second.up && peer->second.primary == no_member &&
             peer->second.config == config_->config_version()))
            ++ready;
    }
    if (just_initiated_ ? ready < config_->majority_vote_count()
                        : ready < config_->voter_count() || !is_best_candidate())
        return;
    early_election_spent_ = true;
    const auto reason =
        config_->voter_count() == 1 ? ElectionReason::single_node : ElectionReason::start_up;
    start_election(reason, false, now);
}

void Core::tick_elections(Instant now) {
    if (const auto* candidate = std::get_if<Candidate>(&role_);
        candidate != nullptr && candidate->deadline <= now)
        lose_election(now);
    const bool may_stand =
        std::holds_alternative<Follower>(role_) && is_member() && unelectable_reason(now).empty();
    if (priority_takeover_at_ <= now) {
        priority_takeover_at_ = Instant::max();
        if (may_stand && primary_ != no_member && is_fresh_for_priority_takeover())
            return start_election(ElectionReason::priority_takeover, false, now);
    }
    if (catch_up_takeover_at_ <= now) {
        catch_up_takeover_at_ = Instant::max();
        if (may_stand && is_fresh_for_catch_up_takeover())
            return start_election(ElectionReason::catch_up_takeover, false, now);
    }
    if (election_deadline_ > now) return;
    arm_election_timer(now);
    if (may_stand) start_election(ElectionReason::election_timeout, false, now);
}

// ---- Commands
// -------------------------------------------------------------------------------------

Status Core::step_up(bool skip_dry_run, Instant now) {
    if (is_primary()) return {};
    if (std::holds_alternative<Candidate>(role_))
        return Error(ErrorCode::command_failed,
                     "Election failed. :: caused by :: already running for election");
    const auto reason = unelectable_reason(now);
    if (!reason.empty())
        return Error(ErrorCode::command_failed,
                     "Election failed. :: caused by :: Not starting an election, since we are not "
                     "electable due to: " +
                         reason);
    start_election(skip_dry_run ? ElectionReason::step_up_command_skip_dry_run
                                : ElectionReason::step_up_command,
                   skip_dry_run,
                   now);
    finish(now);
    return {};
}

Result<std::string> Core::freeze(Duration period, Instant now) {
    if (is_primary() || std::holds_alternative<Candidate>(role_))
        return Error(ErrorCode::not_secondary,
                     "Cannot freeze node when primary or running for election, state: " +
                         std::string(is_primary() ? "Primary" : "Candidate"));
    if (period <= 0s) {
        no_election_until_ = Instant::min();
        if (config_ && config_->voter_count() == 1) early_election_spent_ = false;
        consider_early_election(now);
        finish(now);
        return std::string("unfreezing");
    }
    no_election_until_ = now + period;
    finish(now);
    if (period == 1s) return std::string("you really want to freeze for only 1 second?");
    return std::string();
}

}  // namespace tessera::consensus
