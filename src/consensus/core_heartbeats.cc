// SPDX-License-Identifier: Apache-2.0
//
// Heartbeats (protocol.md 1.2): every member asks every other; the answers carry state, position,
// term and, when newer, the configuration.
#include <algorithm>

#include "consensus/core.h"
#include "consensus/limits.h"

namespace tessera::consensus {

HeartbeatRequest Core::make_heartbeat() const {
    HeartbeatRequest request;
    request.set_name = config_ ? config_->set_name : options_.set_name;
    if (config_) request.config = config_->config_version();
    request.from = my_host();
    request.from_id = self_.value_or(no_member);
    request.term = term_;
    request.primary_id = primary_;
    if (is_member())
        request.sender = SenderReport{state(),
                                      reported_applied(),
                                      reported_durable(),
                                      commit_point_,
                                      sync_source_,
                                      is_primary() ? election_timestamp_ : Timestamp{}};
    return request;
}

/// Two secondaries that have a primary need each other's news less often than its news.
Duration Core::heartbeat_pause(MemberId member) const {
    const bool is_urgent = primary_ == no_member || is_primary() || member == primary_;
    return is_urgent ? heartbeat_interval() : heartbeat_interval() * 3;
}

/// One of each two members asks, and tells of itself by asking; the other mostly listens.
bool Core::yields_heartbeats_to(MemberId member) const {
    if (member == primary_ || is_primary()) return member == primary_;
    return member < *self_;
}

void Core::heartbeat_now(MemberId member, Peer& peer, Instant now) {
    if (peer.heartbeat != 0) {
        requests_.erase(peer.heartbeat);  // Superseded: a later answer tells more.
    } else {
        peer.round_started = now;
        peer.retries = 0;
    }
    Request request;
    request.kind = Request::Kind::heartbeat;
    request.host = config_->find(member)->host;
    request.member = member;
    request.term = term_;
    peer.heartbeat = send_request(std::move(request), make_heartbeat(), heartbeat_timeout(), now);
}

void Core::heartbeat_all(Instant now) {
    for (auto& [member, peer] : peers_)
        heartbeat_now(member, peer, now);
}

void Core::fetch_config_from(const HostAndPort& host, Instant now) {
    if (host.is_empty() || host == my_host() || config_offered_) return;
    for (const auto& [id, request] : requests_)
        if (request.kind == Request::Kind::config_fetch) return;  // One at a time.
    Request request;
    request.kind = Request::Kind::config_fetch;
    request.host = host;
    request.term = term_;
    send_request(std::move(request), make_heartbeat(), heartbeat_timeout(), now);
}

// ---- Answering
// ------------------------------------------------------------------------------------

Status Core::check_heartbeat_request(const HeartbeatRequest& request) const {
    const auto& name = config_ ? config_->set_name : options_.set_name;
    if (request.set_name != name)
        return Error(ErrorCode::inconsistent_replica_set_names,
                     "Our set name of " + name + " does not match name " + request.set_name +
                         " reported by remote");
    if (is_member() && request.from_id == *self_)
        return Error(ErrorCode::bad_value,
                     "Received heartbeat from member with the same member ID as ourself: " +
                         std::to_string(request.from_id));
    return {};
}

void Core::on_heartbeat_request(const Envelope& envelope,
                                const HeartbeatRequest& request,
                                Instant now) {
    if (auto status = check_heartbeat_request(request); !status) {
        HeartbeatReply reply;
        reply.error = status.error();
        reply.mismatch = status.error().code() == ErrorCode::inconsistent_replica_set_names;
        reply.term = term_;
        return send_reply(envelope, reply);
    }
    adopt_term(request.term, now);
    send_reply(envelope, make_heartbeat_reply(request, now));
    note_heartbeat_sender(request, now);
    // A primary-elect finishes first: its own first act is a configuration of its term.
    const bool busy = is_primary() && !is_writable_primary();
    if (is_newer_config(request.config) && !busy) fetch_config_from(request.from, now);
}

void Core::note_heartbeat_sender(const HeartbeatRequest& request, Instant now) {
    const auto found = peers_.find(request.from_id);
    if (found == peers_.end() || config_->find(request.from_id)->host != request.from) return;
    auto& [member, peer] = *found;
    peer.last_heartbeat_received = now;
    peer.last_update = now;
    peer.config = request.config;
    peer.term = request.term;
    peer.primary = request.primary_id;
    if (request.sender && request.term == term_)
        learn_from_report(member, peer, *request.sender, now);
    if (request.term == term_ && request.primary_id == member && primary_ != member &&
        !is_primary()) {
        set_primary(member);
        heartbeat_now(member, peer, now);  // Its position, and the election timer.
    } else if (!peer.up && peer.heartbeat == 0) {
        heartbeat_now(member, peer, now);
    }
    update_commit_point(now);
    consider_early_election(now);
}

/// A request may be overtaken by later news, so it only ever adds to what is known; where it says
/// less, the answer to a question of our own decides.
void Core::learn_from_report(MemberId member,
                             Peer& peer,
                             const SenderReport& report,
                             Instant now) {
    if (!peer.up) return;  // Until it has answered us.
    const bool says_less = report.applied.optime < peer.applied.optime ||
                           report.durable.optime < peer.durable.optime ||
                           (primary_ == member && report.state != MemberState::primary);
    const bool has_news = report.applied.optime > peer.applied.optime ||
                          report.durable.optime > peer.durable.optime;
    if (has_news) peer.position_at = now;
    if (report.applied.optime > peer.applied.optime) peer.applied = report.applied;
    if (report.durable.optime > peer.durable.optime) peer.durable = report.durable;
    peer.state = report.state;
    peer.last_committed = std::max(peer.last_committed, report.last_committed.optime);
    peer.syncing_to = report.syncing_to;
    peer.election_time = report.election_time;
    if (report.state == MemberState::primary && !is_primary()) heard_primary(member, peer, now);
    learn_commit_point(report.last_committed, false, now);
    if (peer.heartbeat != 0) return;
    if (says_less) return heartbeat_now(member, peer, now);
    if (yields_heartbeats_to(member)) {
        const Instant latest =
            *peer.last_heartbeat + heartbeat_interval() * limits::heartbeats_spared_max;
        const Instant spared = std::min(latest, now + heartbeat_pause(member) * 3 / 2);
        peer.next_heartbeat = std::max(peer.next_heartbeat, spared);
    }
    if (has_news) positions_changed(now);
}

/// The leader of my term is alive.
void Core::heard_primary(MemberId member, Peer& peer, Instant now) {
    role_ = Follower{};  // A candidacy for a term that has its leader is over.
    set_primary(member);
    arm_election_timer(now);
    consider_takeover(peer, now);
}

HeartbeatReply Core::make_heartbeat_reply(const HeartbeatRequest& request, Instant now) const {
    HeartbeatReply reply;
    reply.set_name = config_ ? config_->set_name : options_.set_name;
    reply.state = state();
    if (config_) reply.config = config_->config_version();
    reply.term = term_;
    reply.primary_id = primary_;
    reply.applied = reported_applied();
    reply.durable = reported_durable();
    reply.electable = unelectable_reason(now).empty();
    reply.syncing_to = sync_source_;
    if (is_primary()) reply.election_time = election_timestamp_;
    if (config_ && config_->config_version().is_newer_than(request.config))
        reply.new_config = config_;
    reply.metadata = metadata();
    return reply;
}

// ---- Hearing answers --------------------------------------------------------------------------

void Core::on_heartbeat_reply(const Request& request,
                              RequestId id,
                              const HeartbeatReply& reply,
                              Instant now) {
    const auto found = peers_.find(request.member);
    const bool known = found != peers_.end() && found->second.heartbeat == id;
    if (request.kind == Request::Kind::heartbeat && !known) return;
    if (reply.error) {
        if (known) on_heartbeat_failed(request.member, found->second, reply.error->reason(), now);
        return;
    }
    if (reply.set_name != (config_ ? config_->set_name : options_.set_name)) return;
    adopt_term(std::max(reply.term, reply.metadata.term), now);
    if (reply.new_config && is_newer_config(reply.new_config->config_version()))
        offer_config(*reply.new_config);
    if (!known) return;
    auto& peer = found->second;
    update_peer(peer, request, reply, now);
    if (auto* primary = std::get_if<Primary>(&role_)) {
        if (id >= primary->first_request) primary->unheard.erase(request.member);
    } else {
        learn_commit_point(reply.metadata.last_committed, false, now);
        if (reply.state == MemberState::primary && reply.term == term_) {
            heard_primary(request.member, peer, now);
        } else if (primary_ == request.member) {
            set_primary(no_member);
        }
    }
    positions_changed(now);
    consider_early_election(now);
    consider_newly_added(now);
}

void Core::update_peer(Peer& peer,
                       const Request& request,
                       const HeartbeatReply& reply,
                       Instant now) {
    if (!peer.up) peer.up_since = now;
    peer.up = true;
    peer.state = reply.state;
    peer.last_heartbeat = now;
    peer.last_update = now;
    peer.config = reply.config;
    peer.term = reply.term;
    peer.primary = reply.primary_id;
    // Safety rule 6: what a member reported before a rollback or a crash is not what it has. An
    // answer to a question asked after that report is newer than it, and may say less.
    const bool newer = request.sent > peer.position_at;
    if (newer || reply.applied.optime > peer.applied.optime) peer.applied = reply.applied;
    if (newer || reply.durable.optime > peer.durable.optime) peer.durable = reply.durable;
    peer.position_at = now;
    peer.last_committed = reply.metadata.last_committed.optime;
    peer.syncing_to = reply.syncing_to;
    peer.election_time = reply.election_time;
    peer.message = reply.message;
    const Duration sample = now - request.sent;
    peer.ping = peer.pings == 0 ? sample : (peer.ping * 4 + sample) / 5;
    ++peer.pings;
    peer.heartbeat = 0;
    peer.next_heartbeat = now + heartbeat_pause(request.member);
}

void Core::on_heartbeat_failed(MemberId member,
                               Peer& peer,
                               const std::string& reason,
                               Instant now) {
    peer.heartbeat = 0;
    if (peer.retries < limits::heartbeat_retries_max &&
        now - peer.round_started < heartbeat_timeout()) {
        const int retries = peer.retries + 1;
        const Instant started = peer.round_started;
        heartbeat_now(member, peer, now);
        peer.retries = retries;
        peer.round_started = started;
        return;
    }
    peer.up = false;
    peer.state = MemberState::down;
    peer.message = reason;
    peer.next_heartbeat = now + heartbeat_interval();
    if (primary_ == member) set_primary(no_member);
    if (const auto* member_config = config_->find(member);
        member_config != nullptr && member_config->host == sync_source_)
        output_.reconsider_sync_source = true;
    if (auto* primary = std::get_if<Primary>(&role_)) primary->unheard.erase(member);
    positions_changed(now);
}

void Core::offer_config(const ReplicaSetConfig& config) {
    if (config_offered_ || reconfig_prepared_) return;
    if (is_primary() && !is_writable_primary()) return;
    if (config.set_name != options_.set_name || !config.validate()) return;
    config_offered_ = true;
    output_.install_config = config;
}

void Core::set_primary(MemberId primary) {
    if (primary != no_member) {
        early_election_spent_ = true;
        quick_retries_ = 0;
    }
    primary_ = primary;
    if (primary == no_member) {
        priority_takeover_at_ = Instant::max();
        catch_up_takeover_at_ = Instant::max();
    }
}

}  // namespace tessera::consensus
