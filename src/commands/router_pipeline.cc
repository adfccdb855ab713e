// SPDX-License-Identifier: Apache-2.0
#include "commands/router_pipeline.h"

#include <algorithm>

#include "async/block_on.h"
#include "commands/find_command.h"
#include "query/pipeline/split.h"

namespace tessera::commands {
namespace {

constexpr int view_depth_max = 20;

// Another pipeline's results; owns it.
class PipelineDocuments : public query::DocumentCursor {
public:
    PipelineDocuments(query::Pipeline pipeline, bool is_nested)
        : pipeline_(std::move(pipeline)), is_nested_(is_nested) {}
    Result<query::Batch> next() override {
        return is_nested_ ? pipeline_.next_inner() : pipeline_.next();
    }

private:
    query::Pipeline pipeline_;
    const bool is_nested_;
};

// Several sources one after the other.
class Concatenated : public query::DocumentCursor {
public:
    explicit Concatenated(std::vector<std::unique_ptr<query::DocumentCursor>> sources)
        : sources_(std::move(sources)) {}
    Result<query::Batch> next() override {
        query::Batch batch;
        batch.is_last = true;
        if (at_ == sources_.size()) return batch;
        TRY(batch, sources_[at_]->next());
        if (batch.is_last) sources_[at_++].reset();
        batch.is_last = at_ == sources_.size();
        return batch;
    }

private:
    std::vector<std::unique_ptr<query::DocumentCursor>> sources_;
    std::size_t at_ = 0;
};

Namespace to_namespace(const query::PipelineNamespace& ns) {
    return {ns.db, ns.collection};
}

}  // namespace

Result<std::unique_ptr<PipelineCall>> PipelineCall::make(Invocation& invocation) {
    std::unique_ptr<PipelineCall> call(new PipelineCall());
    const Request& request = invocation.request;
    bson::Builder body;
    body.append("aggregate", 1);
    for (const std::string_view name : {"lsid",
                                        "readConcern",
                                        "writeConcern",
                                        "$readPreference",
                                        "maxTimeMS",
                                        "comment",
                                        "allowDiskUse",
                                        "collation",
                                        "bypassDocumentValidation",
                                        "hint"})
        body.append(name, request.body[name]);
    body.append("$db", request.db);
    call->body_ = std::move(body).finish();
    call->message_.body = call->body_;
    TRY(call->request_, Request::parse(call->message_));
    call->invocation_.emplace(*call->request_, invocation.operation, call->scratch_);
    return call;
}

Result<routing::RoutingInfo> RouterPipelineServices::routing_of(const Namespace& ns) {
    const Instant deadline = routing_deadline(router_, *call_->invocation().operation);
    return async::block_on(router_.control, router_.routing.get(ns.to_string(), deadline));
}

Result<bson::Document> RouterPipelineServices::call_one(const routing::ShardName& shard,
                                                        bson::Document command,
                                                        bool is_retryable) {
    return async::block_on(router_.control,
                           call_shard(router_,
                                      call_->invocation(),
                                      shard,
                                      std::move(command),
                                      primary_options(call_->invocation(), is_retryable)));
}

bson::Document RouterPipelineServices::shard_command(const ShardPart& part,
                                                     const bson::Document& let,
                                                     const routing::ShardTarget& target) {
    const Request& request = call_->request();
    const Namespace& source = part.source;
    bson::Builder command;
    if (source.collection.empty())
        command.append("aggregate", 1);
    else
        command.append("aggregate", source.collection);
    {
        auto list = command.array("pipeline");
        for (const bson::Document& stage : part.stages)
            list.append(stage);
    }
    command.append("cursor", bson::Document());
    if (part.needs_merge) command.append("fromRouter", true).append("needsMerge", true);
    for (const std::string_view name :
         {"allowDiskUse", "collation", "bypassDocumentValidation", "writeConcern"})
        command.append(name, request.body[name]);
    if (part.takes_hint) command.append("hint", request.body["hint"]);
    if (!let.is_empty()) {
        bson::Builder values = command.object("let");
        for (const bson::Element& each : let.view())
            values.append(each.name, bson::make("$literal", each.value));
    }
    append_read_context(request, source.db, source.collection.empty() ? nullptr : &target, command);
    return std::move(command).finish();
}

RouterPipelineServices::Cursor RouterPipelineServices::open_on_shard(
    const RouterAggregation& aggregation,
    const bson::Document& let,
    const routing::ShardTarget& target,
    bool writes) {
    Invocation& invocation = call_->invocation();
    std::vector<ShardCommand> commands;
    const ShardPart part{aggregation.source, aggregation.stages, false, !aggregation.is_nested};
    commands.push_back(ShardCommand{target.shard, shard_command(part, let, target)});
    OpenOptions options;
    options.call = writes ? primary_options(invocation, false) : call_options(invocation, true);
    TRY(auto cursors,
        async::block_on(
            router_.control,
            open_cursors(router_, invocation, std::move(commands), std::move(options))));
    return make_remote_documents(router_, std::move(cursors.front()), *call_);
}

RouterPipelineServices::Cursor RouterPipelineServices::open_split(
    const RouterAggregation& aggregation,
    const bson::Document& let,
    const query::Pipeline& pipeline,
    query::PipelineContext context,
    const std::vector<routing::ShardTarget>& targets) {
    Invocation& invocation = call_->invocation();
    const query::SplitPipeline parts = query::split(pipeline);
    std::vector<ShardCommand> commands;
    const ShardPart part{aggregation.source, parts.shard_part, true, !aggregation.is_nested};
    for (const routing::ShardTarget& target : targets)
        commands.push_back(ShardCommand{target.shard, shard_command(part, let, target)});
    OpenOptions options;
    options.call = call_options(invocation, true);
    TRY(auto cursors,
        async::block_on(
            router_.control,
            open_cursors(router_, invocation, std::move(commands), std::move(options))));
    std::vector<std::unique_ptr<query::DocumentCursor>> sources;
    for (RemoteCursor& cursor : cursors)
        sources.push_back(make_remote_documents(router_, std::move(cursor), *call_));
    std::unique_ptr<query::DocumentCursor> merged;
    if (parts.merge_sort && sources.size() > 1)
        merged = query::make_merging_cursor(std::move(sources), *parts.merge_sort);
    else
        merged = std::make_unique<Concatenated>(std::move(sources));
    const bool is_nested = context.nesting > 0;
    context.is_merging = true;
    TRY(auto rest, query::Pipeline::parse(parts.merge_part, context));
    rest.attach(std::move(merged), this);
    return std::unique_ptr<query::DocumentCursor>(
        std::make_unique<PipelineDocuments>(std::move(rest), is_nested));
}

// Whether any of the names is a view on its shard, which a shard would take apart by itself without
// knowing what lies on other shards.
Result<bool> RouterPipelineServices::has_views(const std::vector<Namespace>& names,
                                               const routing::ShardName& shard) {
    for (const Namespace& ns : names) {
        const bson::Document filter = bson::make("name", ns.collection, "type", "view");
        bson::Document command =
            bson::make("listCollections", 1, "filter", filter, "nameOnly", true, "$db", ns.db);
        TRY(const bson::Document reply, call_one(shard, std::move(command), true));
        const bson::Value cursor = reply["cursor"];
        const bson::Value batch =
            cursor.is_object() ? cursor.as_view()["firstBatch"] : bson::Value();
        if (batch.is_array() && !batch.as_view().is_empty()) return true;
    }
    return false;
}

Result<bool> RouterPipelineServices::may_pass_whole(const query::Pipeline& pipeline,
                                                    const routing::RoutingInfo& info,
                                                    const routing::ShardTarget& target,
                                                    const Namespace& source) {
    std::vector<Namespace> read;
    const auto involved = pipeline.involved_namespaces();
    for (const query::InvolvedNamespace& each : involved) {
        const Namespace ns = to_namespace(each.ns);
        if (ns == source && !info.is_sharded() && !each.is_written) continue;
        if (ns.collection.empty()) continue;
        auto other = routing_of(ns);
        if (!other && other.error().code() == ErrorCode::namespace_not_found) {
            if (each.is_written) return false;
            continue;
        }
        if (!other) return other.error();
        if (other->is_sharded() || other->database.primary != target.shard) return false;
        if (!each.is_written) read.push_back(ns);
    }
    if (read.empty()) return true;
    TRY(const bool are_views, has_views(read, target.shard));
    return !are_views;
}

RouterPipelineServices::Cursor RouterPipelineServices::open_at(const RouterAggregation& aggregation,
                                                               const bson::Document& let,
                                                               int nesting,
                                                               const routing::RoutingInfo& info,
                                                               bool& writes) {
    query::PipelineContext context;
    context.ns = {aggregation.source.db, aggregation.source.collection};
    context.expression = expressions_;
    context.expression.let = let;
    context.nesting = nesting;
    context.memory_max = static_cast<std::size_t>(router_.parameters.query_memory_bytes_max.load());
    TRY(auto pipeline, query::Pipeline::parse(aggregation.stages, context));
    TRY_OK(pipeline.optimize());
    writes = pipeline.writes();
    if (!pipeline.needs_source()) {
        pipeline.attach(nullptr, this);
        return std::unique_ptr<query::DocumentCursor>(
            std::make_unique<PipelineDocuments>(std::move(pipeline), nesting > 0));
    }
    query::Pipeline::Take take;
    const auto leading = pipeline.peek_leading(take);
    TRY(const auto targets, target_read(call_->request(), info, leading.filter));
    if (targets.size() == 1) {
        TRY(const bool passes, may_pass_whole(pipeline, info, targets.front(), aggregation.source));
        if (passes) return open_on_shard(aggregation, let, targets.front(), writes);
    }
    return open_split(aggregation, let, pipeline, std::move(context), targets);
}

RouterPipelineServices::Cursor RouterPipelineServices::open_aggregation(
    RouterAggregation aggregation, const bson::Document& let, int nesting, bool& writes) {
    routing::StaleRetry retry;
    int views = 0;
    while (true) {
        TRY_OK(check_interrupt());
        auto info = routing_of(aggregation.source);
        if (!info && info.error().code() == ErrorCode::namespace_not_found) {
            // No such database: no documents, but whatever the pipeline makes of none.
            routing::RoutingInfo nowhere;
            nowhere.database.primary = sharding::config_shard;
            info = nowhere;
            aggregation.source.db = "config";
            aggregation.source.collection = "tessera.nothing";
        }
        if (!info) return info.error();
        auto opened = open_at(aggregation, let, nesting, *info, writes);
        if (opened) return opened;
        const std::string name = aggregation.source.to_string();
        const auto refresh = routing::refresh_for(opened.error(), name);
        if (refresh) router_.routing.mark_stale(*refresh);
        const bool is_view = is_view_error(opened.error()) ||
                             (refresh && !info->is_sharded() && !refresh->collection.empty() &&
                              refresh->collection != name);
        if (is_view && views++ < view_depth_max) {
            TRY_OK(async::block_on(router_.control,
                                   resolve_views(router_, call_->invocation(), aggregation)));
            continue;
        }
        if (!refresh || !retry.may_retry()) return opened;
    }
}

RouterPipelineServices::Cursor RouterPipelineServices::open(
    const query::PipelineNamespace& ns, const std::vector<bson::Document>& stages, bson::View let) {
    RouterAggregation aggregation;
    aggregation.ns = aggregation.source = to_namespace(ns);
    aggregation.stages = stages;
    aggregation.is_nested = true;
    bool writes = false;
    return open_aggregation(std::move(aggregation), bson::Document(let), 1, writes);
}

}  // namespace tessera::commands
