// SPDX-License-Identifier: Apache-2.0
//
// fsync and fsyncUnlock. With lock: true writes wait and fetched entries are not applied until as
// many fsyncUnlocks have come as locks were taken; meanwhile the data directory may be copied.
#include "commands/fsync_command.h"

#include "commands/ddl_execution.h"
#include "commands/router.h"
#include "commands/router_calls.h"
#include "commands/support.h"

namespace tessera::commands {
namespace {

constexpr std::int64_t acquisition_ms = 90'000;

Status write_to_disk(Member& member) {
    TRY_OK(member.engine->flush_journal());
    return member.engine->checkpoint();
}

void append_locked(std::int64_t count, bson::Builder& reply) {
    reply.append("info", "now locked against writes, use db.fsyncUnlock() to unlock");
    reply.append("lockCount", count);
    reply.append("seeAlso", "http://dochub.mongodb.org/core/fsynccommand");
}

// Begins a change of the lock; nullopt: there is nothing to do, it is counted.
Result<std::optional<std::int64_t>> begin_lock(WriteGate& gate) {
    const std::lock_guard lock(gate.lock_mutex);
    if (gate.is_changing)
        return Error(ErrorCode::lock_busy, "another fsync with lock is just being done");
    if (gate.lock_count > 0) return std::optional(++gate.lock_count);
    gate.is_changing = true;
    return std::optional<std::int64_t>();
}

async::Task<Status> acquire(Member& member, Operation& operation, Instant deadline) {
    CO_TRY_OK(co_await member.write_gate.close(member.clock, deadline, operation));
    Status status;
    const bool is_held = co_await member.replication->hold_applying(deadline);
    if (!is_held)
        status = Error(ErrorCode::lock_timeout, "fsync could not get its lock in time");
    if (status) {
        async::resume_on hop(member.workers);
        co_await hop;
        status = write_to_disk(member);
    }
    if (status) {
        auto backup = storage::begin_backup(*member.engine);
        if (backup)
            member.write_gate.backup = std::move(*backup);
        else
            status = backup.error();
    }
    if (status) co_return status;
    if (is_held) co_await member.replication->release_applying();
    member.write_gate.open();
    co_return status;
}

async::Task<Status> lock_writes(Member& member, Invocation& invocation) {
    const Namespace ns{"admin", "$cmd"};
    CO_TRY_OK(member.replication->check_readable(ns, replication::ReadAccess{true, true}));
    CO_TRY(const std::int64_t patience,
           count_argument(invocation.request.body,
                          "fsyncLockAcquisitionTimeoutMillis",
                          acquisition_ms,
                          "fsync"));
    WriteGate& gate = member.write_gate;
    CO_TRY(const auto counted, begin_lock(gate));
    if (counted) {
        append_locked(*counted, invocation.reply);
        co_return Status();
    }
    const Instant deadline = member.clock.now() + std::chrono::milliseconds(patience);
    Operation& operation = *invocation.operation;
    const Status status = co_await acquire(member, operation, deadline);
    {
        const std::lock_guard lock(gate.lock_mutex);
        gate.is_changing = false;
        if (status) gate.lock_count = 1;
    }
    CO_TRY_OK(status);
    append_locked(1, invocation.reply);
    co_return Status();
}

async::Task<Status> fsync_on_member(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY_OK(request.check_known_fields("fsync", {"lock", "fsyncLockAcquisitionTimeoutMillis"}));
    if (request.body["lock"].is_truthy()) co_return co_await lock_writes(member, invocation);
    async::resume_on hop(member.workers);
    co_await hop;
    CO_TRY_OK(write_to_disk(member));
    append_count(invocation.reply, "numFiles", 1);
    co_return Status();
}

async::Task<Status> unlock_on_member(Member& member, Invocation& invocation) {
    CO_TRY_OK(invocation.request.check_known_fields("fsyncUnlock", {}));
    WriteGate& gate = member.write_gate;
    std::unique_ptr<storage::Backup> backup;
    std::int64_t left = 0;
    {
        const std::lock_guard lock(gate.lock_mutex);
        if (gate.lock_count == 0)
            co_return Error(ErrorCode::illegal_operation, "fsyncUnlock called when not locked");
        left = --gate.lock_count;
        if (left == 0) backup = std::move(gate.backup);
    }
    if (left == 0) {
        backup.reset();
        co_await member.replication->release_applying();
        gate.open();
    }
    invocation.reply.append("info", "fsyncUnlock completed").append("lockCount", left);
    co_return Status();
}

Error no_lock_on_routers() {
    return {ErrorCode::command_not_supported,
            "a router cannot lock the cluster: lock the shards' members one by one"};
}

async::Task<Status> fsync_on_router(Router& router, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY_OK(request.check_known_fields("fsync", {"lock", "fsyncLockAcquisitionTimeoutMillis"}));
    if (request.body["lock"].is_truthy()) co_return no_lock_on_routers();
    CO_TRY(const auto shards, co_await all_shards(router, invocation));
    std::vector<ShardCommand> commands;
    for (const routing::ShardName& shard : shards) {
        bson::Builder command;
        command.append("fsync", 1);
        append_read_context(router, request, "admin", nullptr, command);
        commands.push_back(ShardCommand{shard, std::move(command).finish()});
    }
    auto answers = co_await call_shards(
        router, invocation, std::move(commands), primary_options(invocation, true));
    CO_TRY_OK(check_answers(answers));
    std::int64_t files = 0;
    for (const ShardAnswer& answer : answers) files += (*answer.reply)["numFiles"].to_int64();
    append_count(invocation.reply, "numFiles", files);
    bson::Builder all = invocation.reply.object("all");
    for (const ShardAnswer& answer : answers) {
        bson::Builder one = all.object(answer.shard);
        append_payload(*answer.reply, one);
    }
    co_return Status();
}

async::Task<Status> unlock_on_router(Router&, Invocation&) { co_return no_lock_on_routers(); }

}  // namespace

const std::array<Command, 2> fsync_commands = {{
    {"fsync",
     flags::any_state | flags::admin_only,
     fsync_on_member,
     fsync_on_router,
     Counted::command,
     "Writes everything to disk; with lock: true keeps writes out."},
    {"fsyncUnlock",
     flags::any_state | flags::admin_only,
     unlock_on_member,
     unlock_on_router,
     Counted::command,
     "Ends fsync's lock."},
}};

}  // namespace tessera::commands
