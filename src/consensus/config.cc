// SPDX-License-Identifier: Apache-2.0
#include "consensus/config.h"

#include <algorithm>
#include <set>

#include "consensus/limits.h"

namespace tessera::consensus {

namespace {

Error invalid(std::string reason) {
    return {ErrorCode::invalid_replica_set_config, std::move(reason)};
}
Error incompatible(std::string reason) {
    return {ErrorCode::new_replica_set_configuration_incompatible, std::move(reason)};
}
Error bad(std::string reason) {
    return {ErrorCode::bad_value, std::move(reason)};
}

std::string in_set(const ReplicaSetConfig& config) {
    return " for replica set " + config.set_name;
}

Status check_member(const MemberConfig& member) {
    const std::string field = "members[_id: " + std::to_string(member.id) + "]";
    if (member.id < 0)
        return bad("_id field value of " + std::to_string(member.id) + " is out of range.");
    if (member.host.is_empty()) return bad(field + " has an empty host");
    if (member.priority < 0 || member.priority > limits::priority_max)
        return bad("priority field value of " + field + " is out of range [0, 1000]");
    if (member.votes != 0 && member.votes != 1)
        return bad("votes field value is " + std::to_string(member.votes) + " but must be 0 or 1");
    if (member.secondary_delay < 0s || member.secondary_delay > 24h * 366)
        return bad("secondaryDelaySecs field value is out of range");
    if (member.arbiter_only) {
        if (!member.tags.empty()) return bad("Cannot set tags on arbiters.");
        if (member.votes == 0) return bad("Arbiter must vote (cannot have 0 votes)");
        if (member.priority != 0) return bad("Arbiter must have priority 0");
    }
    if (member.secondary_delay > 0s && member.priority != 0)
        return bad("priority must be 0 when secondaryDelaySecs is used");
    if (member.hidden && member.priority != 0) return bad("priority must be 0 when hidden=true");
    if (!member.build_indexes && member.priority != 0)
        return bad("priority must be 0 when buildIndexes=false");
    if (member.votes == 0 && member.priority > 0)
        return bad("priority must be 0 when non-voting (votes:0)");
    return {};
}

Status check_settings(const ConfigSettings& settings) {
    if (settings.heartbeat_interval <= 0s)
        return bad("settings.heartbeatIntervalMillis must be greater than 0");
    if (settings.heartbeat_timeout <= 0s)
        return bad("settings.heartbeatTimeoutSecs must be greater than 0");
    if (settings.election_timeout <= 0s)
        return bad("settings.electionTimeoutMillis must be greater than 0");
    if (settings.catch_up_timeout < -1ms)
        return bad("settings.catchUpTimeoutMillis must be positive, 0 or -1");
    if (settings.catch_up_takeover_delay < -1ms)
        return bad("settings.catchUpTakeoverDelayMillis must be -1 or greater");
    return {};
}

/// Whether enough distinct values of each tag exist among the members.
Status check_mode(const ReplicaSetConfig& config,
                  const std::string& name,
                  const WriteConcernMode& mode) {
    for (const auto& [tag, wanted] : mode) {
        if (wanted <= 0)
            return bad("Value for getLastErrorModes." + name + "." + tag + " must be positive");
        std::set<std::string> values;
        for (const auto& member : config.members)
            if (auto it = member.tags.find(tag); it != member.tags.end()) values.insert(it->second);
        if (values.empty())
            return Error(ErrorCode::no_such_key,
                         "No such tag '" + tag + "' in getLastErrorModes." + name);
        if (static_cast<int>(values.size()) < wanted)
            return Error(ErrorCode::unsatisfiable_write_concern,
                         "getLastErrorModes." + name + " asks for " + std::to_string(wanted) +
                             " values of '" + tag + "', the members have " +
                             std::to_string(values.size()));
    }
    return {};
}

Status check_identities(const ReplicaSetConfig& config) {
    std::set<MemberId> ids;
    std::set<HostAndPort> hosts;
    std::size_t loopback = 0;
    for (const auto& member : config.members) {
        if (!ids.insert(member.id).second)
            return bad("Found two member configurations with same _id field value of " +
                       std::to_string(member.id) + in_set(config));
        if (!hosts.insert(member.host).second)
            return bad("Found two member configurations with same host field value of " +
                       member.host.to_string() + in_set(config));
        loopback += member.host.is_loopback() ? 1U : 0U;
    }
    if (loopback != 0 && loopback != config.members.size())
        return bad(
            "Either all host names in a replica set configuration must be localhost "
            "references, or none must be; found " +
            std::to_string(loopback) + " out of " + std::to_string(config.members.size()));
    return {};
}

Status check_configsvr(const ReplicaSetConfig& config) {
    for (const auto& member : config.members) {
        if (member.arbiter_only)
            return bad(
                "Arbiters are not allowed in replica set configurations"
                " being used for config servers");
        if (!member.build_indexes)
            return bad(
                "Members in replica set configurations being used for config servers must "
                "build indexes");
        if (member.secondary_delay != 0s)
            return bad(
                "Members in replica set configurations being used for config servers cannot "
                "have a non-zero secondaryDelaySecs");
    }
    if (!config.write_concern_majority_journal_default)
        return bad(
            "writeConcernMajorityJournalDefault must be true in replica set configurations "
            "being used for config servers");
    return {};
}

Status check_member_kept(const MemberConfig& now, const ReplicaSetConfig& old_config) {
    if (const auto* old = old_config.find(now.host); old != nullptr && old->id != now.id)
        return incompatible(
            "New and old configurations both have members with host of " + now.host.to_string() +
            " but in the new configuration the _id field is " + std::to_string(now.id) +
            " and in the old configuration it is " + std::to_string(old->id) + in_set(old_config));
    const auto* old = old_config.find(now.id);
    if (old == nullptr) return {};
    if (old->build_indexes != now.build_indexes)
        return incompatible(
            "New and old configurations differ in the setting of the buildIndexes "
            "field for member " +
            now.host.to_string() + "; to make this change, remove then re-add the member");
    if (old->arbiter_only != now.arbiter_only)
        return incompatible(
            "New and old configurations differ in the setting of the arbiterOnly "
            "field for member " +
            now.host.to_string() + "; to make this change, remove then re-add the member");
    return {};
}

int count_voter_changes(const ReplicaSetConfig& now, const ReplicaSetConfig& old) {
    int changes = 0;
    for (const auto& member : now.members) {
        const auto* before = old.find(member.id);
        if (member.is_voter() && (before == nullptr || !before->is_voter())) ++changes;
    }
    for (const auto& member : old.members) {
        const auto* after = now.find(member.id);
        if (member.is_voter() && (after == nullptr || !after->is_voter())) ++changes;
    }
    return changes;
}

Status check_same_set(const ReplicaSetConfig& now, const ReplicaSetConfig& old, bool force) {
    if (now.set_name != old.set_name)
        return incompatible("New and old configurations differ in replica set name; old was " +
                            old.set_name + ", and new is " + now.set_name);
    if (old.settings.replica_set_id != now.settings.replica_set_id)
        return incompatible("New and old configurations differ in replica set ID");
    if (now.configsvr != old.configsvr)
        return incompatible(
            "New and old configurations differ in the setting of the configsvr field");
    if (!force && now.version <= old.version)
        return incompatible("New replica set configuration version must be greater than old, but " +
                            std::to_string(now.version) + " is not greater than " +
                            std::to_string(old.version) + in_set(old));
    return {};
}

}  // namespace

std::string ConfigVersion::to_string() const {
    return "{version: " + std::to_string(version) + ", term: " + std::to_string(term) + "}";
}

const MemberConfig* ReplicaSetConfig::find(MemberId id) const {
    for (const auto& member : members)
        if (member.id == id) return &member;
    return nullptr;
}

const MemberConfig* ReplicaSetConfig::find(const HostAndPort& host) const {
    for (const auto& member : members)
        if (member.host == host) return &member;
    return nullptr;
}

int ReplicaSetConfig::index_of(MemberId id) const {
    for (std::size_t i = 0; i < members.size(); ++i)
        if (members[i].id == id) return static_cast<int>(i);
    return -1;
}

int ReplicaSetConfig::voter_count() const {
    return static_cast<int>(
        std::count_if(members.begin(), members.end(), [](const auto& m) { return m.is_voter(); }));
}

int ReplicaSetConfig::arbiter_voter_count() const {
    return static_cast<int>(std::count_if(members.begin(), members.end(), [](const auto& m) {
        return m.is_voter() && m.arbiter_only;
    }));
}

int ReplicaSetConfig::data_bearing_count() const {
    return static_cast<int>(std::count_if(
        members.begin(), members.end(), [](const auto& m) { return m.is_data_bearing(); }));
}

int ReplicaSetConfig::write_majority_count() const {
    return std::min(majority_vote_count(), writable_voter_count());
}

bool ReplicaSetConfig::is_default_write_concern_majority() const {
    return arbiter_voter_count() == 0 || writable_voter_count() > majority_vote_count();
}

Status ReplicaSetConfig::validate() const {
    if (set_name.empty())
        return bad("Replica set configuration must have a non-empty set name, the _id field");
    if (version < 1 || version > limits::config_version_max)
        return bad("version field value of " + std::to_string(version) + " is out of range");
    if (term != term_uninitialized && term < 0)
        return bad("term field value of " + std::to_string(term) + " is out of range");
    if (protocol_version != 1)
        return bad("protocolVersion of 1 is the only value accepted. Found: " +
                   std::to_string(protocol_version));
    if (members.empty() || members.size() > limits::members_max)
        return bad("Replica set configuration contains " + std::to_string(members.size()) +
                   " members, but must have at least 1 and no more than " +
                   std::to_string(limits::members_max));
    TRY_OK(check_settings(settings));
    for (const auto& member : members)
        TRY_OK(check_member(member));
    TRY_OK(check_identities(*this));
    const auto voters = static_cast<std::size_t>(
        std::count_if(members.begin(), members.end(), [](const auto& m) { return m.votes > 0; }));
    if (voters == 0 || voters > limits::voters_max)
        return bad("Replica set configuration contains " + std::to_string(voters) +
                   " voting members, but must be between 1 and " +
                   std::to_string(limits::voters_max));
    if (std::none_of(members.begin(), members.end(), [](const auto& m) { return m.priority > 0; }))
        return bad(
            "Replica set configuration must contain at least one non-arbiter member with "
            "priority > 0");
    for (const auto& [name, mode] : settings.write_concern_modes)
        TRY_OK(check_mode(*this, name, mode));
    if (configsvr) TRY_OK(check_configsvr(*this));
    return {};
}

Status ReplicaSetConfig::validate_for_initiate(std::optional<MemberId> self) const {
    if (auto status = validate(); !status) return invalid(status.error().reason());
    if (version != 1)
        return incompatible(
            "Configuration used to initiate a replica set must have version 1, but "
            "found " +
            std::to_string(version));
    const auto* me = self ? find(*self) : nullptr;
    if (me == nullptr)
        return invalid("No host described in new configuration with {version: 1, term: " +
                       std::to_string(term) + "}" + in_set(*this) + " maps to this node");
    if (!me->is_electable())
        return Error(ErrorCode::node_not_electable,
                     "This node, " + me->host.to_string() + ", with _id " + std::to_string(me->id) +
                         " is not electable under the new configuration with version 1" +
                         in_set(*this));
    return {};
}

Status ReplicaSetConfig::validate_reconfig(const ReplicaSetConfig& old,
                                           std::optional<MemberId> self,
                                           bool force) const {
    if (auto status = validate(); !status) return invalid(status.error().reason());
    TRY_OK(check_same_set(*this, old, force));
    for (const auto& member : members)
        TRY_OK(check_member_kept(member, old));
    if (!force && count_voter_changes(*this, old) > 1)
        return incompatible(
            "Non force replica set reconfig can only add or remove at most 1 voting "
            "member.");
    const auto* me = self ? find(*self) : nullptr;
    if (me == nullptr)
        return Error(ErrorCode::node_not_found,
                     "No host described in new configuration with " + config_version().to_string() +
                         in_set(*this) + " maps to this node");
    if (!force && !me->is_electable())
        return Error(ErrorCode::node_not_electable,
                     "This node, " + me->host.to_string() + ", with _id " + std::to_string(me->id) +
                         " is not electable under the new configuration with version " +
                         std::to_string(version) + in_set(*this));
    return {};
}

}  // namespace tessera::consensus
