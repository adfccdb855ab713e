// SPDX-License-Identifier: Apache-2.0
//
// fsync and fsyncUnlock. With lock: true writes wait and fetched entries are not applied until as
// many fsyncUnlocks have come as locks were taken; meanwhile the data directory may be copied. A
// router locks the primary of every shard, or none.
#include "commands/fsync_command.h"

#include <algorithm>
#include <utility>

#include "commands/ddl_execution.h"
#include "commands/router.h"
#include "commands/router_calls.h"
#include "commands/support.h"

namespace tessera::commands {
namespace {

constexpr std::int64_t acquisition_ms = 90'000;
// What a router waits for a shard's answer beyond the time the shard may take.
constexpr Duration answer_patience = 10s;

Result<Duration> lock_patience(const Request& request) {
    TRY(const std::int64_t patience,
        count_argument(
            request.body, "fsyncLockAcquisitionTimeoutMillis", acquisition_ms, "fsync"));
    return Duration(std::chrono::milliseconds(patience));
}

Status write_to_disk(Member& member) {
    TRY_OK(member.engine->flush_journal());
    return member.engine->checkpoint();
}

void append_locked(std::int64_t count, bson::Builder& reply) {
    reply.append("info", "now locked against writes, use db.fsyncUnlock() to unlock");
    reply.append("lockCount", count);
    reply.append("seeAlso", "http://dochub.mongodb.org/core/fsynccommand");
}

// Begins a change of the lock once nobody else is at it; a number: it is locked already, and that
// many locks are counted now.
async::Task<Result<std::optional<std::int64_t>>> begin_lock(Member& member,
                                                            Operation& operation,
                                                            Instant deadline) {
    WriteGate& gate = member.write_gate;
    while (true) {
        const auto ticket = gate.lock_changed.ticket();
        {
            const std::lock_guard lock(gate.lock_mutex);
            if (!gate.is_changing && gate.lock_count > 0)
                co_return std::optional(++gate.lock_count);
            if (!std::exchange(gate.is_changing, true)) co_return std::optional<std::int64_t>();
        }
        CO_TRY_OK(operation.check(member.clock));
        if (member.clock.now() >= deadline)
            co_return Error(ErrorCode::lock_timeout,
                            "fsync could not get its lock in time: another one is being taken");
        const Instant until = std::min(deadline, operation.deadline);
        async::Cancellation cancellation = operation.cancellation;
        co_await gate.lock_changed.wait(member.clock, until, ticket, cancellation);
    }
}

void end_change(WriteGate& gate, std::int64_t lock_count) {
    {
        const std::lock_guard lock(gate.lock_mutex);
        gate.is_changing = false;
        gate.lock_count = lock_count;
    }
    gate.lock_changed.notify();
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
    // Nobody would unlock what was taken for a client that is gone.
    if (status) status = operation.check(member.clock);
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
    // A router means the primary; whoever comes by himself means the member he came to.
    CO_TRY_OK(invocation.request.is_internal
                  ? member.replication->check_writable(ns, true)
                  : member.replication->check_readable(ns, replication::ReadAccess{true, true}));
    CO_TRY(const Duration patience, lock_patience(invocation.request));
    Operation& operation = *invocation.operation;
    const Instant deadline = member.clock.now() + patience;
    CO_TRY(const auto counted, co_await begin_lock(member, operation, deadline));
    if (counted) {
        append_locked(*counted, invocation.reply);
        co_return Status();
    }
    const Status status = co_await acquire(member, operation, deadline);
    end_change(member.write_gate, status ? 1 : 0);
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
    const Request& request = invocation.request;
    CO_TRY_OK(request.check_known_fields("fsyncUnlock", {}));
    const Namespace ns{"admin", "$cmd"};
    if (request.is_internal && !request.read_preference.allows_secondary())
        CO_TRY_OK(member.replication->check_writable(ns, true));
    WriteGate& gate = member.write_gate;
    std::unique_ptr<storage::Backup> backup;
    std::int64_t left = 0;
    {
        const std::lock_guard lock(gate.lock_mutex);
        if (gate.lock_count == 0)
            co_return Error(ErrorCode::illegal_operation, "fsyncUnlock called when not locked");
        left = --gate.lock_count;
        if (left == 0) {
            backup = std::move(gate.backup);
            gate.is_changing = true;  // Who locks meanwhile waits, and closes it anew.
        }
    }
    if (left == 0) {
        backup.reset();
        co_await member.replication->release_applying();
        gate.open();
        end_change(gate, 0);
    }
    invocation.reply.append("info", "fsyncUnlock completed").append("lockCount", left);
    co_return Status();
}

// One command to every shard, to be answered by `deadline` whatever becomes of the client: what
// has been locked must be known.
async::Task<Result<std::vector<ShardAnswer>>> call_primaries(Router& router,
                                                             Invocation& invocation,
                                                             bson::Document command,
                                                             Instant deadline) {
    CO_TRY(const auto shards, co_await all_shards(router, invocation));
    std::vector<ShardCommand> commands;
    for (const routing::ShardName& shard : shards) {
        bson::Builder complete;
        complete.append_all(command);
        for (const std::string_view name : {"maxTimeMS", "comment"})
            complete.append(name, invocation.request.body[name]);
        complete.append("$db", "admin");
        commands.push_back(ShardCommand{shard, std::move(complete).finish()});
    }
    sharding::CallOptions options;
    options.deadline = deadline;
    co_return co_await call_shards(router, invocation, std::move(commands), std::move(options));
}

void append_answers(const std::vector<ShardAnswer>& answers, bson::Builder& reply) {
    bson::Builder all = reply.object("all");
    for (const ShardAnswer& answer : answers) {
        bson::Builder one = all.object(answer.shard);
        if (!answer.host.is_empty()) one.append("host", answer.host.to_string());
        if (answer.reply) {
            append_payload(*answer.reply, one);
            one.append("ok", 1.0);
        } else {
            const Error& error = answer.reply.error();
            one.append("ok", 0.0).append("errmsg", error.reason());
            one.append("code", static_cast<std::int32_t>(error.code()));
            one.append("codeName", code_name(error.code()));
        }
    }
}

async::Task<void> unlock_host(Router& router, HostAndPort host) {
    bson::Builder command;
    command.append("fsyncUnlock", 1).append("$readPreference", bson::make("mode", "nearest"));
    command.append("$db", "admin");
    sharding::CallOptions options;
    options.deadline = router.clock.now() + answer_patience;
    // A member that cannot be reached keeps its lock: the failure that led here names the shard.
    [[maybe_unused]] const auto answer = co_await router.shards.call_host(
        std::move(host), std::move(command).finish(), std::move(options));
}

// Takes back what has been locked, at the very members that were: their shard may have another
// primary by now.
async::Task<void> unlock_again(Router& router, const std::vector<ShardAnswer>& answers) {
    std::vector<async::Task<void>> calls;
    for (const ShardAnswer& answer : answers)
        if (answer.reply) calls.push_back(unlock_host(router, answer.host));
    co_await async::when_all(std::move(calls));
}

// Fails with the first failure, which names its shard.
Status check_all_locked(const std::vector<ShardAnswer>& answers) {
    for (const ShardAnswer& answer : answers) {
        if (answer.reply) continue;
        const Error& error = answer.reply.error();
        return Error(error.code(),
                     "could not lock shard " + answer.shard +
                         ", the others are unlocked again: " + error.reason());
    }
    return {};
}

// All shards or none.
async::Task<Status> lock_on_router(Router& router, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY(const Duration patience, lock_patience(request));
    bson::Builder command;
    command.append("fsync", 1).append("lock", true);
    command.append("fsyncLockAcquisitionTimeoutMillis", to_milliseconds(patience));
    const Instant deadline = router.clock.now() + patience + answer_patience;
    bson::Document complete = std::move(command).finish();
    auto calling = call_primaries(router, invocation, std::move(complete), deadline);
    CO_TRY(const auto answers, co_await std::move(calling));
    Status status = check_all_locked(answers);
    if (status) status = invocation.operation->check(router.clock);
    if (!status) {
        co_await unlock_again(router, answers);
        co_return status;
    }
    std::int64_t count = 0;
    for (const ShardAnswer& answer : answers)
        count = std::max(count, (*answer.reply)["lockCount"].to_int64());
    append_locked(count, invocation.reply);
    append_answers(answers, invocation.reply);
    co_return Status();
}

async::Task<Status> fsync_on_router(Router& router, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY_OK(request.check_known_fields("fsync", {"lock", "fsyncLockAcquisitionTimeoutMillis"}));
    if (request.body["lock"].is_truthy()) co_return co_await lock_on_router(router, invocation);
    CO_TRY(const auto shards, co_await all_shards(router, invocation));
    std::vector<ShardCommand> commands;
    for (const routing::ShardName& shard : shards) {
        bson::Builder command;
        command.append("fsync", 1);
        append_read_context(request, "admin", nullptr, command);
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

// Every shard is tried. One that is not locked has another primary than when it was, or was never
// asked: no failure while there is something to unlock elsewhere.
async::Task<Status> unlock_on_router(Router& router, Invocation& invocation) {
    CO_TRY_OK(invocation.request.check_known_fields("fsyncUnlock", {}));
    const Instant deadline = router.clock.now() + routing_patience;
    bson::Document command = bson::make("fsyncUnlock", 1);
    auto calling = call_primaries(router, invocation, std::move(command), deadline);
    CO_TRY(const auto answers, co_await std::move(calling));
    std::int64_t left = 0;
    bool is_any_unlocked = false;
    for (const ShardAnswer& answer : answers) {
        if (!answer.reply) {
            const Error& error = answer.reply.error();
            if (error.code() == ErrorCode::illegal_operation) continue;
            co_return Error(error.code(),
                            "could not unlock shard " + answer.shard + ": " + error.reason());
        }
        is_any_unlocked = true;
        left = std::max(left, (*answer.reply)["lockCount"].to_int64());
    }
    if (!is_any_unlocked)
        co_return Error(ErrorCode::illegal_operation, "fsyncUnlock called when not locked");
    invocation.reply.append("info", "fsyncUnlock completed").append("lockCount", left);
    append_answers(answers, invocation.reply);
    co_return Status();
}

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
