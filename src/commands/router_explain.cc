// SPDX-License-Identifier: Apache-2.0
//
// explain on a router: every shard the command would go to explains its part; the router says how
// it would join them.
#include "async/block_on.h"
#include "commands/explain_command.h"
#include "commands/find_command.h"
#include "commands/router_commands.h"
#include "commands/router_pipeline.h"
#include "query/pipeline/split.h"
#include "routing/merge.h"

namespace tessera::commands {
namespace {

bson::View object_or_empty(const bson::Value& value) {
    return value.is_object() ? value.as_view() : bson::View();
}

// The filter that decides which shards a command goes to.
bson::View filter_of(bson::View command) {
    const std::string_view name = command.front().name;
    if (name == "find") return object_or_empty(command["filter"]);
    if (name == "count" || name == "distinct" || name == "findAndModify" || name == "findandmodify")
        return object_or_empty(command["query"]);
    if (name == "update" || name == "delete") {
        const bson::Value list = command[name == "update" ? "updates" : "deletes"];
        if (list.is_array() && !list.as_view().is_empty())
            return object_or_empty(object_or_empty(list.as_view().front().value)["q"]);
    }
    if (name == "aggregate") {
        const bson::Value stages = command["pipeline"];
        if (stages.is_array() && !stages.as_view().is_empty()) {
            const bson::View first = object_or_empty(stages.as_view().front().value);
            return object_or_empty(first["$match"]);
        }
    }
    return {};
}

std::string_view merge_stage(bson::View command, std::size_t shards) {
    if (shards == 1) return "SINGLE_SHARD";
    const bool is_sorted =
        command.front().name == "find" && !object_or_empty(command["sort"]).is_empty();
    return is_sorted ? "SHARD_MERGE_SORT" : "SHARD_MERGE";
}

void append_shard_plan(Router& router, const ShardAnswer& answer, bson::ArrayBuilder& shards) {
    const bson::View reply = *answer.reply;
    bson::Builder shard = shards.object();
    shard.append("shardName", answer.shard);
    if (const auto address = router.shards.address(answer.shard))
        shard.append("connectionString", address->to_string());
    shard.append("serverInfo", reply["serverInfo"]);
    for (const bson::Element& field : object_or_empty(reply["queryPlanner"]))
        shard.append(field);
}

void append_statistics(const std::vector<ShardAnswer>& answers,
                       std::string_view stage,
                       bson::Builder& reply) {
    struct Total {
        std::int64_t returned = 0;
        std::int64_t milliseconds = 0;
        std::int64_t keys = 0;
        std::int64_t documents = 0;
    } total;
    for (const ShardAnswer& answer : answers) {
        const bson::View stats = object_or_empty((*answer.reply)["executionStats"]);
        total.returned += stats["nReturned"].to_int64();
        total.milliseconds = std::max(total.milliseconds, stats["executionTimeMillis"].to_int64());
        total.keys += stats["totalKeysExamined"].to_int64();
        total.documents += stats["totalDocsExamined"].to_int64();
    }
    bson::Builder statistics = reply.object("executionStats");
    statistics.append_integer("nReturned", total.returned);
    statistics.append_integer("executionTimeMillis", total.milliseconds);
    statistics.append_integer("totalKeysExamined", total.keys);
    statistics.append_integer("totalDocsExamined", total.documents);
    bson::Builder stages = statistics.object("executionStages");
    stages.append("stage", stage);
    stages.append_integer("nReturned", total.returned);
    stages.append_integer("executionTimeMillis", total.milliseconds);
    stages.append_integer("totalKeysExamined", total.keys);
    stages.append_integer("totalDocsExamined", total.documents);
    auto shards = stages.array("shards");
    for (const ShardAnswer& answer : answers) {
        bson::Builder shard = shards.object();
        shard.append("shardName", answer.shard);
        for (const bson::Element& field : object_or_empty((*answer.reply)["executionStats"]))
            shard.append(field);
    }
}

/// What the shards said.
struct Explained {
    std::vector<ShardAnswer> answers;
    std::optional<query::SplitPipeline> pipeline;  // Of an aggregation over several shards.
};

// An aggregation's pipeline as several shards and the router share it.
Result<query::SplitPipeline> split_pipeline(Router& router,
                                            const Request& request,
                                            bson::View command,
                                            const Namespace& ns) {
    query::PipelineContext context;
    context.ns = {ns.db, ns.collection};
    TRY(context.expression, make_expression_context(router, request));
    TRY(auto pipeline, query::Pipeline::parse(command["pipeline"], context));
    TRY_OK(pipeline.optimize());
    return query::split(pipeline);
}

void append_pipeline(const Explained& explained, bson::Builder& reply) {
    if (explained.pipeline) {
        const query::SplitPipeline& parts = *explained.pipeline;
        reply.append("mergeType", "mongos");
        bson::Builder split = reply.object("splitPipeline");
        {
            auto list = split.array("shardsPart");
            for (const bson::Document& stage : parts.shard_part)
                list.append(stage);
        }
        auto list = split.array("mergerPart");
        if (parts.merge_sort)
            list.append(bson::make("$mergeCursors", bson::make("sort", *parts.merge_sort)));
        for (const bson::Document& stage : parts.merge_part)
            list.append(stage);
    } else {
        reply.append_null("splitPipeline");
    }
    bson::Builder shards = reply.object("shards");
    for (const ShardAnswer& answer : explained.answers) {
        bson::Builder shard = shards.object(answer.shard);
        shard.append("host", answer.host.to_string());
        for (const std::string_view field :
             {"explainVersion", "queryPlanner", "executionStats", "stages"})
            shard.append(field, (*answer.reply)[field]);
    }
}

// A find as each of several shards gets it: skipping is the router's.
bson::Document merged_find(bson::View command) {
    bson::Builder part;
    for (const bson::Element& field : command)
        if (field.name != "skip" && field.name != "limit") part.append(field);
    const std::int64_t skip = command["skip"].to_int64();
    if (const auto limit = routing::shard_limit(skip, command["limit"].to_int64()))
        part.append_integer("limit", *limit);
    return std::move(part).finish();
}

// An aggregation as each of several shards gets it.
bson::Document merged_aggregation(bson::View command, const query::SplitPipeline& parts) {
    bson::Builder part;
    for (const bson::Element& field : command) {
        if (field.name != "pipeline") {
            part.append(field);
            continue;
        }
        auto stages = part.array("pipeline");
        for (const bson::Document& stage : parts.shard_part)
            stages.append(stage);
    }
    return std::move(part).finish();
}

// What is none the shards refuse.
bool is_count(const bson::Value& value) {
    return value.is_missing() || (value.is_number() && value.to_int64() >= 0);
}

// The command as each of several shards gets it; empty: as it is.
bson::Document merged_command(bson::View command,
                              const std::optional<query::SplitPipeline>& pipeline) {
    if (pipeline) return merged_aggregation(command, *pipeline);
    const std::string_view name = command.front().name;
    const bool is_find = name == "find" && is_count(command["skip"]) && is_count(command["limit"]);
    return is_find ? merged_find(command) : bson::Document();
}

bson::Document explain_command(const Request& request,
                               const bson::Document& merged,
                               const routing::ShardTarget& target) {
    if (merged.is_empty()) return forwarded(request, &target);
    bson::Builder explain;
    if (request.body.has("pipeline")) {  // {aggregate, explain: true}
        explain.append_all(forwarded(request, &target, {"pipeline"}));
        explain.append("pipeline", merged["pipeline"]);
    } else {
        explain.append("explain", merged);
        explain.append_all(forwarded(request, &target, {"explain"}));
    }
    return std::move(explain).finish();
}

async::Task<Result<Explained>> ask(Router& router,
                                   Invocation& invocation,
                                   bson::View command,
                                   const Namespace& ns,
                                   const routing::RoutingInfo& info) {
    const Request& request = invocation.request;
    CO_TRY(const auto targets, target_read(request, info, filter_of(command)));
    Explained explained;
    bson::Document merged;
    if (targets.size() > 1) {
        if (command.front().name == "aggregate") {
            CO_TRY(explained.pipeline, split_pipeline(router, request, command, ns));
        }
        merged = merged_command(command, explained.pipeline);
    }
    std::vector<ShardCommand> commands;
    for (const routing::ShardTarget& target : targets)
        commands.push_back(ShardCommand{target.shard, explain_command(request, merged, target)});
    explained.answers = co_await call_shards(
        router, invocation, std::move(commands), call_options(invocation, true));
    CO_TRY_OK(check_answers(explained.answers));
    co_return explained;
}

void append_explained(Router& router,
                      Invocation& invocation,
                      bson::View command,
                      const Explained& explained) {
    const std::vector<ShardAnswer>& answers = explained.answers;
    bson::Builder& reply = invocation.reply;
    if (command.front().name == "aggregate") {
        append_pipeline(explained, reply);
    } else {
        const std::string_view stage = merge_stage(command, answers.size());
        {
            bson::Builder planner = reply.object("queryPlanner");
            planner.append("mongosPlannerVersion", 1);
            bson::Builder plan = planner.object("winningPlan");
            plan.append("stage", stage);
            auto shards = plan.array("shards");
            for (const ShardAnswer& answer : answers)
                append_shard_plan(router, answer, shards);
        }
        if (answers.front().reply->view().has("executionStats"))
            append_statistics(answers, stage, reply);
    }
    {
        bson::Builder server = reply.object("serverInfo");
        server.append("host", router.process.host.host);
        server.append("port", static_cast<std::int32_t>(router.process.host.port));
        server.append("version", server_version);
        server.append("gitVersion", router.process.git_version);
    }
    bson::Builder echoed = reply.object("command");
    echoed.append_all(command);
    if (!command.has("$db")) echoed.append("$db", invocation.ns.db);
}

}  // namespace

static async::Task<Status> explain_as_on_router(Router& router,
                                                Invocation& invocation,
                                                bson::View command);

async::Task<Status> explain_on_router(Router& router, Invocation& invocation) {
    const bson::Value first = invocation.request.body.front().value;
    if (!first.is_object() || first.as_view().is_empty())
        co_return Error(ErrorCode::failed_to_parse, "explain command requires a nested object");
    co_return co_await explain_as_on_router(router, invocation, first.as_view());
}

async::Task<Status> explain_aggregation_on_router(Router& router, Invocation& invocation) {
    const bson::Document command = explained_aggregation(invocation.request.body);
    co_return co_await explain_as_on_router(router, invocation, command.view());
}

static async::Task<Status> explain_as_on_router(Router& router,
                                                Invocation& invocation,
                                                bson::View command) {
    const Request& request = invocation.request;
    const bson::Value target = command.front().value;
    if (!target.is_string())
        co_return Error(ErrorCode::command_not_supported,
                        "explain of a command without a collection is not supported");
    const Namespace ns{std::string(request.db), std::string(target.as_string())};
    invocation.ns = ns;
    const Instant deadline = routing_deadline(router, *invocation.operation);
    const auto attempt = [&](const routing::RoutingInfo& info) {
        return ask(router, invocation, command, ns, info);
    };
    auto running = with_view_check<Explained>(router, ns, deadline, attempt);
    auto explained = co_await std::move(running);
    if (!explained && explained.error().code() == ErrorCode::namespace_not_found) {
        // Explained as an empty collection is, by whichever shard comes first.
        CO_TRY(const auto shards, co_await all_shards(router, invocation));
        if (shards.empty())
            co_return Error(ErrorCode::shard_not_found, "the cluster has no shards yet");
        routing::RoutingInfo nowhere;
        nowhere.database.name = ns.db;
        std::vector<ShardCommand> commands;
        commands.push_back(ShardCommand{shards.front(), forwarded(request, nullptr)});
        Explained alone;
        alone.answers = co_await call_shards(
            router, invocation, std::move(commands), call_options(invocation, true));
        CO_TRY_OK(check_answers(alone.answers));
        explained = std::move(alone);
    }
    if (!explained) co_return call_error(router, *invocation.operation, explained.error());
    append_explained(router, invocation, command, *explained);
    co_return Status();
}

}  // namespace tessera::commands
