// SPDX-License-Identifier: Apache-2.0
//
// aggregate on a member: views are taken apart, leading stages go to the planner, the rest runs as
// a pipeline on a worker.
#include "commands/aggregate_command.h"

#include "commands/aggregate_arguments.h"
#include "commands/explain_command.h"
#include "commands/member_pipeline.h"
#include "commands/placement.h"
#include "commands/router_commands.h"
#include "commands/support.h"

namespace tessera::commands {
namespace {

// A pipeline as a cursor's source; lives on a worker.
class PipelineSource : public CursorSource {
public:
    PipelineSource(Member& member,
                   std::unique_ptr<MemberPipelineServices> services,
                   query::Pipeline pipeline)
        : member_(member), services_(std::move(services)), pipeline_(std::move(pipeline)) {}

    async::Task<Result<bool>> fill(BatchWriter& batch, Operation& operation) override {
        if (async::Executor::current() != &member_.workers) {
            async::resume_on hop(member_.workers);
            co_await hop;
        }
        services_->set_operation(operation.shared_from_this());
        const auto next = [this] { return pipeline_.next(); };
        co_return batches_.fill(batch, operation, member_.clock, next);
    }

    OpTime last_write() const { return services_->last_write(); }

private:
    Member& member_;
    std::unique_ptr<MemberPipelineServices> services_;  // Before the pipeline, which refers to it.
    query::Pipeline pipeline_;
    DocumentBatches batches_;
};

struct Aggregation {
    Namespace ns;                        // As the client named it; cursors belong to it.
    std::vector<bson::Document> stages;  // After views were taken apart.
    Namespace source;                    // The collection below.
    query::Hint hint;
    FirstBatch first;
    bool is_explain = false;
};

Result<Aggregation> parse_aggregation(Member& member, const Request& request) {
    const bson::View body = request.body;
    TRY_OK(request.check_known_fields("aggregate",
                                      {"pipeline",
                                       "explain",
                                       "allowDiskUse",
                                       "cursor",
                                       "bypassDocumentValidation",
                                       "hint",
                                       "let",
                                       "collation",
                                       "needsMerge",
                                       "fromRouter",
                                       "fromMongos"}));
    TRY(AggregateArguments arguments, parse_aggregate_arguments(request));
    Aggregation result;
    result.ns = std::move(arguments.ns);
    result.first = arguments.first;
    result.is_explain = arguments.is_explain;
    TRY(result.hint, parse_hint(body["hint"]));
    TRY(auto resolved, resolve_view(member, result.ns));
    result.source = resolved.ns;
    result.stages = std::move(resolved.stages);
    for (bson::Document& stage : arguments.stages)
        result.stages.push_back(std::move(stage));
    return result;
}

// A pipeline that writes sends its documents away: it is run to its end before the answer.
async::Task<Status> run_writing(Member& member, Invocation& invocation, PipelineSource& source) {
    std::string sink;
    while (true) {
        bson::ArrayBuilder documents;
        BatchWriter batch(documents, 1);
        auto is_exhausted = co_await source.fill(batch, *invocation.operation);
        if (!is_exhausted) co_return std::move(is_exhausted).error();
        if (*is_exhausted) break;
    }
    if (invocation.last_write < source.last_write()) invocation.last_write = source.last_write();
    static_cast<void>(member);
    co_return Status();
}

async::Task<Status> run_aggregation(Member& member, Invocation& invocation, Aggregation args) {
    async::resume_on hop(member.workers);
    co_await hop;
    query::PipelineContext context;
    context.ns = {
        args.source.db,
        args.source.collection.starts_with("$cmd") ? std::string() : args.source.collection};
    CO_TRY(context.expression, make_expression_context(member, invocation.request));
    context.memory_max = static_cast<std::size_t>(member.parameters.query_memory_bytes_max.load());
    context.is_merging = invocation.request.body["fromRouter"].is_truthy() &&
                         !invocation.request.body["needsMerge"].is_truthy();
    CO_TRY(auto pipeline, query::Pipeline::parse(args.stages, context));
    CO_TRY_OK(pipeline.optimize());
    auto services = std::make_unique<MemberPipelineServices>(
        member, invocation.operation, context.expression, invocation.read_at);
    services->set_from_router(!invocation.request.shard_version.is_empty());
    std::unique_ptr<query::DocumentCursor> documents;
    if (pipeline.needs_source()) {
        CO_TRY(Placement placement,
               check_placement(member, invocation.request, args.source, false));
        query::Pipeline::Take take;
        take.with_sort = true;
        take.with_limit = true;
        const auto leading = pipeline.take_leading(take);
        Status status;
        documents = services->open_collection(
            args.source, leading, args.hint, std::move(placement), status);
        CO_TRY_OK(status);
    }
    const bool writes = pipeline.writes();
    WriteGate::Pass pass;
    if (writes) {
        CO_TRY(pass, co_await member.write_gate.enter(member.clock, *invocation.operation));
    }
    pipeline.attach(std::move(documents), services.get());
    auto source =
        std::make_unique<PipelineSource>(member, std::move(services), std::move(pipeline));
    if (writes) CO_TRY_OK(co_await run_writing(member, invocation, *source));
    CursorOptions options;
    options.ns = args.ns;
    if (writes) {
        append_finished_cursor(invocation.reply, args.ns.to_string(), {});
        co_return Status();
    }
    co_return co_await reply_with_cursor(
        member, invocation, std::move(source), std::move(options), args.first);
}

async::Task<Status> aggregate_on_member(Member& member, Invocation& invocation) {
    CO_TRY(Aggregation args, parse_aggregation(member, invocation.request));
    invocation.ns = args.ns;
    if (args.is_explain) {
        async::resume_on hop(member.workers);
        co_await hop;
        co_return explain_aggregation(member, invocation);
    }
    co_return co_await run_aggregation(member, invocation, std::move(args));
}

}  // namespace

async::Task<Status> find_on_view(Member& member,
                                 Invocation& invocation,
                                 const FindArguments& args) {
    Aggregation aggregation;
    aggregation.ns = args.ns;
    CO_TRY(auto resolved, resolve_view(member, args.ns));
    aggregation.source = resolved.ns;
    aggregation.stages = std::move(resolved.stages);
    auto& stages = aggregation.stages;
    if (!args.filter.is_empty()) stages.push_back(bson::make("$match", args.filter));
    if (!args.sort.is_empty()) stages.push_back(bson::make("$sort", args.sort));
    if (args.skip > 0) stages.push_back(bson::make("$skip", args.skip));
    if (args.limit > 0) stages.push_back(bson::make("$limit", args.limit));
    if (!args.projection.is_empty()) stages.push_back(bson::make("$project", args.projection));
    aggregation.hint = args.hint;
    aggregation.first.batch_size = args.batch_size;
    aggregation.first.is_single = args.is_single_batch;
    co_return co_await run_aggregation(member, invocation, std::move(aggregation));
}

const Command aggregate_command = {"aggregate",
                                   flags::reads | flags::waits_write_concern,
                                   aggregate_on_member,
                                   aggregate_on_router,
                                   Counted::command,
                                   "Runs a pipeline."};

}  // namespace tessera::commands
