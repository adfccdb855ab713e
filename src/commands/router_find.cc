// SPDX-License-Identifier: Apache-2.0
//
// find on a router. One shard can answer: its answer is handed on as it is. Several: each gets the
// query with a limit of skip + limit, sorted documents carry their $sortKey, and the router merges,
// skips and limits.
#include "commands/cursor_commands.h"
#include "commands/find_command.h"
#include "commands/router_aggregation.h"
#include "commands/router_commands.h"
#include "commands/router_cursor.h"
#include "commands/support.h"

namespace tessera::commands {
namespace {

routing::FilterOptions filter_options(const bson::Value& collation) {
    routing::FilterOptions options;
    if (collation.is_object() && !collation.as_view().is_empty()) {
        const bson::Value locale = collation.as_view()["locale"];
        options.is_collation_simple = locale.is_string() && locale.as_string() == "simple";
    }
    return options;
}

// {cursor: {firstBatch, id: 0, ns}} as a shard gave it.
void append_answer(bson::View reply, const Namespace& ns, Invocation& invocation) {
    const bson::View cursor = reply["cursor"].as_view();
    bson::Builder object = invocation.reply.object("cursor");
    const bson::Value batch = cursor["firstBatch"];
    object.append("firstBatch", batch);
    append_snapshot_time(invocation, object);
    object.append("id", std::int64_t{0}).append("ns", ns.to_string());
}

bson::Document merged_command(const Request& request,
                              const FindArguments& args,
                              const routing::ShardTarget& target) {
    const bson::Document forward =
        forwarded(request, &target, {"skip", "limit", "singleBatch", "allowPartialResults"});
    bson::Builder command;
    command.append_all(forward);
    if (const auto limit = routing::shard_limit(args.skip, args.limit)) {
        command.append("limit", *limit);
        if (args.is_single_batch) command.append("singleBatch", false);
    }
    if (!args.sort.is_empty()) command.append("$_wantsSortKey", true);
    return std::move(command).finish();
}

CursorOptions cursor_options(const FindArguments& args) {
    CursorOptions options;
    options.ns = args.ns;
    options.is_tailable = args.is_tailable;
    options.awaits_data = args.awaits_data;
    options.never_times_out = args.never_times_out;
    return options;
}

async::Task<Result<bool>> find_on_one(Router& router,
                                      Invocation& invocation,
                                      const FindArguments& args,
                                      const routing::ShardTarget& target) {
    bson::Document command = forwarded(invocation.request, &target);
    HostAndPort host;
    sharding::CallOptions options = call_options(invocation, true);
    options.answered_by = &host;
    CO_TRY(bson::Document reply,
           co_await call_shard(
               router, invocation, target.shard, std::move(command), std::move(options)));
    const bson::Value cursor = reply["cursor"];
    if (cursor.is_object() && cursor.as_view()["id"].to_int64() == 0) {
        append_answer(reply, args.ns, invocation);
        co_return true;
    }
    CO_TRY(RemoteCursor remote,
           RemoteCursor::open(
               router, invocation.request, target.shard, std::move(host), std::move(reply)));
    auto source = make_single_source(router, std::move(remote));
    FirstBatch first;
    first.batch_size = args.batch_size;
    CO_TRY_OK(co_await reply_with_cursor(
        router, invocation, std::move(source), cursor_options(args), first));
    co_return true;
}

async::Task<Result<bool>> find_on_many(Router& router,
                                       Invocation& invocation,
                                       const FindArguments& args,
                                       const std::vector<routing::ShardTarget>& targets) {
    std::vector<ShardCommand> commands;
    for (const routing::ShardTarget& target : targets)
        commands.push_back(
            ShardCommand{target.shard, merged_command(invocation.request, args, target)});
    OpenOptions options;
    MergeOptions merge;
    options.call = call_options(invocation, true);
    options.skips_unreachable = args.allows_partial_results;
    options.is_partial = &merge.is_partial;
    CO_TRY(auto cursors,
           co_await open_cursors(router, invocation, std::move(commands), std::move(options)));
    merge.sort = bson::Document(args.sort);
    merge.skip = args.skip;
    merge.limit = args.limit;
    merge.skips_unreachable = args.allows_partial_results;
    auto source = make_merged_source(router, std::move(cursors), std::move(merge));
    FirstBatch first;
    first.batch_size = args.batch_size;
    first.is_single = args.is_single_batch;
    CO_TRY_OK(co_await reply_with_cursor(
        router, invocation, std::move(source), cursor_options(args), first));
    co_return true;
}

async::Task<Result<bool>> find_once(Router& router,
                                    Invocation& invocation,
                                    const FindArguments& args,
                                    const routing::RoutingInfo& info) {
    CO_TRY(const auto targets,
           target_read(invocation.request, info, args.filter, filter_options(args.collation)));
    // What a single shard says is handed on, which leaves no room for it not saying anything.
    const bool is_partial = args.allows_partial_results && !args.is_tailable;
    if (targets.size() == 1 && !is_partial)
        co_return co_await find_on_one(router, invocation, args, targets.front());
    co_return co_await find_on_many(router, invocation, args, targets);
}

// A view over what one shard cannot answer alone: the aggregation it stands for.
async::Task<Status> find_as_aggregation(Router& router,
                                        Invocation& invocation,
                                        const FindArguments& args) {
    RouterAggregation aggregation;
    aggregation.ns = args.ns;
    aggregation.source = args.ns;
    auto& stages = aggregation.stages;
    if (!args.filter.is_empty()) stages.push_back(bson::make("$match", args.filter));
    if (!args.sort.is_empty()) stages.push_back(bson::make("$sort", args.sort));
    if (args.skip > 0) stages.push_back(bson::make("$skip", args.skip));
    if (args.limit > 0) stages.push_back(bson::make("$limit", args.limit));
    if (!args.projection.is_empty()) stages.push_back(bson::make("$project", args.projection));
    aggregation.first.batch_size = args.batch_size;
    aggregation.first.is_single = args.is_single_batch;
    co_return co_await run_view_aggregation(router, invocation, std::move(aggregation));
}

}  // namespace

async::Task<Status> find_on_router(Router& router, Invocation& invocation) {
    CO_TRY(const FindArguments args, FindArguments::parse(invocation.request));
    invocation.ns = args.ns;
    const Instant deadline = routing_deadline(router, *invocation.operation);
    const auto attempt = [&](const routing::RoutingInfo& info) {
        return find_once(router, invocation, args, info);
    };
    auto running = with_view_check<bool>(router, args.ns, deadline, attempt);
    auto done = co_await std::move(running);
    if (done) co_return Status();
    if (is_view_error(done.error()))
        co_return co_await find_as_aggregation(router, invocation, args);
    if (done.error().code() == ErrorCode::namespace_not_found) {
        bson::Builder cursor = invocation.reply.object("cursor");
        cursor.array("firstBatch").done();
        append_snapshot_time(invocation, cursor);
        cursor.append("id", std::int64_t{0}).append("ns", args.ns.to_string());
        co_return Status();
    }
    co_return call_error(router, *invocation.operation, std::move(done).error());
}

}  // namespace tessera::commands
