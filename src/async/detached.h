// SPDX-License-Identifier: Apache-2.0
//
// A coroutine that nobody awaits: it begins suspended, and destroys itself at its end. For spawn()
// and its kin only; code above uses TaskGroup, so that every task has somebody who awaits its end.
#pragma once

#include <coroutine>
#include <exception>
#include <memory>
#include <utility>

#include "async/executor.h"

namespace tessera::async::detail {

struct Detached {
    struct promise_type {
        Detached get_return_object() {
            return {std::coroutine_handle<promise_type>::from_promise(*this)};
        }
        std::suspend_always initial_suspend() const noexcept { return {}; }
        std::suspend_never final_suspend() const noexcept { return {}; }
        [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
        void return_void() const noexcept {}
    };
    std::coroutine_handle<promise_type> handle;
};

/// Starts it on `executor`; if that drops the work, the frame goes with it.
inline void start(Executor& executor, Detached detached) {
    struct Starter {
        std::coroutine_handle<> handle;
        explicit Starter(std::coroutine_handle<> h) : handle(h) {}
        Starter(const Starter&) = delete;
        Starter& operator=(const Starter&) = delete;
        ~Starter() {
            if (handle) handle.destroy();
        }
    };
    // Shared only because std::function must be copyable; the queue holds the one copy.
    auto starter = std::make_shared<Starter>(detached.handle);
    executor.post([starter] { std::exchange(starter->handle, {}).resume(); });
}

}  // namespace tessera::async::detail
