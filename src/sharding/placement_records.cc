// SPDX-License-Identifier: Apache-2.0
#include "sharding/placement_records.h"

#include <algorithm>

#include "bson/arena.h"
#include "bson/builder.h"
#include "sharding/limits.h"

namespace tessera::sharding {
namespace {

std::string database_of(const std::string& ns) {
    return ns.substr(0, ns.find('.'));
}

// The record of a collection or database as a snapshot has it.
Result<std::optional<bson::Document>> record_in(catalog::Catalog& catalog,
                                                storage::Transaction& transaction,
                                                const Namespace& where,
                                                const std::string& id) {
    const catalog::CollectionLock lock = catalog.lock_shared(where);
    if (!lock) return std::optional<bson::Document>();
    bson::Arena arena;
    TRY(const auto found, lock->find_by_id(transaction, arena.make(id)));
    if (!found) return std::optional<bson::Document>();
    return std::optional<bson::Document>(bson::Document(found->document));
}

// Unset: the shard's primary does not know it at this point of the oplog.
std::optional<routing::ShardVersion> version_in(const std::optional<bson::Document>& record) {
    if (!record) return routing::ShardVersion::unsharded();
    const bson::Value at = (*record)["lastRefreshedCollectionPlacementVersion"];
    if ((*record)["refreshing"].is_truthy() || at.type() != bson::Type::timestamp)
        return std::nullopt;
    routing::ChunkVersion version;
    version.generation = {(*record)["epoch"].as_object_id(), (*record)["timestamp"].as_timestamp()};
    version.placement = routing::Placement::of(at.as_timestamp());
    return routing::ShardVersion(version);
}

Status check_collection_claim(catalog::Catalog& catalog,
                              storage::Transaction& transaction,
                              const PlacementClaim& claim) {
    TRY(const auto record, record_in(catalog, transaction, cached_collections_ns(), claim.ns));
    const routing::ShardVersion& received = *claim.received.shard;
    if (received.is_ignored()) return {};
    const auto version = version_in(record);
    if (version && routing::is_compatible(received, *version)) return {};
    routing::StaleConfigInfo info;
    info.ns = claim.ns;
    info.received = received;
    info.shard = claim.shard;
    // Named only where the router is certainly behind; otherwise the primary is asked.
    if (version && received.version().generation == version->version().generation &&
        received.version().is_older_than(version->version()))
        info.wanted = version;
    return info.to_error("this secondary's data is of another placement of " + claim.ns);
}

Status check_database_claim(catalog::Catalog& catalog,
                            storage::Transaction& transaction,
                            const PlacementClaim& claim) {
    const std::string db = database_of(claim.ns);
    const routing::DatabaseVersion& received = *claim.received.database;
    TRY(const auto record, record_in(catalog, transaction, cached_databases_ns(), db));
    // A database that has never moved has always been where it was made.
    if (!record && received.last_mod <= 1) return {};
    routing::StaleDatabaseInfo info;
    info.db = db;
    info.received = received;
    if (record && !(*record)["refreshing"].is_truthy()) {
        TRY(const auto version, routing::DatabaseVersion::parse((*record)["version"]));
        if (version == received) return {};
        if (received.is_older_than(version)) info.wanted = version;
    }
    return info.to_error("this secondary's data is of another placement of database " + db);
}

}  // namespace

Status check_claim(catalog::Catalog& catalog,
                   storage::Transaction& transaction,
                   const PlacementClaim& claim,
                   bool is_begun) {
    if (!is_begun) {
        if (claim.received.database) TRY_OK(check_database_claim(catalog, transaction, claim));
        if (claim.received.shard) TRY_OK(check_collection_claim(catalog, transaction, claim));
        return {};
    }
    if (!claim.chunks) return {};  // What moved away was dropped, which readers notice.
    TRY(const auto record, record_in(catalog, transaction, cached_collections_ns(), claim.ns));
    if (!record) return {};
    const routing::ChunkVersion version = claim.chunks->version();
    const bson::Value cleaned = (*record)["cleanedVersion"];
    if (cleaned.type() != bson::Type::timestamp ||
        (*record)["epoch"].as_object_id() != version.generation.epoch ||
        version.placement.major >= routing::Placement::of(cleaned.as_timestamp()).major)
        return {};
    return Error(ErrorCode::query_plan_killed,
                 "a range of " + claim.ns +
                     " that had moved to another shard was deleted while the query was running");
}

async::Task<Status> PlacementRecords::put(Namespace where, bson::Document record) {
    CO_TRY(const auto before, store_.find_one(where, bson::make("_id", record["_id"])));
    // Written already, but perhaps not with a majority yet.
    if (before && before->view() == record.view())
        co_return co_await store_.await_majority(store_.last_applied(),
                                                 clock_.now() + limits::majority_wait);
    co_return co_await store_.put(std::move(where), std::move(record));
}

async::Task<Status> PlacementRecords::mark_collection(std::string ns) {
    const auto permit = co_await changes_.acquire();
    CO_TRY(const auto before, store_.find_one(cached_collections_ns(), bson::make("_id", ns)));
    bson::Builder record;
    record.append("_id", ns);
    if (before)
        for (const bson::Element& each : before->view())
            if (each.name != "_id" && each.name != "refreshing") record.append(each);
    record.append("refreshing", true);
    co_return co_await put(cached_collections_ns(), std::move(record).finish());
}

async::Task<Status> PlacementRecords::mark_database(std::string db) {
    const auto permit = co_await changes_.acquire();
    CO_TRY(const auto before, store_.find_one(cached_databases_ns(), bson::make("_id", db)));
    bson::Builder record;
    record.append("_id", db);
    if (before)
        for (const bson::Element& each : before->view())
            if (each.name != "_id" && each.name != "refreshing") record.append(each);
    record.append("refreshing", true);
    co_return co_await put(cached_databases_ns(), std::move(record).finish());
}

async::Task<Status> PlacementRecords::write_collection(std::string ns, bool is_cleanup) {
    const auto chunks = state_.known(ns);
    const auto identity = state_.identity();
    CO_TRY(const auto before, store_.find_one(cached_collections_ns(), bson::make("_id", ns)));
    if (!chunks || !identity) {
        if (is_cleanup)
            co_return Error(ErrorCode::conflicting_operation_in_progress,
                            "the placement of " + ns + " is being learned");
        if (!before) co_return Status();
        co_return co_await store_.remove(cached_collections_ns(), bson::make("_id", ns));
    }
    const routing::CollectionEntry& collection = chunks->collection();
    bson::Builder record;
    record.append("_id", ns).append("uuid", collection.uuid);
    record.append("epoch", collection.generation.epoch);
    record.append("timestamp", collection.generation.timestamp);
    record.append("key", collection.key.document()).append("unique", collection.is_unique);
    if (is_cleanup) {
        record.append("cleanedVersion", chunks->version().placement.as_timestamp());
    } else if (before && (*before)["cleanedVersion"].type() == bson::Type::timestamp &&
               (*before)["epoch"].as_object_id() == collection.generation.epoch) {
        record.append("cleanedVersion", (*before)["cleanedVersion"]);
    }
    record.append("lastRefreshedCollectionPlacementVersion",
                  chunks->version_of(identity->name).placement.as_timestamp());
    record.append("refreshing", false);
    co_return co_await put(cached_collections_ns(), std::move(record).finish());
}

async::Task<Status> PlacementRecords::write_database(std::string db) {
    const auto entry = state_.known_database(db);
    if (!entry) {
        co_return co_await store_.remove(cached_databases_ns(), bson::make("_id", db));
    }
    bson::Builder record;
    record.append("_id", db).append("primary", entry->primary);
    entry->version.append_to(record, "version");
    record.append("refreshing", false);
    co_return co_await put(cached_databases_ns(), std::move(record).finish());
}

async::Task<Status> PlacementRecords::save(std::string ns) {
    const auto permit = co_await changes_.acquire();
    // Forgotten in between: what is marked stays marked, and secondaries ask.
    if (!state_.known(ns)) co_return Status();
    co_return co_await write_collection(std::move(ns), false);
}

async::Task<Status> PlacementRecords::save_database(std::string db) {
    const auto permit = co_await changes_.acquire();
    co_return co_await write_database(std::move(db));
}

async::Task<Status> PlacementRecords::flush(std::string ns, Instant deadline) {
    for (;;) {
        CO_TRY_OK(co_await state_.await_readable(ns, deadline));
        const auto permit = co_await changes_.acquire();
        // A section that has begun in between has marked the record, or will.
        if (!state_.is_readable(ns)) continue;
        CO_TRY_OK(co_await state_.refresh(ns, deadline));
        if (!state_.is_readable(ns)) continue;
        CO_TRY_OK(co_await write_database(database_of(ns)));
        co_return co_await write_collection(ns, false);
    }
}

async::Task<Status> PlacementRecords::note_cleanup(std::string ns) {
    const auto permit = co_await changes_.acquire();
    co_return co_await write_collection(std::move(ns), true);
}

}  // namespace tessera::sharding
