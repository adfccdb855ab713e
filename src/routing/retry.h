// SPDX-License-Identifier: Apache-2.0
//
// What a router does about an error that says its routing table is old (protocol.md 4.3).
#pragma once

#include <optional>
#include <string>

#include "routing/limits.h"
#include "routing/versions.h"

namespace tessera::routing {

/// Which cache entry an error asks to refresh, and to which version at least.
struct RefreshRequest {
    std::string collection;  // "db.coll", or empty.
    std::string database;    // "db", or empty.
    std::optional<ShardVersion> wanted_collection;
    ShardName shard;  // Whose version that is; empty: unknown.
    std::optional<DatabaseVersion> wanted_database;
};

/// Whether the error is about stale routing: StaleConfig, StaleDbVersion, StaleEpoch,
/// ShardCannotRefreshDueToLocksHeld.
bool is_stale_routing(ErrorCode code);
/// Whether a router must look again where data lives: the routing is stale, or names a shard that
/// has been removed (ShardNotFound). The command has not been executed.
bool needs_new_routing(ErrorCode code);
/// Unset when the error needs no new routing. `ns` is what the request was about, for errors
/// that carry no details.
std::optional<RefreshRequest> refresh_for(const Error& error, std::string_view ns);

/// Counts the rounds of one operation. Not for write batches, which also watch progress.
class StaleRetry {
public:
    /// Call after a stale answer: true means refresh and try again.
    bool may_retry() { return ++rounds_ <= limits::stale_retries; }
    int rounds() const { return rounds_; }

private:
    int rounds_ = 0;
};

}  // namespace tessera::routing
