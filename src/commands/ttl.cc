// SPDX-License-Identifier: Apache-2.0
#include "commands/ttl.h"

#include <algorithm>

#include "base/log.h"
#include "catalog/index.h"
#include "commands/write_execution.h"
#include "query/plan/executor.h"

namespace tessera::commands {
namespace {

// Documents removed by one index in one pass; the rest waits for the next.
constexpr std::size_t deletes_max = 50'000;

// A TTL index as a pass found it.
struct TtlIndex {
    const catalog::Collection& collection;
    const catalog::Index& index;

    std::string field() const { return std::string(index.spec()["key"].as_view().front().name); }
    bson::Document due(WallTime before) const {
        const bson::Document condition = bson::make("$lt", before);
        return bson::make(field(), condition);
    }
    // Whether it is still in force: its collection is the same one, and nobody has changed it.
    bool stands(const catalog::CollectionLock& lock) const {
        if (!lock || lock->uuid() != collection.uuid()) return false;
        return std::ranges::any_of(lock->indexes(), [&](const auto& each) {
            return each->spec().bytes() == index.spec().bytes();
        });
    }
};

// Records whose date is due, by the TTL index.
Result<std::vector<bson::RecordId>> expired(Member& member, const TtlIndex& ttl, WallTime before) {
    std::vector<bson::RecordId> records;
    const catalog::CollectionLock lock = member.catalog->lock_shared(ttl.collection.ns());
    if (!ttl.stands(lock)) return records;
    const bson::Document due = ttl.due(before);
    query::ReadRequest request;
    TRY(request.filter, query::Filter::parse(due, {}));
    request.hint.name = ttl.index.name();
    request.limit = deletes_max;
    TRY(const auto transaction, member.engine->begin());
    query::Executor executor(lock->source(), std::move(request));
    TRY_OK(executor.start(*transaction));
    while (true) {
        TRY(const bool has_document, executor.next());
        if (!has_document) break;
        records.push_back(executor.record_id());
    }
    executor.save_state();
    return records;
}

Status remove_one(Member& member, const TtlIndex& ttl, bson::RecordId record, WallTime before) {
    const Namespace& ns = ttl.collection.ns();
    const catalog::CollectionLock lock = member.catalog->lock_shared(ns);
    if (!ttl.stands(lock)) return {};
    TRY(auto unit, replication::WriteUnit::begin(*member.replication, *member.engine,
                                                 member.clock));
    TRY(const auto found, lock->find_record(unit.transaction(), record));
    if (!found) return {};
    const bson::Document document(*found);
    const bson::Document due = ttl.due(before);
    TRY(const auto filter, query::Filter::parse(due, {}));
    query::MatchContext context;
    TRY(const bool is_still_due, filter.matches(document, context));
    if (!is_still_due) return {};
    TRY_OK(unit.remove(*lock, record, document, replication::no_statement));
    TRY([[maybe_unused]] const OpTime at, unit.commit());
    if (member.placement) member.placement->on_write(ns, document, document, true);
    member.metrics.ttl_deleted.fetch_add(1, std::memory_order_relaxed);
    return {};
}

Status expire_index(Member& member, const TtlIndex& ttl) {
    const bson::Value seconds = ttl.index.spec()["expireAfterSeconds"];
    if (!seconds.is_number() || ttl.index.spec()["key"].as_view().count() != 1) return {};
    const WallTime before{member.clock.wall_now().milliseconds - seconds.to_int64() * 1000};
    TRY(const auto records, expired(member, ttl, before));
    for (const bson::RecordId record : records) {
        if (!member.replication->is_writable_primary() && member.replication->is_replica_set())
            return {};
        const auto pass = member.write_gate.try_enter();
        if (!pass) return {};
        auto status = remove_one(member, ttl, record, before);
        // A conflict means that somebody writes the document just now: the next pass sees.
        if (!status && status.error().code() != ErrorCode::write_conflict) return status;
    }
    return {};
}

}  // namespace

Status run_ttl_pass(Member& member) {
    if (member.replication->is_replica_set() && !member.replication->is_writable_primary())
        return {};
    for (const std::string& db : member.catalog->databases()) {
        if (db == "local") continue;
        for (const auto& collection : member.catalog->collections(db)) {
            for (const auto& index : collection->indexes()) {
                if (!index->spec().has("expireAfterSeconds")) continue;
                TRY_OK(expire_index(member, {*collection, *index}));
            }
        }
    }
    member.metrics.ttl_passes.fetch_add(1, std::memory_order_relaxed);
    return {};
}

}  // namespace tessera::commands
