// SPDX-License-Identifier: Apache-2.0
//
// The durable engine. Owns the connection, the sessions and one background thread, which takes
// checkpoints and finishes drops that had to wait.
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "storage/engine.h"
#include "storage/wiredtiger/errors.h"
#include "storage/wiredtiger/open.h"
#include "storage/wiredtiger/session.h"

namespace tessera::storage::wiredtiger {

/// How a table's configuration remembers TableOptions::packs_large_values.
inline constexpr std::string_view packs_large_values_config = "app_metadata=(large_values=packed),";

class WiredTigerEngine final : public Engine {
public:
    static Result<std::unique_ptr<Engine>> open(const std::string& path, const Options& options);
    ~WiredTigerEngine() override;

    std::string_view name() const override { return "wiredTiger"; }
    WT_CONNECTION* connection() const { return connection_; }
    Result<TablePtr> create_table(std::string_view ident, TableOptions options) override;
    Result<TablePtr> open_table(std::string_view ident) override;
    void drop_table(std::string_view ident, Timestamp when) override;
    std::vector<std::string> idents() override;
    Status set_logged(std::string_view ident, bool is_logged) override;
    Result<std::unique_ptr<Transaction>> begin(const TransactionOptions& options) override;

    void set_stable(Timestamp at) override;
    Timestamp stable() const override { return Timestamp::unpack(stable_.load()); }
    void set_oldest(Timestamp at) override;
    Timestamp oldest() const override { return Timestamp::unpack(oldest_.load()); }
    Timestamp all_durable() const override;
    Status recover_to_stable() override;
    Status checkpoint() override;
    Timestamp last_checkpoint() const override;
    Timestamp recovery_timestamp() const override { return recovery_timestamp_; }
    Status flush_journal() override;

    EngineStats stats() override;
    Result<TableStats> table_stats(Table& table) override;
    Result<std::vector<std::string>> verify(Table& table) override;
    bool is_durable() const override { return true; }

    SessionPool& sessions() { return *sessions_; }
    std::uint64_t cache_bytes_max() const { return cache_bytes_; }
    void count_end(bool is_commit) {
        (is_commit ? committed_ : rolled_back_).fetch_add(1, std::memory_order_relaxed);
    }

private:
    struct PendingDrop {
        TablePtr table;
        Timestamp when;
    };

    WiredTigerEngine() = default;
    Status start(const std::string& path, const Options& options);
    Status load_tables();
    Timestamp query(const char* config) const;
    Status set_connection_timestamp(const char* name, Timestamp at);
    void run();
    bool has_due_drops();
    void retry_drops();
    bool try_drop(const PendingDrop& drop);

    std::unique_ptr<EventHandler> events_;
    WT_CONNECTION* connection_ = nullptr;
    std::unique_ptr<SessionPool> sessions_;
    const char* begin_config_ = nullptr;  // Compiled; the connection's.
    std::uint64_t cache_bytes_ = 0;
    std::string block_compressor_;
    Duration checkpoint_interval_{};
    Timestamp recovery_timestamp_;

    std::atomic<std::uint64_t> stable_{0};
    std::atomic<std::uint64_t> oldest_{0};
    std::atomic<std::uint64_t> begun_{0};
    std::atomic<std::uint64_t> committed_{0};
    std::atomic<std::uint64_t> rolled_back_{0};

    std::mutex timestamps_mutex_;  // Serializes set_stable, set_oldest, recover_to_stable.
    std::mutex checkpoint_mutex_;  // One checkpoint at a time.
    std::mutex schema_mutex_;      // Serializes create, drop, verify; taken before tables_mutex_.

    std::mutex tables_mutex_;  // Guards what follows.
    std::map<std::string, TablePtr, std::less<>> tables_;
    std::vector<PendingDrop> drops_;
    std::uint32_t next_table_id_ = 1;

    std::mutex background_mutex_;  // Guards is_stopping_.
    std::condition_variable background_wakeup_;
    bool is_stopping_ = false;
    std::thread background_;
};

}  // namespace tessera::storage::wiredtiger
