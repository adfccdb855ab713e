// SPDX-License-Identifier: Apache-2.0
//
// Whom to pull the log from (protocol.md 1.6), and what every batch teaches.
#include <algorithm>
#include <utility>

#include "consensus/core.h"
#include "consensus/limits.h"

namespace tessera::consensus {

bool Core::is_denylisted(const HostAndPort& host, Instant now) const {
    const auto entry = denylist_.find(host);
    return entry != denylist_.end() && entry->second > now;
}

void Core::denylist_sync_source(const HostAndPort& source, Instant until) {
    if (denylist_.size() >= limits::denylist_max && !denylist_.contains(source))
        denylist_.erase(std::min_element(
            denylist_.begin(), denylist_.end(),
            [](const auto& a, const auto& b) { return a.second < b.second; }));
    denylist_[source] = until;
}

bool Core::is_possible_source(const MemberConfig& member, OpTime last_fetched, Instant now) const {
    const auto found = peers_.find(member.id);
    if (found == peers_.end() || member.arbiter_only || is_denylisted(member.host, now))
        return false;
    const auto& peer = found->second;
    if (!peer.up || !is_readable(peer.state)) return false;
    if (my_config()->build_indexes && !member.build_indexes) return false;
    // Never behind me. Equal only for the primary: its next entry is waited for there.
    const auto theirs = std::pair(peer.applied.optime, peer.last_committed);
    const auto mine = std::pair(last_fetched, commit_point_.optime);
    if (theirs > mine) return true;
    return peer.state == MemberState::primary && member.id == primary_ &&
           peer.applied.optime >= last_fetched;
}

/// What the first pass asks besides.
bool Core::is_good_source(const MemberConfig& member) const {
    const auto* me = my_config();
    const auto& peer = peers_.at(member.id);
    if (me->is_voter() && !member.is_voter()) return false;
    if (member.hidden && !me->hidden) return false;
    if (member.secondary_delay > me->secondary_delay) return false;
    const auto primary = peers_.find(primary_);
    if (primary == peers_.end()) return true;
    return peer.applied.optime.timestamp.seconds + limits::sync_source_lag_seconds_max >=
           primary->second.applied.optime.timestamp.seconds;
}

MemberId Core::pick_sync_source(Pass pass, OpTime last_fetched, Instant now) const {
    MemberId best = no_member;
    for (const auto& member : config_->members) {
        if (!is_possible_source(member, last_fetched, now)) continue;
        if (pass == Pass::strict && !is_good_source(member)) continue;
        if (best == no_member || peers_.at(member.id).ping < peers_.at(best).ping) best = member.id;
    }
    // Every hop costs a commit its latency: leave the primary only for somebody clearly nearer.
    const auto* primary = config_->find(primary_);
    if (best != no_member && primary != nullptr && best != primary_ &&
        is_possible_source(*primary, last_fetched, now) &&
        peers_.at(primary_).ping < peers_.at(best).ping + limits::sync_source_ping_threshold)
        return primary_;
    return best;
}

std::optional<HostAndPort> Core::choose_sync_source(OpTime last_fetched, Instant now) {
    if (!is_member() || is_arbiter()) return std::nullopt;
    auto* leading = std::get_if<Primary>(&role_);
    if (leading != nullptr && leading->phase != Primary::Phase::catching_up) return std::nullopt;
    if (!forced_source_.is_empty()) return std::exchange(forced_source_, {});
    std::erase_if(denylist_, [now](const auto& entry) { return entry.second <= now; });
    if (leading == nullptr && !config_->settings.chaining_allowed) {
        const auto* primary = config_->find(primary_);
        if (primary == nullptr || !is_possible_source(*primary, last_fetched, now))
            return std::nullopt;
        return primary->host;
    }
    MemberId chosen = pick_sync_source(Pass::strict, last_fetched, now);
    if (chosen == no_member) chosen = pick_sync_source(Pass::lenient, last_fetched, now);
    if (chosen == no_member) return std::nullopt;
    return config_->find(chosen)->host;
}

void Core::set_sync_source(const HostAndPort& source, Instant now) {
    if (source == sync_source_) return;
    if (!source.is_empty() && is_primary() &&
        std::get<Primary>(role_).phase != Primary::Phase::catching_up)
        return;  // Chosen before this node was elected and drained.
    sync_source_ = source;
    const auto* const leader = config_ ? config_->find(primary_) : nullptr;
    source_led_ = leader != nullptr && leader->host == source;
    source_commit_.reset();
    if (position_request_ != 0) requests_.erase(position_request_);
    position_request_ = 0;
    positions_dirty_ = true;
    finish(now);
}

void Core::fetched(const HostAndPort& source, const ReplMetadata& metadata,
                   const OplogQueryMetadata& query, Instant now) {
    adopt_term(metadata.term, now);
    if (source != sync_source_ || !is_member()) return finish(now);
    const auto* member = config_->find(source);
    if (member == nullptr) return finish(now);
    if (const auto peer = peers_.find(member->id); peer != peers_.end()) {
        peer->second.last_update = now;
        peer->second.last_committed =
            std::max(peer->second.last_committed, query.last_committed.optime);
        if (query.last_applied > peer->second.applied.optime) {
            peer->second.applied.optime = query.last_applied;
            peer->second.position_at = now;
        }
    }
    if (!is_primary() && metadata.term == term_) {
        if (metadata.is_primary || query.primary_id == member->id) {
            role_ = Follower{};
            set_primary(member->id);
            arm_election_timer(now);
        }
    }
    learn_commit_point(query.last_committed, true, now);
    finish(now);
}

bool Core::should_change_sync_source(const HostAndPort& source, const ReplMetadata& metadata,
                                     const OplogQueryMetadata& query, OpTime last_fetched,
                                     Instant now) const {
    if (!is_member()) return true;
    if (!forced_source_.is_empty()) return forced_source_ != source;
    const auto* member = config_->find(source);
    if (member == nullptr || member->arbiter_only) return true;
    const auto peer = peers_.find(member->id);
    if (peer == peers_.end() || is_denylisted(source, now)) return true;
    const bool is_source_primary = metadata.is_primary || query.primary_id == member->id;
    // A source that pulls from nobody and is not ahead serves nothing new.
    if (!is_source_primary && query.sync_source_id == no_member &&
        query.last_applied <= last_fetched)
        return true;
    if (is_primary()) return false;  // Catching up: whoever is ahead will do.
    if (!config_->settings.chaining_allowed) return primary_ != no_member && member->id != primary_;
    // Two members that pull from each other wait for each other.
    if (!is_source_primary && query.sync_source_id == *self_ && query.last_applied <= last_fetched)
        return true;
    const auto source_seconds = std::max(query.last_applied, last_fetched).timestamp.seconds;
    for (const auto& other : config_->members) {
        if (other.id == member->id || !is_possible_source(other, last_fetched, now) ||
            !is_good_source(other))
            continue;
        if (peers_.at(other.id).applied.optime.timestamp.seconds >
            source_seconds + limits::sync_source_lag_seconds_max)
            return true;
    }
    if (is_source_primary || primary_ == no_member) return false;
    const auto recent = std::count_if(source_changes_.begin(), source_changes_.end(),
                                      [now](Instant at) { return at + 1h > now; });
    if (recent >= limits::sync_source_changes_an_hour_max) return false;
    const MemberId best = pick_sync_source(Pass::strict, last_fetched, now);
    return best != no_member && best != member->id &&
           peers_.at(best).ping + limits::sync_source_ping_threshold <= peer->second.ping;
}

bool Core::is_source_lost(const HostAndPort& source) const {
    const auto* const member = is_member() ? config_->find(source) : nullptr;
    const auto peer = member != nullptr ? peers_.find(member->id) : peers_.end();
    return peer == peers_.end() || !peer->second.up || !is_readable(peer->second.state);
}

bool Core::should_abandon_source(const HostAndPort& source) const {
    if (source != sync_source_ || is_source_lost(source)) return true;
    return source_led_ && !is_primary() && primary_ != no_member && primary_host() != source;
}

Result<HostAndPort> Core::sync_from(const HostAndPort& source, OpTime last_fetched) {
    const auto refuse = [](ErrorCode code, std::string why) { return Error(code, std::move(why)); };
    if (!is_member())
        return refuse(ErrorCode::not_yet_initialized, "no replset config has been received");
    if (is_primary()) return refuse(ErrorCode::not_secondary, "primaries don't sync");
    if (is_arbiter()) return refuse(ErrorCode::not_secondary, "arbiters don't sync");
    if (source == my_host())
        return refuse(ErrorCode::invalid_options, "I cannot sync from myself");
    const auto* member = config_->find(source);
    if (member == nullptr)
        return refuse(ErrorCode::node_not_found,
                      "Could not find member \"" + source.to_string() + "\" in replica set");
    if (member->arbiter_only)
        return refuse(ErrorCode::invalid_options,
                      "Cannot sync from \"" + source.to_string() + "\" because it is an arbiter");
    if (my_config()->build_indexes && !member->build_indexes)
        return refuse(ErrorCode::invalid_options, "Cannot sync from \"" + source.to_string() +
                                                      "\" because it does not build indexes");
    const auto& peer = peers_.at(member->id);
    if (!peer.up)
        return refuse(ErrorCode::host_unreachable,
                      "I cannot reach the requested member: " + source.to_string());
    // What is known of it is a heartbeat old; its first batch shows whether it is behind.
    if (!peer.applied.optime.is_null() &&
        peer.applied.optime.timestamp.seconds + limits::asked_source_lag_seconds_max <
            last_fetched.timestamp.seconds)
        return refuse(ErrorCode::invalid_sync_source,
                      "requested member \"" + source.to_string() +
                          "\" is more than 10 seconds behind us");
    forced_source_ = source;
    output_.reconsider_sync_source = true;
    return sync_source_;
}

}  // namespace tessera::consensus
