// SPDX-License-Identifier: Apache-2.0
#include "replication/config_documents.h"

#include <algorithm>

namespace tessera::replication {
namespace {

using consensus::ConfigSettings;
using consensus::MemberConfig;
using consensus::ReplicaSetConfig;

Error invalid(std::string reason) {
    return {ErrorCode::invalid_replica_set_config, std::move(reason)};
}

Error wrong_type(const bson::Element& field, std::string_view expected) {
    return {ErrorCode::type_mismatch,
            "\"" + std::string(field.name) + "\" had the wrong type. Expected " +
                std::string(expected) + ", found " +
                std::string(bson::type_name(field.value.type()))};
}

Result<std::int64_t> whole_number(const bson::Element& field) {
    if (!field.value.is_number()) return wrong_type(field, "a number");
    if (!field.value.is_integral())
        return invalid("Expected field \"" + std::string(field.name) +
                       "\" to have a value exactly representable as a 64-bit integer");
    return field.value.to_int64();
}

Result<bool> flag(const bson::Element& field) {
    if (!field.value.is_boolean() && !field.value.is_number()) return wrong_type(field, "bool");
    return field.value.is_truthy();
}

Result<std::map<std::string, std::string>> texts(const bson::Element& field) {
    if (!field.value.is_object()) return wrong_type(field, "object");
    std::map<std::string, std::string> result;
    for (const bson::Element& each : field.value.as_view()) {
        if (!each.value.is_string())
            return invalid(std::string(field.name) + "." + std::string(each.name) +
                           " field has non-string value of type " +
                           std::string(bson::type_name(each.value.type())));
        result[std::string(each.name)] = each.value.as_string();
    }
    return result;
}

Status parse_member_field(const bson::Element& field, MemberConfig& member) {
    const std::string_view name = field.name;
    if (name == "_id") {
        TRY(const std::int64_t id, whole_number(field));
        if (id < 0 || id > 255)
            return invalid("_id field value of " + std::to_string(id) + " is out of range.");
        member.id = static_cast<consensus::MemberId>(id);
    } else if (name == "host") {
        if (!field.value.is_string()) return wrong_type(field, "string");
        TRY(member.host, HostAndPort::parse(field.value.as_string()));
    } else if (name == "arbiterOnly") {
        TRY(member.arbiter_only, flag(field));
    } else if (name == "buildIndexes") {
        TRY(member.build_indexes, flag(field));
    } else if (name == "hidden") {
        TRY(member.hidden, flag(field));
    } else if (name == "newlyAdded") {
        TRY(member.newly_added, flag(field));
    } else if (name == "priority") {
        if (!field.value.is_number()) return wrong_type(field, "a number");
        member.priority = field.value.to_double();
    } else if (name == "votes") {
        TRY(const std::int64_t votes, whole_number(field));
        if (votes != 0 && votes != 1)
            return invalid("votes field value is " + std::to_string(votes) + " but must be 0 or 1");
        member.votes = static_cast<int>(votes);
    } else if (name == "secondaryDelaySecs" || name == "slaveDelay") {
        TRY(const std::int64_t seconds, whole_number(field));
        if (seconds < 0 || seconds > std::int64_t{3600} * 24 * 366)
            return invalid("secondaryDelaySecs field value of " + std::to_string(seconds) +
                           " seconds is out of range");
        member.secondary_delay = std::chrono::seconds(seconds);
    } else if (name == "tags") {
        TRY(member.tags, texts(field));
    } else if (name == "horizons") {
        TRY(member.horizons, texts(field));
    } else {
        return invalid("BSON field 'MemberConfig." + std::string(name) + "' is an unknown field.");
    }
    return {};
}

Result<MemberConfig> parse_member(bson::View document) {
    MemberConfig member;
    for (const bson::Element& field : document)
        TRY_OK(parse_member_field(field, member));
    for (const char* required : {"_id", "host"})
        if (!document.has(required))
            return invalid("BSON field 'MemberConfig." + std::string(required) +
                           "' is missing but a required field");
    // An arbiter that does not say otherwise has no priority (it could not use one).
    if (member.arbiter_only && (!document.has("priority") || member.priority == 1.0))
        member.priority = 0;
    return member;
}

Result<std::map<std::string, consensus::WriteConcernMode>> parse_modes(const bson::Element& field) {
    if (!field.value.is_object()) return wrong_type(field, "object");
    std::map<std::string, consensus::WriteConcernMode> modes;
    for (const bson::Element& mode : field.value.as_view()) {
        if (!mode.value.is_object()) return wrong_type(mode, "object");
        for (const bson::Element& tag : mode.value.as_view()) {
            TRY(const std::int64_t count, whole_number(tag));
            if (count <= 0)
                return invalid("Value for getLastErrorModes." + std::string(mode.name) + "." +
                               std::string(tag.name) + " must be positive");
            modes[std::string(mode.name)][std::string(tag.name)] = static_cast<int>(count);
        }
    }
    return modes;
}

Status parse_setting(const bson::Element& field, ConfigSettings& settings) {
    const std::string_view name = field.name;
    if (name == "chainingAllowed") {
        TRY(settings.chaining_allowed, flag(field));
    } else if (name == "getLastErrorModes") {
        TRY(settings.write_concern_modes, parse_modes(field));
    } else if (name == "getLastErrorDefaults") {
        if (!field.value.is_object()) return wrong_type(field, "object");
        const bson::View defaults = field.value.as_view();
        const bson::Value w = defaults["w"];
        const bool is_default = (w.is_missing() || (w.is_number() && w.to_int64() == 1)) &&
                                defaults["wtimeout"].to_int64() == 0 && !defaults["j"].is_truthy();
        if (!is_default)
            return invalid(
                "Failing reconfig since getLastErrorDefaults is set to something other "
                "than {w: 1, wtimeout: 0}; use setDefaultRWConcern instead");
    } else if (name == "replicaSetId") {
        if (field.value.type() != bson::Type::object_id) return wrong_type(field, "objectId");
        settings.replica_set_id = field.value.as_object_id().bytes;
    } else {
        TRY(const std::int64_t number, whole_number(field));
        const std::chrono::milliseconds milliseconds(number);
        if (name == "heartbeatIntervalMillis")
            settings.heartbeat_interval = milliseconds;
        else if (name == "heartbeatTimeoutSecs")
            settings.heartbeat_timeout = std::chrono::seconds(number);
        else if (name == "electionTimeoutMillis")
            settings.election_timeout = milliseconds;
        else if (name == "catchUpTimeoutMillis")
            settings.catch_up_timeout = milliseconds;
        else if (name == "catchUpTakeoverDelayMillis")
            settings.catch_up_takeover_delay = milliseconds;
        else
            return invalid("BSON field 'ReplSetConfigSettings." + std::string(name) +
                           "' is an unknown field.");
    }
    return {};
}

Status parse_field(const bson::Element& field, ReplicaSetConfig& config) {
    const std::string_view name = field.name;
    if (name == "_id") {
        if (!field.value.is_string()) return wrong_type(field, "string");
        config.set_name = field.value.as_string();
    } else if (name == "version") {
        TRY(config.version, whole_number(field));
    } else if (name == "term") {
        TRY(config.term, whole_number(field));
    } else if (name == "protocolVersion") {
        TRY(config.protocol_version, whole_number(field));
    } else if (name == "configsvr") {
        TRY(config.configsvr, flag(field));
    } else if (name == "writeConcernMajorityJournalDefault") {
        TRY(config.write_concern_majority_journal_default, flag(field));
    } else if (name == "members") {
        if (!field.value.is_array()) return wrong_type(field, "array");
        for (const bson::Element& each : field.value.as_view()) {
            if (!each.value.is_object()) return wrong_type(each, "object");
            TRY(MemberConfig member, parse_member(each.value.as_view()));
            config.members.push_back(std::move(member));
        }
    } else if (name == "settings") {
        if (!field.value.is_object()) return wrong_type(field, "object");
        for (const bson::Element& each : field.value.as_view())
            TRY_OK(parse_setting(each, config.settings));
    } else {
        return invalid("BSON field 'ReplSetConfig." + std::string(name) + "' is an unknown field.");
    }
    return {};
}

void append_member(const MemberConfig& member, bson::Builder out) {
    out.append("_id", member.id).append("host", member.host.to_string());
    out.append("arbiterOnly", member.arbiter_only).append("buildIndexes", member.build_indexes);
    out.append("hidden", member.hidden).append("priority", member.priority);
    if (member.newly_added) out.append("newlyAdded", true);
    {
        bson::Builder tags = out.object("tags");
        for (const auto& [name, value] : member.tags)
            tags.append(name, value);
    }
    if (!member.horizons.empty()) {
        bson::Builder horizons = out.object("horizons");
        for (const auto& [name, value] : member.horizons)
            horizons.append(name, value);
    }
    out.append(
        "secondaryDelaySecs",
        std::int64_t{
            std::chrono::duration_cast<std::chrono::seconds>(member.secondary_delay).count()});
    out.append("votes", member.votes);
}

void append_settings(const ConfigSettings& settings, bson::Builder out) {
    out.append("chainingAllowed", settings.chaining_allowed);
    out.append_integer("heartbeatIntervalMillis", to_milliseconds(settings.heartbeat_interval));
    out.append_integer("heartbeatTimeoutSecs", to_milliseconds(settings.heartbeat_timeout) / 1000);
    out.append_integer("electionTimeoutMillis", to_milliseconds(settings.election_timeout));
    out.append_integer("catchUpTimeoutMillis", to_milliseconds(settings.catch_up_timeout));
    out.append_integer("catchUpTakeoverDelayMillis",
                       to_milliseconds(settings.catch_up_takeover_delay));
    {
        bson::Builder modes = out.object("getLastErrorModes");
        for (const auto& [name, mode] : settings.write_concern_modes) {
            bson::Builder tags = modes.object(name);
            for (const auto& [tag, count] : mode)
                tags.append(tag, count);
        }
    }
    out.object("getLastErrorDefaults").append("w", 1).append("wtimeout", 0);
    if (settings.replica_set_id)
        out.append("replicaSetId", bson::ObjectId{*settings.replica_set_id});
}

}  // namespace

Result<ReplicaSetConfig> parse_config(bson::View document) {
    ReplicaSetConfig config;
    for (const bson::Element& field : document) {
        if (auto status = parse_field(field, config); !status)
            return invalid(status.error().reason());
    }
    for (const char* required : {"_id", "members"})
        if (!document.has(required))
            return invalid("BSON field 'ReplSetConfig." + std::string(required) +
                           "' is missing but a required field");
    return config;
}

bson::Document config_to_bson(const ReplicaSetConfig& config) {
    bson::Builder out;
    out.append("_id", config.set_name).append_integer("version", config.version);
    out.append_integer("term", config.term);
    if (config.configsvr) out.append("configsvr", true);
    {
        auto members = out.array("members");
        for (const MemberConfig& member : config.members)
            append_member(member, members.object());
    }
    out.append("protocolVersion", config.protocol_version);
    out.append("writeConcernMajorityJournalDefault", config.write_concern_majority_journal_default);
    append_settings(config.settings, out.object("settings"));
    return std::move(out).finish();
}

}  // namespace tessera::replication
