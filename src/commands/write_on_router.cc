// SPDX-License-Identifier: Apache-2.0
//
// insert, update and delete on a router: routing::WriteBatch decides what goes where and what
// again; here its batches become commands, and its questions are answered. Statements keep their
// numbers (stmtIds), so that a driver's retry through any router finds what was done before.
#include "commands/write_on_router.h"

#include <algorithm>
#include <utility>

#include "catalog/collection.h"
#include "commands/find_command.h"
#include "commands/router_two_phase.h"
#include "commands/router_writes.h"
#include "commands/write_execution.h"
#include "routing/write_batch.h"

namespace tessera::commands {
namespace {

constexpr std::size_t statement_overhead = 16;

bool is_simple(const bson::Value& collation) {
    if (!collation.is_object() || collation.as_view().is_empty()) return true;
    const bson::Value locale = collation.as_view()["locale"];
    return locale.is_string() && locale.as_string() == "simple";
}

routing::BatchStatement write_statement(bson::View statement, bool is_update) {
    using Kind = routing::WriteStatement::Kind;
    routing::BatchStatement result;
    result.kind = routing::BatchStatement::Kind::write;
    result.bytes = statement.size() + statement_overhead;
    routing::WriteStatement& write = result.write;
    if (const bson::Value query = statement["q"]; query.is_object()) write.filter = query.as_view();
    write.options.is_collation_simple = is_simple(statement["collation"]);
    if (!is_update) {
        write.kind = Kind::remove;
        write.is_multi = statement["limit"].to_int64() == 0;
        return result;
    }
    const bson::Value update = statement["u"];
    write.is_multi = statement["multi"].is_truthy();
    write.is_upsert = statement["upsert"].is_truthy();
    if (update.is_array())
        write.kind = Kind::pipeline;
    else if (update.is_object() && !update.as_view().is_empty() &&
             update.as_view().front().name.starts_with("$"))
        write.kind = Kind::update_operators;
    else
        write.kind = Kind::replacement;
    return result;
}

}  // namespace

std::string_view list_name(RouterWrite::Kind kind) {
    switch (kind) {
        case RouterWrite::Kind::insert:
            return "documents";
        case RouterWrite::Kind::update:
            return "updates";
        case RouterWrite::Kind::remove:
            break;
    }
    return "deletes";
}

std::string_view command_name(RouterWrite::Kind kind) {
    switch (kind) {
        case RouterWrite::Kind::insert:
            return "insert";
        case RouterWrite::Kind::update:
            return "update";
        case RouterWrite::Kind::remove:
            break;
    }
    return "delete";
}

std::int64_t statement_number(const Request& request, std::size_t index) {
    if (const bson::Value ids = request.body["stmtIds"]; ids.is_array()) {
        const bson::Value id = ids.as_view()[std::to_string(index)];
        if (id.is_number()) return id.to_int64();
    }
    const auto offset = static_cast<std::int64_t>(index);
    if (const bson::Value id = request.body["stmtId"]; id.is_number())
        return id.to_int64() + offset;
    return offset;
}

namespace {

bson::Document child_command(const Request& request,
                             const RouterWrite& write,
                             const routing::ShardTarget& target,
                             const std::vector<std::uint32_t>& statements) {
    std::size_t bytes = 512;
    for (const std::uint32_t index : statements)
        bytes += write.statements[index].size() + statement_overhead;
    std::string out;
    out.reserve(bytes);
    {
        bson::Builder command(out);
        command.append(command_name(write.kind), write.ns.collection);
        {
            auto list = command.array(list_name(write.kind));
            for (const std::uint32_t index : statements)
                list.append(write.statements[index]);
        }
        command.append("ordered", write.is_ordered);
        if (write.bypasses_validation) command.append("bypassDocumentValidation", true);
        command.append("bypassEmptyTsReplacement", request.body["bypassEmptyTsReplacement"]);
        if (!write.let.is_empty()) command.append("let", write.let);
        if (write.has_statement_numbers) {
            auto ids = command.array("stmtIds");
            for (const std::uint32_t index : statements)
                ids.append(static_cast<std::int32_t>(statement_number(request, index)));
        }
        append_write_context(request, write.ns.db, &target, command);
    }
    return bson::Document::adopt(std::move(out));
}

// One child of a round, on its way.
struct Sent {
    const routing::ChildBatch* child = nullptr;
    Result<bson::Document> reply = bson::Document();
};

async::Task<void> send_child(Router& router,
                             Invocation& invocation,
                             const RouterWrite& write,
                             Sent& sent) {
    const routing::ChildBatch& child = *sent.child;
    if (child.kind == routing::WriteKind::two_phase) {
        const std::uint32_t index = child.statements.front();
        sent.reply = co_await write_where_found(router, invocation, write, index, child.candidates);
        co_return;
    }
    bson::Document command =
        child_command(invocation.request, write, child.target, child.statements);
    sharding::CallOptions options = primary_options(invocation, write.has_statement_numbers);
    auto reply =
        co_await router.shards.call(child.target.shard, std::move(command), std::move(options));
    if (reply) note_time(invocation, *reply);
    sent.reply = std::move(reply);
}

// Sends a round and reports what came back. Fails when the operation was killed.
async::Task<Status> run_round(Router& router,
                              Invocation& invocation,
                              const RouterWrite& write,
                              routing::WriteBatch& batch,
                              const std::vector<routing::ChildBatch>& children) {
    std::vector<Sent> sent(children.size());
    std::vector<async::Task<void>> calls;
    for (std::size_t i = 0; i < children.size(); ++i) {
        sent[i].child = &children[i];
        calls.push_back(send_child(router, invocation, write, sent[i]));
    }
    if (calls.size() == 1)
        co_await std::move(calls.front());
    else
        co_await async::when_all(std::move(calls));
    for (const Sent& each : sent) {
        if (each.reply) {
            batch.on_reply(each.child->id, *each.reply);
            continue;
        }
        CO_TRY_OK(invocation.operation->check(router.clock));
        batch.on_error(each.child->id, each.reply.error());
    }
    co_return Status();
}

}  // namespace

async::Task<Result<routing::WriteBatchResult>> run_write(Router& router,
                                                         Invocation& invocation,
                                                         const RouterWrite& write) {
    std::vector<routing::BatchStatement> statements;
    statements.reserve(write.statements.size());
    for (const bson::View each : write.statements) {
        if (write.kind != RouterWrite::Kind::insert) {
            statements.push_back(write_statement(each, write.kind == RouterWrite::Kind::update));
            continue;
        }
        routing::BatchStatement insert;
        insert.document = each;
        insert.bytes = each.size() + statement_overhead;
        statements.push_back(insert);
    }
    routing::WriteBatchOptions options;
    options.is_ordered = write.is_ordered;
    // A multi write for several shards goes without versions (protocol.md 4.4), so that nobody says
    // that a range has moved to a shard the old map gives none: it begins with what is true now.
    bool needs_fresh_map = std::any_of(statements.begin(), statements.end(), [](const auto& each) {
        return each.write.is_multi;
    });
    routing::WriteBatch batch(write.ns.to_string(), options, std::move(statements));
    int drops = 0;
    while (!batch.is_finished()) {
        CO_TRY_OK(invocation.operation->check(router.clock));
        const Instant deadline = routing_deadline(router, *invocation.operation);
        auto info = co_await router.routing.get(write.ns.to_string(), deadline);
        const bool is_missing = !info && info.error().code() == ErrorCode::namespace_not_found;
        if (is_missing && ++drops <= routing::limits::stale_retries) {
            // Dropped since we began: made anew, as by a write that comes a moment later.
            CO_TRY_OK(co_await ensure_database(router, invocation, write.ns.db));
            continue;
        }
        if (!info) co_return call_error(router, *invocation.operation, info.error());
        if (std::exchange(needs_fresh_map, false) && info->is_sharded()) {
            router.routing.forget(write.ns.to_string());
            continue;
        }
        const std::vector<routing::ChildBatch> children = batch.next_round(*info);
        if (!children.empty())
            CO_TRY_OK(co_await run_round(router, invocation, write, batch, children));
        for (const routing::RefreshRequest& request : batch.take_refreshes())
            router.routing.mark_stale(request);
    }
    if (batch.fatal()) co_return *batch.fatal();
    co_return batch.result();
}

namespace {

Result<RouterWrite> parse_write(Invocation& invocation, RouterWrite::Kind kind) {
    const Request& request = invocation.request;
    if (kind == RouterWrite::Kind::insert)
        TRY_OK(request.check_known_fields("insert",
                                          {"documents",
                                           "ordered",
                                           "bypassDocumentValidation",
                                           "stmtId",
                                           "stmtIds",
                                           "encryptionInformation",
                                           "bypassEmptyTsReplacement"}));
    else
        TRY_OK(request.check_known_fields(command_name(kind),
                                          {list_name(kind),
                                           "ordered",
                                           "bypassDocumentValidation",
                                           "let",
                                           "stmtId",
                                           "stmtIds",
                                           "encryptionInformation",
                                           "bypassEmptyTsReplacement",
                                           "isTimeseriesNamespace"}));
    RouterWrite write;
    write.kind = kind;
    TRY(write.statements, request.documents(list_name(kind)));
    TRY(write.ns, request.collection());
    invocation.ns = write.ns;
    const std::size_t count = write.statements.size();
    if (count == 0 || count > static_cast<std::size_t>(write_batch_max))
        return Error(ErrorCode::invalid_length,
                     "Write batch sizes must be between 1 and 100000. Got " +
                         std::to_string(count) + " operations.");
    TRY(write.is_ordered, bool_argument(request.body, "ordered", true, request.name));
    write.bypasses_validation = request.body["bypassDocumentValidation"].is_truthy();
    TRY(write.let, object_argument(request.body, "let", request.name));
    write.has_statement_numbers = request.session && request.session->txn_number.has_value();
    return write;
}

void count_statements(Router& router, const RouterWrite& write) {
    const auto count = static_cast<std::int64_t>(write.statements.size());
    auto& counters = router.metrics.operations;
    switch (write.kind) {
        case RouterWrite::Kind::insert:
            counters.insert.fetch_add(count);
            break;
        case RouterWrite::Kind::update:
            counters.update.fetch_add(count);
            break;
        case RouterWrite::Kind::remove:
            counters.remove.fetch_add(count);
            break;
    }
}

// Inserts are routed by their _id as well: each gets one here if the client gave none.
Status complete_documents(Router& router, RouterWrite& write, std::vector<bson::Document>& owned) {
    owned.reserve(write.statements.size());
    for (bson::View& document : write.statements) {
        if (document.has("_id")) continue;
        bson::Builder fixed;
        fixed.append("_id", router.make_object_id());
        fixed.append_all(document);
        owned.push_back(std::move(fixed).finish());
        document = owned.back();
    }
    return {};
}

async::Task<Status> write_on_router(Router& router,
                                    Invocation& invocation,
                                    RouterWrite::Kind kind) {
    CO_TRY(RouterWrite write, parse_write(invocation, kind));
    std::vector<bson::Document> owned;
    if (kind == RouterWrite::Kind::insert) CO_TRY_OK(complete_documents(router, write, owned));
    count_statements(router, write);
    CO_TRY_OK(co_await ensure_database(router, invocation, write.ns.db));
    CO_TRY(const routing::WriteBatchResult result, co_await run_write(router, invocation, write));
    result.append_to(invocation.reply, kind == RouterWrite::Kind::update);
    if (result.write_concern_error) invocation.has_write_concern_error = true;
    co_return Status();
}

}  // namespace

async::Task<Status> insert_on_router(Router& router, Invocation& invocation) {
    return write_on_router(router, invocation, RouterWrite::Kind::insert);
}
async::Task<Status> update_on_router(Router& router, Invocation& invocation) {
    return write_on_router(router, invocation, RouterWrite::Kind::update);
}
async::Task<Status> delete_on_router(Router& router, Invocation& invocation) {
    return write_on_router(router, invocation, RouterWrite::Kind::remove);
}

}  // namespace tessera::commands
