// SPDX-License-Identifier: Apache-2.0
//
// Logical sessions as far as they make writes happen once: which statements of a session's newest
// txnNumber have been executed, and where in the oplog. The truth is config.transactions and the
// oplog chain its records point into; this is a cache of them on a primary, emptied whenever
// another could have written (step-down, rollback). Source: reference/protocol.md section 3.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "async/event.h"
#include "replication/oplog_entry.h"
#include "replication/replication.h"

namespace tessera::replication {

/// What config.transactions says of one session.
struct SessionRecord {
    std::int64_t txn_number = -1;
    OpTime last_write;
    WallTime last_write_date;
};

/// One session, checked out by one operation at a time; only that operation touches it.
class Session {
public:
    explicit Session(SessionId id) : id_(std::move(id)) {}

    const SessionId& id() const { return id_; }
    std::int64_t txn_number() const { return txn_number_; }
    OpTime last_write() const { return last_write_; }

    /// Where a statement of the present txnNumber was executed; nothing if it was not.
    std::optional<OpTime> executed(StatementId statement) const;
    /// Whether part of the history of this txnNumber is gone from the oplog: a retry of an unknown
    /// statement then fails with IncompleteTransactionHistory (217).
    bool is_incomplete() const { return is_incomplete_; }

    /// Called by WriteUnit after its commit.
    void remember(const std::vector<StatementId>& statements, OpTime at);

    bson::RecordId record;  // Of this session in config.transactions; 0: not known yet.

private:
    friend class SessionCatalog;

    const SessionId id_;
    std::int64_t txn_number_ = -1;
    OpTime last_write_;
    // Runs of statements that one entry made, by their first: commands number theirs in turn.
    struct Run {
        StatementId last;
        OpTime at;
    };
    void add_executed(StatementId statement, OpTime at);
    std::map<StatementId, Run> executed_;
    bool is_incomplete_ = false;
    bool is_loaded_ = false;
};

class SessionCatalog;

/// A checked-out session; gives it back when destroyed.
class SessionLease {
public:
    SessionLease() = default;
    SessionLease(SessionLease&& other) noexcept;
    SessionLease& operator=(SessionLease&& other) noexcept;
    ~SessionLease();
    Session* get() const { return session_.get(); }
    Session* operator->() const { return session_.get(); }
    explicit operator bool() const { return session_ != nullptr; }

private:
    friend class SessionCatalog;
    SessionCatalog* catalog_ = nullptr;
    std::shared_ptr<Session> session_;  // Also owned by the catalog's map.
};

class SessionCatalog : public RoleObserver {
public:
    SessionCatalog(Replication& replication,
                   catalog::Catalog& catalog,
                   storage::Engine& engine,
                   async::Clock& clock);

    /// Checks the session out for a retryable write: waits while another operation has it, loads
    /// its history, starts `txn_number` when that is newer. Fails with TransactionTooOld (225).
    async::Task<Result<SessionLease>> check_out(SessionId id,
                                                std::int64_t txn_number,
                                                Instant deadline,
                                                async::Cancellation cancellation);

    /// Reads the oplog entry of an executed statement, from which its answer is made again.
    Result<bson::Document> entry_at(OpTime at) const;
    /// The image kept for a findAndModify executed at `at`. Fails with
    /// IncompleteTransactionHistory.
    Result<bson::Document> image_of(const SessionId& id, std::int64_t txn_number, OpTime at) const;

    /// Makes config.transactions and config.image_collection where they are missing. As primary.
    Status ensure_collections();
    /// Forgets sessions that have ended; their records are reaped later. endSessions.
    std::size_t cached_count() const;

    void on_step_up(Term term) override;
    void on_step_down() override { forget(); }
    void on_rollback() override { forget(); }

private:
    friend class SessionLease;
    struct Slot {
        std::shared_ptr<Session> session;  // Also owned by its lease.
        bool is_checked_out = false;
    };
    void give_back(const SessionId& id, const std::shared_ptr<Session>& session);
    void forget();
    Status load(Session& session, std::int64_t txn_number) const;

    Replication& replication_;
    catalog::Catalog& catalog_;
    storage::Engine& engine_;
    async::Clock& clock_;
    async::Notification given_back_;

    mutable std::mutex mutex_;  // Guards what follows.
    std::map<SessionId, Slot> slots_;
};

/// Names of the collections above.
inline const Namespace transactions_ns{"config", "transactions"};
inline const Namespace images_ns{"config", "image_collection"};

/// Reads one session's record.
Result<std::optional<SessionRecord>> read_session_record(catalog::Catalog& catalog,
                                                         storage::Engine& engine,
                                                         const SessionId& id);
/// Writes (inserts or replaces) a session's record in config.transactions, unlogged. Secondaries
/// call it for each applied entry of a session, primaries through WriteUnit. Returns its record id.
Result<bson::RecordId> write_session_record(storage::Transaction& transaction,
                                            catalog::Collection& transactions,
                                            const SessionId& id,
                                            const SessionRecord& record,
                                            bson::RecordId known);
/// A findAndModify's document before or after it.
struct SessionImage {
    std::int64_t txn_number = 0;
    Timestamp at;
    bool is_post = false;
    bson::View document;
};
/// Writes it to config.image_collection; as above.
Status write_image(storage::Transaction& transaction,
                   catalog::Collection& images,
                   const SessionId& id,
                   const SessionImage& image);

}  // namespace tessera::replication
