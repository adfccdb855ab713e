// SPDX-License-Identifier: Apache-2.0
//
// Who has which entry (protocol.md 1.9) and what is committed (1.10).
#include <algorithm>

#include "consensus/core.h"
#include "consensus/limits.h"

namespace tessera::consensus {

void Core::applied(OpTimeAndWall last, Instant now) {
    if (last.optime <= applied_.optime) return;
    ASSERT(!is_primary() || last.optime.term <= term_);
    adopt_term(last.optime.term, now);
    if (is_primary() && candidate_metrics_ &&
        std::get<Primary>(role_).phase == Primary::Phase::catching_up)
        ++candidate_metrics_->catch_up_ops;
    if (participant_metrics_ && !participant_metrics_->new_term_applied_at &&
        last.optime.term == participant_metrics_->term)
        participant_metrics_->new_term_applied_at = now;
    applied_ = last;
    positions_dirty_ = true;
    if (source_commit_) learn_commit_point(*source_commit_, true, now);
    if (heartbeat_commit_) learn_commit_point(*heartbeat_commit_, false, now);
    positions_changed(now);
    finish(now);
}

void Core::durable(OpTimeAndWall last, Instant now) {
    if (last.optime <= durable_.optime) return;
    durable_ = last;
    positions_dirty_ = true;
    positions_changed(now);
    finish(now);
}

void Core::reset_log(OpTimeAndWall top, Instant now) {
    ASSERT(!is_primary());
    // Invariant: committed-stays. What is committed is never rolled back.
    ASSERT(top.optime >= commit_point_.optime || mode_ == MemberState::startup2 ||
           mode_ == MemberState::startup);
    applied_ = top;
    durable_ = top;
    if (commit_point_.optime > top.optime) commit_point_ = {};
    source_commit_.reset();
    heartbeat_commit_.reset();
    positions_dirty_ = true;
    positions_changed(now);
    finish(now);
}

/// Whatever waits for positions looks again.
void Core::positions_changed(Instant now) {
    output_.progress = true;
    if (!is_primary()) return;
    update_commit_point(now);
    consider_catch_up(now);
    consider_step_down(now);
}

// ---- Commit point
// ---------------------------------------------------------------------------------

void Core::update_commit_point(Instant now) {
    const auto* primary = std::get_if<Primary>(&role_);
    if (primary == nullptr || primary->phase != Primary::Phase::writable) return;
    // Invariant: quorums-meet. With arbiters a commit may need fewer members than an election:
    // 1. voters {0, 1, arbiter 4}, primary 1; 2. it removes 0 and, alone sufficient among the data,
    // commits an entry; 3. 4, which has not heard of the removal, elects 0. So first the removal;
    // and nothing between the check of a successor (keeps_committed) and its installation.
    if (config_->write_majority_count() < config_->majority_vote_count() &&
        (reconfig_prepared_ || config_offered_ || !is_config_committed()))
        return;
    const bool journaled = config_->write_concern_majority_journal_default;
    std::vector<OpTimeAndWall> positions;
    for (const auto& member : config_->members) {
        if (!member.is_voter()) continue;
        const auto peer = peers_.find(member.id);
        if (member.id == *self_)
            positions.push_back(journaled ? last_durable() : applied_);
        else if (peer != peers_.end() && !member.arbiter_only)
            positions.push_back(journaled ? peer->second.durable : peer->second.applied);
        else
            positions.emplace_back();
    }
    std::sort(positions.begin(), positions.end(), [](const auto& a, const auto& b) {
        return a.optime < b.optime;
    });
    const auto majority = static_cast<std::size_t>(config_->write_majority_count());
    const auto& reached = positions[positions.size() - majority];
    // Raft 5.4.2, invariant no-commit-below-own-term: 1. an entry of term 2 reaches a majority
    // under the leader of term 4; 2. a node with an entry of term 3, never sent, wins term 5 and
    // overwrites it. Had the majority counted in 1, a committed entry would be lost.
    if (reached.optime < primary->first_of_term) return;
    // A report may name an entry of this term that this node wrote but does not show yet.
    advance_commit_point(reached.optime > applied_.optime ? applied_ : reached, now);
}

void Core::advance_commit_point(OpTimeAndWall to, Instant now) {
    if (to.optime <= commit_point_.optime) return;
    commit_point_ = to;
    output_.commit_point = to;
    output_.progress = true;
    if (is_primary() && candidate_metrics_ && !candidate_metrics_->majority_write_available_at)
        candidate_metrics_->majority_write_available_at = now;
}

void Core::learn_commit_point(OpTimeAndWall heard, bool from_sync_source, Instant now) {
    if (is_primary() || is_arbiter() || heard.optime.is_null()) return;
    // STARTUP2's log has holes; ROLLBACK's end is not on the source's branch.
    if (mode_ != MemberState::secondary && mode_ != MemberState::recovering) return;
    auto& kept = from_sync_source ? source_commit_ : heartbeat_commit_;
    if (!kept || heard.optime > kept->optime) kept = heard;
    // From a heartbeat only within the term of my newest entry: one leader wrote that term's
    // entries, so mine are a prefix of theirs. Otherwise mine may be on another branch.
    if (!from_sync_source && heard.optime.term != applied_.optime.term) return;
    advance_commit_point(heard.optime > applied_.optime ? applied_ : heard, now);
}

// ---- Positions upstream
// ---------------------------------------------------------------------------

void Core::on_position_update(const Envelope& envelope, const PositionUpdate& update, Instant now) {
    adopt_term(update.metadata.term, now);
    send_reply(envelope, PositionReply{term_});
    if (!is_member() || update.metadata.term < term_) return;  // Safety rule 3.
    bool news = false;
    for (const auto& position : update.positions) {
        const auto found = peers_.find(position.member);
        if (found == peers_.end() || position.config_version != config_->version) continue;
        auto& peer = found->second;
        peer.last_update = now;
        if (position.applied.optime > peer.applied.optime) {
            peer.position_at = now;
            peer.applied = position.applied;
            news = true;
        }
        if (position.durable.optime > peer.durable.optime) {
            peer.position_at = now;
            peer.durable = position.durable;
            news = true;
        }
    }
    // Without news it is a sign of life of somebody the primary may not hear: passed on in time.
    if (!news) {
        relays_life_ = true;
        return;
    }
    positions_dirty_ = true;
    positions_changed(now);
}

bool Core::may_send_positions() const {
    return !is_primary() && is_member() && !is_arbiter() && !sync_source_.is_empty() &&
           mode_ != MemberState::startup && mode_ != MemberState::startup2;
}

/// When the source hears from me though nothing changed: a sign of life for a primary that does not
/// hear me itself.
Instant Core::positions_due() const {
    const auto primary = peers_.find(primary_);
    if (position_lost_ || relays_life_ || primary == peers_.end()) return next_position_at_;
    const Peer& peer = primary->second;
    const Instant heard = std::max(peer.last_heartbeat.value_or(Instant::min()),
                                   peer.last_heartbeat_received.value_or(Instant::min()));
    if (heard == Instant::min()) return next_position_at_;
    return std::max(next_position_at_, heard + election_timeout() / 2);
}

void Core::send_positions(Instant now) {
    if (!positions_dirty_ || position_request_ != 0 || !may_send_positions()) return;
    PositionUpdate update;
    update.metadata = metadata();
    update.positions.push_back({*self_, config_->version, reported_applied(), reported_durable()});
    for (const auto& [member, peer] : peers_) {
        // Relay only what was heard just now: a stale relay would keep a dead member's liveness.
        if (now - peer.last_update >= heartbeat_interval() * 2) continue;
        if (peer.applied.optime.is_null() || config_->find(member)->host == sync_source_) continue;
        update.positions.push_back({member, config_->version, peer.applied, peer.durable});
    }
    positions_dirty_ = position_lost_ = relays_life_ = false;
    next_position_at_ = now + election_timeout() / 2;
    Request request;
    request.kind = Request::Kind::position;
    request.host = sync_source_;
    request.term = term_;
    position_request_ =
        send_request(std::move(request), std::move(update), heartbeat_timeout(), now);
}

}  // namespace tessera::consensus
