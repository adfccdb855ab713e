// SPDX-License-Identifier: Apache-2.0
//
// Opening, recovery and closing; which settings the library gets and why.
#include "storage/wiredtiger/open.h"

#include <algorithm>
#include <filesystem>

#include <unistd.h>

#include "base/log.h"
#include "storage/wiredtiger/engine.h"
#include "storage/wiredtiger/journal_tail.h"

namespace tessera::storage::wiredtiger {
namespace {

constexpr std::uint64_t mebibyte = 1024 * 1024;

std::string open_config(const Options& options, std::uint64_t cache_bytes) {
    std::string config = "create,config_base=false,";
    config += "cache_size=" + std::to_string(cache_bytes) + ",";
    // Threads, statistics and the library's own tables sized for a dozen members on a laptop.
    config += "session_max=" + std::to_string(limits::transactions_max + 64) + ",";
    config += "eviction=(threads_min=1,threads_max=2),";
    // A small cache may be dirtier than the library's 5 and 20 % before writers must evict: random
    // updates over it would otherwise write a page each.
    config += "eviction_dirty_target=40,eviction_dirty_trigger=75,";
    config += "eviction_updates_target=20,eviction_updates_trigger=50,";
    config += "hash=(buckets=256,dhandle_buckets=256),session_scratch_max=1MB,";
    config +=
        "file_manager=(close_idle_time=600,close_scan_interval=30,close_handle_minimum=1000),";
    config += "statistics=(fast),checkpoint=(wait=0),";
    config += "verbose=[],cache_cursors=false,";
    // Commits do not sync; the flusher does for all who wait. Small files, made when needed.
    config +=
        "log=(enabled=true,path=journal,file_max=16MB,prealloc=false,remove=true,compressor=" +
        options.journal_compressor + "),";
    config += "transaction_sync=(enabled=false,method=fsync)";
    return config;
}

Status check_compressor(const std::string& name) {
    for (const char* known : {"none", "snappy", "zlib", "zstd"}) {
        if (name == known) return ok();
    }
    return Error(ErrorCode::bad_value, "Unknown compressor: " + name);
}

int open_connection(const std::string& path,
                    EventHandler& events,
                    const std::string& config,
                    WT_CONNECTION** connection) {
    return wiredtiger_open(path.c_str(), &events, config.c_str(), connection);
}

Error open_error(const std::string& path, int code, EventHandler& events) {
    std::string reason = "The data files in " + path + " cannot be opened";
    const std::string messages = events.take_messages();
    if (code == EBUSY) {
        return {ErrorCode::lock_busy, reason + ": another process has them open"};
    }
    if (code == ENOSPC || code == EDQUOT) {
        return {
            ErrorCode::out_of_disk_space,
            reason + ": no space is left on the disk. Free disk space, then start again"};
    }
    if (code == EACCES || code == EPERM) {
        return {ErrorCode::unauthorized,
                reason + ": permission denied (owner and mode of the files)"};
    }
    reason += std::string(": ") + wiredtiger_strerror(code);
    if (!messages.empty()) reason += ": " + messages;
    reason += damaged_files_advice;
    return {ErrorCode::internal_error, reason};
}

}  // namespace

std::uint64_t default_cache_bytes() {
    const long pages = sysconf(_SC_PHYS_PAGES);
    const long page_bytes = sysconf(_SC_PAGESIZE);
    const std::uint64_t memory =
        pages > 0 && page_bytes > 0
            ? static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page_bytes)
            : 1024 * mebibyte;
    const std::uint64_t half = memory > 1024 * mebibyte ? (memory - 1024 * mebibyte) / 2 : 0;
    return std::clamp<std::uint64_t>(half, 256 * mebibyte, 1024 * mebibyte);
}

Result<std::unique_ptr<Engine>> open(const std::string& path, const Options& options) {
    return WiredTigerEngine::open(path, options);
}

Result<std::unique_ptr<Engine>> WiredTigerEngine::open(const std::string& path,
                                                       const Options& options) {
    TRY_OK(check_compressor(options.block_compressor));
    TRY_OK(check_compressor(options.journal_compressor));
    std::unique_ptr<WiredTigerEngine> engine(new WiredTigerEngine());
    TRY_OK(engine->start(path, options));
    return std::unique_ptr<Engine>(std::move(engine));
}

Status WiredTigerEngine::start(const std::string& path, const Options& options) {
    cache_bytes_ = options.cache_bytes != 0 ? options.cache_bytes : default_cache_bytes();
    cache_bytes_ = std::max(cache_bytes_, mebibyte);
    block_compressor_ = options.block_compressor;
    checkpoint_interval_ = options.checkpoint_interval;
    events_ = std::make_unique<EventHandler>();

    const std::string journal = path + "/journal";
    std::error_code failure;
    std::filesystem::create_directory(journal, failure);
    if (failure) {
        return Error(ErrorCode::internal_error,
                     "Cannot make the directory " + journal + ": " + failure.message());
    }
    const std::string config = open_config(options, cache_bytes_);
    TRY_OK(check_journal(journal));
    if (const int code = open_connection(path, *events_, config, &connection_); code != 0) {
        connection_ = nullptr;
        return open_error(path, code, *events_);
    }
    events_->on_opened();
    sessions_ = std::make_unique<SessionPool>(connection_);
    TRY_OK(to_status(
        connection_->compile_configuration(
            connection_, "WT_SESSION.begin_transaction", "ignore_prepare=force", &begin_config_),
        "compile a configuration"));
    recovery_timestamp_ = query("get=recovery");
    oldest_.store(query("get=oldest_timestamp").packed());
    // From the first moment no checkpoint may hold more than what is known to be stable.
    if (!recovery_timestamp_.is_null()) set_stable(recovery_timestamp_);
    TRY_OK(load_tables());
    background_ = std::thread([this] { run(); });
    return ok();
}

Status WiredTigerEngine::load_tables() {
    WT_SESSION* session = nullptr;
    TRY_OK(to_status(connection_->open_session(connection_, nullptr, nullptr, &session), "open"));
    WT_CURSOR* cursor = nullptr;
    int code = session->open_cursor(session, "metadata:", nullptr, nullptr, &cursor);
    while (code == 0 && (code = cursor->next(cursor)) == 0) {
        const char* key = nullptr;
        const char* value = nullptr;
        if ((code = cursor->get_key(cursor, &key)) != 0) break;
        if ((code = cursor->get_value(cursor, &value)) != 0) break;
        std::string_view uri(key);
        const std::string_view config(value);
        if (!uri.starts_with("file:") || !uri.ends_with(".wt")) continue;
        uri = uri.substr(5, uri.size() - 8);
        if (uri.starts_with("WiredTiger")) continue;
        TableOptions table;
        table.is_logged = config.find("log=(enabled=true)") != std::string_view::npos;
        table.has_small_values = config.find("prefix_compression=true") != std::string_view::npos;
        table.packs_large_values = config.find(packs_large_values_config) != std::string_view::npos;
        std::string ident(uri);
        tables_.emplace(ident, std::make_shared<WiredTigerTable>(next_table_id_++, ident, table));
    }
    session->close(session, nullptr);
    if (code == WT_NOTFOUND) return ok();
    return to_status(code, "read the engine's metadata");
}

WiredTigerEngine::~WiredTigerEngine() {
    if (background_.joinable()) {
        {
            std::lock_guard lock(background_mutex_);
            is_stopping_ = true;
        }
        background_wakeup_.notify_all();
        background_.join();
    }
    if (connection_ == nullptr) return;
    if (sessions_ != nullptr) {
        ASSERT(sessions_->in_use() == 0);  // A transaction outlives its engine.
        if (has_due_drops()) retry_drops();
        sessions_->close_all();
    }
    if (const int code = connection_->close(connection_, nullptr); code != 0) {
        log::error(log::Component::storage,
                   9'001'003,
                   "The storage engine did not close cleanly",
                   {{"error", to_error(code, "close")}});
    }
}

}  // namespace tessera::storage::wiredtiger
