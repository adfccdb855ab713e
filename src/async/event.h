// SPDX-License-Identifier: Apache-2.0
//
// Waiting for something that another piece of code does: Event (happens once), Notification (a
// condition may have changed), TaskGroup (the end of what was spawned), Cancellation. All are safe
// to use from several executors; every waiter is resumed by a post to the executor it waited on,
// never inside the caller of set() or notify().
#pragma once

#include <coroutine>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "async/clock.h"
#include "async/executor.h"
#include "async/task.h"

namespace tessera::async {

/// Tells work to stop early. Shared by the one who cancels and those who listen; copies refer to
/// the same state.
class Cancellation {
public:
    Cancellation();
    void cancel();
    bool is_cancelled() const;
    /// Calls `action` at cancel(), at once if that was before; until the returned handle dies.
    [[nodiscard]] std::shared_ptr<void> on_cancel(std::function<void()> action) const;

private:
    struct State;
    std::shared_ptr<State> state_;  // Owned by all copies.
};

/// Waiters for "something changed": wait() returns at the next notify(), at the deadline or at
/// cancellation, whichever is first. Check the condition in a loop:
///     while (!condition()) if (!co_await changed.wait(clock, deadline)) ...timed out...
class Notification {
public:
    Notification();
    ~Notification();
    Notification(const Notification&) = delete;
    Notification& operator=(const Notification&) = delete;

    void notify();
    /// A ticket taken before the condition is checked closes the gap in which a notify() from
    /// another thread could be missed: wait() returns at once if notify() came after the ticket.
    std::uint64_t ticket() const;

    enum class Outcome { notified, timed_out, cancelled };
    Task<Outcome> wait(Clock& clock, Instant deadline, std::uint64_t ticket,
                       Cancellation cancellation);
    Task<Outcome> wait(Clock& clock, Instant deadline, std::uint64_t ticket);

private:
    struct State;
    std::shared_ptr<State> state_;  // Also owned by waiters' timers until they fire.
};

/// Counts tasks spawned through it; join() waits until all have ended. Destroy only after join().
class TaskGroup {
public:
    explicit TaskGroup(Executor& executor);
    ~TaskGroup();
    void spawn(Task<void> task);
    Task<void> join();
    std::size_t running() const;

private:
    struct State;
    Executor& executor_;
    std::shared_ptr<State> state_;
};

/// Runs all tasks at once on the current executor and returns when every one has ended.
Task<void> when_all(std::vector<Task<void>> tasks);

}  // namespace tessera::async
