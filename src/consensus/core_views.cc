// SPDX-License-Identifier: Apache-2.0
//
// What a member shows: metadata on messages, hello, replSetGetStatus.
#include <algorithm>

#include "consensus/core.h"

namespace tessera::consensus {

ReplMetadata Core::metadata() const {
    ReplMetadata metadata;
    metadata.term = term_;
    metadata.last_committed = commit_point_;
    metadata.last_visible = applied_.optime;
    if (config_) {
        metadata.config = config_->config_version();
        metadata.replica_set_id = config_->settings.replica_set_id;
        const auto* source = config_->find(sync_source_);
        metadata.sync_source_id = source != nullptr ? source->id : no_member;
    }
    metadata.primary_id = primary_;
    metadata.is_primary = is_primary();
    return metadata;
}

OplogQueryMetadata Core::oplog_query_metadata(std::int32_t rollback_id) const {
    const auto own = metadata();
    return {commit_point_, applied_.optime, rollback_id, own.primary_id, own.sync_source_id};
}

ReplicationProgress Core::replication_progress() const {
    ReplicationProgress progress;
    if (!config_) return progress;
    progress.config = &*config_;
    progress.self = self_.value_or(no_member);
    progress.commit_point = commit_point_.optime;
    if (self_) progress.positions.push_back({*self_, applied_.optime, last_durable().optime});
    for (const auto& [member, peer] : peers_)
        progress.positions.push_back({member, peer.applied.optime, peer.durable.optime});
    return progress;
}

TopologyView Core::topology() const {
    TopologyView view;
    view.topology_version = topology_version_;
    view.term = term_;
    view.last_write = applied_;
    view.majority_write = commit_point_;
    if (!config_) return view;
    view.is_initialized = true;
    view.set_name = config_->set_name;
    view.set_version = config_->version;
    view.configsvr = config_->configsvr;
    const auto* me = my_config();
    if (me == nullptr) return view;
    view.is_member = true;
    view.is_writable_primary = is_writable_primary();
    view.is_secondary = state() == MemberState::secondary;
    for (const auto& member : config_->members) {
        if (member.hidden || member.secondary_delay > 0s) continue;
        if (member.arbiter_only)
            view.arbiters.push_back(member.host);
        else if (member.priority > 0)
            view.hosts.push_back(member.host);
        else
            view.passives.push_back(member.host);
    }
    view.primary = primary_host();
    view.me = me->host;
    view.arbiter_only = me->arbiter_only;
    view.passive = me->priority == 0 && !me->arbiter_only;
    view.hidden = me->hidden;
    view.build_indexes = me->build_indexes;
    view.secondary_delay = me->secondary_delay;
    view.tags = me->tags;
    if (view.is_writable_primary) view.election_term = term_;
    return view;
}

Result<StatusView> Core::status(Instant now) const {
    if (!config_)
        return Error(ErrorCode::not_yet_initialized, "no replset config has been received");
    if (!self_)
        return Error(ErrorCode::invalid_replica_set_config,
                     "Our replica set config is invalid or we are not a member of it");
    StatusView view;
    view.set_name = config_->set_name;
    view.my_state = state();
    view.term = term_;
    view.sync_source = sync_source_;
    const auto id_of = [this](const HostAndPort& host) {
        const auto* member = config_->find(host);
        return member != nullptr ? member->id : no_member;
    };
    view.sync_source_id = id_of(sync_source_);
    view.configsvr = config_->configsvr;
    view.heartbeat_interval = config_->settings.heartbeat_interval;
    view.majority_vote_count = config_->majority_vote_count();
    view.write_majority_count = config_->write_majority_count();
    view.voting_member_count = config_->voter_count();
    view.writable_voting_member_count = config_->writable_voter_count();
    view.committed = commit_point_;
    view.applied = applied_;
    view.durable = last_durable();
    if (is_primary()) view.candidate = candidate_metrics_;
    if (!is_primary()) view.participant = participant_metrics_;
    for (const auto& config : config_->members) {
        MemberStatus member;
        member.id = config.id;
        member.host = config.host;
        member.is_self = config.id == *self_;
        if (const auto found = peers_.find(config.id); found != peers_.end()) {
            const auto& peer = found->second;
            member.healthy = peer.up;
            member.state = peer.state;
            member.up_since = peer.up ? peer.up_since : now;
            member.applied = peer.applied;
            member.durable = peer.durable;
            member.last_heartbeat = peer.last_heartbeat;
            member.last_heartbeat_received = peer.last_heartbeat_received;
            member.ping = peer.ping;
            member.last_heartbeat_message = peer.message;
            member.sync_source = peer.syncing_to;
            if (peer.state == MemberState::primary) member.election_time = peer.election_time;
            member.config = peer.config;
        } else {
            member.state = state();
            member.up_since = started_;
            member.applied = applied_;
            member.durable = last_durable();
            member.sync_source = sync_source_;
            if (is_primary()) member.election_time = election_timestamp_;
            if (sync_source_.is_empty() && !is_primary() && !is_arbiter())
                member.info_message = "Could not find member to sync from";
            member.config = config_->config_version();
        }
        member.sync_source_id = id_of(member.sync_source);
        view.members.push_back(std::move(member));
    }
    std::sort(view.members.begin(), view.members.end(),
              [](const auto& a, const auto& b) { return a.id < b.id; });
    return view;
}

}  // namespace tessera::consensus
