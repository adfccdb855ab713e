// SPDX-License-Identifier: Apache-2.0
#include "storage/wiredtiger/engine.h"

#include <algorithm>
#include <cstdio>

#include "base/log.h"
#include "storage/wiredtiger/transaction.h"

namespace tessera::storage::wiredtiger {
namespace {

// A session of its own for a rare operation, closed at the end of the scope.
class OwnSession {
public:
    explicit OwnSession(WT_CONNECTION* connection) {
        code_ = connection->open_session(connection, nullptr, "cache_cursors=false", &session_);
    }
    ~OwnSession() {
        if (session_ != nullptr) session_->close(session_, nullptr);
    }
    OwnSession(const OwnSession&) = delete;
    OwnSession& operator=(const OwnSession&) = delete;
    int code() const { return code_; }
    WT_SESSION* operator->() const { return session_; }
    WT_SESSION* get() const { return session_; }

private:
    WT_SESSION* session_ = nullptr;
    int code_ = 0;
};

std::string uri_of(std::string_view ident) {
    return "file:" + std::string(ident) + ".wt";
}

bool is_valid_ident(std::string_view ident) {
    return !ident.empty() && ident.size() <= 200 && std::ranges::all_of(ident, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '_';
    });
}

std::uint64_t statistic(WT_CURSOR* cursor, int key) {
    const char* description = nullptr;
    const char* text = nullptr;
    std::int64_t value = 0;
    cursor->set_key(cursor, key);
    if (cursor->search(cursor) != 0) return 0;
    if (cursor->get_value(cursor, &description, &text, &value) != 0) return 0;
    return static_cast<std::uint64_t>(std::max<std::int64_t>(value, 0));
}

}  // namespace

Result<TablePtr> WiredTigerEngine::create_table(std::string_view ident, TableOptions options) {
    if (!is_valid_ident(ident)) return Error(ErrorCode::bad_value, "Not a table's ident");
    std::lock_guard schema(schema_mutex_);
    {
        std::lock_guard lock(tables_mutex_);
        if (tables_.contains(ident)) {
            return Error(ErrorCode::namespace_exists, "The table exists: " + std::string(ident));
        }
    }
    // A page that grows by a bulk load is written when it is full: small ones keep eviction busy (a
    // fifth of the load's CPU at 1 MB). The library bounds it by a share of a small cache.
    std::string config = "key_format=u,value_format=u,memory_page_max=8MB,split_pct=90,";
    config += options.has_small_values
                  ? "leaf_page_max=16KB,prefix_compression=true,block_compressor=none,"
                  : "leaf_page_max=32KB,leaf_value_max=64MB,";
    if (options.packs_large_values) config += packs_large_values_config;
    config += options.is_logged ? "log=(enabled=true)" : "log=(enabled=false)";
    if (!options.has_small_values) config += ",block_compressor=" + block_compressor_;
    OwnSession session(connection_);
    TRY_OK(to_status(session.code(), "open a session"));
    TRY_OK(to_status(session->create(session.get(), uri_of(ident).c_str(), config.c_str()),
                     "create table " + std::string(ident)));
    std::lock_guard lock(tables_mutex_);
    TablePtr table =
        std::make_shared<WiredTigerTable>(next_table_id_++, std::string(ident), options);
    tables_.emplace(ident, table);
    return table;
}

Result<TablePtr> WiredTigerEngine::open_table(std::string_view ident) {
    std::lock_guard lock(tables_mutex_);
    const auto found = tables_.find(ident);
    if (found == tables_.end()) {
        return Error(ErrorCode::no_such_key, "No such table: " + std::string(ident));
    }
    return found->second;
}

std::vector<std::string> WiredTigerEngine::idents() {
    std::lock_guard lock(tables_mutex_);
    std::vector<std::string> all;
    all.reserve(tables_.size());
    for (const auto& [ident, table] : tables_)
        all.push_back(ident);
    return all;
}

void WiredTigerEngine::drop_table(std::string_view ident, Timestamp when) {
    {
        std::lock_guard lock(tables_mutex_);
        const auto found = tables_.find(ident);
        if (found == tables_.end()) return;
        drops_.push_back({found->second, when});
        tables_.erase(found);
    }
    background_wakeup_.notify_one();
}

bool WiredTigerEngine::has_due_drops() {
    const Timestamp safe = std::min(last_checkpoint(), oldest());
    std::lock_guard lock(tables_mutex_);
    return std::ranges::any_of(
        drops_, [&](const PendingDrop& drop) { return drop.when.is_null() || drop.when <= safe; });
}

void WiredTigerEngine::retry_drops() {
    // Invariant: a dropped table's file outlives every checkpoint, journal and reader that names
    // it.
    std::lock_guard schema(schema_mutex_);
    const Timestamp safe = std::min(last_checkpoint(), oldest());
    std::vector<PendingDrop> due;
    {
        std::lock_guard lock(tables_mutex_);
        std::erase_if(drops_, [&](const PendingDrop& drop) {
            if (!drop.when.is_null() && drop.when > safe) return false;
            due.push_back(drop);
            return true;
        });
    }
    if (due.empty()) return;
    sessions_->close_cursors();
    if (!flush_journal()) return;
    std::erase_if(due, [this](const PendingDrop& drop) { return try_drop(drop); });
    std::lock_guard lock(tables_mutex_);
    drops_.insert(drops_.end(), due.begin(), due.end());
}

bool WiredTigerEngine::try_drop(const PendingDrop& drop) {
    OwnSession session(connection_);
    if (session.code() != 0) return false;
    const std::string uri = uri_of(drop.table->ident());
    const int code =
        session->drop(session.get(), uri.c_str(), "checkpoint_wait=false,lock_wait=false");
    if (code == EBUSY) return false;
    if (code != 0 && code != ENOENT) {
        log::warning(log::Component::storage,
                     9'001'001,
                     "A dropped table's file stays behind",
                     {{"ident", drop.table->ident()}, {"error", to_error(code, "drop")}});
    }
    return true;
}

Status WiredTigerEngine::set_logged(std::string_view ident, bool is_logged) {
    std::lock_guard schema(schema_mutex_);
    TRY(const TablePtr table, open_table(ident));
    if (table->options().is_logged == is_logged) return ok();
    sessions_->close_cursors();
    OwnSession session(connection_);
    TRY_OK(to_status(session.code(), "open a session"));
    TRY_OK(to_status(session->alter(session.get(),
                                    uri_of(ident).c_str(),
                                    is_logged ? "log=(enabled=true)" : "log=(enabled=false)"),
                     "alter table " + std::string(ident)));
    TableOptions options = table->options();
    options.is_logged = is_logged;
    std::lock_guard lock(tables_mutex_);
    tables_[std::string(ident)] =
        std::make_shared<WiredTigerTable>(next_table_id_++, std::string(ident), options);
    return ok();
}

Result<std::unique_ptr<Transaction>> WiredTigerEngine::begin(const TransactionOptions& options) {
    const auto too_old = [&] {
        return Error(ErrorCode::snapshot_too_old,
                     "Read timestamp " + options.read_at.to_string() +
                         " is older than the oldest available timestamp");
    };
    if (!options.read_at.is_null() && options.read_at < oldest()) return too_old();
    TRY(auto session, sessions_->take());
    WT_SESSION* const raw = session->get();
    int code = raw->begin_transaction(raw, options.ignore_prepared ? begin_config_ : nullptr);
    if (code != 0) {
        sessions_->give_back(std::move(session));
        return to_error(code, "begin a transaction");
    }
    if (!options.read_at.is_null()) {
        code = raw->timestamp_transaction_uint(raw, WT_TS_TXN_TYPE_READ, options.read_at.packed());
        if (code != 0) {
            raw->rollback_transaction(raw, nullptr);
            sessions_->give_back(std::move(session));
            if (code == EINVAL) return too_old();  // The oldest timestamp moved meanwhile.
            return to_error(code, "set a read timestamp");
        }
    }
    begun_.fetch_add(1, std::memory_order_relaxed);
    std::unique_ptr<Transaction> transaction =
        std::make_unique<WiredTigerTransaction>(*this, std::move(session), options);
    return transaction;
}

Status WiredTigerEngine::set_connection_timestamp(const char* name, Timestamp at) {
    char config[64];
    std::snprintf(
        config, sizeof(config), "%s=%llx", name, static_cast<unsigned long long>(at.packed()));
    return to_status(connection_->set_timestamp(connection_, config), name);
}

void WiredTigerEngine::set_stable(Timestamp at) {
    std::lock_guard lock(timestamps_mutex_);
    if (at.packed() <= stable_.load()) return;
    if (!set_connection_timestamp("stable_timestamp", at)) return;  // Logged by the handler.
    stable_.store(at.packed());
}

void WiredTigerEngine::set_oldest(Timestamp at) {
    std::lock_guard lock(timestamps_mutex_);
    const std::uint64_t wanted =
        stable_.load() == 0 ? at.packed() : std::min(at.packed(), stable_.load());
    if (wanted <= oldest_.load()) return;
    // First ours: begin() then refuses by itself what the library would refuse with a log line.
    oldest_.store(wanted);
    (void)set_connection_timestamp("oldest_timestamp", Timestamp::unpack(wanted)).has_value();
}

Timestamp WiredTigerEngine::query(const char* config) const {
    char hex[2 * sizeof(std::uint64_t) + 1] = {};
    if (connection_->query_timestamp(connection_, hex, config) != 0) return {};
    return Timestamp::unpack(std::strtoull(hex, nullptr, 16));
}

Timestamp WiredTigerEngine::all_durable() const {
    return query("get=all_durable");
}
Timestamp WiredTigerEngine::last_checkpoint() const {
    return query("get=last_checkpoint");
}

Status WiredTigerEngine::recover_to_stable() {
    std::lock_guard checkpoint(checkpoint_mutex_);
    std::lock_guard schema(schema_mutex_);
    std::lock_guard timestamps(timestamps_mutex_);
    if (sessions_->in_use() != 0) {
        return Error(ErrorCode::lock_busy,
                     "Recovery to the stable timestamp needs the engine for "
                     "itself, but transactions are open");
    }
    // The library would take nothing back, and say that all is well.
    if (stable_.load() == 0) return nothing_is_stable();
    TRY_OK(to_status(connection_->rollback_to_stable(connection_, nullptr), "recover to stable"));
    std::lock_guard lock(tables_mutex_);
    std::erase_if(drops_, [this](const PendingDrop& drop) {
        if (drop.when.is_null() || drop.when <= stable()) return false;
        tables_.emplace(drop.table->ident(), drop.table);
        return true;
    });
    return ok();
}

Status WiredTigerEngine::checkpoint() {
    std::lock_guard lock(checkpoint_mutex_);
    OwnSession session(connection_);
    TRY_OK(to_status(session.code(), "open a session"));
    return to_status(session->checkpoint(session.get(), nullptr), "checkpoint");
}

Status WiredTigerEngine::flush_journal() {
    OwnSession session(connection_);
    TRY_OK(to_status(session.code(), "open a session"));
    return to_status(session->log_flush(session.get(), "sync=on"), "sync the journal");
}

EngineStats WiredTigerEngine::stats() {
    EngineStats result;
    result.cache_bytes_max = cache_bytes_;
    result.transactions_active = sessions_->in_use();
    result.transactions_begun = begun_.load();
    result.transactions_committed = committed_.load();
    result.transactions_rolled_back = rolled_back_.load();
    OwnSession session(connection_);
    if (session.code() != 0) return result;
    WT_CURSOR* cursor = nullptr;
    if (session->open_cursor(session.get(), "statistics:", nullptr, "statistics=(fast)", &cursor)) {
        return result;
    }
    result.cache_bytes = statistic(cursor, WT_STAT_CONN_CACHE_BYTES_INUSE);
    result.cache_dirty_bytes = statistic(cursor, WT_STAT_CONN_CACHE_BYTES_DIRTY);
    result.cache_bytes_read = statistic(cursor, WT_STAT_CONN_CACHE_BYTES_READ);
    result.cache_bytes_written = statistic(cursor, WT_STAT_CONN_CACHE_BYTES_WRITE);
    result.pages_read = statistic(cursor, WT_STAT_CONN_CACHE_READ);
    result.pages_written = statistic(cursor, WT_STAT_CONN_CACHE_WRITE);
    result.journal_bytes = statistic(cursor, WT_STAT_CONN_LOG_BYTES_WRITTEN);
    result.journal_syncs = statistic(cursor, WT_STAT_CONN_LOG_SYNC);
    result.checkpoints = statistic(cursor, WT_STAT_CONN_CHECKPOINTS_TOTAL_SUCCEED);
    return result;
}

Result<TableStats> WiredTigerEngine::table_stats(Table& table) {
    OwnSession session(connection_);
    TRY_OK(to_status(session.code(), "open a session"));
    WT_CURSOR* cursor = nullptr;
    const std::string uri = "statistics:" + uri_of(table.ident());
    TRY_OK(to_status(
        session->open_cursor(session.get(), uri.c_str(), nullptr, "statistics=(fast)", &cursor),
        "statistics of " + table.ident()));
    TableStats result;
    result.bytes_on_disk = statistic(cursor, WT_STAT_DSRC_BLOCK_SIZE);
    result.bytes_reusable = statistic(cursor, WT_STAT_DSRC_BLOCK_REUSE_BYTES);
    return result;
}

Result<std::vector<std::string>> WiredTigerEngine::verify(Table& table) {
    TRY_OK(checkpoint());  // A dirty table cannot be verified.
    std::lock_guard schema(schema_mutex_);
    sessions_->close_cursors();
    OwnSession session(connection_);
    TRY_OK(to_status(session.code(), "open a session"));
    std::vector<std::string> faults;
    EventHandler::collector() = &faults;
    const int code = session->verify(session.get(), uri_of(table.ident()).c_str(), nullptr);
    EventHandler::collector() = nullptr;
    if (code == 0) return std::vector<std::string>();
    if (code == EBUSY) return to_error(code, "verify " + table.ident());
    if (faults.empty()) faults.push_back(to_error(code, "verify " + table.ident()).reason());
    return faults;
}

void WiredTigerEngine::run() {
    log::set_thread_context("Checkpointer");
    auto next_checkpoint = std::chrono::steady_clock::now() + checkpoint_interval_;
    std::unique_lock lock(background_mutex_);
    while (!is_stopping_) {
        const bool checkpoints = checkpoint_interval_ > Duration::zero();
        // Wakes for a drop at once; a drop that has to wait is looked at each retry interval.
        bool has_drops;
        {
            std::lock_guard tables(tables_mutex_);
            has_drops = !drops_.empty();
        }
        if (has_drops) {
            background_wakeup_.wait_for(lock, limits::drop_retry_interval);
        } else if (checkpoints) {
            background_wakeup_.wait_until(lock, next_checkpoint);
        } else {
            background_wakeup_.wait(lock);
        }
        if (is_stopping_) break;
        lock.unlock();
        if (checkpoints && std::chrono::steady_clock::now() >= next_checkpoint) {
            if (auto status = checkpoint(); !status) {
                log::error(log::Component::storage,
                           9'001'002,
                           "Checkpoint failed; will try again",
                           {{"error", status.error()}});
            }
            next_checkpoint = std::chrono::steady_clock::now() + checkpoint_interval_;
        }
        if (has_due_drops()) retry_drops();
        lock.lock();
    }
}

}  // namespace tessera::storage::wiredtiger
