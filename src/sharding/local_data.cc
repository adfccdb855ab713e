// SPDX-License-Identifier: Apache-2.0
#include "sharding/local_data.h"

#include <algorithm>

#include "bson/builder.h"
#include "query/plan/executor.h"
#include "replication/ddl.h"
#include "replication/write_unit.h"
#include "sharding/limits.h"
#include "sharding/range_scan.h"

namespace tessera::sharding {

Result<KeySpan> KeySpan::make(routing::ShardKeyPattern key, routing::Range range) {
    KeySpan span;
    TRY(span.low, key.encode_bound(range.min));
    TRY(span.high, key.encode_bound(range.max));
    span.key = std::move(key);
    span.range = std::move(range);
    return span;
}

bool KeySpan::contains(bson::View document) const {
    const auto found = key.key_of(document);
    if (!found || *found < low) return false;
    // {a: MaxKey} itself belongs to the last chunk.
    return *found < high || key.is_max_bound(range.max);
}

namespace {

Error gone(const CollectionIdentity& collection) {
    return {ErrorCode::namespace_not_found, collection.ns.to_string() + " is gone"};
}

}  // namespace

catalog::CollectionLock LocalData::lock_shared(const CollectionIdentity& collection) const {
    catalog::CollectionLock lock = catalog_.lock_shared(collection.ns);
    if (lock && lock->uuid() != collection.uuid) return {};
    return lock;
}

Result<std::vector<Located>> LocalData::list(const CollectionIdentity& collection,
                                             const KeySpan& span) const {
    std::vector<Located> result;
    const catalog::CollectionLock lock = lock_shared(collection);
    if (!lock) return result;
    TRY(const auto transaction, engine_.begin());
    query::Executor executor(lock->source(), range_scan(*lock, span));
    TRY_OK(executor.start(*transaction));
    for (;;) {
        TRY(const bool has_document, executor.next());
        if (!has_document) break;
        const bson::View document = executor.document();
        if (!span.contains(document)) continue;
        TRY(auto key, span.key.key_of(document));
        result.push_back({std::move(key),
                          bson::make("_id", document["_id"]),
                          static_cast<std::int64_t>(document.size())});
    }
    executor.save_state();
    std::sort(result.begin(), result.end(), [](const Located& one, const Located& two) {
        return one.key < two.key;
    });
    return result;
}

Result<std::optional<bson::Document>> LocalData::find(const CollectionIdentity& collection,
                                                        bson::View id) const {
    const catalog::CollectionLock lock = lock_shared(collection);
    if (!lock) return std::optional<bson::Document>();
    TRY(const auto transaction, engine_.begin());
    TRY(const auto found, lock->find_by_id(*transaction, id["_id"]));
    if (!found) return std::optional<bson::Document>();
    return std::optional<bson::Document>(bson::Document(found->document));
}

Result<OpTime> LocalData::apply_one(const CollectionIdentity& collection,
                                    const KeySpan& span,
                                    bson::View document,
                                    bool is_removal) {
    TRY_OK(replication_.check_writable(collection.ns));
    const catalog::CollectionLock lock = lock_shared(collection);
    if (!lock) return gone(collection);
    replication::WriteOrigin origin;
    origin.from_migrate = true;
    origin.shard_key = span.key.document().view();
    TRY(auto unit, replication::WriteUnit::begin(replication_, engine_, clock_, origin));
    TRY(const auto found, lock->find_by_id(unit.transaction(), document["_id"]));
    if (!found) {
        if (is_removal) return OpTime();
        TRY_OK(unit.insert(*lock, document, replication::no_statement, false));
        return unit.commit();
    }
    const bson::Document before(found->document);
    const bool is_in_range = span.contains(before);
    if (is_removal) {
        if (!is_in_range) return OpTime();
        TRY_OK(unit.remove(*lock, found->id, before, replication::no_statement));
        return unit.commit();
    }
    if (!is_in_range)
        return Error(ErrorCode::duplicate_key,
                     "a document with the _id of one that is being moved is on this shard already, "
                     "under another shard key");
    if (before.view() == document) return OpTime();
    TRY_OK(unit.update(*lock, {found->id, before, document, document}, false));
    return unit.commit();
}

Result<OpTime> LocalData::insert_batch(const CollectionIdentity& collection,
                                       const std::vector<bson::Document>& documents,
                                       std::size_t first,
                                       std::size_t count) {
    TRY_OK(replication_.check_writable(collection.ns));
    const catalog::CollectionLock lock = lock_shared(collection);
    if (!lock) return gone(collection);
    replication::WriteOrigin origin;
    origin.from_migrate = true;
    TRY(auto unit, replication::WriteUnit::begin(replication_, engine_, clock_, origin));
    TRY_OK(unit.reserve(static_cast<std::uint32_t>(count)));
    for (std::size_t i = first; i < first + count; ++i)
        TRY_OK(unit.insert(*lock, documents[i], replication::no_statement, false));
    return unit.commit();
}

Result<OpTime> LocalData::insert(const CollectionIdentity& collection,
                                 const std::vector<bson::Document>& documents) {
    OpTime last;
    for (std::size_t first = 0; first < documents.size();) {
        const std::size_t count = std::min(limits::copy_unit, documents.size() - first);
        const auto done = insert_batch(collection, documents, first, count);
        if (!done && done.error().code() == ErrorCode::write_conflict) continue;
        if (!done) return done.error();
        last = *done;
        first += count;
    }
    return last;
}

Result<OpTime> LocalData::drop(const Namespace& ns, const bson::Uuid& uuid) {
    for (;;) {
        TRY_OK(replication_.check_writable(ns));
        const catalog::CollectionLock lock = catalog_.lock_exclusive(ns);
        if (!lock || lock->uuid() != uuid) return OpTime();
        replication::WriteOrigin origin;
        origin.from_migrate = true;
        TRY(auto unit, replication::WriteUnit::begin(replication_, engine_, clock_, origin));
        TRY_OK(unit.reserve(1));
        auto done = replication::drop_collection(unit, catalog_, ns);
        if (done || done.error().code() != ErrorCode::write_conflict) return done;
    }
}

Result<OpTime> LocalData::rename(const Namespace& from,
                                 const Namespace& to,
                                 const bson::Uuid& uuid,
                                 bool is_part) {
    for (;;) {
        TRY_OK(replication_.check_writable(from));
        // In order, as every DDL that takes two.
        catalog::CollectionLock first = catalog_.lock_exclusive(std::min(from, to));
        catalog::CollectionLock second = catalog_.lock_exclusive(std::max(from, to));
        const catalog::CollectionLock& source = from < to ? first : second;
        const catalog::CollectionLock& target = from < to ? second : first;
        const bool is_here = source && source->uuid() == uuid;
        if (!is_here && (!target || target->uuid() == uuid)) return OpTime();
        replication::WriteOrigin origin;
        origin.from_migrate = is_part;
        TRY(auto unit, replication::WriteUnit::begin(replication_, engine_, clock_, origin));
        TRY_OK(unit.reserve(1));
        catalog::RenameOptions options;
        options.drop_target = true;
        auto done = is_here ? replication::rename_collection(unit, catalog_, from, to, options)
                            : replication::drop_collection(unit, catalog_, to);
        if (done || done.error().code() != ErrorCode::write_conflict) return done;
    }
}

std::optional<bson::Uuid> LocalData::uuid_of(const Namespace& ns) const {
    const auto collection = catalog_.find(ns);
    if (!collection) return std::nullopt;
    return collection->uuid();
}

std::vector<std::pair<Namespace, bson::Uuid>> LocalData::collections(const std::string& db) const {
    std::vector<std::pair<Namespace, bson::Uuid>> result;
    for (const auto& each : catalog_.collections(db))
        if (each->ns().collection != "system.profile")
            result.emplace_back(each->ns(), each->uuid());
    return result;
}

Result<OpTime> LocalData::apply(const CollectionIdentity& collection,
                                const KeySpan& span,
                                const std::vector<bson::Document>& put,
                                const std::vector<bson::Document>& removed) {
    OpTime last;
    const auto run = [&](const bson::Document& each, bool is_removal) -> Status {
        for (;;) {
            const auto done = apply_one(collection, span, each, is_removal);
            if (done) {
                if (last < *done) last = *done;
                return {};
            }
            if (done.error().code() != ErrorCode::write_conflict) return done.error();
        }
    };
    for (const bson::Document& each : removed)
        TRY_OK(run(each, true));
    for (const bson::Document& each : put)
        TRY_OK(run(each, false));
    return last;
}

}  // namespace tessera::sharding
