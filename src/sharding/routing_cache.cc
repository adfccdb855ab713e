// SPDX-License-Identifier: Apache-2.0
#include "sharding/routing_cache.h"

#include <algorithm>

#include "sharding/limits.h"

namespace tessera::sharding {
namespace {

std::string database_of(const std::string& ns) {
    return ns.substr(0, ns.find('.'));
}

// The databases that live on the config servers.
bool is_on_config_servers(std::string_view db) {
    return db == "admin" || db == "config";
}

// Whether what is known is at least what a shard said it wants.
bool is_reached(const routing::ChunkMap::Pointer& known, const routing::RefreshRequest& request) {
    const std::optional<routing::ShardVersion>& wanted = request.wanted_collection;
    if (!wanted) return false;
    if (wanted->is_unsharded()) return known == nullptr;
    if (known == nullptr) return false;
    const routing::ChunkVersion version = known->version();
    if (version.generation != wanted->version().generation) return false;
    // A shard whose last chunk has left wants 0|0, which is older than anything that is known.
    if (wanted->version().placement.major == 0) return !known->owns_any(request.shard);
    return version.placement >= wanted->version().placement;
}

bool is_behind(const routing::ChunkMap::Pointer& known,
               const std::optional<routing::ShardVersion>& wanted) {
    return wanted && !wanted->is_unsharded() && known != nullptr &&
           known->version().is_older_than(wanted->version());
}

bool is_behind(const std::optional<routing::DatabaseEntry>& known,
               const std::optional<routing::DatabaseVersion>& wanted) {
    return wanted && known && known->version.is_older_than(*wanted);
}

}  // namespace

template <class Value, class Load, class IsBehind>
async::Task<Result<Value>> RoutingCache::until_caught_up(Load load,
                                                         IsBehind is_behind,
                                                         Instant deadline) {
    Duration pause = limits::discovery_pause_min;
    for (int attempt = 1;; ++attempt) {
        auto loading = load();
        Result<Value> loaded = co_await std::move(loading);
        if (!loaded || !is_behind(*loaded) || attempt == limits::catch_up_attempts ||
            clock_.now() + pause >= deadline)
            co_return loaded;
        async::sleep_until wait(clock_, clock_.now() + pause);
        co_await wait;
        pause = std::min(pause * 2, limits::discovery_pause_max);
    }
}

template <class EntryType>
std::shared_ptr<EntryType> RoutingCache::entry_of(
    std::map<std::string, std::shared_ptr<EntryType>>& map, const std::string& name) {
    auto& entry = map[name];
    if (!entry) entry = std::make_shared<EntryType>();
    return entry;
}

std::optional<routing::RoutingInfo> RoutingCache::cached(const std::string& ns) const {
    const std::lock_guard lock(mutex_);
    const auto collection = collections_.find(ns);
    if (collection == collections_.end() || !collection->second->is_fresh()) return std::nullopt;
    const auto database = databases_.find(database_of(ns));
    if (database == databases_.end() || !database->second->is_fresh()) return std::nullopt;
    return routing::RoutingInfo{database->second->value, collection->second->value};
}

async::Task<Result<routing::RoutingInfo>> RoutingCache::get(std::string ns, Instant deadline) {
    if (auto known = cached(ns)) co_return std::move(*known);
    routing::RoutingInfo info;
    CO_TRY(info.database, co_await get_database(database_of(ns), deadline));
    if (!is_on_config_servers(info.database.name)) {
        CO_TRY(info.chunks, co_await get_chunks(ns, deadline));
    }
    co_return info;
}

async::Task<Result<routing::DatabaseEntry>> RoutingCache::get_database(std::string db,
                                                                       Instant deadline) {
    if (is_on_config_servers(db)) {
        routing::DatabaseEntry entry;
        entry.name = db;
        entry.primary = config_shard;
        co_return entry;
    }
    for (;;) {
        std::shared_ptr<async::Event> running;
        std::shared_ptr<async::Event> mine;
        std::shared_ptr<DatabaseEntry> entry;
        std::optional<routing::DatabaseVersion> wanted;
        std::uint64_t began_at = 0;
        {
            const std::lock_guard lock(mutex_);
            entry = entry_of(databases_, db);
            if (entry->is_fresh()) co_return entry->value;
            running = entry->refresh;
            if (!running) {
                mine = entry->refresh = std::make_shared<async::Event>();
                began_at = entry->invalidated;
                wanted = entry->wanted;
            }
        }
        if (running) {
            co_await running->wait();
            continue;
        }
        const Instant until = std::min(deadline, clock_.now() + limits::config_read);
        const auto load = [&] { return reader_.database(db, until); };
        const auto behind = [&](const auto& known) { return is_behind(known, wanted); };
        auto loaded =
            co_await until_caught_up<std::optional<routing::DatabaseEntry>>(load, behind, until);
        {
            const std::lock_guard lock(mutex_);
            entry->refresh.reset();
            entry->wanted.reset();
            if (loaded && *loaded) {
                entry->value = **loaded;
                entry->loaded = began_at;
            }
        }
        mine->set();
        if (!loaded) co_return std::move(loaded).error();
        if (!*loaded)
            co_return Error(ErrorCode::namespace_not_found, "database " + db + " not found");
        co_return std::move(**loaded);
    }
}

async::Task<Result<routing::ChunkMap::Pointer>> RoutingCache::get_chunks(std::string ns,
                                                                         Instant deadline) {
    for (;;) {
        std::shared_ptr<async::Event> running;
        std::shared_ptr<async::Event> mine;
        std::shared_ptr<CollectionEntry> entry;
        routing::ChunkMap::Pointer old;
        std::optional<routing::ShardVersion> wanted;
        std::uint64_t began_at = 0;
        {
            const std::lock_guard lock(mutex_);
            entry = entry_of(collections_, ns);
            if (entry->is_fresh()) co_return entry->value;
            running = entry->refresh;
            old = entry->value;
            if (!running) {
                mine = entry->refresh = std::make_shared<async::Event>();
                began_at = entry->invalidated;
                wanted = entry->wanted;
            }
        }
        if (running) {
            co_await running->wait();
            continue;
        }
        const Instant until = std::min(deadline, clock_.now() + limits::config_read);
        const auto load_once = [&] { return load(ns, old, until); };
        const auto behind = [&](const auto& known) { return is_behind(known, wanted); };
        auto loaded =
            co_await until_caught_up<routing::ChunkMap::Pointer>(load_once, behind, until);
        {
            const std::lock_guard lock(mutex_);
            entry->refresh.reset();
            entry->wanted.reset();
            if (loaded) {
                entry->value = *loaded;
                entry->loaded = began_at;
            }
        }
        mine->set();
        co_return loaded;
    }
}

async::Task<Result<routing::ChunkMap::Pointer>> RoutingCache::load(std::string ns,
                                                                   routing::ChunkMap::Pointer old,
                                                                   Instant deadline) {
    std::optional<Error> last;
    for (int attempt = 0; attempt < limits::refresh_attempts; ++attempt) {
        CO_TRY(auto collection, co_await reader_.collection(ns, deadline));
        if (!collection) co_return routing::ChunkMap::Pointer();
        const bool is_same = old != nullptr && old->collection().uuid == collection->uuid &&
                             old->collection().generation == collection->generation;
        const routing::Placement since =
            is_same && attempt == 0 ? old->version().placement : routing::Placement{};
        CO_TRY(const auto changed, co_await reader_.chunks(collection->uuid, since, deadline));
        auto made = is_same && attempt == 0
                        ? old->updated(std::move(*collection), changed)
                        : routing::ChunkMap::make(std::move(*collection), changed);
        if (made) co_return made;
        // Read while it was being changed: once more, from the start.
        if (made.error().code() != ErrorCode::conflicting_operation_in_progress) co_return made;
        last = made.error();
    }
    co_return *last;
}

void RoutingCache::mark_stale(const routing::RefreshRequest& request) {
    const std::lock_guard lock(mutex_);
    if (!request.collection.empty()) {
        const auto entry = entry_of(collections_, request.collection);
        if (!is_reached(entry->value, request)) {
            ++entry->invalidated;
            if (request.wanted_collection) entry->wanted = request.wanted_collection;
        }
        // The generation may differ because the whole database was made anew.
        if (const auto db = databases_.find(database_of(request.collection));
            db != databases_.end() && !request.wanted_collection)
            ++db->second->invalidated;
    }
    if (!request.database.empty()) {
        const auto entry = entry_of(databases_, request.database);
        const bool is_reached_now = request.wanted_database && entry->loaded > 0 &&
                                    entry->value.version == *request.wanted_database;
        if (!is_reached_now) {
            ++entry->invalidated;
            if (request.wanted_database) entry->wanted = request.wanted_database;
        }
    }
}

void RoutingCache::forget(const std::string& ns) {
    const std::lock_guard lock(mutex_);
    ++entry_of(collections_, ns)->invalidated;
}

void RoutingCache::forget_database(const std::string& db) {
    const std::lock_guard lock(mutex_);
    ++entry_of(databases_, db)->invalidated;
    for (auto& [ns, entry] : collections_)
        if (database_of(ns) == db) ++entry->invalidated;
}

void RoutingCache::forget_all() {
    const std::lock_guard lock(mutex_);
    for (auto& [ns, entry] : collections_)
        ++entry->invalidated;
    for (auto& [db, entry] : databases_)
        ++entry->invalidated;
}

}  // namespace tessera::sharding
