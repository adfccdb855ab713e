// SPDX-License-Identifier: Apache-2.0
#include "storage/durability_flusher.h"

#include <pthread.h>

#include "base/log.h"

namespace tessera::storage {

DurabilityFlusher::DurabilityFlusher(Engine& engine, FlushBy who, Duration interval)
    : engine_(engine), interval_(interval) {
    if (who == FlushBy::own_thread && engine.is_durable()) thread_ = std::thread([this] { run(); });
}

DurabilityFlusher::~DurabilityFlusher() {
    if (!thread_.joinable()) return;
    {
        std::lock_guard lock(mutex_);
        is_stopping_ = true;
    }
    wakeup_.notify_one();
    thread_.join();
}

void DurabilityFlusher::when_durable(Callback callback) {
    if (!thread_.joinable()) {
        callback(engine_.flush_journal());
        return;
    }
    {
        std::lock_guard lock(mutex_);
        if (waiting_.size() < limits::durability_waiters_max) {
            waiting_.push_back(std::move(callback));
            callback = nullptr;
        }
    }
    if (callback) {
        callback(Error(ErrorCode::temporarily_unavailable, "Too many writes wait for the journal"));
        return;
    }
    wakeup_.notify_one();
}

Status DurabilityFlusher::wait() {
    struct Waiter {
        std::mutex mutex;
        std::condition_variable wakeup;
        std::optional<Status> result;
    } waiter;
    when_durable([&waiter](Status status) {
        // Notified under the lock: the waiter may be gone as soon as it is released.
        std::lock_guard lock(waiter.mutex);
        waiter.result = std::move(status);
        waiter.wakeup.notify_one();
    });
    std::unique_lock lock(waiter.mutex);
    waiter.wakeup.wait(lock, [&] { return waiter.result.has_value(); });
    return *std::move(waiter.result);
}

// A commit after a while without any: the thread goes back to its interval.
void DurabilityFlusher::wake() {
    const std::lock_guard lock(mutex_);
    wakeup_.notify_one();
}

// Nothing happened for an interval: an idle member syncs nothing and does not even wake for it.
void DurabilityFlusher::rest(std::unique_lock<std::mutex>& lock) {
    is_resting_.store(true);
    wakeup_.wait(lock, [&] { return !waiting_.empty() || is_stopping_ || has_news_.load(); });
    is_resting_.store(false);
}

void DurabilityFlusher::run() {
    pthread_setname_np(pthread_self(), "journal");
    log::set_thread_context("JournalFlusher");
    std::vector<Callback> now;
    std::unique_lock lock(mutex_);
    while (true) {
        if (waiting_.empty() && !is_stopping_) {
            const auto woken = wakeup_.wait_for(lock, interval_);
            if (woken == std::cv_status::timeout && waiting_.empty() && !has_news_.load()) {
                rest(lock);
                if (waiting_.empty() && !is_stopping_) continue;  // News: synced in an interval.
            }
        }
        if (waiting_.empty() && is_stopping_) return;
        // Whoever arrives from here on may have committed after the sync began: the next one is
        // his.
        now.swap(waiting_);
        const bool has_news = has_news_.exchange(false, std::memory_order_acq_rel);
        if (now.empty() && !has_news) continue;
        lock.unlock();
        const Status status = engine_.flush_journal();
        if (!status) {
            log::error(log::Component::storage,
                       9'001'005,
                       "The journal could not be synced",
                       {{"error", status.error()}});
        }
        for (auto& callback : now)
            callback(status);
        now.clear();
        if (status && observer_) observer_();
        lock.lock();
    }
}

}  // namespace tessera::storage
