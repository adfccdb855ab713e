// SPDX-License-Identifier: Apache-2.0
#include "replication/session_catalog.h"

#include "base/log.h"
#include "replication/ddl.h"
#include "replication/write_unit.h"

namespace tessera::replication {
namespace {

// Links a chain may have before we call it endless: 100,000 statements are the most of a command.
constexpr int chain_links_max = 200'000;

Result<std::optional<bson::Document>> find_one(catalog::Catalog& catalog,
                                               storage::Engine& engine,
                                               const Namespace& ns,
                                               const SessionId& id,
                                               bson::RecordId* record) {
    const catalog::CollectionLock lock = catalog.lock_shared(ns);
    if (!lock) return std::optional<bson::Document>();
    TRY(const auto transaction, engine.begin());
    const bson::Document key = id.to_bson();
    TRY(const auto found, lock->find_by_id(*transaction, key.view().as_object_value()));
    if (!found) return std::optional<bson::Document>();
    if (record != nullptr) *record = found->id;
    return std::optional(bson::Document(found->document));
}

}  // namespace

std::optional<OpTime> Session::executed(StatementId statement) const {
    const auto after = executed_.upper_bound(statement);
    if (after == executed_.begin()) return std::nullopt;
    const Run& run = std::prev(after)->second;
    if (run.last < statement) return std::nullopt;
    return run.at;
}

// The first that is remembered of a statement counts.
void Session::add_executed(StatementId statement, OpTime at) {
    const auto after = executed_.upper_bound(statement);
    if (after != executed_.begin()) {
        Run& before = std::prev(after)->second;
        if (statement <= before.last) return;
        if (statement == before.last + 1 && before.at == at) {
            before.last = statement;
            return;
        }
    }
    executed_.emplace_hint(after, statement, Run{statement, at});
}

void Session::remember(const std::vector<StatementId>& statements, OpTime at) {
    for (const StatementId statement : statements) add_executed(statement, at);
    last_write_ = at;
}

SessionLease::SessionLease(SessionLease&& other) noexcept { *this = std::move(other); }

SessionLease& SessionLease::operator=(SessionLease&& other) noexcept {
    std::swap(catalog_, other.catalog_);
    std::swap(session_, other.session_);
    return *this;
}

SessionLease::~SessionLease() {
    if (session_) catalog_->give_back(session_->id(), session_);
}

SessionCatalog::SessionCatalog(Replication& replication,
                               catalog::Catalog& catalog,
                               storage::Engine& engine,
                               async::Clock& clock)
    : replication_(replication), catalog_(catalog), engine_(engine), clock_(clock) {}

async::Task<Result<SessionLease>> SessionCatalog::check_out(SessionId id,
                                                            std::int64_t txn_number,
                                                            Instant deadline,
                                                            async::Cancellation cancellation) {
    SessionLease lease;
    while (true) {
        const auto ticket = given_back_.ticket();
        {
            const std::lock_guard lock(mutex_);
            Slot& slot = slots_[id];
            if (!slot.is_checked_out) {
                if (!slot.session) slot.session = std::make_shared<Session>(id);
                slot.is_checked_out = true;
                lease.catalog_ = this;
                lease.session_ = slot.session;
                break;
            }
        }
        const auto outcome = co_await given_back_.wait(clock_, deadline, ticket, cancellation);
        if (outcome == async::Notification::Outcome::timed_out)
            co_return Error(ErrorCode::max_time_ms_expired, "operation exceeded time limit");
        if (outcome == async::Notification::Outcome::cancelled)
            co_return Error(ErrorCode::interrupted, "operation was interrupted");
    }
    Session& session = *lease.get();
    if (!session.is_loaded_) {
        CO_TRY_OK(load(session, txn_number));
    }
    if (txn_number < session.txn_number_)
        co_return Error(ErrorCode::transaction_too_old,
                        "Retryable write with txnNumber " + std::to_string(txn_number) +
                            " is prohibited on session " + id.id.to_string() +
                            " because a newer retryable write with txnNumber " +
                            std::to_string(session.txn_number_) +
                            " has already started on this session.");
    if (txn_number > session.txn_number_) {
        session.txn_number_ = txn_number;
        session.executed_.clear();
        session.is_incomplete_ = false;
        session.last_write_ = {};
    }
    co_return std::move(lease);
}

Status SessionCatalog::load(Session& session, std::int64_t txn_number) const {
    bson::RecordId record;
    TRY(const auto document,
        find_one(catalog_, engine_, transactions_ns, session.id(), &record));
    session.is_loaded_ = true;
    if (!document) return {};
    session.record = record;
    session.txn_number_ = (*document)["txnNum"].to_int64();
    TRY(session.last_write_, parse_optime((*document)["lastWriteOpTime"]));
    // The history matters only to a retry of the same number.
    if (txn_number != session.txn_number_) return {};
    OpTime at = session.last_write_;
    for (int links = 0; !at.is_null() && links < chain_links_max; ++links) {
        const auto bytes = entry_at(at);
        if (!bytes) {
            session.is_incomplete_ = true;
            return {};
        }
        TRY(const ParsedEntry entry, ParsedEntry::parse(*bytes));
        if (!entry.session || entry.session->txn_number != txn_number) break;
        for (const StatementId statement : entry.session->statements)
            session.add_executed(statement, at);
        at = entry.session->previous;
    }
    return {};
}

Result<bson::Document> SessionCatalog::entry_at(OpTime at) const {
    Oplog* const oplog = replication_.oplog();
    ENSURE(oplog != nullptr);
    TRY(const auto transaction, engine_.begin());
    TRY(const auto bytes, transaction->get(oplog->table(), Oplog::key_of(at.timestamp)));
    if (!bytes)
        return Error(ErrorCode::incomplete_transaction_history,
                     "oplog no longer contains the complete write history of this transaction, "
                     "log with opTime " + at.to_string() + " cannot be found");
    return bson::Document::adopt(std::string(*bytes));
}

Result<bson::Document> SessionCatalog::image_of(const SessionId& id,
                                                std::int64_t txn_number,
                                                OpTime at) const {
    TRY(auto document, find_one(catalog_, engine_, images_ns, id, nullptr));
    if (!document || (*document)["txnNum"].to_int64() != txn_number ||
        (*document)["ts"].as_timestamp() != at.timestamp ||
        (*document)["invalidated"].is_truthy() || !(*document)["image"].is_object())
        return Error(ErrorCode::incomplete_transaction_history,
                     "image of the retried findAndModify is no longer available");
    return bson::Document((*document)["image"].as_view());
}

Status SessionCatalog::ensure_collections() {
    for (const Namespace& ns : {transactions_ns, images_ns}) {
        if (catalog_.find(ns)) continue;
        catalog::CollectionLock lock = catalog_.lock_exclusive(ns);
        if (lock) continue;
        TRY(auto unit, WriteUnit::begin(replication_, engine_, clock_));
        TRY_OK(unit.reserve(1));
        TRY([[maybe_unused]] const OpTime at, create_collection(unit, catalog_, ns, {}));
    }
    return {};
}

std::size_t SessionCatalog::cached_count() const {
    const std::lock_guard lock(mutex_);
    return slots_.size();
}

void SessionCatalog::on_step_up(Term) { forget(); }

void SessionCatalog::give_back(const SessionId& id, const std::shared_ptr<Session>& session) {
    {
        const std::lock_guard lock(mutex_);
        const auto slot = slots_.find(id);
        // forget() may have made room for a new state while this one was out.
        if (slot != slots_.end() && slot->second.session == session) {
            slot->second.is_checked_out = false;
            // A session that wrote nothing is not worth a place in the cache.
            if (session->last_write().is_null()) slots_.erase(slot);
        }
    }
    given_back_.notify();
}

void SessionCatalog::forget() {
    {
        const std::lock_guard lock(mutex_);
        slots_.clear();
    }
    given_back_.notify();
}

Result<std::optional<SessionRecord>> read_session_record(catalog::Catalog& catalog,
                                                         storage::Engine& engine,
                                                         const SessionId& id) {
    TRY(const auto document, find_one(catalog, engine, transactions_ns, id, nullptr));
    if (!document) return std::optional<SessionRecord>();
    SessionRecord record;
    record.txn_number = (*document)["txnNum"].to_int64();
    TRY(record.last_write, parse_optime((*document)["lastWriteOpTime"]));
    return std::optional(record);
}

Result<bson::RecordId> write_session_record(storage::Transaction& transaction,
                                            catalog::Collection& transactions,
                                            const SessionId& id,
                                            const SessionRecord& record,
                                            bson::RecordId known) {
    const bson::Document key = id.to_bson();
    bson::Builder builder;
    builder.append("_id", key).append("txnNum", record.txn_number);
    builder.append("lastWriteOpTime", record.last_write);
    builder.append("lastWriteDate", record.last_write_date);
    const bson::Document after = std::move(builder).finish();
    std::optional<bson::Document> before;
    if (known.value != 0) {
        TRY(const auto view, transactions.find_record(transaction, known));
        if (view && (*view)["_id"].as_view() == key.view()) before = bson::Document(*view);
    }
    if (!before) {
        TRY(const auto found, transactions.find_by_id(transaction, key.view().as_object_value()));
        if (found) {
            known = found->id;
            before = bson::Document(found->document);
        }
    }
    if (!before) return transactions.insert(transaction, after);
    TRY_OK(transactions.update(transaction, known, *before, after));
    return known;
}

Status write_image(storage::Transaction& transaction,
                   catalog::Collection& images,
                   const SessionId& id,
                   const SessionImage& image) {
    const bson::Document key = id.to_bson();
    const std::string_view kind = image.is_post ? "postImage" : "preImage";
    const bson::Document after = bson::make("_id",
                                            key,
                                            "txnNum",
                                            image.txn_number,
                                            "ts",
                                            image.at,
                                            "imageKind",
                                            kind,
                                            "image",
                                            image.document,
                                            "invalidated",
                                            false);
    TRY(const auto found, images.find_by_id(transaction, key.view().as_object_value()));
    if (!found) {
        TRY([[maybe_unused]] const auto record, images.insert(transaction, after));
        return {};
    }
    const bson::Document before(found->document);
    return images.update(transaction, found->id, before, after);
}

}  // namespace tessera::replication
