// SPDX-License-Identifier: Apache-2.0
//
// Multi-version tables in memory. Each key has its versions, oldest first; at most one of them, the
// last, is uncommitted and belongs to a running transaction, which is how the first writer wins. A
// version is visible to a snapshot by its commit number, and in unlogged tables to a read timestamp
// by its timestamp.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "storage/memory/open.h"

namespace tessera::storage::memory {

using Number = std::uint64_t;  // Of a commit; 0 is before all.
/// Immutable, shared by its version and the cursors that show it.
using Bytes = std::shared_ptr<const std::string>;

struct Version {
    Number committed = 0;     // 0: not yet.
    Timestamp timestamp;      // Null: none.
    Timestamp durable;        // The timestamp that counts for stable.
    std::uint64_t owner = 0;  // The transaction that has not committed yet.
    bool is_prepared = false;
    Bytes value;  // Null: removed.
};
using Chain = std::vector<Version>;

class MemoryTable final : public Table {
public:
    using Table::Table;
    std::map<std::string, Chain, std::less<>> rows;  // Guarded by the engine's mutex.
};

class Implementation;

class MemoryTransaction final : public Transaction {
public:
    MemoryTransaction(Implementation& engine, std::uint64_t id, const TransactionOptions& options)
        : Transaction(options), engine_(engine), id_(id) {}
    ~MemoryTransaction() override { rollback(); }

    Result<std::optional<std::string_view>> get(Table& table, std::string_view key) override;
    Status put(Table& table, std::string_view key, std::string_view value) override;
    Result<bool> insert(Table& table, std::string_view key, std::string_view value) override;
    Result<bool> remove(Table& table, std::string_view key) override;
    Status truncate(Table& table, std::string_view begin, std::string_view end) override;
    std::unique_ptr<Cursor> open_cursor(Table& table, Direction direction) override;
    Status set_timestamp(Timestamp at) override;
    Status commit() override;
    void rollback() override;
    Status prepare(Timestamp at) override;
    Status commit_prepared(Timestamp commit_timestamp, Timestamp durable_timestamp) override;

    // What follows requires the engine's mutex.
    /// The version of `chain` this transaction sees: null when there is none or it is a removal.
    Result<const Version*> visible(const MemoryTable& table, const Chain& chain);
    std::uint64_t id() const { return id_; }
    std::optional<Number> snapshot() const { return snapshot_; }
    Timestamp first_timestamp() const { return first_timestamp_; }

private:
    friend class Implementation;
    friend class MemoryCursor;
    struct Write {
        MemoryTable* table;
        std::string key;
        Timestamp at;
    };
    Status write(MemoryTable& table, std::string_view key, Bytes value);
    void take_snapshot();
    void finish(bool is_commit, Timestamp durable);

    Implementation& engine_;
    const std::uint64_t id_;
    std::optional<Number> snapshot_;
    Timestamp timestamp_;
    Timestamp first_timestamp_;
    Timestamp prepared_at_;
    bool must_roll_back_ = false;
    std::vector<Write> writes_;
    Bytes last_read_;  // Keeps get()'s view alive.
};

class MemoryCursor final : public Cursor {
public:
    MemoryCursor(Implementation& engine,
                 MemoryTransaction& transaction,
                 MemoryTable& table,
                 Direction direction)
        : engine_(engine), transaction_(&transaction), table_(table), direction_(direction) {}

    Result<bool> rewind() override { return find(nullptr, false); }
    Result<bool> seek(std::string_view key) override { return find(&key, false); }
    Result<bool> seek_after(std::string_view key) override { return find(&key, true); }
    Result<bool> next() override;
    void save() override;
    Status restore(Transaction& transaction) override;

private:
    Result<bool> find(const std::string_view* key, bool is_strict);

    enum class State : std::uint8_t { unpositioned, positioned, at_end };
    Implementation& engine_;
    MemoryTransaction* transaction_;
    MemoryTable& table_;
    const Direction direction_;
    State state_ = State::unpositioned;
    std::string at_;  // The key of the position; key_ views it.
    Bytes shown_;
};

class Implementation final : public MemoryEngine {
public:
    explicit Implementation(const Options& options) : options_(options) {}

    std::string_view name() const override { return "memory"; }
    Result<TablePtr> create_table(std::string_view ident, TableOptions options) override;
    Result<TablePtr> open_table(std::string_view ident) override;
    void drop_table(std::string_view ident, Timestamp when) override;
    std::vector<std::string> idents() override;
    Status set_logged(std::string_view ident, bool is_logged) override;
    Result<std::unique_ptr<Transaction>> begin(const TransactionOptions& options) override;
    void set_stable(Timestamp at) override;
    Timestamp stable() const override;
    void set_oldest(Timestamp at) override;
    Timestamp oldest() const override;
    Timestamp all_durable() const override;
    Status recover_to_stable() override;
    Status checkpoint() override;
    Timestamp last_checkpoint() const override;
    Timestamp recovery_timestamp() const override;
    Status flush_journal() override;
    EngineStats stats() override;
    Result<TableStats> table_stats(Table& table) override;
    Result<std::vector<std::string>> verify(Table&) override { return std::vector<std::string>(); }
    bool is_durable() const override { return options_.is_durable; }
    void crash() override;
    void lose_disk() override;

private:
    friend class MemoryTransaction;
    friend class MemoryCursor;

    struct PendingDrop {
        std::shared_ptr<MemoryTable> table;
        Timestamp when;
    };
    /// Forgets versions nobody can see any more.
    void trim(MemoryTable& table, std::string_view key);
    /// Removes the versions for which `is_gone` says so, from every table.
    template <class Predicate>
    void prune(Predicate is_gone);
    void finish_drops();
    void take_drops_back(Timestamp after);

    const Options options_;
    mutable std::mutex mutex_;  // Guards everything below, and every table's rows.
    std::map<std::string, std::shared_ptr<MemoryTable>, std::less<>> tables_;
    std::vector<PendingDrop> drops_;
    std::set<MemoryTransaction*> active_;
    std::uint32_t next_table_id_ = 1;
    std::uint64_t next_transaction_id_ = 1;
    Number last_commit_ = 0;
    Number flushed_ = 0;
    bool is_disk_lost_ = false;
    Number checkpoint_number_ = 0;
    Timestamp checkpoint_timestamp_;
    Timestamp recovery_timestamp_;
    Timestamp stable_;
    Timestamp oldest_;
    Timestamp newest_committed_;
    EngineStats stats_;
};

}  // namespace tessera::storage::memory
