// SPDX-License-Identifier: Apache-2.0
//
// What runs now: one Operation for each command in progress, listed for currentOp, found by killOp.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "async/clock.h"
#include "async/event.h"
#include "base/host_and_port.h"
#include "base/namespace.h"
#include "base/result.h"
#include "bson/view.h"

namespace tessera::commands {

/// Where a connection's streamed hello stands; used by that connection's executor alone.
struct HelloStream {
    bool is_streaming = false;
    std::int64_t counter = 0;  // topologyVersion of the last answer.
};

/// What is known of a client's connection; shared by its connection and its running operations.
struct ClientInfo {
    std::int64_t connection_id = 0;
    std::string remote;  // "127.0.0.1:34234"
    HostAndPort remote_host;
    std::atomic<bool> speaks_hello{false};
    std::atomic<bool> is_internal{false};  // Another member or router of the cluster.
    HelloStream hello_stream;
    bool has_gone = false;  // Guarded by the registry's mutex.

    /// Takes hello's client document; the first handshake's stays.
    void set_metadata(bson::View metadata, std::string_view app_name);
    bson::Document metadata() const;
    std::string app_name() const;

private:
    mutable std::mutex mutex_;  // Guards what follows.
    bson::Document metadata_;
    std::string app_name_;
};

/// What an operation has done so far, for the profiler and the log of slow operations. Numbers that
/// nobody counted stay at -1.
struct OperationStats {
    static constexpr std::int64_t uncounted = -1;
    std::int64_t keys_examined = 0;
    std::int64_t docs_examined = 0;
    std::int64_t returned = uncounted;
    std::int64_t inserted = uncounted;
    std::int64_t matched = uncounted;
    std::int64_t modified = uncounted;
    std::int64_t upserted = uncounted;
    std::int64_t deleted = uncounted;
    std::int64_t write_conflicts = 0;
    std::int64_t yields = 0;      // How often it let go of its locks and went on.
    std::int64_t cursor_id = 0;   // 0: it left none open.
    bool has_read = false;        // keys_examined and docs_examined are counted.
    bool has_told_plan = false;   // Of a pipeline, whose cursors come and go.
    bool has_sort_stage = false;
    bool is_cursor_exhausted = false;
    bool is_profiled = false;     // Its statements have their own documents in the profile.
    bson::Document originating_command;  // Of a getMore's cursor, while somebody profiles.

    void add(const OperationStats& other) {
        const auto sum = [](std::int64_t& mine, std::int64_t theirs) {
            if (theirs != uncounted) mine = theirs + (mine == uncounted ? 0 : mine);
        };
        keys_examined += other.keys_examined;
        docs_examined += other.docs_examined;
        write_conflicts += other.write_conflicts;
        yields += other.yields;
        has_read |= other.has_read;
        has_sort_stage |= other.has_sort_stage;
        sum(inserted, other.inserted);
        sum(matched, other.matched);
        sum(modified, other.modified);
        sum(upserted, other.upserted);
        sum(deleted, other.deleted);
    }
    void examined(std::uint64_t keys, std::uint64_t docs) {
        has_read = true;
        keys_examined += static_cast<std::int64_t>(keys);
        docs_examined += static_cast<std::int64_t>(docs);
    }
};

class Operation : public std::enable_shared_from_this<Operation> {
public:
    Operation(std::int64_t its_id, std::shared_ptr<ClientInfo> its_client, Instant now)
        : id(its_id), client(std::move(its_client)), started(now) {}

    const std::int64_t id;
    const std::shared_ptr<ClientInfo> client;  // Also owned by the connection.
    const Instant started;
    async::Cancellation cancellation;
    Instant deadline = Instant::max();        // By maxTimeMS.
    Instant await_deadline = Instant::max();  // How long an awaitData getMore waits for data.
    OperationStats stats;  // Written and read by the operation alone.

    /// Marks it killed, with the code it will fail with, and cancels what it waits for.
    void kill(ErrorCode code);
    /// Fails when it was killed (Interrupted, InterruptedDueToReplStateChange, ...) or its time is
    /// over (MaxTimeMSExpired). For loops: cheap.
    Status check(const async::Clock& clock) const;
    WallTime started_wall(const async::Clock& clock) const;
    bool is_killed() const { return kill_code_.load(std::memory_order_relaxed) != 0; }

    struct Progress {
        std::string message;
        std::int64_t done = 0;
        std::int64_t total = 0;
    };
    /// What others are shown of it (currentOp), made when they ask.
    struct Description {
        std::string command_name;
        std::string ns;
        std::string kind = "command";  // "query", "insert", "update", "remove", "getmore".
        bson::Document command;
        bson::Document lsid;
        std::string plan_summary;
        Progress progress;  // Of long work; no message: none.
        bool is_write = false;
        bool is_hidden = false;  // Waiting hellos and the like.
    };
    /// What an operation carries out. Lives, and does not change, from begin() to end().
    class Subject {
    public:
        virtual ~Subject() = default;
        virtual Description describe() const = 0;
    };

private:
    friend class OperationRegistry;
    Description describe() const;

    std::atomic<std::int32_t> kill_code_{0};
    // Guarded by the registry's mutex:
    const Subject* subject_ = nullptr;
    std::string plan_summary_;
    Progress progress_;
    std::list<std::shared_ptr<Operation>>::iterator place_;
};

/// All operations in progress. Thread-safe.
class OperationRegistry {
public:
    explicit OperationRegistry(async::Clock& clock) : clock_(clock) {}

    /// One of a client that has gone is killed at once.
    std::shared_ptr<Operation> begin(std::shared_ptr<ClientInfo> client,
                                     const Operation::Subject& subject);
    /// Once, for each that has begun.
    void end(const Operation& operation);
    void set_plan_summary(Operation& operation, std::string summary);
    void set_progress(Operation& operation, Operation::Progress progress);
    std::string plan_summary(const Operation& operation) const;

    /// A connection was opened; it is known until it is closed.
    void add_client(const std::shared_ptr<ClientInfo>& client);
    std::vector<std::shared_ptr<ClientInfo>> clients() const;
    /// The connection is lost: kills what runs for it, with ClientDisconnect.
    void kill_of(ClientInfo& client);

    /// Returns whether there was such an operation.
    bool kill(std::int64_t id, ErrorCode code);
    /// Kills every operation for which `choose` is true; at step-down: the writes.
    void kill_all(
        ErrorCode code,
        const std::function<bool(const Operation&, const Operation::Description&)>& choose);
    /// Calls `visit` for each, under the lock: it must be quick.
    void for_each(
        const std::function<void(const Operation&, const Operation::Description&)>& visit) const;

private:
    async::Clock& clock_;
    std::atomic<std::int64_t> next_id_{1};
    mutable std::mutex mutex_;  // Guards what follows, and what operations show.
    std::list<std::shared_ptr<Operation>> operations_;
    std::vector<std::weak_ptr<ClientInfo>> clients_;  // Closed ones are dropped as it grows.
    std::size_t clients_swept_ = 0;                   // How many were left at the last sweep.
};

}  // namespace tessera::commands
