// SPDX-License-Identifier: Apache-2.0
//
// RangeDeleter: deletes what a migration left behind (config.rangeDeletions), when no request that
// could still see it is running and the delay for secondaries is over. One range of a collection at
// a time, in small batches. Rebuilt from disk at step-up.
#pragma once

#include <string>

#include "sharding/migration.h"

namespace tessera::sharding {

class RangeDeleter {
public:
    RangeDeleter(async::Clock& clock, ShardingState& state, LocalData& data);

    /// A task that is no longer pending: runs after `delay`.
    void schedule(bson::Document task, Duration delay);
    /// Waits until no task overlaps the range: before it is received again, or for waitForDelete.
    async::Task<Status> await_no_overlap(std::string ns, routing::Range range, Instant deadline);
    /// Documents known to wait for deletion, for storageStats.numOrphanDocs.
    std::int64_t orphans(const std::string& ns) const;

    async::Task<Status> recover();
    async::Task<void> run(async::Cancellation cancellation);  // Until cancelled (step-down).

private:
    struct Tasks;
    async::Clock& clock_;
    ShardingState& state_;
    LocalData& data_;
    std::shared_ptr<Tasks> tasks_;  // Shared with waiters.
};

}  // namespace tessera::sharding
