// SPDX-License-Identifier: Apache-2.0
//
// Open cursors between a find or aggregate and its getMores. A cursor is used by one operation at a
// time; idle ones are closed after ten minutes, or with their session.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "async/clock.h"
#include "async/task.h"
#include "base/namespace.h"
#include "base/random.h"
#include "base/result.h"
#include "bson/builder.h"
#include "commands/operation.h"
#include "replication/oplog_entry.h"

namespace tessera::commands {

class Request;

/// One batch of a reply being filled.
class BatchWriter {
public:
    BatchWriter(bson::ArrayBuilder& out, std::int64_t count_max)
        : out_(out), count_max_(count_max) {}

    /// Whether another document of that size still fits: 16 MiB a reply, one document always.
    bool has_room(std::size_t bytes) const {
        if (out_.count() >= static_cast<std::uint64_t>(count_max_)) return false;
        return out_.count() == 0 || out_.size() + bytes + 16 <= bytes_max;
    }
    bool is_full() const { return out_.count() >= static_cast<std::uint64_t>(count_max_); }
    void append(bson::View document) { out_.append(document); }
    std::int64_t count() const { return out_.count(); }

    static constexpr std::size_t bytes_max = std::size_t{16} * 1024 * 1024;

private:
    bson::ArrayBuilder& out_;
    const std::int64_t count_max_;
};

/// Where a cursor's documents come from.
class CursorSource {
public:
    virtual ~CursorSource() = default;
    /// Appends documents until the batch is full or there is nothing more for now. Returns whether
    /// the cursor is exhausted. May move to a worker; the caller comes back by itself.
    virtual async::Task<Result<bool>> fill(BatchWriter& batch, Operation& operation) = 0;
    /// Called before a getMore's fill(), for arguments of its own (term, lastKnownCommittedOpTime).
    virtual void on_get_more(const Request&) {}
    /// Lets go of storage positions until the next fill().
    virtual void save() {}
    /// Fields to add to the "cursor" object after the batch (postBatchResumeToken).
    virtual void append_cursor_fields(bson::Builder&) const {}
    /// Fields to add at the top of the reply ($replData).
    virtual void append_reply_fields(bson::Builder&) const {}
    virtual std::string plan_summary() const { return {}; }
};

struct CursorOptions {
    Namespace ns;
    std::optional<replication::SessionId> session;
    bool is_tailable = false;
    bool awaits_data = false;
    bool never_times_out = false;
    bson::Document command;                 // The originating command, for currentOp.
    Duration time_left = Duration::zero();  // What is left of maxTimeMS; 0: no limit.
};

class CursorRegistry;

/// A cursor out of the registry for the duration of one operation.
class PinnedCursor {
public:
    PinnedCursor() = default;
    PinnedCursor(PinnedCursor&& other) noexcept;
    PinnedCursor& operator=(PinnedCursor&& other) noexcept;
    /// Destroying it closes the cursor; keep() puts it back.
    ~PinnedCursor();
    void keep();

    std::int64_t id() const { return id_; }
    CursorSource& source() const { return *source_; }
    CursorOptions& options() const { return *options_; }

private:
    friend class CursorRegistry;
    CursorRegistry* registry_ = nullptr;
    std::int64_t id_ = 0;
    std::unique_ptr<CursorSource> source_;
    std::unique_ptr<CursorOptions> options_;
};

class CursorRegistry {
public:
    CursorRegistry(async::Clock& clock, Random random) : clock_(clock), random_(random) {}

    /// Registers an open cursor and returns its id, never 0.
    std::int64_t add(std::unique_ptr<CursorSource> source, CursorOptions options);
    /// Takes a cursor for a getMore. Fails with CursorNotFound (43), CursorInUse (143), and
    /// Unauthorized (13) when it belongs to another namespace or session.
    Result<PinnedCursor> pin(std::int64_t id,
                             const Namespace& ns,
                             const std::optional<replication::SessionId>& session,
                             std::shared_ptr<Operation> operation);

    enum class KillOutcome { killed, not_found };
    /// Closes a cursor; one in use is told to stop.
    KillOutcome kill(std::int64_t id);
    /// Closes all cursors of a session, or of a namespace's collection.
    std::int64_t kill_session(const replication::SessionId& session);
    void kill_namespace(const Namespace& ns);
    void kill_all();
    /// Closes those idle for longer than `idle_max`. Returns how many.
    std::int64_t expire(Duration idle_max);

    struct Info {
        std::int64_t id = 0;
        CursorOptions options;
        WallTime created;
        WallTime last_used;
        std::int64_t documents_returned = 0;
        std::int64_t batches_returned = 0;
        std::string plan_summary;
    };
    std::vector<Info> idle_cursors() const;
    struct Counts {
        std::int64_t open = 0;
        std::int64_t open_no_timeout = 0;
        std::int64_t open_pinned = 0;
        std::int64_t timed_out = 0;
        std::int64_t total_opened = 0;
    };
    Counts counts() const;

private:
    friend class PinnedCursor;
    struct Entry {
        std::unique_ptr<CursorSource> source;    // Null while pinned.
        std::unique_ptr<CursorOptions> options;  // Null while pinned.
        std::shared_ptr<Operation> user;         // Set while pinned.
        Namespace ns;
        std::optional<replication::SessionId> session;
        bool never_times_out = false;
        Instant last_used;
        WallTime created;
        WallTime last_used_wall;
    };
    void put_back(PinnedCursor& cursor);
    void close(std::int64_t id);

    async::Clock& clock_;
    mutable std::mutex mutex_;  // Guards what follows.
    Random random_;
    std::map<std::int64_t, Entry> cursors_;
    std::int64_t timed_out_ = 0;
    std::int64_t total_opened_ = 0;
};

}  // namespace tessera::commands
