// SPDX-License-Identifier: Apache-2.0
//
// explain on a member: find, aggregate's leading part, count, distinct, update, delete and
// findAndModify, in the shapes of MongoDB's explain. Nothing is written.
#include "commands/explain_command.h"

#include "bson/json.h"
#include "commands/ddl_execution.h"
#include "commands/find_command.h"
#include "commands/member_pipeline.h"
#include "commands/placement.h"
#include "commands/router_commands.h"
#include "commands/support.h"
#include "query/plan/executor.h"
#include "wire/command_line.h"

namespace tessera::commands {
namespace {

enum class Verbosity { query_planner, execution_stats, all_plans };

Result<Verbosity> parse_verbosity(const bson::Value& value) {
    const std::string_view text = value.is_string() ? value.as_string() : std::string_view();
    if (value.is_missing() || text == "allPlansExecution") return Verbosity::all_plans;
    if (text == "queryPlanner") return Verbosity::query_planner;
    if (text == "executionStats") return Verbosity::execution_stats;
    return Error(ErrorCode::failed_to_parse,
                 "verbosity string must be one of {'queryPlanner', 'executionStats', "
                 "'allPlansExecution'}");
}

// What is explained: a read, perhaps below a write or a pipeline.
struct Explained {
    Namespace ns;
    query::ReadRequest read;
    std::unique_ptr<query::AggregationCompiler> expressions;
    std::vector<bson::Document> later_stages;  // aggregate: what runs after the read.
    std::string write_stage;                   // "UPDATE", "DELETE" above the read; or "".
    bool is_upsert = false;
};

Result<Explained> explain_query(Member& member, const Request& request, bson::View command,
                                bson::View filter) {
    Explained explained;
    const bson::Value target = command.front().value;
    if (!target.is_string())
        return Error(ErrorCode::bad_value, "collection name has invalid type " +
                                               std::string(type_name(target.type())));
    explained.ns = {std::string(request.db), std::string(target.as_string())};
    TRY(auto context, make_expression_context(member, request));
    explained.expressions = std::make_unique<query::AggregationCompiler>(std::move(context));
    query::FilterOptions options;
    options.expressions = explained.expressions.get();
    TRY(explained.read.filter, query::Filter::parse(filter, options));
    return explained;
}

bson::View object_or_empty(const bson::Value& value) {
    return value.is_object() ? value.as_view() : bson::View();
}

Result<Explained> explain_write(Member& member, const Request& request, bson::View command,
                                bool is_update) {
    const bson::Value list = command[is_update ? "updates" : "deletes"];
    if (!list.is_array() || list.as_view().is_empty() || list.as_view().count() != 1)
        return Error(ErrorCode::invalid_length, "explained write batches must be of size 1");
    const bson::View statement = object_or_empty(list.as_view().front().value);
    TRY(auto explained, explain_query(member, request, command, object_or_empty(statement["q"])));
    TRY(explained.read.hint, parse_hint(statement["hint"]));
    explained.write_stage = is_update ? "UPDATE" : "DELETE";
    return explained;
}

Result<Explained> explain_pipeline(Member& member, const Request& request, bson::View command) {
    const Namespace named{std::string(request.db), std::string(command.front().value.as_string())};
    TRY(auto resolved, resolve_view(member, named));
    const bson::Value list = command["pipeline"];
    if (!list.is_array())
        return Error(ErrorCode::type_mismatch, "'pipeline' option must be specified as an array");
    for (const bson::Element& each : list.as_view())
        if (each.value.is_object()) resolved.stages.emplace_back(each.value.as_view());
    query::PipelineContext context;
    context.ns = {resolved.ns.db, resolved.ns.collection};
    TRY(context.expression, make_expression_context(member, request));
    TRY(auto pipeline, query::Pipeline::parse(resolved.stages, context));
    TRY_OK(pipeline.optimize());
    const auto leading = pipeline.take_leading({.with_sort = true, .with_limit = true});
    TRY(auto explained, explain_query(member, request, command, leading.filter));
    explained.ns = resolved.ns;
    if (leading.sort) explained.read.sort = *leading.sort;
    explained.read.skip = leading.skip.value_or(0);
    explained.read.limit = leading.limit.value_or(0);
    if (leading.needed_fields)
        explained.read.projection.paths =
            std::vector<std::string>(leading.needed_fields->begin(), leading.needed_fields->end());
    TRY(explained.read.hint, parse_hint(command["hint"]));
    explained.later_stages = pipeline.to_bson();
    return explained;
}

Result<Explained> explain_find(Member& member, const Request& request, bson::View command) {
    TRY(auto explained,
        explain_query(member, request, command, object_or_empty(command["filter"])));
    query::ReadRequest& read = explained.read;
    read.sort = bson::Document(object_or_empty(command["sort"]));
    TRY_OK(check_sort(read.sort));
    read.skip = command["skip"].to_int64();
    read.limit = std::abs(command["limit"].to_int64());
    TRY(read.hint, parse_hint(command["hint"]));
    read.min = bson::Document(object_or_empty(command["min"]));
    read.max = bson::Document(object_or_empty(command["max"]));
    const bson::View fields = object_or_empty(command["projection"]);
    if (fields.is_empty()) return explained;
    query::ProjectionOptions options;
    options.expressions = explained.expressions.get();
    options.query = &read.filter;
    TRY(const auto projection, query::Projection::parse(fields, options));
    std::vector<std::string> paths;
    projection.add_dependencies(paths);
    bool needs_whole = !projection.is_inclusion();
    for (const std::string& path : paths) needs_whole |= path.empty();
    if (!needs_whole) read.projection.paths = std::move(paths);
    read.projection.transform_by = bson::Document(fields);
    read.projection.is_simple = projection.is_simple_inclusion();
    return explained;
}

Result<Explained> parse_explained(Member& member, const Request& request, bson::View command) {
    const std::string_view name = command.front().name;
    if (name == "find") return explain_find(member, request, command);
    if (name == "aggregate" && command.front().value.is_string())
        return explain_pipeline(member, request, command);
    if (name == "count") {
        TRY(auto explained,
            explain_query(member, request, command, object_or_empty(command["query"])));
        explained.read.purpose = query::ReadPurpose::count;
        explained.read.skip = command["skip"].to_int64();
        explained.read.limit = std::abs(command["limit"].to_int64());
        TRY(explained.read.hint, parse_hint(command["hint"]));
        return explained;
    }
    if (name == "distinct") {
        TRY(auto explained,
            explain_query(member, request, command, object_or_empty(command["query"])));
        explained.read.purpose = query::ReadPurpose::distinct;
        if (command["key"].is_string()) explained.read.distinct_path = command["key"].as_string();
        explained.read.projection.paths =
            std::vector<std::string>{explained.read.distinct_path};
        return explained;
    }
    if (name == "update" || name == "delete")
        return explain_write(member, request, command, name == "update");
    if (name == "findAndModify" || name == "findandmodify") {
        TRY(auto explained,
            explain_query(member, request, command, object_or_empty(command["query"])));
        explained.read.sort = bson::Document(object_or_empty(command["sort"]));
        explained.write_stage = command["remove"].is_truthy() ? "DELETE" : "UPDATE";
        return explained;
    }
    return Error(ErrorCode::illegal_operation, "Cannot explain cmd: " + std::string(name));
}

void append_server(Member& member, bson::View command, std::string_view db, bson::Builder& reply) {
    {
        bson::Builder echoed = reply.object("command");
        echoed.append_all(command);
        if (!command.has("$db")) echoed.append("$db", db);
    }
    bson::Builder server = reply.object("serverInfo");
    server.append("host", member.process.host.host);
    server.append("port", static_cast<std::int32_t>(member.process.host.port));
    server.append("version", server_version).append("gitVersion", member.process.git_version);
}

// Puts a write stage above a plan: {stage: "UPDATE", inputStage: plan}.
void append_under_write(const bson::Document& planner, const std::string& stage,
                        bson::Builder& out) {
    bson::Builder object = out.object("queryPlanner");
    for (const bson::Element& field : planner["queryPlanner"].as_view()) {
        if (field.name != "winningPlan") {
            object.append(field);
            continue;
        }
        bson::Builder plan = object.object("winningPlan");
        plan.append("stage", stage).append("inputStage", field.value);
    }
}

Status run_explained(Member& member, Invocation& invocation, Explained explained,
                     Verbosity verbosity, bson::Builder& out) {
    const catalog::CollectionLock lock = member.catalog->lock_shared(explained.ns);
    TRY(const auto transaction, member.engine->begin());
    std::optional<query::Executor> executor;
    if (lock) executor.emplace(lock->source(), std::move(explained.read));
    else executor.emplace(explained.ns, std::move(explained.read));
    TRY_OK(executor->start(*transaction));
    const Instant started = member.clock.now();
    if (verbosity != Verbosity::query_planner) {
        while (true) {
            TRY_OK(invocation.operation->check(member.clock));
            const auto next = executor->next();
            if (!next || !*next) break;  // A failure is part of what is explained.
        }
    }
    if (explained.write_stage.empty()) {
        executor->explain_plan(out);
    } else {
        bson::Builder planner;
        executor->explain_plan(planner);
        append_under_write(std::move(planner).finish(), explained.write_stage, out);
    }
    if (verbosity != Verbosity::query_planner)
        executor->explain_stats(out, to_milliseconds(member.clock.now() - started),
                                verbosity == Verbosity::all_plans);
    executor->save_state();
    return {};
}

Status explain_as(Member& member, Invocation& invocation, bson::View command, Verbosity verbosity) {
    const Request& request = invocation.request;
    TRY(Explained explained, parse_explained(member, request, command));
    invocation.ns = explained.ns;
    bson::Builder& reply = invocation.reply;
    reply.append("explainVersion", "1");
    const std::vector<bson::Document> later = std::move(explained.later_stages);
    if (later.empty()) {
        TRY_OK(run_explained(member, invocation, std::move(explained), verbosity, reply));
    } else {
        auto stages = reply.array("stages");
        {
            bson::Builder stage = stages.object();
            bson::Builder cursor = stage.object("$cursor");
            TRY_OK(run_explained(member, invocation, std::move(explained), verbosity, cursor));
        }
        for (const bson::Document& stage : later) stages.append(stage);
    }
    append_server(member, command, request.db, reply);
    return {};
}

Status explain(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    const bson::Value first = request.body.front().value;
    if (!first.is_object() || first.as_view().is_empty())
        return Error(ErrorCode::failed_to_parse, "explain command requires a nested object");
    TRY(const Verbosity verbosity, parse_verbosity(request.body["verbosity"]));
    return explain_as(member, invocation, first.as_view(), verbosity);
}

}  // namespace

bson::Document explained_aggregation(bson::View command) {
    bson::Builder kept;
    for (const bson::Element& field : command)
        if (field.name != "explain" && !wire::is_generic_argument(field.name)) kept.append(field);
    return std::move(kept).finish();
}

Status explain_aggregation(Member& member, Invocation& invocation) {
    const bson::Document command = explained_aggregation(invocation.request.body);
    return explain_as(member, invocation, command, Verbosity::query_planner);
}

const Command explain_command = {"explain", flags::reads, worker_function<explain>,
                                 explain_on_router, Counted::command,
                                 "Shows how a command would be run."};

}  // namespace tessera::commands
