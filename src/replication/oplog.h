// SPDX-License-Identifier: Apache-2.0
//
// The oplog as a table, and the order in which it grows. Writers take slots (positions) before they
// commit and may commit out of order; readers stop at the newest position below which no slot is
// still open, so nobody ever sees a hole (reference/protocol.md 1.11, no-hole point).
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "async/event.h"
#include "base/optime.h"
#include "base/result.h"
#include "replication/logical_clock.h"
#include "replication/oplog_entry.h"
#include "storage/engine.h"

namespace tessera::replication {

class Oplog;

/// Consecutive positions held open by one writer; closes when destroyed, committed or not.
class OplogSlots {
public:
    OplogSlots() = default;
    OplogSlots(OplogSlots&& other) noexcept;
    OplogSlots& operator=(OplogSlots&& other) noexcept;
    ~OplogSlots() { close(); }

    /// Requires: index < count().
    OpTime operator[](std::uint32_t index) const {
        ASSERT(index < count_);
        return {Timestamp::unpack(first_.packed() + index), term_};
    }
    std::uint32_t count() const { return count_; }
    /// The transaction that wrote the entries has committed.
    void commit() { is_committed_ = true; close(); }
    /// Lets readers pass; without commit() the positions stay empty for ever.
    void close();

private:
    friend class Oplog;
    Oplog* oplog_ = nullptr;
    Timestamp first_;
    Term term_ = term_uninitialized;
    std::uint32_t count_ = 0;
    bool is_committed_ = false;
};

class Oplog {
public:
    /// `table` is keyed by Timestamp, big-endian; a logged table.
    Oplog(storage::TablePtr table, LogicalClock& clock);

    /// Opens `count` consecutive positions in `term`. Fails with NotWritablePrimary when closed to
    /// writers (see allow_writers).
    Result<OplogSlots> open_slots(std::uint32_t count, WallTime wall);
    /// A primary opens the oplog to writers in its term; nullopt closes it and returns once no slot
    /// is open any more (writers hold slots only in short synchronous sections).
    void allow_writers(std::optional<Term> term);

    /// Writes an entry in the caller's transaction, at an open slot or, on a secondary, at the
    /// position its source gave it.
    Status write(storage::Transaction& transaction, OpTime at, std::string_view entry);

    /// The newest position readers may see, with its term; null when the oplog is empty.
    OpTime visible() const;
    /// The newest position committed here; visible() may still wait for older ones.
    OpTime newest_committed() const;
    /// A secondary has applied (a start-up found) everything up to `at`.
    void set_visible(OpTime at);
    /// The newest timestamp up to `at` that lies in no unit of several entries. Such a unit writes
    /// its session record once, at its last entry: data that went back into its middle would have
    /// the first entries' effects, but not that they were executed. Forgets what lies before.
    Timestamp unit_boundary(Timestamp at);
    /// Notified at every growth of visible().
    async::Notification& grown() { return grown_; }
    /// Called after every growth, from the thread that caused it; must not block. Of threads that
    /// let it grow side by side any may be the last to call: look at visible(). Set before use.
    void set_observer(std::function<void()> observer) { observer_ = std::move(observer); }

    /// Entries written are counted there. Set before use.
    void count_in(storage::TallyPtr tally) { tally_ = std::move(tally); }

    storage::Table& table() { return *table_; }
    static std::string key_of(Timestamp at);
    static Timestamp timestamp_of(std::string_view key);

    /// Reads the newest (or oldest) entry; nothing when empty.
    Result<std::optional<bson::Document>> newest(storage::Engine& engine);
    Result<std::optional<bson::Document>> oldest(storage::Engine& engine);

private:
    friend class OplogSlots;
    void close_slots(const OplogSlots& slots);
    void keep_unit(std::uint64_t first, std::uint64_t last);

    const storage::TablePtr table_;
    LogicalClock& clock_;
    std::function<void()> observer_;
    storage::TallyPtr tally_;  // The collection's; shared with the catalog.
    async::Notification grown_;

    // Guards everything below.
    mutable std::mutex mutex_;
    std::condition_variable drained_;  // open_ became empty.
    std::optional<Term> writers_term_;
    std::set<std::uint64_t> open_;     // First packed timestamp of each open run of slots.
    // Last position of each committed run that is not visible yet. All of the present term: one
    // ends only once none is open.
    std::map<std::uint64_t, Term> closed_;
    OpTime visible_;
    /// First and last position of each committed unit of several entries unit_boundary() has not
    /// passed yet. Beyond limits::units_kept neighbours become one.
    std::map<std::uint64_t, std::uint64_t> units_;
};

}  // namespace tessera::replication
