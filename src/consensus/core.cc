// SPDX-License-Identifier: Apache-2.0
//
// Core's frame: construction, dispatch of messages, timers, and small shared pieces. The rules
// are in core_heartbeats.cc, core_elections.cc, core_primary.cc, core_positions.cc,
// core_reconfig.cc, core_sources.cc; what is shown, in core_views.cc.
#include "consensus/core.h"

#include <algorithm>
#include <utility>

#include "consensus/limits.h"

namespace tessera::consensus {

std::string_view to_string(MemberState state) {
    switch (state) {
        case MemberState::startup:
            return "STARTUP";
        case MemberState::primary:
            return "PRIMARY";
        case MemberState::secondary:
            return "SECONDARY";
        case MemberState::recovering:
            return "RECOVERING";
        case MemberState::startup2:
            return "STARTUP2";
        case MemberState::unknown:
            return "UNKNOWN";
        case MemberState::arbiter:
            return "ARBITER";
        case MemberState::down:
            return "DOWN";
        case MemberState::rollback:
            return "ROLLBACK";
        case MemberState::removed:
            return "REMOVED";
    }
    return "UNKNOWN";
}

Core::Core(Options options, Durable restored, Random& random, Instant now)
    : options_(std::move(options)),
      random_(random),
      term_(std::max(restored.ballot.term, restored.last.optime.term)),
      ballot_(restored.ballot),
      ballot_durable_(restored.ballot.term),
      applied_(restored.last),
      durable_(restored.last),
      started_(now) {
    if (restored.config) {
        term_ = std::max(term_, restored.config->term);
        adopt_config(*restored.config, restored.self, now);
    }
    visible_ = {config_ ? config_->config_version() : ConfigVersion{}, state(), false, primary_};
}

// ---- Messages -----------------------------------------------------------------------------------

void Core::receive(const Envelope& envelope, Instant now) {
    if (const auto* request = std::get_if<HeartbeatRequest>(&envelope.message)) {
        on_heartbeat_request(envelope, *request, now);
        return finish(now);
    }
    if (const auto* request = std::get_if<VoteRequest>(&envelope.message)) {
        on_vote_request(envelope, *request, now);
        return finish(now);
    }
    if (const auto* update = std::get_if<PositionUpdate>(&envelope.message)) {
        on_position_update(envelope, *update, now);
        return finish(now);
    }
    if (const auto* request = std::get_if<StepUpRequest>(&envelope.message)) {
        auto status = step_up(request->skip_dry_run, now);
        StepUpReply reply;
        if (!status) reply.error = status.error();
        send_reply(envelope, reply);
        return finish(now);
    }
    const auto found = requests_.find(envelope.id);
    if (found == requests_.end()) return;  // Given up, or never asked.
    const Request request = found->second;
    requests_.erase(found);
    if (const auto* reply = std::get_if<HeartbeatReply>(&envelope.message)) {
        on_heartbeat_reply(request, envelope.id, *reply, now);
    } else if (const auto* vote = std::get_if<VoteReply>(&envelope.message)) {
        on_vote_reply(request, *vote, now);
    } else if (const auto* position = std::get_if<PositionReply>(&envelope.message)) {
        if (position_request_ == envelope.id) position_request_ = 0;
        adopt_term(position->term, now);
    }
    finish(now);
}

void Core::request_failed(RequestId id,
                          RequestFailure failure,
                          const std::string& reason,
                          Instant now) {
    const auto found = requests_.find(id);
    if (found == requests_.end()) return;
    const Request request = found->second;
    requests_.erase(found);
    const std::string why = !reason.empty()                        ? reason
                            : failure == RequestFailure::refused   ? "Connection refused"
                            : failure == RequestFailure::timed_out ? "Request timed out"
                                                                   : "Connection lost";
    on_request_lost(request, id, why, now);
    finish(now);
}

void Core::on_request_lost(const Request& request,
                           RequestId id,
                           const std::string& reason,
                           Instant now) {
    switch (request.kind) {
        case Request::Kind::heartbeat: {
            const auto peer = peers_.find(request.member);
            if (peer == peers_.end() || peer->second.heartbeat != id) return;
            on_heartbeat_failed(request.member, peer->second, reason, now);
            return;
        }
        case Request::Kind::vote:
            if (const auto* candidate = std::get_if<Candidate>(&role_);
                candidate != nullptr && request.term == term_ &&
                request.dry_run == (candidate->phase == Candidate::Phase::dry_run))
                count_vote(request.member, false, now);
            return;
        case Request::Kind::position:
            if (position_request_ == id) position_request_ = 0;
            position_lost_ = true;
            // Not at once, since that would spin against a dead source.
            next_position_at_ = now + heartbeat_interval();
            return;
        case Request::Kind::config_fetch:
        case Request::Kind::step_up:
            return;
    }
}

RequestId Core::send_request(Request request, Message message, Duration timeout, Instant now) {
    if (requests_.size() >= limits::requests_in_flight_max) requests_.erase(requests_.begin());
    const RequestId id = ++last_request_;
    request.sent = now;
    request.deadline = now + timeout;
    output_.send.push_back({request.host, id, std::move(message), timeout});
    requests_.emplace(id, std::move(request));
    return id;
}

void Core::send_reply(const Envelope& request, Message message) {
    output_.send.push_back({request.peer, request.id, std::move(message), Duration{0}});
}

Output Core::take_output() {
    return std::exchange(output_, Output{});
}

void Core::finish(Instant now) {
    send_positions(now);
    const Visible seen{config_ ? config_->config_version() : ConfigVersion{},
                       state(),
                       is_writable_primary(),
                       primary_};
    if (seen != visible_) {
        if (seen.state != visible_.state || seen.primary != visible_.primary ||
            seen.config != visible_.config)
            output_.reconsider_sync_source = true;
        visible_ = seen;
        ++topology_version_;
        output_.topology_changed = true;
    }
    ASSERT_SLOW((check_invariants(), true));
}

// ---- Time
// -----------------------------------------------------------------------------------------

void Core::tick(Instant now) {
    std::vector<std::pair<RequestId, Request>> late;
    for (const auto& [id, request] : requests_)
        if (request.deadline <= now) late.emplace_back(id, request);
    for (const auto& [id, request] : late) {
        requests_.erase(id);
        on_request_lost(request, id, "Request timed out", now);
    }
    for (auto& [member, peer] : peers_)
        if (peer.heartbeat == 0 && peer.next_heartbeat <= now) heartbeat_now(member, peer, now);
    tick_primary(now);
    tick_elections(now);
    if (positions_due() <= now) positions_dirty_ = true;
    finish(now);
}

Instant Core::next_deadline() const {
    Instant next = std::min({election_deadline_, priority_takeover_at_, catch_up_takeover_at_});
    for (const auto& [id, request] : requests_)
        next = std::min(next, request.deadline);
    for (const auto& [member, peer] : peers_)
        if (peer.heartbeat == 0) next = std::min(next, peer.next_heartbeat);
    if (may_send_positions() && position_request_ == 0) next = std::min(next, positions_due());
    if (const auto* candidate = std::get_if<Candidate>(&role_))
        next = std::min(next, candidate->deadline);
    if (const auto* primary = std::get_if<Primary>(&role_)) {
        next = std::min(next, liveness_deadline());
        if (primary->phase == Primary::Phase::catching_up)
            next = std::min(next, primary->catch_up_deadline);
        if (primary->step_down) next = std::min(next, primary->step_down->catch_up_deadline);
    }
    return next;
}

// ---- Small shared pieces ---------------------------------------------------------------------

const MemberConfig* Core::my_config() const {
    return is_member() ? config_->find(*self_) : nullptr;
}

HostAndPort Core::my_host() const {
    const auto* me = my_config();
    return me != nullptr ? me->host : options_.host;
}

bool Core::is_arbiter() const {
    const auto* me = my_config();
    return me != nullptr && me->arbiter_only;
}

Duration Core::election_timeout() const {
    return config_ ? config_->settings.election_timeout : ConfigSettings{}.election_timeout;
}

Duration Core::heartbeat_interval() const {
    // An interval near the election timeout would take every late heartbeat for a dead primary.
    const auto configured =
        config_ ? config_->settings.heartbeat_interval : ConfigSettings{}.heartbeat_interval;
    return std::min(configured, election_timeout() / 3);
}

Duration Core::heartbeat_timeout() const {
    const auto configured =
        config_ ? config_->settings.heartbeat_timeout : ConfigSettings{}.heartbeat_timeout;
    return std::min(configured, election_timeout());
}

Duration Core::random_election_offset() {
    const auto limit =
        static_cast<double>(election_timeout().count()) * limits::election_timeout_offset_fraction;
    return Duration{static_cast<Duration::rep>(
        random_.below(static_cast<std::uint64_t>(std::max(1.0, limit))))};
}

OpTimeAndWall Core::reported_applied() const {
    // STARTUP2 counts for nothing (1.9): what it has may be thrown away.
    if (mode_ == MemberState::startup || mode_ == MemberState::startup2) return {};
    return applied_;
}

OpTimeAndWall Core::reported_durable() const {
    if (mode_ == MemberState::startup || mode_ == MemberState::startup2) return {};
    return last_durable();
}

MemberState Core::state() const {
    if (!config_) return MemberState::startup;
    if (!self_) return MemberState::removed;
    if (is_primary()) return MemberState::primary;
    if (is_arbiter()) return MemberState::arbiter;
    return mode_;
}

bool Core::is_writable_primary() const {
    const auto* primary = std::get_if<Primary>(&role_);
    return primary != nullptr && primary->phase == Primary::Phase::writable && !primary->step_down;
}

std::optional<HostAndPort> Core::primary_host() const {
    const auto* member = config_ && primary_ != no_member ? config_->find(primary_) : nullptr;
    if (member == nullptr) return std::nullopt;
    return member->host;
}

void Core::check_invariants() const {
    ASSERT(term_ >= ballot_.term);
    ASSERT(ballot_.term >= ballot_durable_);
    ASSERT(commit_point_.optime <= applied_.optime || commit_point_.optime.is_null());
    ASSERT(!self_ || (config_ && config_->find(*self_) != nullptr));
    if (const auto* primary = std::get_if<Primary>(&role_)) {
        // Invariant: vote-before-lead.
        ASSERT(ballot_durable_ == term_ && ballot_.candidate_id == *self_);
        ASSERT(primary_ == *self_);
        ASSERT(sync_source_.is_empty() || primary->phase == Primary::Phase::catching_up ||
               primary->phase == Primary::Phase::draining);
        // Invariant: no-commit-below-own-term.
        if (primary->phase == Primary::Phase::writable)
            ASSERT(primary->first_of_term.term == term_);
    } else {
        ASSERT(!self_ || primary_ != *self_);
    }
    if (const auto* candidate = std::get_if<Candidate>(&role_))
        ASSERT(candidate->phase != Candidate::Phase::voting || ballot_durable_ == term_);
    for (const auto& held : held_votes_)
        ASSERT(held.term > ballot_durable_);
    ASSERT(requests_.size() <= limits::requests_in_flight_max);
}

}  // namespace tessera::consensus
