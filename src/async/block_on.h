// SPDX-License-Identifier: Apache-2.0
//
// The way from code that blocks (a worker thread, main, a test) to code that awaits.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

#include "async/executor.h"
#include "async/task.h"
#include "base/assert.h"

namespace tessera::async {

namespace detail {

template <class T>
struct Blocked {
    std::mutex mutex;
    std::condition_variable ended;
    bool is_ended = false;
    std::optional<std::conditional_t<std::is_void_v<T>, bool, T>> value;

    void end() {
        const std::lock_guard lock(mutex);
        is_ended = true;
        ended.notify_all();
    }
};

/// Tells the one who blocks when the frame goes, run or dropped.
template <class T>
struct BlockedGuard {
    std::shared_ptr<Blocked<T>> state;
    explicit BlockedGuard(std::shared_ptr<Blocked<T>> s) : state(std::move(s)) {}
    BlockedGuard(BlockedGuard&&) noexcept = default;
    BlockedGuard& operator=(BlockedGuard&&) = delete;
    ~BlockedGuard() {
        if (state) state->end();
    }
};

template <class T>
Task<void> run_blocked(BlockedGuard<T> guard, Task<T> task) {
    if constexpr (std::is_void_v<T>) {
        co_await std::move(task);
        guard.state->value = true;
    } else {
        guard.state->value.emplace(co_await std::move(task));
    }
}

}  // namespace detail

/// Runs `task` on `executor` and blocks the calling thread for its result. Requires: the caller is
/// not (the only thread of) that executor, and it does not shut down before the task has ended.
template <class T>
T block_on(Executor& executor, Task<T> task) {
    ASSERT(Executor::current() != &executor);
    auto state = std::make_shared<detail::Blocked<T>>();  // Shared with the task's guard.
    spawn(executor, detail::run_blocked(detail::BlockedGuard<T>(state), std::move(task)));
    std::unique_lock lock(state->mutex);
    state->ended.wait(lock, [&] { return state->is_ended; });
    ASSERT(state->value.has_value());
    if constexpr (!std::is_void_v<T>) return std::move(*state->value);
}

}  // namespace tessera::async
