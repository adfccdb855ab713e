// SPDX-License-Identifier: Apache-2.0
//
// Pipelines on a router: what of them one shard can run as a whole, what is split between shards
// and router, and how views over several shards are taken apart.
#pragma once

#include <vector>

#include "commands/cursor_commands.h"
#include "commands/router_calls.h"
#include "routing/retry.h"

namespace tessera::commands {

struct RouterAggregation {
    Namespace ns;                        // As the client named it; cursors belong to it.
    Namespace source;                    // Below the views; the same without any.
    std::vector<bson::Document> stages;  // Those of the views first.
    FirstBatch first;
    bool is_nested = false;  // Of a stage of another one: the command's hint is not about it.
};

/// Runs it and answers. Views among the sources are found out by the shards' answers.
async::Task<Status> run_aggregation_on_router(Router& router,
                                              Invocation& invocation,
                                              RouterAggregation aggregation);
/// As above for a source known to be a view that must be taken apart here.
async::Task<Status> run_view_aggregation(Router& router,
                                         Invocation& invocation,
                                         RouterAggregation aggregation);

/// Takes the views of `aggregation.source` apart.
async::Task<Status> resolve_views(Router& router,
                                  Invocation& invocation,
                                  RouterAggregation& aggregation);

/// Marks the error of with_view_check: the namespace is a view over what one shard cannot answer.
inline bool is_view_error(const Error& error) {
    return error.code() == ErrorCode::command_on_sharded_view_not_supported_on_mongod;
}

/// As sharding::with_routing, but a shard that finds another collection than the one asked for
/// stale ran into a view over a sharded collection: that fails with 169 (is_view_error).
template <class T, class Attempt>
async::Task<Result<T>> with_view_check(Router& router,
                                       Namespace ns,
                                       Instant deadline,
                                       Attempt attempt) {
    const std::string name = ns.to_string();
    routing::StaleRetry retry;
    for (;;) {
        auto info = co_await router.routing.get(name, deadline);
        if (!info) co_return std::move(info).error();
        auto running = attempt(*info);
        Result<T> result = co_await std::move(running);
        if (result) co_return result;
        const auto refresh = routing::refresh_for(result.error(), name);
        if (!refresh) co_return result;
        router.routing.mark_stale(*refresh);
        if (!info->is_sharded() && !refresh->collection.empty() && refresh->collection != name)
            co_return Error(ErrorCode::command_on_sharded_view_not_supported_on_mongod,
                            name + " is a view over a sharded collection");
        if (!retry.may_retry()) co_return result;
    }
}

}  // namespace tessera::commands
