// SPDX-License-Identifier: Apache-2.0
//
// The storage seam: ordered tables of byte strings under snapshot isolation, with timestamps.
// WiredTiger is behind it in production (storage/wiredtiger), a map in memory in the simulator
// (storage/memory); both pass storage/engine_test.cc, which is the contract in executable form.
//
// Two kinds of table decide what a crash leaves:
//   * logged:   every commit is in the journal; after a crash the table holds every transaction
//               that was committed before the last sync of the journal. Timestamps are ignored:
//               such a table is always read as of the transaction's snapshot, and recovery to the
//               stable timestamp leaves it alone. The oplog and the rest of `local` are such
//               tables, and everything on a member that is in no replica set.
//   * unlogged: has history; after a crash the table is as of the last checkpoint, which holds what
//               was committed at or before the stable timestamp, and what was committed without a
//               timestamp. Replicated collections are such tables: the oplog is their journal.
//
// Conflicts: the first writer of a key wins; another transaction that writes it before it commits,
// or whose snapshot is older than that commit, fails with WriteConflict. A transaction that saw
// WriteConflict can only be rolled back, and is to be retried as a whole by its caller.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/optime.h"
#include "base/result.h"
#include "storage/limits.h"

namespace tessera::storage {

/// What a table is made with; kept by the engine and given back when it is opened again.
struct TableOptions {
    bool is_logged = false;
    /// Hint: values are a few bytes (an index), so keys deserve prefix compression and pages can be
    /// small.
    bool has_small_values = false;
    /// Hint: large values are read seldom and in order (an oplog), so memory and the journal may
    /// hold them compressed.
    bool packs_large_values = false;
};

/// An open table. Held by whoever uses it (catalog entries); an engine keeps its own part alive.
class Table {
public:
    Table(std::uint32_t id, std::string ident, TableOptions options)
        : id_(id), ident_(std::move(ident)), options_(options) {}
    virtual ~Table() = default;
    Table(const Table&) = delete;
    Table& operator=(const Table&) = delete;

    /// A number of this process only; never reused while it runs.
    std::uint32_t id() const { return id_; }
    const std::string& ident() const { return ident_; }
    const TableOptions& options() const { return options_; }

private:
    const std::uint32_t id_;
    const std::string ident_;
    const TableOptions options_;
};
/// Owned by the engine and by every catalog entry and cursor that uses the table.
using TablePtr = std::shared_ptr<Table>;

enum class Direction : std::uint8_t { forward, backward };

class Transaction;

/// A position in one table, as its transaction sees it. key() and value() are valid until the
/// cursor moves, is saved or destroyed, or its transaction ends; writes of the same transaction to
/// other keys do not disturb them. Must be destroyed or saved before its transaction ends.
class Cursor {
public:
    virtual ~Cursor() = default;
    Cursor(const Cursor&) = delete;
    Cursor& operator=(const Cursor&) = delete;

    /// Each returns whether there is an entry there; without one the cursor is unpositioned.
    /// To the first entry in the cursor's direction.
    [[nodiscard]] virtual Result<bool> rewind() = 0;
    /// To the entry of `key` or else the nearest after it in the cursor's direction.
    [[nodiscard]] virtual Result<bool> seek(std::string_view key) = 0;
    /// To the nearest entry strictly after `key` in the cursor's direction.
    [[nodiscard]] virtual Result<bool> seek_after(std::string_view key) = 0;
    /// To the next entry in the cursor's direction; from unpositioned as rewind(). At the end it
    /// returns false and stays there.
    [[nodiscard]] virtual Result<bool> next() = 0;

    /// Requires: positioned.
    std::string_view key() const { return key_; }
    std::string_view value() const { return value_; }

    /// Remembers the position and lets go of everything else, so that the transaction may end.
    virtual void save() = 0;
    /// Continues in `transaction` (the same or another of the same engine): the next next() gives
    /// the nearest entry strictly after the saved position, or the first when there was none, or
    /// nothing when the end had been reached. key() and value() are invalid until then.
    virtual Status restore(Transaction& transaction) = 0;

protected:
    Cursor() = default;
    std::string_view key_;
    std::string_view value_;
};

/// Numbers that follow committed transactions, such as a collection's count and size. A transaction
/// collects its differences and adds them when it commits.
struct Tally {
    std::atomic<std::int64_t> count{0};
    std::atomic<std::int64_t> bytes{0};
};
/// Owned by who shows the numbers and by the transactions that change them.
using TallyPtr = std::shared_ptr<Tally>;

/// How a transaction reads.
struct TransactionOptions {
    /// Null: the latest committed data. Otherwise unlogged tables are read as of this timestamp;
    /// begin() fails with SnapshotTooOld when that history is gone.
    Timestamp read_at = {};
    /// Reads skip over prepared transactions' writes, instead of failing with
    /// PreparedTransactionInProgress (to be waited for and retried).
    bool ignore_prepared = true;
    /// Large scans: pages read for it are the first to leave the cache.
    bool is_read_once = false;
};

/// One engine transaction under snapshot isolation. The snapshot is taken by its first read or
/// write. Rolls back unless committed. May move between threads between calls, but is used by one
/// at a time. After an error of a write or a commit it can only be destroyed (or rolled back).
class Transaction {
public:
    virtual ~Transaction() = default;
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;

    /// Returns the value, or nothing. The view is valid until this transaction's next get, write or
    /// end.
    [[nodiscard]] virtual Result<std::optional<std::string_view>> get(Table& table,
                                                                      std::string_view key) = 0;
    /// Inserts or replaces.
    virtual Status put(Table& table, std::string_view key, std::string_view value) = 0;
    /// Returns false, and changes nothing, when the key is there already.
    [[nodiscard]] virtual Result<bool> insert(Table& table,
                                              std::string_view key,
                                              std::string_view value) = 0;
    /// Returns whether the key was there.
    [[nodiscard]] virtual Result<bool> remove(Table& table, std::string_view key) = 0;
    /// Removes every entry with begin <= key < end; an empty `end` means to the last one. Cheap
    /// for long ranges.
    virtual Status truncate(Table& table, std::string_view begin, std::string_view end) = 0;
    [[nodiscard]] virtual std::unique_ptr<Cursor> open_cursor(
        Table& table, Direction direction = Direction::forward) = 0;

    /// Writes from now on are committed at `at`; may be called again with later timestamps. To be
    /// called as soon as `at` is allocated: from then until the commit all_durable() stays below
    /// it. Requires: at > stable().
    virtual Status set_timestamp(Timestamp at) = 0;
    /// Commits; not synced to disk (see Engine::flush_journal). WriteConflict leaves nothing
    /// behind.
    virtual Status commit() = 0;
    Status commit_at(Timestamp at) {
        TRY_OK(set_timestamp(at));
        return commit();
    }
    /// Ends it without a trace. Does nothing when it has ended already.
    virtual void rollback() = 0;

    /// Two-phase commit, unlogged tables only: after prepare() the writes are visible to nobody
    /// until commit_prepared() (commit >= prepare timestamp; durable >= commit, the optime of the
    /// commit's own oplog entry) or rollback().
    virtual Status prepare(Timestamp at) = 0;
    virtual Status commit_prepared(Timestamp commit_timestamp, Timestamp durable_timestamp) = 0;

    /// Adds to `tally` when this transaction commits.
    void add(const TallyPtr& tally, std::int64_t count, std::int64_t bytes);
    /// What this transaction will add to `tally`.
    struct Difference {
        TallyPtr tally;
        std::int64_t count = 0;
        std::int64_t bytes = 0;
    };
    Difference pending(const TallyPtr& tally) const;

    bool is_active() const { return is_active_; }
    const TransactionOptions& options() const { return options_; }
    /// Bytes of keys and values written so far.
    std::uint64_t bytes_written() const { return bytes_written_; }

protected:
    explicit Transaction(const TransactionOptions& options) : options_(options) {}
    /// Called by the engine once the commit has succeeded.
    void settle();

    TransactionOptions options_;
    bool is_active_ = true;
    std::uint64_t bytes_written_ = 0;

private:
    std::vector<Difference> differences_;
};

struct EngineStats {
    std::uint64_t cache_bytes = 0;
    std::uint64_t cache_dirty_bytes = 0;
    std::uint64_t cache_bytes_max = 0;
    std::uint64_t cache_bytes_read = 0;     // From disk, since the start.
    std::uint64_t cache_bytes_written = 0;  // To disk, since the start.
    std::uint64_t pages_read = 0;
    std::uint64_t pages_written = 0;
    std::uint64_t journal_bytes = 0;
    std::uint64_t journal_syncs = 0;
    std::uint64_t checkpoints = 0;
    std::uint64_t transactions_active = 0;
    std::uint64_t transactions_begun = 0;
    std::uint64_t transactions_committed = 0;
    std::uint64_t transactions_rolled_back = 0;
};

struct TableStats {
    std::uint64_t bytes_on_disk = 0;
    std::uint64_t bytes_reusable = 0;  // Of those, free for new pages.
};

/// A data directory, or a heap that stands in for one. Thread-safe throughout.
class Engine {
public:
    virtual ~Engine() = default;
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    /// "wiredTiger" or "memory": what serverStatus.storageEngine.name says.
    virtual std::string_view name() const = 0;

    /// Makes a table; takes effect at once and belongs to no transaction, so a table whose catalog
    /// entry never commits is found again in idents() and dropped. `ident` is a file name's worth
    /// of letters, digits, '-' and '_'.
    [[nodiscard]] virtual Result<TablePtr> create_table(std::string_view ident,
                                                        TableOptions options) = 0;
    /// Opens a table made before. Fails with NoSuchKey when there is none.
    [[nodiscard]] virtual Result<TablePtr> open_table(std::string_view ident) = 0;
    /// Drops a table in time: it leaves idents() and takes no new use at once, its bytes go when no
    /// open transaction uses it and, for a `when` that is not null, when the last checkpoint and
    /// the oldest timestamp are past `when`, so that neither recovery, rollback nor a reader in the
    /// past can miss it. A recovery to a stable timestamp before `when` takes the drop back.
    virtual void drop_table(std::string_view ident, Timestamp when) = 0;
    /// Every table not dropped, in order.
    virtual std::vector<std::string> idents() = 0;
    /// Changes whether a table is logged. Requires: nobody has it open (start-up).
    virtual Status set_logged(std::string_view ident, bool is_logged) = 0;

    [[nodiscard]] virtual Result<std::unique_ptr<Transaction>> begin(
        const TransactionOptions& options = {}) = 0;

    /// The timestamp before which no rollback goes; checkpoints are taken at it. Monotonic: an
    /// earlier value is ignored.
    virtual void set_stable(Timestamp at) = 0;
    virtual Timestamp stable() const = 0;
    /// The earliest readable timestamp. Monotonic; never beyond stable.
    virtual void set_oldest(Timestamp at) = 0;
    virtual Timestamp oldest() const = 0;
    /// Every transaction with a timestamp at or below this one has committed (no holes); null
    /// before the first commit with a timestamp.
    virtual Timestamp all_durable() const = 0;
    /// Takes every unlogged table back to stable(). Fails with LockBusy while a transaction is open
    /// and with IllegalOperation when nothing was ever said to be stable.
    virtual Status recover_to_stable() = 0;

    /// Writes a checkpoint at stable() (untimestamped writes included). Blocks.
    virtual Status checkpoint() = 0;
    /// The stable timestamp of the last checkpoint that completed, in this process or before it;
    /// null when none had one.
    virtual Timestamp last_checkpoint() const = 0;
    /// The stable timestamp of the checkpoint this data directory was opened at: replay of the
    /// oplog starts after it. Null: never had one.
    virtual Timestamp recovery_timestamp() const = 0;

    /// Syncs the journal: every transaction committed before the call survives a crash as far as
    /// logged tables go. Blocks; to wait together with others use DurabilityFlusher.
    virtual Status flush_journal() = 0;

    virtual EngineStats stats() = 0;
    [[nodiscard]] virtual Result<TableStats> table_stats(Table& table) = 0;
    /// Checks a table's structure on disk; the reasons for any fault found. Fails with
    /// ObjectIsBusy's like, LockBusy, while others use the table.
    [[nodiscard]] virtual Result<std::vector<std::string>> verify(Table& table) = 0;

    /// Whether data outlives the process.
    virtual bool is_durable() const = 0;

protected:
    Engine() = default;
};

/// What the WriteConflict error says, as MongoDB does.
inline Error write_conflict() {
    return {ErrorCode::write_conflict,
            "WriteConflict error: this operation conflicted with another operation. Please retry "
            "your operation or multi-document transaction."};
}

/// What recover_to_stable() fails with when stable() is null.
inline Error nothing_is_stable() {
    return {ErrorCode::illegal_operation,
            "There is no stable timestamp to which the data could be taken back"};
}

}  // namespace tessera::storage
