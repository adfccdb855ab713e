// SPDX-License-Identifier: Apache-2.0
//
// Task<T>: a lazy coroutine. It starts when it is awaited, resumes whoever awaits it when it ends,
// and is destroyed with its handle; a task that was never awaited never runs. It is our own, not
// Asio's awaitable (docs/decisions/0004): nothing above `net` then includes Asio, and the simulator
// owns every resumption.
//
// Why not symmetric transfer: g++ turns it into a jump only when it optimises, so that in debug and
// sanitizer builds a loop that awaits tasks which end at once would grow the stack by each of them.
// Here a task that ends without waiting returns to its awaiter, which never suspends; one that ends
// later resumes its awaiter from its own end. `meeting` decides between the two.
//
// g++ 12: no braces and no capturing lambda inside a co_await expression (docs/style.md).
#pragma once

#include <atomic>
#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

#include "async/executor.h"
#include "base/assert.h"

namespace tessera::async {

template <class T>
class Task;

namespace detail {

struct FinalAwaiter {
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> finished) noexcept {
        // Once the flag is set, the awaiter may destroy this frame at any moment.
        const std::coroutine_handle<> waiting = finished.promise().waiting;
        if (finished.promise().meeting.exchange(true, std::memory_order_acq_rel)) waiting.resume();
    }
    void await_resume() const noexcept {}
};

struct PromiseBase {
    std::coroutine_handle<> waiting = std::noop_coroutine();
    // Set by whichever comes first: the end of this task, or its awaiter having suspended.
    std::atomic<bool> meeting = false;

    std::suspend_always initial_suspend() const noexcept { return {}; }
    FinalAwaiter final_suspend() const noexcept { return {}; }
    // We throw nothing; what a library lets through (bad_alloc) ends the process.
    [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
};

template <class T>
struct Promise : PromiseBase {
    std::optional<T> value;
    Task<T> get_return_object();
    template <class U>
    void return_value(U&& result) {
        value.emplace(std::forward<U>(result));
    }
    T take() { return std::move(*value); }
};

template <>
struct Promise<void> : PromiseBase {
    Task<void> get_return_object();
    void return_void() const noexcept {}
    void take() const noexcept {}
};

}  // namespace detail

template <class T = void>
class [[nodiscard]] Task {
public:
    using promise_type = detail::Promise<T>;
    using Handle = std::coroutine_handle<promise_type>;

    Task() = default;
    explicit Task(Handle handle) : handle_(handle) {}
    Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
    Task& operator=(Task&& other) noexcept {
        if (this != &other) {
            if (handle_) handle_.destroy();
            handle_ = std::exchange(other.handle_, {});
        }
        return *this;
    }
    ~Task() {
        if (handle_) handle_.destroy();
    }

    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> waiting) noexcept {
        detail::PromiseBase& promise = handle_.promise();
        promise.waiting = waiting;
        handle_.resume();
        // Either it has ended (go on without suspending), or it will and then resumes `waiting`.
        if (promise.meeting.load(std::memory_order_acquire)) return false;
        return !promise.meeting.exchange(true, std::memory_order_acq_rel);
    }
    T await_resume() { return handle_.promise().take(); }

    /// Whether there is a coroutine in it (not moved from, not default-constructed).
    explicit operator bool() const noexcept { return static_cast<bool>(handle_); }

private:
    Handle handle_;
};

namespace detail {
template <class T>
Task<T> Promise<T>::get_return_object() {
    return Task<T>(std::coroutine_handle<Promise>::from_promise(*this));
}
inline Task<void> Promise<void>::get_return_object() {
    return Task<void>(std::coroutine_handle<Promise>::from_promise(*this));
}
}  // namespace detail

/// Starts `task` on `executor` and lets it run to its end by itself. Whoever spawns is responsible
/// for its end: see TaskGroup. A task whose executor shuts down before its start is destroyed.
void spawn(Executor& executor, Task<void> task);

}  // namespace tessera::async
