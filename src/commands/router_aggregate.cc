// SPDX-License-Identifier: Apache-2.0
//
// aggregate on a router. A pipeline over an unsharded collection with nothing special in it goes to
// its shard as it is and the answer comes back as it is; everything else is opened on a worker
// (router_pipeline.cc).
#include <algorithm>
#include <array>

#include "async/block_on.h"
#include "commands/aggregate_arguments.h"
#include "commands/find_command.h"
#include "commands/router_aggregation.h"
#include "commands/router_commands.h"
#include "commands/router_pipeline.h"
#include "commands/support.h"

namespace tessera::commands {
namespace {

constexpr int view_depth_max = 20;

// Stages that reach beyond the collection, or that several shards answer.
constexpr std::array<std::string_view, 16> special_stages = {"$lookup",
                                                             "$graphLookup",
                                                             "$unionWith",
                                                             "$out",
                                                             "$merge",
                                                             "$facet",
                                                             "$currentOp",
                                                             "$collStats",
                                                             "$indexStats",
                                                             "$listSessions",
                                                             "$listLocalSessions",
                                                             "$shardedDataDistribution",
                                                             "$listClusterCatalog",
                                                             "$changeStream",
                                                             "$documents",
                                                             "$planCacheStats"};

bool is_special(bson::View stage) {
    if (stage.is_empty()) return false;
    const std::string_view name = stage.front().name;
    return std::find(special_stages.begin(), special_stages.end(), name) != special_stages.end();
}

// A pipeline's documents as a cursor's source; lives on a worker.
class DocumentsSource : public CursorSource {
public:
    DocumentsSource(Router& router,
                    std::unique_ptr<RouterPipelineServices> services,
                    std::unique_ptr<query::DocumentCursor> documents)
        : router_(router), services_(std::move(services)), documents_(std::move(documents)) {}

    async::Task<Result<bool>> fill(BatchWriter& batch, Operation& operation) override {
        if (async::Executor::current() != &router_.workers) {
            async::resume_on hop(router_.workers);
            co_await hop;
        }
        services_->call().set_operation(operation.shared_from_this());
        const auto next = [this] { return documents_->next(); };
        co_return batches_.fill(batch, operation, router_.clock, next);
    }

private:
    Router& router_;
    std::unique_ptr<RouterPipelineServices> services_;  // Before the pipeline, which refers to it.
    std::unique_ptr<query::DocumentCursor> documents_;
    DocumentBatches batches_;
};

Result<RouterAggregation> parse_aggregation(const Request& request) {
    TRY_OK(request.check_known_fields("aggregate",
                                      {"pipeline",
                                       "explain",
                                       "allowDiskUse",
                                       "cursor",
                                       "bypassDocumentValidation",
                                       "hint",
                                       "let",
                                       "collation"}));
    TRY(AggregateArguments arguments, parse_aggregate_arguments(request));
    RouterAggregation result;
    result.ns = std::move(arguments.ns);
    result.source = arguments.is_of_database ? Namespace{result.ns.db, ""} : result.ns;
    result.stages = std::move(arguments.stages);
    result.first = arguments.first;
    if (!result.stages.empty() && result.stages.front().view().has("$changeStream"))
        return Error(ErrorCode::command_not_supported,
                     "$changeStream is not supported; docs/compatibility.md lists what is");
    return result;
}

CursorOptions cursor_options(const Namespace& ns) {
    CursorOptions options;
    options.ns = ns;
    return options;
}

// Passes the client's own command to the one shard of an unsharded collection.
async::Task<Result<bool>> pass_whole(Router& router,
                                     Invocation& invocation,
                                     const RouterAggregation& aggregation,
                                     const routing::RoutingInfo& info) {
    // Not sharded is what makes it simple; else the pipeline is looked at.
    if (info.is_sharded()) co_return false;
    CO_TRY(const auto targets, target_read(invocation.request, info, bson::View()));
    const routing::ShardTarget& target = targets.front();
    std::vector<ShardCommand> commands;
    commands.push_back(ShardCommand{target.shard, forwarded(invocation.request, &target)});
    OpenOptions options;
    options.call = call_options(invocation, true);
    CO_TRY(auto cursors,
           co_await open_cursors(router, invocation, std::move(commands), std::move(options)));
    auto source = make_single_source(router, std::move(cursors.front()));
    CO_TRY_OK(co_await reply_with_cursor(
        router, invocation, std::move(source), cursor_options(aggregation.ns), aggregation.first));
    co_return true;
}

async::Task<Status> run_on_worker(Router& router,
                                  Invocation& invocation,
                                  RouterAggregation aggregation) {
    async::resume_on hop(router.workers);
    co_await hop;
    CO_TRY(auto call, PipelineCall::make(invocation));
    CO_TRY(auto expressions, make_expression_context(router, invocation.request));
    const bson::Document let = expressions.let;
    auto services =
        std::make_unique<RouterPipelineServices>(router, std::move(call), std::move(expressions));
    const Namespace ns = aggregation.ns;
    const FirstBatch first = aggregation.first;
    bool writes = false;
    CO_TRY(auto documents, services->open_aggregation(std::move(aggregation), let, 0, writes));
    if (writes) {
        while (true) {
            CO_TRY(const query::Batch batch, documents->next());
            if (batch.is_last) break;
        }
        append_finished_cursor(invocation.reply, ns.to_string(), {});
        invocation.last_write = services->call().invocation().last_write;
        co_return Status();
    }
    const OpTime read_at = services->call().invocation().last_write;
    auto source =
        std::make_unique<DocumentsSource>(router, std::move(services), std::move(documents));
    auto status = co_await reply_with_cursor(
        router, invocation, std::move(source), cursor_options(ns), first);
    if (invocation.last_write.timestamp < read_at.timestamp) invocation.last_write = read_at;
    co_return status;
}

}  // namespace

async::Task<Status> resolve_views(Router& router,
                                  Invocation& invocation,
                                  RouterAggregation& aggregation) {
    for (int depth = 0; depth < view_depth_max; ++depth) {
        const Instant deadline = routing_deadline(router, *invocation.operation);
        CO_TRY(const auto info,
               co_await router.routing.get(aggregation.source.to_string(), deadline));
        if (info.is_sharded()) co_return Status();
        const bson::Document filter =
            bson::make("name", aggregation.source.collection, "type", "view");
        bson::Document command =
            bson::make("listCollections", 1, "filter", filter, "$db", aggregation.source.db);
        CO_TRY(const bson::Document reply,
               co_await call_shard(router,
                                   invocation,
                                   info.database.primary,
                                   std::move(command),
                                   primary_options(invocation, true)));
        const bson::Value cursor = reply["cursor"];
        const bson::Value batch =
            cursor.is_object() ? cursor.as_view()["firstBatch"] : bson::Value();
        if (!batch.is_array() || batch.as_view().is_empty()) co_return Status();
        const bson::Value options = batch.as_view().front().value.as_view()["options"];
        if (!options.is_object() || !options.as_view()["viewOn"].is_string())
            co_return Error(ErrorCode::internal_error, "a view without its definition");
        std::vector<bson::Document> stages;
        if (const bson::Value pipeline = options.as_view()["pipeline"]; pipeline.is_array())
            for (const bson::Element& each : pipeline.as_view())
                if (each.value.is_object()) stages.emplace_back(each.value.as_view());
        stages.insert(stages.end(), aggregation.stages.begin(), aggregation.stages.end());
        aggregation.stages = std::move(stages);
        aggregation.source.collection = options.as_view()["viewOn"].as_string();
    }
    co_return Error(ErrorCode::view_depth_limit_exceeded,
                    "View depth too deep or view cycle detected; maximum depth is 20");
}

async::Task<Status> run_view_aggregation(Router& router,
                                         Invocation& invocation,
                                         RouterAggregation aggregation) {
    CO_TRY_OK(co_await resolve_views(router, invocation, aggregation));
    co_return co_await run_on_worker(router, invocation, std::move(aggregation));
}

async::Task<Status> run_aggregation_on_router(Router& router,
                                              Invocation& invocation,
                                              RouterAggregation aggregation) {
    const bool is_plain =
        !aggregation.source.collection.empty() &&
        std::none_of(aggregation.stages.begin(), aggregation.stages.end(), is_special);
    if (is_plain) {
        const Instant deadline = routing_deadline(router, *invocation.operation);
        const auto attempt = [&](const routing::RoutingInfo& info) {
            return pass_whole(router, invocation, aggregation, info);
        };
        auto running = with_view_check<bool>(router, aggregation.source, deadline, attempt);
        const auto done = co_await std::move(running);
        if (done && *done) co_return Status();
        if (!done && is_view_error(done.error()))
            co_return co_await run_view_aggregation(router, invocation, std::move(aggregation));
        if (!done && done.error().code() != ErrorCode::namespace_not_found)
            co_return call_error(router, *invocation.operation, done.error());
    }
    co_return co_await run_on_worker(router, invocation, std::move(aggregation));
}

async::Task<Status> aggregate_on_router(Router& router, Invocation& invocation) {
    if (invocation.request.body["explain"].is_truthy())
        co_return co_await explain_aggregation_on_router(router, invocation);
    CO_TRY(RouterAggregation aggregation, parse_aggregation(invocation.request));
    invocation.ns = aggregation.ns;
    co_return co_await run_aggregation_on_router(router, invocation, std::move(aggregation));
}

}  // namespace tessera::commands
