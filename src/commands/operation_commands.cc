// SPDX-License-Identifier: Apache-2.0
//
// currentOp and killOp: what runs now, and how it is stopped. An operation's id is a number on the
// process that runs it. Routers show those of the shards as "shard:number" and take them back so,
// and send killOp to the member the same read preference chooses, for that is the one they asked.
#include "commands/operation_commands.h"

#include <algorithm>
#include <charconv>

#include "commands/diagnostic_sources.h"
#include "commands/router_calls.h"
#include "commands/support.h"
#include "query/match/filter.h"
#include "wire/command_line.h"

namespace tessera::commands {
namespace {

// The operands of currentOp that are no filter on what it shows.
bool is_option(std::string_view name) {
    return name == "$all" || name == "$ownOps" || name == "$truncateOps" ||
           wire::is_generic_argument(name);
}

// Every other field is a condition: {currentOp: 1, op: "query", secs_running: {$gt: 3}}.
Result<query::Filter> parse_filter(const Request& request) {
    bson::Builder filter;
    bool is_first = true;
    for (const bson::Element& field : request.body)
        if (!std::exchange(is_first, false) && !is_option(field.name)) filter.append(field);
    const bson::Document conditions = std::move(filter).finish();
    return query::Filter::parse(conditions, {});
}

Status show(const std::vector<bson::Document>& operations, Invocation& invocation) {
    TRY(const query::Filter filter, parse_filter(invocation.request));
    query::MatchContext context;
    auto list = invocation.reply.array("inprog");
    for (const bson::Document& each : operations) {
        TRY(const bool matches, filter.matches(each, context));
        if (matches) list.append(each);
    }
    return {};
}

void append_fsync_lock(bson::Builder& reply) {
    reply.append("fsyncLock", true);
    reply.append("info", "use db.fsyncUnlock() to terminate the fsync write/snapshot lock");
}

Status current_op(Member& member, Invocation& invocation) {
    const bool shows_all = invocation.request.body["$all"].is_truthy();
    TRY_OK(show(current_operations(member, {shows_all, shows_all}), invocation));
    if (member.write_gate.is_closed()) append_fsync_lock(invocation.reply);
    return {};
}

async::Task<Status> current_op_on_router(Router& router, Invocation& invocation) {
    CO_TRY(const auto shards, co_await all_shards(router, invocation));
    std::vector<ShardCommand> commands;
    for (const routing::ShardName& shard : shards) {
        bson::Builder command;
        command.append("currentOp", 1).append("$all", invocation.request.body["$all"]);
        append_read_context(invocation.request, "admin", nullptr, command);
        commands.push_back(ShardCommand{shard, std::move(command).finish()});
    }
    auto answers = co_await call_shards(
        router, invocation, std::move(commands), call_options(invocation, true));
    CO_TRY_OK(check_answers(answers));
    std::vector<bson::Document> operations;
    for (const ShardAnswer& answer : answers) {
        const bson::Value list = (*answer.reply)["inprog"];
        if (!list.is_array()) continue;
        for (const bson::Element& each : list.as_view())
            if (each.value.is_object())
                operations.push_back(operation_of_shard(each.value.as_view(), answer.shard));
    }
    CO_TRY_OK(show(operations, invocation));
    const bool is_locked = std::any_of(answers.begin(), answers.end(), [](const auto& answer) {
        return (*answer.reply)["fsyncLock"].is_truthy();
    });
    if (is_locked) append_fsync_lock(invocation.reply);
    co_return Status();
}

Status kill_here(Node& node, Invocation& invocation) {
    const bson::Value op = invocation.request.body["op"];
    if (!op.is_number())
        return Error(ErrorCode::type_mismatch, "\"op\" had the wrong type. Expected number");
    // As on MongoDB the answer does not say whether there was such an operation.
    node.operations.kill(op.to_int64(), ErrorCode::interrupted);
    invocation.reply.append("info", "attempting to kill op");
    return {};
}

struct ShardOperation {
    routing::ShardName shard;
    std::int64_t id = 0;
};

Result<ShardOperation> parse_operation(std::string_view text) {
    const std::size_t colon = text.rfind(':');
    ShardOperation operation;
    if (colon != std::string_view::npos && colon > 0) {
        operation.shard = text.substr(0, colon);
        const std::string_view number = text.substr(colon + 1);
        const auto [end, failure] =
            std::from_chars(number.data(), number.data() + number.size(), operation.id);
        if (failure == std::errc() && end == number.data() + number.size()) return operation;
    }
    return Error(ErrorCode::bad_value,
                 "The op argument to killOp must be of the format shardid:opid but found \"" +
                     std::string(text) + "\"");
}

async::Task<Status> kill_op_on_router(Router& router, Invocation& invocation) {
    const bson::Value op = invocation.request.body["op"];
    if (!op.is_string()) co_return kill_here(router, invocation);
    CO_TRY(const ShardOperation operation, parse_operation(op.as_string()));
    if (operation.shard != sharding::config_shard && !router.shards.address(operation.shard)) {
        CO_TRY_OK(co_await router.shards.refresh(
            routing_deadline(router, *invocation.operation), invocation.operation->cancellation));
        if (!router.shards.address(operation.shard))
            co_return Error(ErrorCode::shard_not_found,
                            "Shard " + operation.shard + " not found: there is no operation " +
                                std::string(op.as_string()));
    }
    bson::Builder command;
    command.append("killOp", 1).append("op", operation.id);
    append_read_context(invocation.request, "admin", nullptr, command);
    bson::Document complete = std::move(command).finish();
    auto call = call_shard(router,
                           invocation,
                           operation.shard,
                           std::move(complete),
                           call_options(invocation, true));
    CO_TRY(const bson::Document answer, co_await std::move(call));
    append_payload(answer, invocation.reply);
    co_return Status();
}

async::Task<Status> kill_op_on_member(Member& member, Invocation& invocation) {
    co_return kill_here(member, invocation);
}

}  // namespace

bson::Document operation_of_shard(bson::View document, const std::string& shard) {
    bson::Builder out;
    out.append("shard", shard);
    for (const bson::Element& field : document) {
        if (field.name == "opid" && field.value.is_number())
            out.append("opid", shard + ":" + std::to_string(field.value.to_int64()));
        else if (field.name != "shard")
            out.append(field);
    }
    return std::move(out).finish();
}

const std::array<Command, 2> operation_commands = {{
    {"currentOp",
     flags::any_state | flags::admin_only,
     member_function<current_op>,
     current_op_on_router,
     Counted::command,
     "The operations in progress."},
    {"killOp",
     flags::any_state | flags::admin_only,
     kill_op_on_member,
     kill_op_on_router,
     Counted::command,
     "Stops a running operation."},
}};

}  // namespace tessera::commands
