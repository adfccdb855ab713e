// SPDX-License-Identifier: Apache-2.0
#include "replication/message_documents.h"

#include "replication/config_documents.h"
#include "replication/oplog_entry.h"

// g++ 12 sees an uninitialised string in the destructor of a variant's other alternatives (-O2).
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace tessera::replication {
namespace {

using consensus::ConfigVersion;
using consensus::HeartbeatReply;
using consensus::HeartbeatRequest;
using consensus::MemberId;
using consensus::MemberPosition;
using consensus::MemberState;
using consensus::Message;
using consensus::OplogQueryMetadata;
using consensus::PositionReply;
using consensus::PositionUpdate;
using consensus::ReplMetadata;
using consensus::SenderReport;
using consensus::StepUpReply;
using consensus::StepUpRequest;
using consensus::VoteReply;
using consensus::VoteRequest;
using consensus::no_member;

constexpr std::int32_t heartbeat_version = 1;

OpTime optime_of(const bson::Value& value) {
    const auto parsed = parse_optime(value);
    return parsed ? *parsed : OpTime{};
}

WallTime date_of(const bson::Value& value) {
    return value.type() == bson::Type::date ? value.as_date() : WallTime{};
}

std::int64_t number_or(const bson::Value& value, std::int64_t otherwise) {
    return value.is_number() ? value.to_int64() : otherwise;
}

std::string text_of(const bson::Value& value) {
    return value.is_string() ? std::string(value.as_string()) : std::string();
}

HostAndPort host_of(const bson::Value& value) {
    const std::string text = text_of(value);
    if (text.empty()) return {};
    const auto parsed = HostAndPort::parse(text);
    return parsed ? *parsed : HostAndPort{};
}

MemberId id_at(ConfigView config, const bson::Value& index) {
    const std::int64_t at = number_or(index, -1);
    if (config == nullptr || at < 0 || at >= static_cast<std::int64_t>(config->members.size()))
        return no_member;
    return config->members[static_cast<std::size_t>(at)].id;
}

std::int32_t index_of(ConfigView config, MemberId id) {
    return config == nullptr ? -1 : config->index_of(id);
}

ConfigVersion config_version_of(bson::View document, const char* version, const char* term) {
    ConfigVersion result;
    result.version = number_or(document[version], -2);
    result.term = number_or(document[term], term_uninitialized);
    return result;
}

void append_on_admin(bson::Builder& out) {
    out.append("$db", "admin");
}

// Our own addition to the command: the answer the receiver would get by asking in turn.
void append_sender(const SenderReport& report, bson::Builder& out) {
    bson::Builder sender = out.object("sender");
    sender.append("state", static_cast<std::int32_t>(report.state));
    sender.append("opTime", report.applied.optime).append("wallTime", report.applied.wall);
    sender.append("durableOpTime", report.durable.optime);
    sender.append("durableWallTime", report.durable.wall);
    sender.append("lastOpCommitted", report.last_committed.optime);
    sender.append("lastCommittedWall", report.last_committed.wall);
    if (!report.syncing_to.is_empty()) sender.append("syncingTo", report.syncing_to.to_string());
    if (!report.election_time.is_null()) sender.append("electionTime", report.election_time);
}

std::optional<SenderReport> parse_sender(const bson::Value& value) {
    if (!value.is_object()) return std::nullopt;
    const bson::View sender = value.as_view();
    SenderReport report;
    report.state = static_cast<MemberState>(number_or(sender["state"], 6));
    report.applied = {optime_of(sender["opTime"]), date_of(sender["wallTime"])};
    report.durable = {optime_of(sender["durableOpTime"]), date_of(sender["durableWallTime"])};
    report.last_committed = {optime_of(sender["lastOpCommitted"]),
                             date_of(sender["lastCommittedWall"])};
    report.syncing_to = host_of(sender["syncingTo"]);
    if (sender["electionTime"].type() == bson::Type::timestamp)
        report.election_time = sender["electionTime"].as_timestamp();
    return report;
}

bson::Document heartbeat_command(const HeartbeatRequest& request) {
    bson::Builder out;
    out.append("replSetHeartbeat", request.set_name);
    out.append("configVersion", request.config.version).append("configTerm", request.config.term);
    out.append("hbv", heartbeat_version).append("from", request.from.to_string());
    out.append("fromId", request.from_id).append("term", request.term);
    out.append("primaryId", request.primary_id).append("$replData", 1);
    if (request.sender) append_sender(*request.sender, out);
    append_on_admin(out);
    return std::move(out).finish();
}

bson::Document vote_command(const VoteRequest& request) {
    bson::Builder out;
    out.append("replSetRequestVotes", 1).append("setName", request.set_name);
    out.append("dryRun", request.dry_run).append("term", request.term);
    out.append("candidateIndex", request.candidate_index);
    out.append("candidateId", request.candidate_id);
    out.append("configVersion", request.config.version).append("configTerm", request.config.term);
    out.append("lastAppliedOpTime", request.last_applied);
    append_on_admin(out);
    return std::move(out).finish();
}

bson::Document position_command(const PositionUpdate& update, ConfigView config) {
    bson::Builder out;
    out.append("replSetUpdatePosition", 1);
    {
        auto positions = out.array("optimes");
        for (const MemberPosition& position : update.positions) {
            bson::Builder each = positions.object();
            each.append("durableOpTime", position.durable.optime);
            each.append("durableWallTime", position.durable.wall);
            each.append("appliedOpTime", position.applied.optime);
            each.append("appliedWallTime", position.applied.wall);
            each.append("memberId", position.member).append("cfgver", position.config_version);
        }
    }
    append_repl_data(update.metadata, config, out);
    append_on_admin(out);
    return std::move(out).finish();
}

bson::Document heartbeat_fields(const HeartbeatReply& reply, ConfigView config) {
    bson::Builder out;
    out.append("set", reply.set_name).append("state", static_cast<std::int32_t>(reply.state));
    out.append("v", reply.config.version).append("configTerm", reply.config.term);
    out.append("term", reply.term).append("primaryId", reply.primary_id);
    out.append("opTime", reply.applied.optime).append("wallTime", reply.applied.wall);
    out.append("durableOpTime", reply.durable.optime);
    out.append("durableWallTime", reply.durable.wall).append("electable", reply.electable);
    if (!reply.syncing_to.is_empty()) out.append("syncingTo", reply.syncing_to.to_string());
    if (!reply.election_time.is_null()) out.append("electionTime", reply.election_time);
    if (!reply.message.empty()) out.append("hbmsg", reply.message);
    if (reply.new_config) out.append("config", config_to_bson(*reply.new_config));
    append_repl_data(reply.metadata, config, out);
    return std::move(out).finish();
}

Result<HeartbeatReply> parse_heartbeat_reply(bson::View document, ConfigView config) {
    HeartbeatReply reply;
    if (const auto status = status_of_reply(document); !status) {
        reply.error = status.error();
        reply.mismatch = document["mismatch"].is_truthy();
        return reply;
    }
    reply.set_name = text_of(document["set"]);
    reply.state = static_cast<MemberState>(number_or(document["state"], 6));
    reply.config = config_version_of(document, "v", "configTerm");
    reply.term = number_or(document["term"], term_uninitialized);
    reply.primary_id = static_cast<MemberId>(number_or(document["primaryId"], no_member));
    reply.applied = {optime_of(document["opTime"]), date_of(document["wallTime"])};
    reply.durable = {optime_of(document["durableOpTime"]), date_of(document["durableWallTime"])};
    reply.electable = document["electable"].is_truthy();
    reply.syncing_to = host_of(document["syncingTo"]);
    if (document["electionTime"].type() == bson::Type::timestamp)
        reply.election_time = document["electionTime"].as_timestamp();
    reply.message = text_of(document["hbmsg"]);
    if (const bson::Value newer = document["config"]; newer.is_object()) {
        TRY(reply.new_config, parse_config(newer.as_view()));
    }
    reply.metadata = parse_repl_data(document, config);
    return reply;
}

}  // namespace

Status status_of_reply(bson::View reply) {
    if (reply["ok"].is_truthy()) return {};
    return Error(static_cast<ErrorCode>(
                     number_or(reply["code"], static_cast<int>(ErrorCode::unknown_error))),
                 text_of(reply["errmsg"]));
}

bson::Document request_to_bson(const Message& request, ConfigView config) {
    if (const auto* heartbeat = std::get_if<HeartbeatRequest>(&request))
        return heartbeat_command(*heartbeat);
    if (const auto* vote = std::get_if<VoteRequest>(&request)) return vote_command(*vote);
    if (const auto* update = std::get_if<PositionUpdate>(&request))
        return position_command(*update, config);
    const auto* step_up = std::get_if<StepUpRequest>(&request);
    return bson::make("replSetStepUp",
                      1,
                      "skipDryRun",
                      step_up != nullptr && step_up->skip_dry_run,
                      "$db",
                      "admin");
}

Result<bson::Document> reply_to_bson(const Message& reply, ConfigView config) {
    if (const auto* heartbeat = std::get_if<HeartbeatReply>(&reply)) {
        if (!heartbeat->error) return heartbeat_fields(*heartbeat, config);
        if (!heartbeat->mismatch) return *heartbeat->error;
        return Error(heartbeat->error->code(),
                     heartbeat->error->reason(),
                     std::string(bson::make("mismatch", true).bytes()));
    }
    if (const auto* vote = std::get_if<VoteReply>(&reply))
        return bson::make("term", vote->term, "voteGranted", vote->granted, "reason", vote->reason);
    if (const auto* step_up = std::get_if<StepUpReply>(&reply); step_up && step_up->error)
        return *step_up->error;
    if (const auto* position = std::get_if<PositionReply>(&reply))
        return bson::make("term", position->term);
    return bson::Document();
}

Result<HeartbeatRequest> parse_heartbeat_request(bson::View document) {
    HeartbeatRequest request;
    request.set_name = text_of(document["replSetHeartbeat"]);
    if (request.set_name.empty())
        return Error(ErrorCode::bad_value, "replSetHeartbeat takes the name of a set");
    if (number_or(document["hbv"], heartbeat_version) != heartbeat_version)
        return Error(ErrorCode::bad_value, "unexpected heartbeat version");
    request.config = config_version_of(document, "configVersion", "configTerm");
    request.from = host_of(document["from"]);
    request.from_id = static_cast<MemberId>(number_or(document["fromId"], no_member));
    request.term = number_or(document["term"], term_uninitialized);
    request.primary_id = static_cast<MemberId>(number_or(document["primaryId"], no_member));
    request.sender = parse_sender(document["sender"]);
    return request;
}

Result<VoteRequest> parse_vote_request(bson::View document) {
    VoteRequest request;
    if (!document["term"].is_number() || !document["setName"].is_string())
        return Error(ErrorCode::no_such_key, "replSetRequestVotes lacks term or setName");
    request.set_name = text_of(document["setName"]);
    request.dry_run = document["dryRun"].is_truthy();
    request.term = document["term"].to_int64();
    request.candidate_index = static_cast<std::int32_t>(number_or(document["candidateIndex"], -1));
    request.candidate_id = static_cast<MemberId>(number_or(document["candidateId"], no_member));
    request.config = config_version_of(document, "configVersion", "configTerm");
    request.last_applied = optime_of(document["lastAppliedOpTime"]);
    return request;
}

Result<PositionUpdate> parse_position_update(bson::View document, ConfigView config) {
    PositionUpdate update;
    const bson::Value positions = document["optimes"];
    if (!positions.is_array())
        return Error(ErrorCode::no_such_key, "replSetUpdatePosition lacks optimes");
    for (const bson::Element& element : positions.as_view()) {
        if (!element.value.is_object())
            return Error(ErrorCode::bad_value, "replSetUpdatePosition: a position is no object");
        const bson::View each = element.value.as_view();
        MemberPosition position;
        position.member = static_cast<MemberId>(number_or(each["memberId"], no_member));
        position.config_version = number_or(each["cfgver"], -1);
        position.applied = {optime_of(each["appliedOpTime"]), date_of(each["appliedWallTime"])};
        position.durable = {optime_of(each["durableOpTime"]), date_of(each["durableWallTime"])};
        update.positions.push_back(position);
    }
    update.metadata = parse_repl_data(document, config);
    return update;
}

Result<Message> parse_reply(const Message& request, bson::View reply, ConfigView config) {
    if (std::holds_alternative<HeartbeatRequest>(request)) {
        TRY(HeartbeatReply parsed, parse_heartbeat_reply(reply, config));
        return Message(std::move(parsed));
    }
    const auto status = status_of_reply(reply);
    if (std::holds_alternative<StepUpRequest>(request)) {
        StepUpReply parsed;
        if (!status) parsed.error = status.error();
        return Message(std::move(parsed));
    }
    if (!status) return status.error();
    const Term term = number_or(reply["term"], term_uninitialized);
    if (std::holds_alternative<VoteRequest>(request)) {
        VoteReply parsed{term, reply["voteGranted"].is_truthy(), text_of(reply["reason"])};
        return Message(std::move(parsed));
    }
    PositionReply parsed{term};
    return Message(parsed);
}

void append_repl_data(const ReplMetadata& metadata, ConfigView config, bson::Builder& out) {
    bson::Builder data = out.object("$replData");
    data.append("term", metadata.term).append("lastOpCommitted", metadata.last_committed.optime);
    data.append("lastCommittedWall", metadata.last_committed.wall);
    data.append("lastOpVisible", metadata.last_visible);
    data.append("configVersion", metadata.config.version);
    data.append("configTerm", metadata.config.term);
    if (metadata.replica_set_id)
        data.append("replicaSetId", bson::ObjectId{*metadata.replica_set_id});
    data.append("primaryIndex", index_of(config, metadata.primary_id));
    data.append("syncSourceIndex", index_of(config, metadata.sync_source_id));
    data.append("isPrimary", metadata.is_primary);
}

void append_oplog_query_data(const OplogQueryMetadata& metadata,
                             ConfigView config,
                             bson::Builder& out) {
    bson::Builder data = out.object("$oplogQueryData");
    data.append("lastOpCommitted", metadata.last_committed.optime);
    data.append("lastCommittedWall", metadata.last_committed.wall);
    data.append("lastOpApplied", metadata.last_applied).append("rbid", metadata.rollback_id);
    data.append("primaryIndex", index_of(config, metadata.primary_id));
    data.append("syncSourceIndex", index_of(config, metadata.sync_source_id));
}

ReplMetadata parse_repl_data(bson::View reply, ConfigView config) {
    ReplMetadata metadata;
    if (!reply["$replData"].is_object()) return metadata;
    const bson::View data = reply["$replData"].as_view();
    metadata.term = number_or(data["term"], term_uninitialized);
    metadata.last_committed = {optime_of(data["lastOpCommitted"]),
                               date_of(data["lastCommittedWall"])};
    metadata.last_visible = optime_of(data["lastOpVisible"]);
    metadata.config = config_version_of(data, "configVersion", "configTerm");
    if (data["replicaSetId"].type() == bson::Type::object_id)
        metadata.replica_set_id = data["replicaSetId"].as_object_id().bytes;
    metadata.primary_id = id_at(config, data["primaryIndex"]);
    metadata.sync_source_id = id_at(config, data["syncSourceIndex"]);
    metadata.is_primary = data["isPrimary"].is_truthy();
    return metadata;
}

OplogQueryMetadata parse_oplog_query_data(bson::View reply, ConfigView config) {
    OplogQueryMetadata metadata;
    if (!reply["$oplogQueryData"].is_object()) return metadata;
    const bson::View data = reply["$oplogQueryData"].as_view();
    metadata.last_committed = {optime_of(data["lastOpCommitted"]),
                               date_of(data["lastCommittedWall"])};
    metadata.last_applied = optime_of(data["lastOpApplied"]);
    metadata.rollback_id = static_cast<std::int32_t>(number_or(data["rbid"], 0));
    metadata.primary_id = id_at(config, data["primaryIndex"]);
    metadata.sync_source_id = id_at(config, data["syncSourceIndex"]);
    return metadata;
}

}  // namespace tessera::replication
