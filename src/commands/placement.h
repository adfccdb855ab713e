// SPDX-License-Identifier: Apache-2.0
//
// What sharding asks of commands on a shard: is the sender's idea of where data lives still right,
// which documents here are ours, and what is the shard key. On a member that is no shard every
// question has the empty answer.
#pragma once

#include <memory>
#include <string>

#include "commands/command.h"
#include "query/plan/plan.h"

namespace tessera::commands {

/// What a read on a secondary holds its snapshot against (sharding's placement records).
class PlacementFence {
public:
    virtual ~PlacementFence() = default;
    /// Called within each storage transaction that reads the collection; `is_begun`: not the first.
    virtual Status check(storage::Transaction& transaction, bool is_begun) const = 0;
};

/// How a request sees a collection's placement, fixed when the request began.
struct Placement {
    /// Null: everything here counts (unsharded, or a client that did not come through a router).
    std::shared_ptr<const query::OwnershipFilter> filter;
    /// Null where there is nothing to check.
    std::shared_ptr<const PlacementFence> fence;
    /// Empty: not sharded.
    bson::Document shard_key;
    /// Held while the request runs: a migration's critical section waits for writes that began
    /// before.
    std::shared_ptr<void> in_use;
};

/// What a shard's commands ask; implemented by sharding.
class PlacementGate {
public:
    virtual ~PlacementGate() = default;
    /// Checks the request's shardVersion and databaseVersion against what this shard knows, waiting
    /// for nothing. Fails with StaleConfig (13388) or StaleDbVersion (249); both carry what the
    /// router needs in their details. For writes also while the critical section blocks them.
    virtual Result<Placement> check(const Request& request, const Namespace& ns, bool is_write) = 0;
    /// After StaleConfig: learns what the config servers say, and waits until a critical section on
    /// `ns` has ended, so that a router that tries again finds this shard wiser.
    virtual async::Task<void> recover(Namespace ns, Error error, Instant deadline) = 0;
    /// Called with every committed insert, update and delete of a document, for migrations.
    virtual void on_write(const Namespace& ns,
                          bson::View document_key,
                          bson::View document,
                          bool is_delete) = 0;
};

/// The gate's answer, or the empty placement on a member without one.
Result<Placement> check_placement(Member& member,
                                  const Request& request,
                                  const Namespace& ns,
                                  bool is_write);

}  // namespace tessera::commands
