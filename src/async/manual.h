// SPDX-License-Identifier: Apache-2.0
//
// An executor and a clock that move only when told: one thread, same order each time. Tests and the
// simulator run real coroutines on them.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <type_traits>
#include <utility>

#include "async/clock.h"
#include "async/executor.h"
#include "async/task.h"
#include "base/assert.h"

namespace tessera::async {

/// Runs what was posted when it is told to, in the order of posting. One thread only.
class ManualExecutor : public Executor {
public:
    ManualExecutor() = default;
    ~ManualExecutor() override;
    ManualExecutor(const ManualExecutor&) = delete;
    ManualExecutor& operator=(const ManualExecutor&) = delete;

    void post(std::function<void()> work) override;

    /// Runs the oldest piece of work; false when there is none.
    bool run_one();
    /// Runs until nothing is left, at most `steps_max` pieces. Returns how many it ran.
    std::size_t run(std::size_t steps_max = 1'000'000);
    bool is_idle() const { return queue_.empty(); }
    /// Drops what waits, and all that comes later (a crash).
    void shut_down();

private:
    std::deque<std::function<void()>> queue_;
    bool is_shut_down_ = false;
};

/// A clock that stands until it is moved. Timers fire in order of (due, armed). One thread only.
class VirtualClock : public Clock {
public:
    explicit VirtualClock(Instant start = Instant(std::chrono::hours(1)),
                          WallTime wall_start = WallTime{1'700'000'000'000})
        : start_(start), now_(start), wall_start_(wall_start) {}

    Instant now() const override { return now_; }
    WallTime wall_now() const override {
        if (on_wall_read) on_wall_read();
        return WallTime{wall_start_.milliseconds + to_milliseconds(now_ - start_)};
    }
    TimerId call_at(Instant due, Executor& executor, std::function<void()> action) override;
    void cancel_timer(TimerId timer) override;

    /// When the next timer is due.
    std::optional<Instant> next_due() const;
    /// Moves to `to` (never back) and posts what is due by then to its executors.
    void advance_to(Instant to);
    void advance(Duration by) { advance_to(now_ + by); }
    /// Moves to the next timer and posts it; false when there is none.
    bool advance_to_next();
    std::size_t pending() const { return actions_.size(); }

    /// What another thread does while one is about to read the wall clock.
    std::function<void()> on_wall_read;

private:
    struct Armed {
        Executor* executor;
        std::function<void()> action;
        Instant due;
        bool is_posted = false;
    };
    void fire(TimerId timer);

    const Instant start_;
    Instant now_;
    const WallTime wall_start_;
    TimerId last_id_ = 0;
    std::map<std::pair<Instant, TimerId>, TimerId> due_;
    std::map<TimerId, Armed> actions_;  // Until the action starts or is cancelled.
};

/// Runs executor and clock in turn until `is_done()`, or nothing is left to do, or the clock passes
/// `until`. Returns is_done().
template <class Condition>
bool run_until(ManualExecutor& executor,
               VirtualClock& clock,
               const Condition& is_done,
               Instant until = Instant::max()) {
    for (;;) {
        executor.run();
        if (is_done()) return true;
        const auto next = clock.next_due();
        if (!next || *next > until) return false;
        clock.advance_to_next();
    }
}

namespace detail {
template <class T>
Task<void> keep(Task<T> task,
                std::optional<std::conditional_t<std::is_void_v<T>, bool, T>>& result) {
    if constexpr (std::is_void_v<T>) {
        co_await std::move(task);
        result = true;
    } else {
        result.emplace(co_await std::move(task));
    }
}
}  // namespace detail

/// Runs `task` to its end, moving the clock as needed, and returns its result. Requires: it ends.
template <class T>
T run_task(ManualExecutor& executor, VirtualClock& clock, Task<T> task) {
    std::optional<std::conditional_t<std::is_void_v<T>, bool, T>> result;
    spawn(executor, detail::keep(std::move(task), result));
    const bool has_ended = run_until(executor, clock, [&] { return result.has_value(); });
    ASSERT(has_ended);
    if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace tessera::async
