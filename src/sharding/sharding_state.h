// SPDX-License-Identifier: Apache-2.0
//
// ShardingState: what a shard knows about itself and about what it owns. Commands ask it before
// they touch a collection (a thin PlacementGate in commands passes the questions on): is the
// version the router sent still right, and which documents may be shown. Critical sections block
// writes, then reads, of a collection while a migration commits. Any thread; questions are answered
// from memory and never wait.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "async/event.h"
#include "routing/ownership.h"
#include "routing/targeting.h"
#include "sharding/routing_cache.h"

namespace tessera::sharding {

/// admin.system.version {_id: "shardIdentity"}.
struct ShardIdentity {
    ShardName name;
    bson::ObjectId cluster;
    SetAddress config_servers;
    static Result<ShardIdentity> parse(bson::View document);
    bson::Document to_document() const;
};

struct ReceivedVersions {
    std::optional<routing::ShardVersion> shard;
    std::optional<routing::DatabaseVersion> database;
};

/// How a request sees a collection, fixed when it begins. Keeps its ranges from being deleted until
/// it goes (in_use counts them for the range deleter).
struct CollectionPlacement {
    routing::ChunkMap::Pointer chunks;  // Null: unsharded, or a request without versions.
    std::shared_ptr<void> in_use;
};

class ShardingState {
public:
    ShardingState(async::Clock& clock, RoutingCache& cache);

    /// Set once by addShard or from disk at start-up; ManualInterventionRequired on another
    /// cluster.
    Status set_identity(ShardIdentity identity);
    std::optional<ShardIdentity> identity() const;

    enum class Access { read, write };
    /// Fails with StaleConfig (13388), StaleDbVersion (249), ShardingStateNotInitialized (203);
    /// with StaleConfig also while a critical section blocks this kind of access.
    Result<CollectionPlacement> check(const std::string& ns,
                                      const ReceivedVersions& received,
                                      Access access);
    /// After a refusal: refreshes from the config servers and waits for a critical section to end.
    async::Task<void> recover(std::string ns, Error error, Instant deadline);

    enum class Section { writes, reads_too };
    /// Begins, deepens and ends a critical section of a namespace.
    Status enter_critical_section(const std::string& ns, Section section);
    void leave_critical_section(const std::string& ns);
    bool is_in_critical_section(const std::string& ns) const;

    /// What is known now; the cache's refreshes come here.
    routing::ChunkMap::Pointer known(const std::string& ns) const;
    void install(const std::string& ns, routing::ChunkMap::Pointer chunks);
    /// Whether a request still uses a map in which this shard owned part of the range.
    bool is_range_in_use(const std::string& ns, const routing::Range& range) const;
    async::Notification& changed() { return changed_; }

    // After step-up and rollback: what is known is asked for again.
    void forget_all();

private:
    struct Collection;
    async::Clock& clock_;
    RoutingCache& cache_;
    async::Notification changed_;
    mutable std::mutex mutex_;  // Guards what follows.
    std::optional<ShardIdentity> identity_;
    std::map<std::string, std::shared_ptr<Collection>> collections_;  // Shared with requests.
    std::map<std::string, routing::DatabaseEntry> databases_;
};

}  // namespace tessera::sharding
