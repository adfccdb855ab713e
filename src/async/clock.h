// SPDX-License-Identifier: Apache-2.0
//
// Time as something handed in: the server's is the system's, the simulator's is its own.
#pragma once

#include <coroutine>
#include <cstdint>
#include <functional>

#include "async/executor.h"
#include "base/time.h"

namespace tessera::async {

class Clock {
public:
    virtual ~Clock() = default;

    virtual Instant now() const = 0;
    virtual WallTime wall_now() const = 0;

    /// Calls `action` at `due` on `executor`; returns a handle for cancel_timer. Any thread.
    using TimerId = std::uint64_t;
    virtual TimerId call_at(Instant due, Executor& executor, std::function<void()> action) = 0;
    /// After it returned, an action that has not started will not run. Any thread; the id of a
    /// timer that has fired is ignored.
    virtual void cancel_timer(TimerId timer) = 0;
};

/// A deadline that never comes: nothing is armed for it.
inline constexpr Instant no_deadline = Instant::max();

/// Comes back at `due`, on the executor it was awaited on. Requires: Executor::current().
class sleep_until {
public:
    sleep_until(Clock& clock, Instant due) : clock_(clock), due_(due) {}
    bool await_ready() const { return clock_.now() >= due_; }
    void await_suspend(std::coroutine_handle<> waiting);
    void await_resume() const noexcept {}

private:
    Clock& clock_;
    Instant due_;
};

}  // namespace tessera::async
