// SPDX-License-Identifier: Apache-2.0
//
// Group commit: transactions commit without a sync, and whoever needs theirs on disk waits here;
// one thread syncs the journal for all who wait at that moment. Callers that commit while a sync
// runs share the next one. On an engine without a disk everything is durable at once; in a
// simulation, which has no threads, each caller syncs for itself.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "storage/engine.h"

namespace tessera::storage {

enum class FlushBy : std::uint8_t { own_thread, caller };

class DurabilityFlusher {
public:
    using Callback = std::function<void(Status)>;

    /// `engine` must outlive it. Starts its own thread, if that is wanted and the engine is
    /// durable.
    explicit DurabilityFlusher(Engine& engine,
                               FlushBy who = FlushBy::own_thread,
                               Duration interval = limits::journal_interval);
    /// Syncs for everyone who waits, then ends the thread.
    ~DurabilityFlusher();
    DurabilityFlusher(const DurabilityFlusher&) = delete;
    DurabilityFlusher& operator=(const DurabilityFlusher&) = delete;

    /// Calls `callback` once everything committed before this call is on disk: from the flusher's
    /// thread, or at once and from this one when it has none. It must not block.
    void when_durable(Callback callback);
    /// Blocks until everything committed before this call is on disk.
    Status wait();
    /// Tells the flusher that something was committed, so that it syncs within the interval even if
    /// nobody waits. Cheap.
    void on_commit() {
        has_news_.store(true);
        if (is_resting_.load()) wake();
    }
    /// Called after every sync with nobody's request (e.g. to advance lastDurable). Set before use.
    void set_observer(std::function<void()> observer) { observer_ = std::move(observer); }

private:
    void run();
    void rest(std::unique_lock<std::mutex>& lock);
    void wake();

    Engine& engine_;
    const Duration interval_;
    std::function<void()> observer_;
    // Each side writes its own and then reads the other's, so one of them sees the other.
    std::atomic<bool> has_news_{false};
    std::atomic<bool> is_resting_{false};  // The thread sleeps until somebody needs it.

    // Guards waiting_ and is_stopping_.
    std::mutex mutex_;
    std::condition_variable wakeup_;
    std::vector<Callback> waiting_;
    bool is_stopping_ = false;
    std::thread thread_;
};

}  // namespace tessera::storage
