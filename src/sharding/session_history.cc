// SPDX-License-Identifier: Apache-2.0
#include "sharding/session_history.h"

#include "bson/builder.h"
#include "replication/write_unit.h"
#include "sharding/limits.h"
#include "sharding/migration.h"

namespace tessera::sharding {
namespace {

// The entry a statement was executed with: of a statement that came from elsewhere, the original.
bson::View original_of(const replication::ParsedEntry& entry) {
    const bool has_moved = entry.object.has("$sessionMigrateInfo") && entry.object2.has_value();
    return has_moved ? *entry.object2 : entry.whole;
}

// What the entry's statements wrote to. A batch's all wrote to one collection.
Result<std::string> collection_of(const replication::ParsedEntry& entry) {
    if (!entry.is_apply_ops()) {
        const bson::Value ns = original_of(entry)["ns"];
        return ns.is_string() ? std::string(ns.as_string()) : std::string();
    }
    TRY(const auto operations, entry.operations());
    return operations.empty() ? std::string() : operations.front().ns.to_string();
}

// The originals of an entry's statements, each with its own.
struct Remembered {
    replication::StatementId statement;
    bson::Document original;
};
Result<std::vector<Remembered>> statements_of(const replication::ParsedEntry& entry) {
    std::vector<Remembered> result;
    if (!entry.is_apply_ops()) {
        for (const replication::StatementId statement : entry.session->statements)
            result.push_back({statement, bson::Document(original_of(entry))});
        return result;
    }
    TRY(const auto operations, entry.operations());
    for (const replication::ParsedEntry& each : operations)
        if (const bson::Value statement = each.whole["stmtId"]; statement.is_number())
            result.push_back({static_cast<replication::StatementId>(statement.to_int64()),
                              each.as_entry()});
    return result;
}

}  // namespace

Status SessionHistory::collect(const DocumentStore& store,
                               const replication::SessionCatalog& sessions,
                               const Covers& covers,
                               OpTime last,
                               std::int64_t txn_number) {
    for (int links = 0; !last.is_null() && links < limits::session_links; ++links) {
        const auto bytes = sessions.entry_at(last);
        if (!bytes) return {};  // Gone from the oplog: too old to be retried.
        TRY(const auto entry, replication::ParsedEntry::parse(*bytes));
        if (!entry.session || entry.session->txn_number != txn_number) return {};
        TRY(const std::string ns, collection_of(entry));
        if (covers(ns)) {
            bson::Builder item;
            item.append("entry", *bytes);
            if (original_of(entry).has("needsRetryImage")) {
                const bson::Document id = entry.session->id.to_bson();
                TRY(const auto image,
                    store.find_one(replication::images_ns, bson::make("_id", id)));
                if (image && (*image)["ts"].as_timestamp() == last.timestamp)
                    item.append("image", *image);
            }
            waiting_.push_back(std::move(item).finish());
        }
        last = entry.session->previous;
    }
    return {};
}

Result<std::vector<bson::Document>> SessionHistory::next(
    const DocumentStore& store,
    const replication::SessionCatalog& sessions,
    const Covers& covers,
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
            TRY_OK(collect(store, sessions, covers, last, each["txnNum"].to_int64()));
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

namespace {

Result<OpTime> remember_one(const MigrationEnvironment& environment,
                            replication::Session& session,
                            replication::StatementId statement,
                            bson::View original) {
    for (;;) {
        replication::WriteOrigin origin;
        origin.session = &session;
        origin.from_migrate = true;
        TRY(auto unit,
            replication::WriteUnit::begin(
                environment.replication, environment.engine, environment.clock, origin));
        TRY_OK(unit.remember_foreign(statement, original));
        auto at = unit.commit();
        if (at || at.error().code() != ErrorCode::write_conflict) return at;
    }
}

// {entry, image?}. The image goes under the position of the statement here, by which a retry looks
// for it; a fail-over in between leaves a retry without an answer, never with a wrong one.
async::Task<Result<OpTime>> remember_entry(const MigrationEnvironment& environment,
                                           bson::Document item) {
    if (!item["entry"].is_object()) co_return OpTime();
    CO_TRY(const auto entry, replication::ParsedEntry::parse(item["entry"].as_view()));
    if (!entry.session) co_return OpTime();
    replication::SessionCatalog& sessions = environment.sessions;
    CO_TRY_OK(sessions.ensure_collections());
    const Instant until = environment.clock.now() + limits::session_wait;
    auto lease = co_await sessions.check_out(
        entry.session->id, entry.session->txn_number, until, async::Cancellation::none());
    if (!lease && lease.error().code() == ErrorCode::transaction_too_old) co_return OpTime();
    if (!lease) co_return std::move(lease).error();
    OpTime last;
    CO_TRY(const auto remembered, statements_of(entry));
    for (const Remembered& each : remembered) {
        if ((*lease)->executed(each.statement)) continue;
        CO_TRY(last, remember_one(environment, *lease->get(), each.statement, each.original));
    }
    const bson::Value image = item["image"];
    if (last.is_null() || !image.is_object()) co_return last;
    bson::Builder moved;
    for (const bson::Element& each : image.as_view())
        if (each.name != "ts") moved.append(each);
    moved.append("ts", last.timestamp);
    DocumentWrite write;
    write.ns = replication::images_ns;
    write.document = std::move(moved).finish();
    std::vector<DocumentWrite> writes;
    writes.push_back(std::move(write));
    CO_TRY_OK(co_await environment.store.apply(std::move(writes)));
    co_return last;
}

}  // namespace

async::Task<Result<RememberedBatch>> remember_batch(const MigrationEnvironment& environment,
                                                    bson::Value entries) {
    RememberedBatch result;
    if (!entries.is_array()) co_return result;
    std::vector<bson::Document> items;
    for (const bson::Element& each : entries.as_view())
        if (each.value.is_object()) items.emplace_back(each.value.as_view());
    for (bson::Document& each : items) {
        async::resume_on hop(environment.workers);
        co_await hop;
        CO_TRY(const OpTime at, co_await remember_entry(environment, std::move(each)));
        ++result.entries;
        if (result.last < at) result.last = at;
    }
    co_return result;
}

}  // namespace tessera::sharding
