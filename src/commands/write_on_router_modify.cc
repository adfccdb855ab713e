// SPDX-License-Identifier: Apache-2.0
//
// findAndModify on a router: to the one shard that can have the document, or to where it is found.
#include "commands/router_two_phase.h"
#include "commands/write_on_router.h"

namespace tessera::commands {
namespace {

Result<routing::WriteTarget> target_modify(const routing::RoutingInfo& info, bson::View body) {
    using Kind = routing::WriteStatement::Kind;
    routing::WriteStatement statement;
    if (const bson::Value query = body["query"]; query.is_object())
        statement.filter = query.as_view();
    statement.is_upsert = body["upsert"].is_truthy();
    const bson::Value update = body["update"];
    if (body["remove"].is_truthy())
        statement.kind = Kind::remove;
    else if (update.is_array())
        statement.kind = Kind::pipeline;
    else if (update.is_object() && !update.as_view().is_empty() &&
             update.as_view().front().name.starts_with("$"))
        statement.kind = Kind::update_operators;
    else
        statement.kind = Kind::replacement;
    const bson::Value collation = body["collation"];
    if (collation.is_object() && !collation.as_view().is_empty()) {
        const bson::Value locale = collation.as_view()["locale"];
        statement.options.is_collation_simple =
            locale.is_string() && locale.as_string() == "simple";
    }
    return routing::target_write(info, statement);
}

async::Task<Result<bson::Document>> modify(Router& router,
                                           Invocation& invocation,
                                           const Namespace& ns,
                                           const routing::RoutingInfo& info) {
    const Request& request = invocation.request;
    CO_TRY(const routing::WriteTarget target, target_modify(info, request.body));
    if (target.shards.size() > 1 || target.kind == routing::WriteKind::two_phase)
        co_return co_await modify_where_found(router, invocation, ns, info, target.shards);
    const routing::ShardTarget& shard = target.shards.front();
    const bool is_retryable = request.session && request.session->txn_number;
    bson::Document command = forwarded(request, &shard);
    sharding::CallOptions options = primary_options(invocation, is_retryable);
    co_return co_await call_shard(
        router, invocation, shard.shard, std::move(command), std::move(options));
}

}  // namespace

async::Task<Status> find_and_modify_on_router(Router& router, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY(const Namespace ns, request.collection());
    invocation.ns = ns;
    CO_TRY_OK(request.check_known_fields("findAndModify",
                                         {"query",
                                          "sort",
                                          "remove",
                                          "update",
                                          "new",
                                          "fields",
                                          "upsert",
                                          "arrayFilters",
                                          "hint",
                                          "collation",
                                          "bypassDocumentValidation",
                                          "let",
                                          "stmtId",
                                          "stmtIds",
                                          "encryptionInformation",
                                          "bypassEmptyTsReplacement",
                                          "sampleId"}));
    CO_TRY_OK(co_await ensure_database(router, invocation, ns.db));
    router.metrics.operations.update.fetch_add(1, std::memory_order_relaxed);
    const Instant deadline = routing_deadline(router, *invocation.operation);
    const auto attempt = [&](const routing::RoutingInfo& info) {
        return modify(router, invocation, ns, info);
    };
    auto running =
        sharding::with_routing<bson::Document>(router.routing, ns.to_string(), deadline, attempt);
    CO_TRY(const bson::Document reply, co_await std::move(running));
    append_payload(reply, invocation.reply);
    if (reply.view().has("writeConcernError")) invocation.has_write_concern_error = true;
    co_return Status();
}

}  // namespace tessera::commands
