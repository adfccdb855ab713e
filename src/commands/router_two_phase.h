// SPDX-License-Identifier: Apache-2.0
//
// Writes of one document whose shard nobody knows: it is looked for on every shard that may have
// it, then written where it is, by its _id and the client's own filter. A document that changes or
// moves in between is looked for again. A retried statement is first asked for by its number, since
// what it did may have made its filter match something else.
#pragma once

#include <vector>

#include "commands/router_writes.h"

namespace tessera::commands {

/// One update or delete; answers as a shard would for that statement alone.
async::Task<Result<bson::Document>> write_where_found(
    Router& router,
    Invocation& invocation,
    const RouterWrite& write,
    std::uint32_t index,
    const std::vector<routing::ShardTarget>& candidates);

/// findAndModify likewise. `info` is where the collection lives.
async::Task<Result<bson::Document>> modify_where_found(
    Router& router,
    Invocation& invocation,
    const Namespace& ns,
    const routing::RoutingInfo& info,
    const std::vector<routing::ShardTarget>& candidates);

}  // namespace tessera::commands
