// SPDX-License-Identifier: Apache-2.0
//
// Executors with threads of their own and no sockets: ThreadPool for work that may scan, sort or
// wait on disk, and (with one thread, a strand) for background tasks and control.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "async/executor.h"

namespace tessera::async {

class ThreadPool : public Executor {
public:
    struct Options {
        std::string name = "worker";  // Of its threads, with a number; at most 15 characters.
        std::size_t threads = 2;
        /// How much may wait for try_post(). post() is not refused: what comes that way continues
        /// work that was admitted before (a connection's one running command), so that its number
        /// is bounded by the admission.
        std::size_t queue_max = 10'000;
    };

    explicit ThreadPool(Options options);
    /// As shut_down().
    ~ThreadPool() override;
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    void post(std::function<void()> work) override;
    /// Posts new work; false when queue_max wait already or it has shut down.
    [[nodiscard]] bool try_post(std::function<void()> work);
    std::size_t queued() const;

    /// Drops what has not started, waits for what runs, joins. Not from a thread of its own.
    void shut_down();

private:
    void run(std::size_t number);

    const Options options_;
    mutable std::mutex mutex_;
    std::condition_variable has_work_;
    // Guarded by mutex_.
    std::deque<std::function<void()>> queue_;
    std::size_t idle_ = 0;
    bool is_shut_down_ = false;

    std::vector<std::thread> threads_;
};

/// One thread, one thing after the other: for control traffic and background tasks.
class StrandThread : public ThreadPool {
public:
    explicit StrandThread(std::string name);
};

}  // namespace tessera::async
