// SPDX-License-Identifier: Apache-2.0
//
// Configurations: logless reconfiguration (protocol.md 1.16). They travel by heartbeat, are ordered
// by (term, version), and change one voter at a time, each after the one before is committed.
#include <algorithm>

#include "consensus/core.h"
#include "consensus/limits.h"

namespace tessera::consensus {

bool Core::is_newer_config(const ConfigVersion& other) const {
    return other.is_newer_than(config_ ? config_->config_version() : ConfigVersion{});
}

void Core::adopt_config(const ReplicaSetConfig& config, std::optional<MemberId> self, Instant now) {
    committed_in_previous_config_ = commit_point_.optime;
    std::map<MemberId, Peer> peers;
    for (const auto& member : config.members) {
        if (!self || member.id == *self) continue;  // A removed node asks nobody.
        const auto* before = config_ ? config_->find(member.id) : nullptr;
        const auto peer = peers_.find(member.id);
        if (before != nullptr && before->host == member.host && peer != peers_.end()) {
            peers.emplace(member.id, std::move(peer->second));
            continue;
        }
        Peer fresh;
        fresh.last_update = now;
        fresh.next_heartbeat = now;
        peers.emplace(member.id, std::move(fresh));
    }
    peers_ = std::move(peers);
    config_ = config;
    self_ = self;
    // Votes counted in one configuration mean nothing in another.
    if (std::holds_alternative<Candidate>(role_)) role_ = Follower{};
    if (primary_ != no_member && config_->find(primary_) == nullptr) set_primary(no_member);
    if (!self_ || config_->find(sync_source_) == nullptr) {
        sync_source_ = {};
        source_commit_.reset();
    }
    if (!is_primary()) arm_election_timer(now);
    output_.progress = true;
    output_.reconsider_sync_source = true;
    positions_dirty_ = true;
}

void Core::install_config(const ReplicaSetConfig& config, std::optional<MemberId> self, Instant now,
                          bool forced) {
    config_offered_ = false;
    reconfig_prepared_ = false;
    if (config_ && !forced && !is_newer_config(config.config_version())) return finish(now);
    ASSERT(!self || config.find(*self) != nullptr);
    // Node identity first: a primary under another id, or none, is no primary.
    if (is_primary() && (self != self_ || !config.find(*self)->is_electable()))
        become_follower("configuration no longer lets this node lead", now);
    const bool was_initialized = config_.has_value();
    adopt_config(config, self, now);
    if (is_primary()) {
        heartbeat_all(now);
        if (config_->term >= 0 && config_->term < term_ && is_writable_primary())
            offer_config_of_my_term();
        positions_changed(now);
    } else {
        heartbeat_all(now);  // Others learn at once that this node has it.
        if (!was_initialized || config_->voter_count() == 1) consider_early_election(now);
    }
    finish(now);
}

void Core::config_refused() { config_offered_ = false; }

void Core::initiated(const ReplicaSetConfig& config, std::optional<MemberId> self, Instant now) {
    ASSERT(config.term == 0);
    just_initiated_ = true;
    install_config(config, self, now);
}

/// The leader's configuration carries its term, so that no older one can be chosen over it.
void Core::offer_config_of_my_term() {
    if (config_->term == term_) return;
    auto config = *config_;
    // A forced configuration has no term: only its version can tell it from its successor.
    if (config.term == term_uninitialized) ++config.version;
    config.term = term_;
    offer_config(config);
}

bool Core::is_config_committed() const {
    if (!is_member()) return false;
    int have = 0;
    for (const auto& member : config_->members) {
        if (!member.is_voter()) continue;
        const auto peer = peers_.find(member.id);
        if (member.id == *self_ ||
            (peer != peers_.end() && peer->second.config == config_->config_version() &&
             peer->second.term == term_))
            ++have;
    }
    return have >= config_->majority_vote_count();
}

bool Core::is_config_oplog_committed() const {
    if (!is_member()) return false;
    int have = 0;
    for (const auto& member : config_->members) {
        if (!member.is_voter() || !member.is_data_bearing()) continue;
        const auto peer = peers_.find(member.id);
        const OpTime position = member.id == *self_    ? applied_.optime
                                : peer != peers_.end() ? peer->second.applied.optime
                                                       : OpTime{};
        if (position >= committed_in_previous_config_) ++have;
    }
    // Something of this term must be committed, or what came before is not known to be.
    return have >= config_->write_majority_count() && commit_point_.optime.term == term_;
}

/// Invariant: quorums-meet. Whether no majority of `next` could elect without a member that has all
/// that is committed. Always so when commits took a majority of the votes; where an arbiter made
/// them take fewer, a voter is added only once it has caught up.
bool Core::keeps_committed(const ReplicaSetConfig& next) const {
    if (config_->write_majority_count() >= config_->majority_vote_count()) return true;
    int without = 0;
    for (const auto& member : next.members) {
        if (!member.is_voter()) continue;
        const auto peer = peers_.find(member.id);
        const OpTime position = member.id == *self_    ? last_durable().optime
                                : peer != peers_.end() ? peer->second.durable.optime
                                                       : OpTime{};
        if (member.arbiter_only || position < commit_point_.optime) ++without;
    }
    return without < next.majority_vote_count();
}

namespace {

/// The flag is internal: a proposal does not show it, and keeps it for those who still have it.
void keep_newly_added(ReplicaSetConfig& proposed, const ReplicaSetConfig& old) {
    for (auto& member : proposed.members) {
        const auto* before = old.find(member.id);
        member.newly_added = before != nullptr && before->newly_added && member.votes > 0;
    }
}

/// A new voter with data to fetch does not vote until it has them; the primary then says so.
void mark_newly_added(ReplicaSetConfig& proposed, const ReplicaSetConfig& old) {
    for (auto& member : proposed.members)
        if (old.find(member.id) == nullptr && member.votes > 0 && !member.arbiter_only)
            member.newly_added = true;
}

Error not_committed(const ReplicaSetConfig& config, const char* what) {
    return {ErrorCode::current_config_not_committed_yet,
            "Cannot run replSetReconfig because the current config: " +
                config.config_version().to_string() + " " + what};
}

}  // namespace

Result<ReplicaSetConfig> Core::prepare_reconfig(ReplicaSetConfig proposed,
                                                std::optional<MemberId> self, bool force) {
    if (!config_)
        return Error(ErrorCode::not_yet_initialized,
                     "Node not yet initialized; use the replSetInitiate command");
    if (reconfig_prepared_ || config_offered_)
        return Error(ErrorCode::configuration_in_progress,
                     "Cannot run replSetReconfig because the node is currently updating its "
                     "configuration");
    if (!force && !is_writable_primary())
        return Error(ErrorCode::not_writable_primary,
                     "Safe reconfig is only allowed on a writable PRIMARY. Current state " +
                         std::string(to_string(state())));
    if (!force && config_->term != term_uninitialized && config_->term != term_)
        return not_committed(*config_, "is not of the primary's term yet");
    if (!force && !is_config_committed())
        return not_committed(*config_, "is not majority committed.");
    if (!force && !is_config_oplog_committed())
        return not_committed(*config_, "has entries of the one before that are not majority "
                                       "committed.");
    if (!proposed.settings.replica_set_id)
        proposed.settings.replica_set_id = config_->settings.replica_set_id;
    keep_newly_added(proposed, *config_);
    if (force) {
        proposed.term = term_uninitialized;
        proposed.version = std::max(proposed.version, config_->version) + 10000 +
                           static_cast<std::int64_t>(random_.below(100000));
    } else {
        proposed.term = term_;
    }
    TRY_OK(proposed.validate_reconfig(*config_, self, force));
    if (!force) mark_newly_added(proposed, *config_);
    if (!force && !keeps_committed(proposed))
        return not_committed(*config_, "has committed entries that a majority of the new one would "
                                       "not have.");
    reconfig_prepared_ = true;
    return proposed;
}

void Core::abort_reconfig() { reconfig_prepared_ = false; }

void Core::consider_newly_added(Instant /*now*/) {
    if (!is_writable_primary() || config_offered_ || reconfig_prepared_ ||
        config_->term != term_)
        return;
    for (auto& [id, peer] : peers_) {
        if (!config_->find(id)->newly_added || !peer.up) continue;
        if (peer.state != MemberState::secondary && peer.state != MemberState::recovering &&
            peer.state != MemberState::rollback)
            continue;
        if (!is_config_committed() || !is_config_oplog_committed()) return;
        auto config = *config_;
        ++config.version;
        config.members[static_cast<std::size_t>(config.index_of(id))].newly_added = false;
        if (!keeps_committed(config)) return;
        return offer_config(config);
    }
}

Status Core::set_follower_mode(MemberState mode, Instant now) {
    ASSERT(mode == MemberState::startup2 || mode == MemberState::recovering ||
           mode == MemberState::rollback || mode == MemberState::secondary);
    // A leader never undoes its own log: others give way to it.
    if (mode == MemberState::rollback) abort_catch_up(now);
    if (is_primary())
        return Error(ErrorCode::not_secondary, "Cannot change the member state of a primary");
    role_ = Follower{};
    mode_ = mode;
    if (mode != MemberState::secondary) source_commit_.reset();
    positions_dirty_ = true;
    consider_early_election(now);
    finish(now);
    return {};
}

}  // namespace tessera::consensus
