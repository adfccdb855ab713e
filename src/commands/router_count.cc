// SPDX-License-Identifier: Apache-2.0
//
// count and distinct on a router: each shard answers for its documents, the router adds up or takes
// the union. Over a view that spans shards they become the aggregation they stand for.
#include <algorithm>

#include "async/block_on.h"
#include "commands/count_distinct.h"
#include "commands/distinct_values.h"
#include "commands/find_command.h"
#include "commands/router_commands.h"
#include "commands/router_pipeline.h"
#include "commands/support.h"

namespace tessera::commands {
namespace {

bson::View query_of(const Request& request) {
    const bson::Value query = request.body["query"];
    return query.is_object() ? query.as_view() : bson::View();
}

// Sends the command to every shard that may have matches.
async::Task<Result<std::vector<ShardAnswer>>> ask_shards(Router& router,
                                                         Invocation& invocation,
                                                         std::vector<ShardCommand> commands) {
    auto answers = co_await call_shards(
        router, invocation, std::move(commands), call_options(invocation, true));
    CO_TRY_OK(check_answers(answers));
    co_return answers;
}

async::Task<Result<std::int64_t>> count_once(Router& router,
                                             Invocation& invocation,
                                             const routing::RoutingInfo& info) {
    const Request& request = invocation.request;
    const auto targets = routing::target_query(info, query_of(request));
    const std::int64_t skip = request.body["skip"].to_int64();
    CO_TRY(const std::int64_t limit, count_limit(request));
    std::vector<ShardCommand> commands;
    if (targets.size() == 1) {
        commands.push_back(
            ShardCommand{targets.front().shard, forwarded(request, &targets.front())});
    } else {
        for (const routing::ShardTarget& target : targets) {
            bson::Builder command;
            command.append_all(forwarded(request, &target, {"skip", "limit"}));
            if (const auto all = routing::shard_limit(skip, limit)) command.append("limit", *all);
            commands.push_back(ShardCommand{target.shard, std::move(command).finish()});
        }
    }
    CO_TRY(const auto answers, co_await ask_shards(router, invocation, std::move(commands)));
    std::int64_t count = 0;
    for (const ShardAnswer& answer : answers)
        count += (*answer.reply)["n"].to_int64();
    if (answers.size() == 1) co_return count;
    count = std::max<std::int64_t>(0, count - skip);
    co_return limit > 0 ? std::min(count, limit) : count;
}

async::Task<Result<bool>> distinct_once(Router& router,
                                        Invocation& invocation,
                                        const routing::RoutingInfo& info) {
    const Request& request = invocation.request;
    CO_TRY(const auto targets, target_read(request, info, query_of(request)));
    std::vector<ShardCommand> commands;
    for (const routing::ShardTarget& target : targets)
        commands.push_back(ShardCommand{target.shard, forwarded(request, &target)});
    CO_TRY(const auto answers, co_await ask_shards(router, invocation, std::move(commands)));
    if (answers.size() == 1) {
        append_payload(*answers.front().reply, invocation.reply);
        co_return true;
    }
    DistinctValues values;
    for (const ShardAnswer& answer : answers) {
        const bson::Value list = (*answer.reply)["values"];
        if (!list.is_array()) continue;
        for (const bson::Element& each : list.as_view())
            CO_TRY_OK(values.add(each.value));
    }
    values.append(invocation.reply);
    append_snapshot_time(invocation, invocation.reply);
    co_return true;
}

// Runs stages over a view; what comes out goes to `take`. On a worker.
template <class Take>
async::Task<Status> run_over_view(Router& router,
                                  Invocation& invocation,
                                  Namespace ns,
                                  std::vector<bson::Document> stages,
                                  const Take& take) {
    RouterAggregation aggregation;
    aggregation.ns = aggregation.source = ns;
    aggregation.stages = std::move(stages);
    CO_TRY_OK(co_await resolve_views(router, invocation, aggregation));
    async::resume_on hop(router.workers);
    co_await hop;
    CO_TRY(auto call, PipelineCall::make(invocation));
    CO_TRY(auto expressions, make_expression_context(router, invocation.request));
    const bson::Document let = expressions.let;
    RouterPipelineServices services(router, std::move(call), std::move(expressions));
    bool writes = false;
    CO_TRY(const auto documents, services.open_aggregation(std::move(aggregation), let, 0, writes));
    while (true) {
        CO_TRY(const query::Batch batch, documents->next());
        for (std::size_t i = 0; i < batch.size(); ++i)
            CO_TRY_OK(take(batch[i]));
        if (batch.is_last) co_return Status();
    }
}

async::Task<Status> count_view(Router& router, Invocation& invocation, const Namespace& ns) {
    const bson::View body = invocation.request.body;
    std::vector<bson::Document> stages = {bson::make("$match", query_of(invocation.request))};
    const std::int64_t skip = body["skip"].to_int64();
    CO_TRY(const std::int64_t limit, count_limit(invocation.request));
    if (skip > 0) stages.push_back(bson::make("$skip", skip));
    if (limit > 0) stages.push_back(bson::make("$limit", limit));
    stages.push_back(bson::make("$count", "n"));
    std::int64_t count = 0;
    const auto take = [&](bson::View document) -> Status {
        count = document["n"].to_int64();
        return {};
    };
    auto running = run_over_view(router, invocation, ns, std::move(stages), take);
    CO_TRY_OK(co_await std::move(running));
    append_count(invocation.reply, "n", count);
    co_return Status();
}

// Of documents this large only the key is of interest; a path through an array's positions
// ("a.0.b") cannot be projected.
std::vector<bson::Document> distinct_stages(const Request& request, std::string_view key) {
    std::vector<bson::Document> stages = {bson::make("$match", query_of(request))};
    const bool has_positions = std::any_of(
        key.begin(), key.end(), [](char each) { return each >= '0' && each <= '9'; });
    const bool is_id = key == "_id" || key.starts_with("_id.");
    if (!has_positions && !is_id)
        stages.push_back(bson::make("$project", bson::make("_id", 0, key, 1)));
    return stages;
}

async::Task<Status> distinct_view(Router& router, Invocation& invocation, const Namespace& ns) {
    const std::string key(invocation.request.body["key"].as_string());
    std::vector<bson::Document> stages = distinct_stages(invocation.request, key);
    DistinctValues values;
    const auto take = [&](bson::View document) -> Status {
        return values.add_at(document.as_object_value(), key);
    };
    auto running = run_over_view(router, invocation, ns, std::move(stages), take);
    CO_TRY_OK(co_await std::move(running));
    values.append(invocation.reply);
    append_snapshot_time(invocation, invocation.reply);
    co_return Status();
}

}  // namespace

async::Task<Status> count_on_router(Router& router, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY_OK(request.check_known_fields(
        "count",
        {"query", "limit", "skip", "hint", "collation", "fields", "encryptionInformation"}));
    CO_TRY(const Namespace ns, request.collection());
    invocation.ns = ns;
    CO_TRY([[maybe_unused]] const auto query, object_argument(request.body, "query", "count"));
    CO_TRY([[maybe_unused]] const auto skip, count_argument(request.body, "skip", 0, "count"));
    CO_TRY([[maybe_unused]] const auto limit, count_limit(request));
    const Instant deadline = routing_deadline(router, *invocation.operation);
    const auto attempt = [&](const routing::RoutingInfo& info) {
        return count_once(router, invocation, info);
    };
    auto running = with_view_check<std::int64_t>(router, ns, deadline, attempt);
    const auto count = co_await std::move(running);
    if (!count && is_view_error(count.error()))
        co_return co_await count_view(router, invocation, ns);
    const bool is_missing = !count && count.error().code() == ErrorCode::namespace_not_found;
    if (!count && !is_missing) co_return call_error(router, *invocation.operation, count.error());
    append_count(invocation.reply, "n", is_missing ? 0 : *count);
    co_return Status();
}

async::Task<Status> distinct_on_router(Router& router, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY_OK(request.check_known_fields("distinct", {"key", "query", "collation", "hint"}));
    CO_TRY(const Namespace ns, request.collection());
    invocation.ns = ns;
    const bson::Value key = request.body["key"];
    if (!key.is_string())
        co_return Error(
            key.is_missing() ? ErrorCode::idl_failed_to_parse : ErrorCode::type_mismatch,
            key.is_missing() ? "BSON field 'distinct.key' is missing but a required field"
                             : "BSON field 'distinct.key' is the wrong type, expected type "
                               "'string'");
    CO_TRY([[maybe_unused]] const auto query, object_argument(request.body, "query", "distinct"));
    const Instant deadline = routing_deadline(router, *invocation.operation);
    const auto attempt = [&](const routing::RoutingInfo& info) {
        return distinct_once(router, invocation, info);
    };
    auto running = with_view_check<bool>(router, ns, deadline, attempt);
    const auto done = co_await std::move(running);
    if (done) co_return Status();
    if (is_view_error(done.error())) co_return co_await distinct_view(router, invocation, ns);
    if (done.error().code() != ErrorCode::namespace_not_found)
        co_return call_error(router, *invocation.operation, done.error());
    invocation.reply.array("values").done();
    append_snapshot_time(invocation, invocation.reply);
    co_return Status();
}

}  // namespace tessera::commands
