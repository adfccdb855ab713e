// SPDX-License-Identifier: Apache-2.0
#include "commands/write_execution.h"

#include <algorithm>

#include "commands/support.h"
#include "replication/ddl.h"

namespace tessera::commands {
namespace {
constexpr int immediate_attempts = 4;
constexpr Duration pause_min = 1ms;
constexpr Duration pause_max = 32ms;
}  // namespace

replication::StatementId WriteCommand::statement_id(std::size_t index) const {
    if (invocation.session == nullptr) return replication::no_statement;
    if (index < statement_ids.size()) return statement_ids[index];
    return first_statement + static_cast<replication::StatementId>(index);
}

Result<std::optional<OpTime>> WriteCommand::executed(std::size_t index) const {
    if (invocation.session == nullptr) return std::optional<OpTime>();
    const auto at = invocation.session->executed(statement_id(index));
    if (!at && invocation.session->is_incomplete())
        return Error(ErrorCode::incomplete_transaction_history,
                     "Incomplete history detected for transaction " +
                         std::to_string(invocation.session->txn_number()) + " on session " +
                         invocation.session->id().id.to_string());
    if (at) member.metrics.retried_statements.fetch_add(1, std::memory_order_relaxed);
    return at;
}

namespace {
void read_statement_ids(WriteCommand& command) {
    if (command.invocation.session == nullptr) return;
    const auto to_id = [](const bson::Value& value) {
        return static_cast<replication::StatementId>(value.to_int64());
    };
    const bson::View body = command.invocation.request.body;
    if (const bson::Value first = body["stmtId"]; first.is_number())
        command.first_statement = to_id(first);
    const bson::Value ids = body["stmtIds"];
    if (!ids.is_array()) return;
    for (const bson::Element& id : ids.as_view()) {
        if (!id.value.is_number()) break;
        command.statement_ids.push_back(to_id(id.value));
    }
}
}  // namespace

Result<WriteCommand> parse_write_command(Member& member,
                                         Invocation& invocation,
                                         std::size_t statements) {
    const Request& request = invocation.request;
    TRY(Namespace ns, request.collection());
    invocation.ns = ns;
    if (statements == 0 || statements > static_cast<std::size_t>(write_batch_max))
        return Error(ErrorCode::invalid_length,
                     "Write batch sizes must be between 1 and 100000. Got " +
                         std::to_string(statements) + " operations.");
    const bson::Value ordered = request.body["ordered"];
    const bool is_client = !invocation.operation->client->is_internal;
    if (is_client && (ns.is_oplog() || ns.collection == profile_collection))
        return Error(ErrorCode::invalid_namespace, "cannot write to '" + ns.to_string() + "'");
    WriteCommand command{member, invocation, std::move(ns), true, true, {}, {}, 0};
    read_statement_ids(command);
    if (!ordered.is_missing()) {
        TRY(command.is_ordered, bool_argument(request.body, "ordered", true, request.name));
    }
    command.validates = !request.body["bypassDocumentValidation"].is_truthy();
    if (member.catalog->find_view(command.ns)) return is_a_view(command.ns);
    TRY(command.placement, check_placement(member, request, command.ns, true));
    return command;
}

Status ensure_collection(Member& member, Invocation& invocation, const Namespace& ns) {
    if (member.catalog->find(ns)) return {};
    if (ns.collection.starts_with("system.") && ns.collection != "system.views" &&
        ns.collection != "system.js" && ns.collection != "system.profile" &&
        !(ns.db == "config" || ns.db == "admin" || ns.db == "local"))
        return Error(ErrorCode::invalid_namespace,
                     "Invalid system namespace: " + ns.to_string());
    while (true) {
        catalog::CollectionLock lock = member.catalog->lock_exclusive(ns);
        if (lock) return {};  // Somebody else was faster.
        if (member.catalog->find_view(ns)) return is_a_view(ns);
        TRY(auto unit, replication::WriteUnit::begin(*member.replication, *member.engine,
                                                     member.clock));
        if (ns.is_replicated()) TRY_OK(unit.reserve(1));
        auto created = replication::create_collection(unit, *member.catalog, ns, {});
        if (created) {
            if (invocation.last_write < *created) invocation.last_write = *created;
            return {};
        }
        if (created.error().code() != ErrorCode::write_conflict) return created.error();
        TRY_OK(invocation.operation->check(member.clock));
    }
}

async::Task<Result<bool>> ConflictBackoff::again(const Error& error) {
    if (error.code() != ErrorCode::write_conflict) co_return false;
    member_.metrics.write_conflicts.fetch_add(1, std::memory_order_relaxed);
    ++operation_.stats.write_conflicts;
    CO_TRY_OK(operation_.check(member_.clock));
    if (++attempts_ > immediate_attempts) {
        const Duration pause =
            std::min(pause_max, pause_min * (1 << std::min(attempts_ - immediate_attempts, 5)));
        async::sleep_until wait(member_.clock, member_.clock.now() + pause);
        co_await wait;
    }
    co_return true;
}

void WriteReply::append_head(bson::Builder& reply) const { append_count(reply, "n", count); }

void WriteReply::append_tail(const WriteCommand& command, bson::Builder& reply) const {
    if (!errors_.empty()) {
        auto list = reply.array("writeErrors");
        for (const auto& [index, error] : errors_) append_write_error(list, index, error);
    }
    if (!retried_.empty()) {
        auto list = reply.array("retriedStmtIds");
        for (const replication::StatementId statement : retried_) list.append(statement);
    }
    if (command.member.replication->oplog() == nullptr) return;
    if (!command.invocation.last_write.is_null())
        reply.append("opTime", command.invocation.last_write);
}

void notify_write(Member& member,
                  const WriteCommand& command,
                  bson::View key_source,
                  bson::View document,
                  bool is_delete) {
    if (member.placement == nullptr || command.placement.shard_key.is_empty()) return;
    member.placement->on_write(command.ns, key_source, document, is_delete);
}

Result<Placement> check_placement(Member& member, const Request& request, const Namespace& ns,
                                  bool is_write) {
    if (member.placement == nullptr) return Placement();
    return member.placement->check(request, ns, is_write);
}

void note_no_op_write(WriteCommand& command) {
    command.wrote(command.member.replication->last_applied());
}

}  // namespace tessera::commands
