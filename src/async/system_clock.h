// SPDX-License-Identifier: Apache-2.0
//
// The machine's clock and one thread that fires timers. Arming and cancelling is a lock and a heap
// or hash entry; the thread is woken only for a timer earlier than all others, and sleeps until the
// first is due, so that an idle process costs nothing.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "async/clock.h"

namespace tessera::async {

class SystemClock : public Clock {
public:
    SystemClock();
    /// As stop().
    ~SystemClock() override;
    SystemClock(const SystemClock&) = delete;
    SystemClock& operator=(const SystemClock&) = delete;

    /// The monotonic clock's reading; equal to std::chrono::steady_clock's.
    static Instant read();

    Instant now() const override { return read(); }
    WallTime wall_now() const override;
    TimerId call_at(Instant due, Executor& executor, std::function<void()> action) override;
    void cancel_timer(TimerId timer) override;

    /// Drops all timers and joins the thread. Executors that timers refer to must live until then.
    void stop();
    std::size_t pending() const;

private:
    struct Armed {
        Executor* executor;
        std::function<void()> action;
    };
    struct Due {
        Instant at;
        TimerId timer;
    };
    /// What posted actions share with the clock; it outlives the clock in their queues.
    struct State {
        std::mutex mutex;
        std::condition_variable earlier;
        // Guarded by mutex.
        std::unordered_map<TimerId, Armed> armed;  // Until the action starts or is cancelled.
        std::vector<Due> heap;     // Earliest first; holds cancelled ones until they are due
        std::size_t cancelled = 0;  // or until they outnumber the others.
        TimerId last_id = 0;
        Instant waiting_until = no_deadline;
        bool is_stopped = false;

        void compact();
        void drop_cancelled();
        void fire_due(std::unique_lock<std::mutex>& lock, const std::shared_ptr<State>& self);
    };
    static void run(const std::shared_ptr<State>& state);

    std::shared_ptr<State> state_;  // Owned by the clock, its thread and posted actions.
    std::thread thread_;
};

}  // namespace tessera::async
