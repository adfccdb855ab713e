// SPDX-License-Identifier: Apache-2.0
//
// getShardVersion on a router: what it knows of a sharded collection's placement.
#include "commands/shard_version_command.h"

#include "commands/router_calls.h"

namespace tessera::commands {
namespace {

async::Task<Status> shard_version_on_router(Router& router, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY_OK(request.check_known_fields("getShardVersion", {"fullMetadata"}));
    const bson::Value first = request.body.front().value;
    if (!first.is_string())
        co_return Error(ErrorCode::type_mismatch,
                        "getShardVersion takes a namespace as a string");
    if (request.body["fullMetadata"].is_truthy())
        co_return Error(ErrorCode::command_not_supported,
                        "getShardVersion with fullMetadata is not supported: config.chunks has "
                        "the chunks");
    const Namespace ns = Namespace::split(first.as_string());
    CO_TRY_OK(check_namespace(ns));
    invocation.ns = ns;
    const Instant deadline = routing_deadline(router, *invocation.operation);
    CO_TRY(const auto info, co_await router.routing.get(ns.to_string(), deadline));
    if (!info.is_sharded())
        co_return Error(ErrorCode::namespace_not_sharded,
                        "Collection " + ns.to_string() + " is not sharded.");
    const routing::ChunkVersion version = info.chunks->version();
    invocation.reply.append("version",
                            Timestamp{version.placement.major, version.placement.minor});
    invocation.reply.append("versionEpoch", version.generation.epoch);
    invocation.reply.append("versionTimestamp", version.generation.timestamp);
    co_return Status();
}

}  // namespace

const Command shard_version_command = {"getShardVersion",
                                       flags::any_state | flags::admin_only,
                                       nullptr,
                                       shard_version_on_router,
                                       Counted::command,
                                       "The placement of a sharded collection."};

}  // namespace tessera::commands
