// SPDX-License-Identifier: Apache-2.0
#include "sharding/session_history.h"

#include "replication/write_unit.h"
#include "sharding/limits.h"

namespace tessera::sharding {
namespace {

// The entry a statement was executed with: of a statement that came from elsewhere, the original.
bson::View original_of(const replication::ParsedEntry& entry) {
    const bool has_moved = entry.object.has("$sessionMigrateInfo") && entry.object2.has_value();
    return has_moved ? *entry.object2 : entry.whole;
}

}  // namespace

Status SessionHistory::collect(const replication::SessionCatalog& sessions,
                               const Namespace& ns,
                               OpTime last,
                               std::int64_t txn_number) {
    for (int links = 0; !last.is_null() && links < limits::session_links; ++links) {
        const auto bytes = sessions.entry_at(last);
        if (!bytes) return {};  // Gone from the oplog: too old to be retried.
        TRY(const auto entry, replication::ParsedEntry::parse(*bytes));
        if (!entry.session || entry.session->txn_number != txn_number) return {};
        const bson::Value of = original_of(entry)["ns"];
        if (of.is_string() && of.as_string() == ns.to_string()) waiting_.push_back(*bytes);
        last = entry.session->previous;
    }
    return {};
}

Result<std::vector<bson::Document>> SessionHistory::next(
    const DocumentStore& store,
    const replication::SessionCatalog& sessions,
    const Namespace& ns,
    std::size_t bytes_max) {
    if (waiting_.empty()) {
        TRY(const auto records, store.find(replication::transactions_ns, {}));
        for (const bson::Document& each : records) {
            const bson::Value id = each["_id"];
            if (!id.is_object() || !each["lastWriteOpTime"].is_object()) continue;
            TRY(const OpTime last, replication::parse_optime(each["lastWriteOpTime"]));
            OpTime& seen = seen_[std::string(id.as_view().bytes())];
            if (seen == last) continue;
            seen = last;
            TRY_OK(collect(sessions, ns, last, each["txnNum"].to_int64()));
        }
    }
    std::vector<bson::Document> result;
    std::size_t bytes = 0;
    while (!waiting_.empty() && bytes < bytes_max) {
        bytes += waiting_.front().size();
        result.push_back(std::move(waiting_.front()));
        waiting_.pop_front();
    }
    return result;
}

async::Task<Result<OpTime>> remember_entry(replication::Replication& replication,
                                           replication::SessionCatalog& sessions,
                                           storage::Engine& engine,
                                           async::Clock& clock,
                                           bson::Document bytes) {
    CO_TRY(const auto entry, replication::ParsedEntry::parse(bytes));
    if (!entry.session) co_return OpTime();
    CO_TRY_OK(sessions.ensure_collections());
    const Instant until = clock.now() + limits::session_wait;
    auto lease = co_await sessions.check_out(
        entry.session->id, entry.session->txn_number, until, async::Cancellation::none());
    if (!lease && lease.error().code() == ErrorCode::transaction_too_old) co_return OpTime();
    if (!lease) co_return std::move(lease).error();
    OpTime last;
    for (const replication::StatementId statement : entry.session->statements) {
        if ((*lease)->executed(statement)) continue;
        for (;;) {
            replication::WriteOrigin origin;
            origin.session = lease->get();
            origin.from_migrate = true;
            CO_TRY(auto unit, replication::WriteUnit::begin(replication, engine, clock, origin));
            CO_TRY_OK(unit.remember_foreign(statement, original_of(entry)));
            const auto at = unit.commit();
            if (!at && at.error().code() == ErrorCode::write_conflict) continue;
            if (!at) co_return at.error();
            last = *at;
            break;
        }
    }
    co_return last;
}

}  // namespace tessera::sharding
