// SPDX-License-Identifier: Apache-2.0
#include "commands/router_two_phase.h"

#include "commands/find_command.h"
#include "commands/update_pipeline_compiler.h"
#include "query/update/update.h"
#include "routing/merge.h"

namespace tessera::commands {
namespace {

// Documents that slip away between being found and being written are looked for so often.
constexpr int attempts_max = 20;

using Targets = std::vector<routing::ShardTarget>;

// What a statement says, whichever command it is part of.
struct Wanted {
    Namespace ns;
    bson::View query;
    bson::Value update;
    bson::Value array_filters;
    bson::Value constants;
    bson::View sort;
    bson::Value hint;
    bson::Value collation;
    bson::Value let;
    bool is_upsert = false;
};

struct Found {
    routing::ShardTarget target;
    bson::Document id;  // {_id: ...}
};

bson::Document candidate_query(const Request& request,
                               const Wanted& wanted,
                               const routing::ShardTarget& target) {
    bson::Builder find;
    find.append("find", wanted.ns.collection);
    find.append("filter", wanted.query);
    find.append("limit", 1).append("singleBatch", true);
    find.append("projection", bson::make("_id", 1));
    if (!wanted.sort.is_empty()) {
        find.append("sort", wanted.sort);
        find.append("$_wantsSortKey", true);
    }
    find.append("hint", wanted.hint).append("collation", wanted.collation);
    find.append("let", wanted.let);
    find.append("maxTimeMS", request.body["maxTimeMS"]);
    target.append_versions(find);
    find.append("$db", wanted.ns.db);
    return std::move(find).finish();
}

// The document to write, and where it is; none when nothing matches anywhere.
async::Task<Result<std::optional<Found>>> find_candidate(Router& router,
                                                         Invocation& invocation,
                                                         const Wanted& wanted,
                                                         const Targets& targets) {
    std::vector<ShardCommand> commands;
    for (const routing::ShardTarget& target : targets)
        commands.push_back(
            ShardCommand{target.shard, candidate_query(invocation.request, wanted, target)});
    const auto answers = co_await call_shards(
        router, invocation, std::move(commands), primary_options(invocation, true));
    CO_TRY_OK(check_answers(answers));
    routing::CursorMerge merge(wanted.sort, answers.size());
    for (std::size_t i = 0; i < answers.size(); ++i) {
        std::vector<bson::Document> batch;
        const bson::Value cursor = (*answers[i].reply)["cursor"];
        if (cursor.is_object())
            if (const bson::Value list = cursor.as_view()["firstBatch"]; list.is_array())
                for (const bson::Element& each : list.as_view())
                    batch.emplace_back(each.value.as_view());
        CO_TRY_OK(merge.add_batch(i, std::move(batch), true));
    }
    if (!merge.is_ready()) co_return std::optional<Found>();
    Found found;
    found.id = merge.next();
    found.target = targets[merge.last_remote()];
    co_return std::optional<Found>(std::move(found));
}

// The client's filter, with _id fixed.
bson::Document with_id(bson::View query, const bson::Value& id) {
    bson::Builder result;
    result.append("_id", id);
    for (const bson::Element& field : query)
        if (field.name != "_id") result.append(field);
    return std::move(result).finish();
}

bson::Document matching_nothing() {
    return bson::make("_id", bson::make("$in", bson::Document().view().as_array_value()));
}

// The document an upsert would insert.
Result<bson::Document> upserted_document(Router& router,
                                         const Request& request,
                                         const Wanted& wanted) {
    TRY(auto context, make_expression_context(router, request));
    if (wanted.constants.is_object()) {
        bson::Builder let;
        let.append_all(context.let);
        let.append_all(wanted.constants.as_view());
        context.let = std::move(let).finish();
    }
    const UpdatePipelines pipelines(context);
    const query::AggregationCompiler expressions(std::move(context));
    query::FilterOptions filter_options;
    filter_options.expressions = &expressions;
    TRY(const auto filter, query::Filter::parse(wanted.query, filter_options));
    query::UpdateOptions options;
    options.array_filters = wanted.array_filters;
    options.pipelines = &pipelines;
    options.constants = wanted.constants;
    TRY(const auto update, query::Update::parse(wanted.update, options));
    query::ApplyOptions apply;
    apply.now = router.clock.wall_now();
    apply.timestamp = router.logical_clock.now();
    apply.wants_oplog = false;
    query::UpdateContext update_context;
    bson::Arena arena;
    const bson::Value fresh = arena.make(router.make_object_id());
    return update.make_upsert(filter, fresh, apply, update_context);
}

// Where to write, and the filter to write with.
struct Aim {
    routing::ShardTarget target;
    bson::Document query;
    bool is_upsert = false;
};

async::Task<Result<std::optional<Aim>>> aim_at(Router& router,
                                               Invocation& invocation,
                                               const Wanted& wanted,
                                               const Targets& candidates) {
    CO_TRY(const auto found, co_await find_candidate(router, invocation, wanted, candidates));
    Aim aim;
    if (found) {
        aim.target = found->target;
        aim.query = with_id(wanted.query, found->id["_id"]);
        co_return std::optional<Aim>(std::move(aim));
    }
    if (!wanted.is_upsert) co_return std::optional<Aim>();
    CO_TRY(const bson::Document document, upserted_document(router, invocation.request, wanted));
    const Instant deadline = routing_deadline(router, *invocation.operation);
    CO_TRY(const auto info, co_await router.routing.get(wanted.ns.to_string(), deadline));
    CO_TRY(aim.target, routing::target_insert(info, document));
    // With its _id in the filter the shard inserts the very document that was routed.
    const bool says_id = !routing::exact_id_of(wanted.query).is_missing();
    aim.query = says_id ? bson::Document(wanted.query) : with_id(wanted.query, document["_id"]);
    aim.is_upsert = true;
    co_return std::optional<Aim>(std::move(aim));
}

// The statement with another filter; what chose the document has done its work.
bson::Document aimed(bson::View statement,
                     std::string_view filter_name,
                     bson::View query,
                     bool is_upsert) {
    bson::Builder result;
    for (const bson::Element& field : statement) {
        if (field.name == filter_name)
            result.append(filter_name, query);
        else if (field.name != "upsert" && field.name != "sort" && field.name != "hint")
            result.append(field);
    }
    if (!statement.has(filter_name)) result.append(filter_name, query);
    if (is_upsert) result.append("upsert", true);
    return std::move(result).finish();
}

bool was_executed(bson::View reply) {
    const bson::Value retried = reply["retriedStmtIds"];
    return retried.is_array() && !retried.as_view().is_empty();
}

// Asks every candidate whether it executed the statement before. The answer to give, if so (or when
// a shard refuses).
async::Task<Result<std::optional<bson::Document>>> ask_executed(Router& router,
                                                                Invocation& invocation,
                                                                std::vector<ShardCommand> probes) {
    const auto answers = co_await call_shards(
        router, invocation, std::move(probes), primary_options(invocation, true));
    for (const ShardAnswer& answer : answers)
        if (answer.reply && was_executed(*answer.reply))
            co_return std::optional<bson::Document>(*answer.reply);
    CO_TRY_OK(check_answers(answers));
    co_return std::optional<bson::Document>();
}

struct IndexedStatement {
    std::uint32_t index;  // Within the client's command.
    bson::View document;
};

bson::Document statement_command(const Request& request,
                                 const RouterWrite& write,
                                 const IndexedStatement& statement,
                                 const routing::ShardTarget& target) {
    bson::Builder command;
    command.append(command_name(write.kind), write.ns.collection);
    {
        auto list = command.array(list_name(write.kind));
        list.append(statement.document);
    }
    if (write.bypasses_validation) command.append("bypassDocumentValidation", true);
    if (!write.let.is_empty()) command.append("let", write.let);
    if (write.has_statement_numbers) {
        auto ids = command.array("stmtIds");
        ids.append(static_cast<std::int32_t>(statement_number(request, statement.index)));
    }
    append_write_context(request, write.ns.db, &target, command);
    return std::move(command).finish();
}

bson::Document modify_command(const Request& request,
                              bson::View query,
                              bool is_upsert,
                              const routing::ShardTarget& target) {
    const bson::Document command = forwarded(request, &target, {"query", "sort", "upsert", "hint"});
    bson::Builder result;
    result.append_all(command);
    result.append("query", query);
    if (is_upsert) result.append("upsert", true);
    return std::move(result).finish();
}

}  // namespace

async::Task<Result<bson::Document>> write_where_found(
    Router& router,
    Invocation& invocation,
    const RouterWrite& write,
    std::uint32_t index,
    const std::vector<routing::ShardTarget>& candidates) {
    const Request& request = invocation.request;
    const bson::View statement = write.statements[index];
    Wanted wanted;
    wanted.ns = write.ns;
    if (const bson::Value query = statement["q"]; query.is_object()) wanted.query = query.as_view();
    wanted.update = statement["u"];
    wanted.array_filters = statement["arrayFilters"];
    wanted.constants = statement["c"];
    if (const bson::Value sort = statement["sort"]; sort.is_object()) wanted.sort = sort.as_view();
    wanted.hint = statement["hint"];
    wanted.collation = statement["collation"];
    if (!write.let.is_empty()) wanted.let = write.let.as_object_value();
    wanted.is_upsert = statement["upsert"].is_truthy();
    const sharding::CallOptions options = primary_options(invocation, write.has_statement_numbers);
    if (write.has_statement_numbers) {
        const bson::Document probe = aimed(statement, "q", matching_nothing(), false);
        std::vector<ShardCommand> probes;
        for (const routing::ShardTarget& each : candidates)
            probes.push_back(
                ShardCommand{each.shard, statement_command(request, write, {index, probe}, each)});
        CO_TRY(auto before, co_await ask_executed(router, invocation, std::move(probes)));
        if (before) co_return std::move(*before);
    }
    for (int attempt = 0; attempt < attempts_max; ++attempt) {
        CO_TRY(const auto aim, co_await aim_at(router, invocation, wanted, candidates));
        if (!aim) co_return bson::make("ok", 1.0, "n", 0, "nModified", 0);
        const bson::Document aimed_statement = aimed(statement, "q", aim->query, aim->is_upsert);
        bson::Document command =
            statement_command(request, write, {index, aimed_statement}, aim->target);
        auto reply = co_await router.shards.call(aim->target.shard, std::move(command), options);
        if (!reply) co_return reply;
        note_time(invocation, *reply);
        const bool has_written = (*reply)["n"].to_int64() > 0;
        if (has_written || !(*reply)["ok"].is_truthy() || reply->view().has("writeErrors"))
            co_return reply;
    }
    co_return Error(ErrorCode::write_conflict,
                    "the document to write changed each time it was found");
}

async::Task<Result<bson::Document>> modify_where_found(
    Router& router,
    Invocation& invocation,
    const Namespace& ns,
    const routing::RoutingInfo& info,
    const std::vector<routing::ShardTarget>& candidates) {
    static_cast<void>(info);
    const Request& request = invocation.request;
    const bson::View body = request.body;
    Wanted wanted;
    wanted.ns = ns;
    if (const bson::Value query = body["query"]; query.is_object()) wanted.query = query.as_view();
    wanted.update = body["update"];
    wanted.array_filters = body["arrayFilters"];
    if (const bson::Value sort = body["sort"]; sort.is_object()) wanted.sort = sort.as_view();
    wanted.hint = body["hint"];
    wanted.collation = body["collation"];
    wanted.let = body["let"];
    wanted.is_upsert = body["upsert"].is_truthy();
    const bool is_retryable = request.session && request.session->txn_number;
    if (is_retryable) {
        std::vector<ShardCommand> probes;
        for (const routing::ShardTarget& each : candidates)
            probes.push_back(
                ShardCommand{each.shard, modify_command(request, matching_nothing(), false, each)});
        CO_TRY(auto before, co_await ask_executed(router, invocation, std::move(probes)));
        if (before) co_return std::move(*before);
    }
    for (int attempt = 0; attempt < attempts_max; ++attempt) {
        CO_TRY(const auto aim, co_await aim_at(router, invocation, wanted, candidates));
        if (!aim) {
            bson::Builder nothing;
            {
                bson::Builder last = nothing.object("lastErrorObject");
                last.append("n", 0);
                if (!body["remove"].is_truthy()) last.append("updatedExisting", false);
            }
            nothing.append_null("value");
            co_return std::move(nothing).finish();
        }
        bson::Document command = modify_command(request, aim->query, aim->is_upsert, aim->target);
        sharding::CallOptions options = primary_options(invocation, is_retryable);
        CO_TRY(bson::Document reply,
               co_await call_shard(
                   router, invocation, aim->target.shard, std::move(command), std::move(options)));
        const bson::Value last = reply["lastErrorObject"];
        if (last.is_object() && last.as_view()["n"].to_int64() > 0) co_return reply;
    }
    co_return Error(ErrorCode::write_conflict,
                    "the document to change was changed each time it was found");
}

}  // namespace tessera::commands
