// SPDX-License-Identifier: Apache-2.0
//
// RoutingCache: what this process knows of databases and sharded collections. Filled on first use,
// refreshed when a shard says it is stale; one refresh of a namespace at a time, readers share it.
// A refresh is incremental within a generation. Config servers may show less than a shard has been
// told already, when their primary has just been elected: a refresh waits a little for the version
// that a shard wants. Used by routers and, with its own reader, by shards.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "async/event.h"
#include "routing/retry.h"
#include "routing/targeting.h"
#include "sharding/config_reader.h"

namespace tessera::sharding {

class RoutingCache {
public:
    RoutingCache(async::Clock& clock, ConfigReader& reader) : clock_(clock), reader_(reader) {}

    /// Placement of a namespace, from the cache if it is not marked stale. Fails with
    /// NamespaceNotFound (26) when the database does not exist.
    async::Task<Result<routing::RoutingInfo>> get(std::string ns, Instant deadline);
    /// Placement of a database.
    async::Task<Result<routing::DatabaseEntry>> get_database(std::string db, Instant deadline);

    /// Placement of a sharded collection alone; null when it is not sharded.
    async::Task<Result<routing::ChunkMap::Pointer>> chunks(std::string ns, Instant deadline) {
        return get_chunks(std::move(ns), deadline);
    }

    /// Marks entries stale unless they are already at the wanted version; get() then refreshes.
    void mark_stale(const routing::RefreshRequest& request);
    void forget(const std::string& ns);
    void forget_database(const std::string& db);
    void forget_all();  // flushRouterConfig

private:
    /// Of a namespace that get() has loaded, unless something is stale.
    std::optional<routing::RoutingInfo> cached(const std::string& ns) const;

    // A cached value and the refresh that is running, if any; guarded by mutex_. The value is fresh
    // when nothing has invalidated it since the refresh that brought it began.
    template <class Value, class Version>
    struct Entry {
        Value value{};
        std::optional<Version> wanted;  // A shard knows this one: the next refresh is to bring it.
        std::uint64_t invalidated = 1;
        std::uint64_t loaded = 0;
        std::shared_ptr<async::Event> refresh;  // Also owned by those who wait for it.
        bool is_fresh() const { return loaded == invalidated; }
    };
    using CollectionEntry = Entry<routing::ChunkMap::Pointer, routing::ShardVersion>;
    using DatabaseEntry = Entry<routing::DatabaseEntry, routing::DatabaseVersion>;

    template <class EntryType>
    static std::shared_ptr<EntryType> entry_of(
        std::map<std::string, std::shared_ptr<EntryType>>& map, const std::string& name);
    async::Task<Result<routing::ChunkMap::Pointer>> get_chunks(std::string ns, Instant deadline);
    async::Task<Result<routing::ChunkMap::Pointer>> load(std::string ns,
                                                         routing::ChunkMap::Pointer old,
                                                         Instant deadline);
    template <class Value, class Load, class IsBehind>
    async::Task<Result<Value>> until_caught_up(Load load, IsBehind is_behind, Instant deadline);

    async::Clock& clock_;
    ConfigReader& reader_;
    mutable std::mutex mutex_;  // Guards what follows and what is in the entries.
    std::map<std::string, std::shared_ptr<CollectionEntry>> collections_;
    std::map<std::string, std::shared_ptr<DatabaseEntry>> databases_;
};

/// Runs `attempt` with fresh routing until it succeeds or fails with something else than stale
/// routing, at most routing::limits::stale_retries times.
template <class T, class Attempt>
async::Task<Result<T>> with_routing(RoutingCache& cache,
                                    std::string ns,
                                    Instant deadline,
                                    Attempt attempt) {
    routing::StaleRetry retry;
    for (;;) {
        auto info = co_await cache.get(ns, deadline);
        if (!info) co_return std::move(info).error();
        auto running = attempt(*info);
        Result<T> result = co_await std::move(running);
        if (result) co_return result;
        const auto refresh = routing::refresh_for(result.error(), ns);
        if (!refresh || !retry.may_retry()) co_return result;
        cache.mark_stale(*refresh);
    }
}

}  // namespace tessera::sharding
