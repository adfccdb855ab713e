// SPDX-License-Identifier: Apache-2.0
//
// What a router's commands may use.
#pragma once

#include <utility>

#include "async/event.h"
#include "commands/node.h"
#include "sharding/config_reader.h"
#include "sharding/routing_cache.h"
#include "sharding/shard_registry.h"

namespace tessera::commands {

struct Router : Node {
    Router(ProcessInfo info,
           async::Clock& its_clock,
           async::Transport& its_transport,
           async::Executor& its_control,
           async::Executor& its_workers,
           Random& random,
           sharding::SetAddress config_servers)
        : Node(std::move(info), its_clock, its_transport, its_control, its_workers, random),
          shards(its_clock, its_transport, logical_clock, std::move(config_servers)),
          config_reader(shards),
          routing(its_clock, config_reader) {}

    sharding::ShardRegistry shards;
    sharding::RemoteConfigReader config_reader;
    sharding::RoutingCache routing;

    /// What awaitable hellos wait for in vain; notified at shutdown.
    async::Notification never_changes;
};

}  // namespace tessera::commands
