// SPDX-License-Identifier: Apache-2.0
#include "sharding/document_store.h"

#include <algorithm>
#include <map>

#include "bson/builder.h"
#include "query/plan/executor.h"
#include "replication/ddl.h"
#include "replication/write_unit.h"
#include "sharding/limits.h"

namespace tessera::sharding {

Result<std::vector<bson::Document>> DocumentStore::find(const Namespace& ns,
                                                        bson::View filter) const {
    std::vector<bson::Document> result;
    const catalog::CollectionLock lock = catalog_.lock_shared(ns);
    if (!lock) return result;
    query::ReadRequest request;
    TRY(request.filter, query::Filter::parse(filter, {}));
    TRY(const auto transaction, engine_.begin());
    query::Executor executor(lock->source(), std::move(request));
    TRY_OK(executor.start(*transaction));
    for (;;) {
        TRY(const bool has_document, executor.next());
        if (!has_document) break;
        result.emplace_back(executor.document());
    }
    executor.save_state();
    return result;
}

Result<std::optional<bson::Document>> DocumentStore::find_one(const Namespace& ns,
                                                              bson::View filter) const {
    TRY(auto found, find(ns, filter));
    if (found.empty()) return std::optional<bson::Document>();
    return std::optional<bson::Document>(std::move(found.front()));
}

Status DocumentStore::ensure_collection(const Namespace& ns) {
    while (!catalog_.find(ns)) {
        TRY_OK(replication_.check_writable(ns));
        const catalog::CollectionLock lock = catalog_.lock_exclusive(ns);
        if (lock) break;
        TRY(auto unit, replication::WriteUnit::begin(replication_, engine_, clock_));
        TRY_OK(unit.reserve(1));
        const auto made = replication::create_collection(unit, catalog_, ns, {});
        if (!made && made.error().code() != ErrorCode::write_conflict) return made.error();
    }
    return {};
}

// One attempt at all writes.
Result<OpTime> DocumentStore::write(const std::vector<DocumentWrite>& writes) {
    TRY_OK(replication_.check_writable(writes.front().ns));
    std::map<Namespace, catalog::CollectionLock> locks;
    for (const DocumentWrite& each : writes)
        locks.try_emplace(each.ns);
    for (auto& [ns, lock] : locks)
        lock = catalog_.lock_shared(ns);
    TRY(auto unit, replication::WriteUnit::begin(replication_, engine_, clock_));
    std::uint32_t entries = 0;
    for (const DocumentWrite& each : writes) {
        catalog::CollectionLock& lock = locks[each.ns];
        if (!lock)
            return Error(ErrorCode::namespace_not_found, each.ns.to_string() + " is missing");
        if (each.kind == DocumentWrite::Kind::put) {
            ++entries;
            continue;
        }
        TRY(const auto found, lock->find_by_id(unit.transaction(), each.document["_id"]));
        if (found) ++entries;
    }
    if (entries == 0) return OpTime();
    TRY_OK(unit.reserve(entries));
    for (const DocumentWrite& each : writes) {
        catalog::Collection& collection = *locks[each.ns];
        TRY(const auto found, collection.find_by_id(unit.transaction(), each.document["_id"]));
        if (each.kind == DocumentWrite::Kind::remove) {
            if (!found) continue;
            const bson::Document before(found->document);
            TRY_OK(unit.remove(collection, found->id, before, replication::no_statement));
        } else if (found) {
            const bson::Document before(found->document);
            TRY_OK(unit.update(collection, {found->id, before, each.document, each.document}));
        } else {
            TRY_OK(unit.insert(collection, each.document, replication::no_statement));
        }
    }
    return unit.commit();
}

Instant DocumentStore::majority_deadline() const {
    return clock_.now() + limits::majority_wait;
}

async::Task<Status> DocumentStore::await_majority(OpTime at, Instant deadline) {
    replication::WriteConcern majority;
    co_return co_await replication_.await_write_concern(
        at, majority, deadline, async::Cancellation::none());
}

async::Task<Status> DocumentStore::apply(std::vector<DocumentWrite> writes) {
    if (writes.empty()) co_return Status();
    for (const DocumentWrite& each : writes)
        CO_TRY_OK(ensure_collection(each.ns));
    for (int attempt = 0;; ++attempt) {
        const auto written = write(writes);
        if (written) {
            // Nothing to write: what is there may not be with a majority yet.
            const OpTime at = written->is_null() ? replication_.last_applied() : *written;
            co_return co_await await_majority(at, clock_.now() + limits::majority_wait);
        }
        if (written.error().code() != ErrorCode::write_conflict ||
            attempt >= limits::conflict_attempts)
            co_return written.error();
        async::sleep_until wait(clock_, clock_.now() + limits::migration_poll_min);
        co_await wait;
    }
}

async::Task<Status> DocumentStore::put(Namespace ns, bson::Document document) {
    DocumentWrite write;
    write.ns = std::move(ns);
    write.document = std::move(document);
    std::vector<DocumentWrite> writes;
    writes.push_back(std::move(write));
    co_return co_await apply(std::move(writes));
}

async::Task<Status> DocumentStore::remove(Namespace ns, bson::Document id) {
    DocumentWrite write;
    write.ns = std::move(ns);
    write.kind = DocumentWrite::Kind::remove;
    write.document = std::move(id);
    std::vector<DocumentWrite> writes;
    writes.push_back(std::move(write));
    co_return co_await apply(std::move(writes));
}

}  // namespace tessera::sharding
