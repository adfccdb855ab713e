// SPDX-License-Identifier: Apache-2.0
//
// Replica set commands: those of operators (replSetInitiate, replSetReconfig, ...) and those
// members send each other. Thin: replication decides, this file parses and renders.
#include "commands/replication_commands.h"

#include "commands/router.h"
#include "commands/support.h"
#include "replication/write_unit.h"

namespace tessera::commands {
namespace {

Status require_set(const Member& member) {
    if (member.replication->is_replica_set()) return {};
    return Error(ErrorCode::no_replication_enabled,
                 "This node was not started with replication enabled.");
}

bson::Document first_as_document(const Request& request) {
    const bson::Value value = request.body.front().value;
    return value.is_object() ? bson::Document(value.as_view()) : bson::Document();
}

async::Task<Status> initiate(Member& member, Invocation& invocation) {
    if (!member.replication->is_replica_set())
        co_return Error(ErrorCode::no_replication_enabled,
                        "This node was not started with replication enabled.");
    CO_TRY(const bson::Document fields,
           co_await member.replication->initiate(first_as_document(invocation.request)));
    invocation.reply.append_all(fields);
    co_return Status();
}

async::Task<Status> reconfig(Member& member, Invocation& invocation) {
    CO_TRY_OK(require_set(member));
    const Request& request = invocation.request;
    if (!request.body.front().value.is_object())
        co_return Error(ErrorCode::bad_value, "no configuration specified");
    Instant deadline = invocation.operation->deadline;
    CO_TRY(const bson::Document fields,
           co_await member.replication->reconfig(
               first_as_document(request), request.body["force"].is_truthy(), deadline));
    invocation.reply.append_all(fields);
    co_return Status();
}

async::Task<Status> get_status(Member& member, Invocation& invocation) {
    if (!member.replication->is_replica_set())
        co_return Error(ErrorCode::no_replication_enabled, "not running with --replSet");
    CO_TRY(const bson::Document fields, co_await member.replication->status());
    invocation.reply.append_all(fields);
    co_return Status();
}

Status get_config(Member& member, Invocation& invocation) {
    TRY_OK(require_set(member));
    TRY(const bson::Document config, member.replication->config_document());
    invocation.reply.append("config", config);
    return {};
}

async::Task<Status> step_down(Member& member, Invocation& invocation) {
    CO_TRY_OK(require_set(member));
    const Request& request = invocation.request;
    consensus::StepDownRequest step_down;
    const bson::Value first = request.body.front().value;
    const std::int64_t seconds = first.is_number() ? first.to_int64() : 60;
    step_down.force = request.body["force"].is_truthy();
    CO_TRY(const std::int64_t catch_up,
           integer_argument(request.body,
                            "secondaryCatchUpPeriodSecs",
                            step_down.force ? 0 : 10,
                            "replSetStepDown"));
    if (seconds < 0)
        co_return Error(ErrorCode::bad_value, "stepdown period must be a positive integer");
    if (seconds < catch_up)
        co_return Error(ErrorCode::bad_value,
                        "stepdown period must be longer than secondaryCatchUpPeriodSecs");
    step_down.period = std::chrono::seconds(seconds == 0 ? 60 : seconds);
    step_down.catch_up_period = std::chrono::seconds(catch_up);
    co_return co_await member.replication->step_down(step_down);
}

async::Task<Status> step_up(Member& member, Invocation& invocation) {
    CO_TRY_OK(require_set(member));
    co_return co_await member.replication->step_up(
        invocation.request.body["skipDryRun"].is_truthy());
}

async::Task<Status> freeze(Member& member, Invocation& invocation) {
    CO_TRY_OK(require_set(member));
    const bson::Value seconds = invocation.request.body.front().value;
    if (!seconds.is_number() || seconds.to_int64() < 0)
        co_return Error(ErrorCode::bad_value, "replSetFreeze takes a number of seconds");
    CO_TRY(const bson::Document fields,
           co_await member.replication->freeze(std::chrono::seconds(seconds.to_int64())));
    invocation.reply.append_all(fields);
    co_return Status();
}

async::Task<Status> sync_from(Member& member, Invocation& invocation) {
    CO_TRY_OK(require_set(member));
    const bson::Value host = invocation.request.body.front().value;
    if (!host.is_string())
        co_return Error(ErrorCode::type_mismatch, "replSetSyncFrom takes a host name");
    CO_TRY(HostAndPort source, HostAndPort::parse(host.as_string()));
    CO_TRY(const bson::Document fields, co_await member.replication->sync_from(std::move(source)));
    invocation.reply.append_all(fields);
    co_return Status();
}

async::Task<Status> maintenance(Member& member, Invocation& invocation) {
    CO_TRY_OK(require_set(member));
    co_return co_await member.replication->set_maintenance(
        invocation.request.body.front().value.is_truthy());
}

Status get_rollback_id(Member& member, Invocation& invocation) {
    TRY_OK(require_set(member));
    invocation.reply.append("rbid", member.replication->rollback_id());
    return {};
}

// How a process finds itself in a configuration under a name it does not know itself by.
Status is_self(Member& member, Invocation& invocation) {
    TRY_OK(require_set(member));
    invocation.reply.append("id", member.replication->instance_id());
    return {};
}

async::Task<Status> heartbeat(Member& member, Invocation& invocation) {
    CO_TRY_OK(require_set(member));
    CO_TRY(const bson::Document fields,
           co_await member.replication->on_heartbeat(bson::Document(invocation.request.body)));
    invocation.reply.append_all(fields);
    co_return Status();
}

async::Task<Status> request_votes(Member& member, Invocation& invocation) {
    CO_TRY_OK(require_set(member));
    CO_TRY(const bson::Document fields,
           co_await member.replication->on_request_votes(bson::Document(invocation.request.body)));
    invocation.reply.append_all(fields);
    co_return Status();
}

async::Task<Status> update_position(Member& member, Invocation& invocation) {
    CO_TRY_OK(require_set(member));
    CO_TRY(
        const bson::Document fields,
        co_await member.replication->on_update_position(bson::Document(invocation.request.body)));
    invocation.reply.append_all(fields);
    co_return Status();
}

Status append_oplog_note(Member& member, Invocation& invocation) {
    TRY_OK(require_set(member));
    const bson::Value data = invocation.request.body["data"];
    if (!data.is_object())
        return Error(ErrorCode::idl_failed_to_parse,
                     "BSON field 'appendOplogNote.data' is missing but a required field");
    TRY(invocation.last_write, member.replication->write_noop(data.as_view()));
    return {};
}

Status default_rw_concern(Member& member, Invocation& invocation) {
    bson::Builder& reply = invocation.reply;
    reply.object("defaultReadConcern").append("level", "local");
    const auto concern = member.replication->default_write_concern();
    {
        bson::Builder object = reply.object("defaultWriteConcern");
        if (const auto* number = std::get_if<int>(&concern.concern.w))
            object.append("w", *number);
        else
            object.append("w", std::get<std::string>(concern.concern.w));
        object.append("wtimeout", 0);
    }
    reply.append("defaultWriteConcernSource", "implicit");
    reply.append("defaultReadConcernSource", "implicit");
    reply.append("localUpdateWallClockTime", member.clock.wall_now());
    return {};
}

Status default_rw_concern_on_router(Router& router, Invocation& invocation) {
    bson::Builder& reply = invocation.reply;
    reply.object("defaultReadConcern").append("level", "local");
    reply.object("defaultWriteConcern").append("w", "majority").append("wtimeout", 0);
    reply.append("defaultWriteConcernSource", "implicit");
    reply.append("defaultReadConcernSource", "implicit");
    reply.append("localUpdateWallClockTime", router.clock.wall_now());
    return {};
}

// As a mongos answers rs.status() and rs.conf().
async::Task<Status> not_on_routers(Router&, Invocation& invocation) {
    co_return Error(ErrorCode::command_failed,
                    std::string(invocation.request.name) + " is not supported through mongos");
}

constexpr unsigned operators = flags::any_state | flags::admin_only;
constexpr unsigned between_members = flags::any_state | flags::internal | flags::quiet;

}  // namespace

const std::array<Command, 16> replication_commands = {{
    {"replSetInitiate", operators, initiate, nullptr, Counted::command, "Makes a replica set."},
    {"replSetReconfig",
     operators,
     reconfig,
     nullptr,
     Counted::command,
     "Changes a replica set's configuration."},
    {"replSetGetStatus",
     operators,
     get_status,
     not_on_routers,
     Counted::command,
     "The members' states."},
    {"replSetGetConfig",
     operators,
     member_function<get_config>,
     not_on_routers,
     Counted::command,
     "The set's configuration."},
    {"replSetStepDown",
     operators,
     step_down,
     nullptr,
     Counted::command,
     "Makes a primary give up."},
    {"replSetStepUp", operators, step_up, nullptr, Counted::command, "Calls an election."},
    {"replSetFreeze",
     operators,
     freeze,
     nullptr,
     Counted::command,
     "Keeps a member from seeking election."},
    {"replSetSyncFrom",
     operators,
     sync_from,
     nullptr,
     Counted::command,
     "Chooses where a member copies from."},
    {"replSetMaintenance",
     operators,
     maintenance,
     nullptr,
     Counted::command,
     "Takes a member out of service, or back."},
    {"replSetGetRBID",
     operators,
     member_function<get_rollback_id>,
     nullptr,
     Counted::command,
     "How often the member rolled back."},
    {"_isSelf",
     flags::any_state | flags::quiet,
     member_function<is_self>,
     nullptr,
     Counted::command,
     "Internal."},
    {"replSetHeartbeat", between_members, heartbeat, nullptr, Counted::command, "Internal."},
    {"replSetRequestVotes", between_members, request_votes, nullptr, Counted::command, "Internal."},
    {"replSetUpdatePosition",
     between_members,
     update_position,
     nullptr,
     Counted::command,
     "Internal."},
    {"appendOplogNote",
     flags::writes | flags::admin_only,
     member_function<append_oplog_note>,
     nullptr,
     Counted::command,
     "Writes a no-op entry into the oplog."},
    {"getDefaultRWConcern",
     operators,
     member_function<default_rw_concern>,
     router_function<default_rw_concern_on_router>,
     Counted::command,
     "The default read and write concern."},
}};

}  // namespace tessera::commands
