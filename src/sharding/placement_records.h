// SPDX-License-Identifier: Apache-2.0
//
// PlacementRecords: what a shard's primary last learned of its own part of each collection and
// database, kept in config.cache.collections and config.cache.databases so that it reaches the
// secondaries in the order of the oplog. A secondary serves a request with versions only when the
// record in the very snapshot it reads names the same version: before that its data may lack what
// has been received, after that it may lack what has been given away (docs/sharding.md, invariant
// snapshot-names-its-placement).
//
// "refreshing: true" is written before the config servers decide on a change: from there on
// secondaries ask the primary, which answers when it knows the outcome.
#pragma once

#include <optional>
#include <string>

#include "async/event.h"
#include "sharding/document_store.h"
#include "sharding/sharding_state.h"

namespace tessera::sharding {

inline Namespace cached_collections_ns() {
    return config_ns("cache.collections");
}
inline Namespace cached_databases_ns() {
    return config_ns("cache.databases");
}

/// What a read on a secondary relies on.
struct PlacementClaim {
    std::string ns;
    ReceivedVersions received;
    routing::ChunkMap::Pointer chunks;  // By which it filters; null: unsharded.
    ShardName shard;
};

/// Compares a claim with the records in a read's own snapshot. A read that begins needs the same
/// version (StaleConfig, StaleDbVersion); one that goes on only needs that nothing it owned when it
/// began has been deleted since (QueryPlanKilled).
Status check_claim(catalog::Catalog& catalog,
                   storage::Transaction& transaction,
                   const PlacementClaim& claim,
                   bool is_begun);

class PlacementRecords {
public:
    PlacementRecords(async::Clock& clock, ShardingState& state, DocumentStore& store)
        : clock_(clock), state_(state), store_(store) {}

    /// Within a critical section that blocks reads, before the config servers are asked to decide.
    async::Task<Status> mark_collection(std::string ns);
    async::Task<Status> mark_database(std::string db);
    /// Within it, once the outcome is known: writes what the state knows after a refresh.
    async::Task<Status> save(std::string ns);
    async::Task<Status> save_database(std::string db);
    /// As save() for secondaries that ask, once no critical section blocks reads: refreshes first.
    async::Task<Status> flush(std::string ns, Instant deadline);
    /// Before orphans are deleted: readers by an older map than what is known now are to stop.
    async::Task<Status> note_cleanup(std::string ns);

private:
    async::Task<Status> write_collection(std::string ns, bool is_cleanup);
    async::Task<Status> write_database(std::string db);
    async::Task<Status> put(Namespace where, bson::Document record);

    async::Clock& clock_;
    ShardingState& state_;
    DocumentStore& store_;
    async::Semaphore changes_{1};  // One change at a time; held over co_await.
};

}  // namespace tessera::sharding
