// SPDX-License-Identifier: Apache-2.0
//
// Waiting for something that another piece of code does: Event (happens once), Notification (a
// condition may have changed), TaskGroup (the end of what was spawned), Semaphore (a turn),
// Cancellation. All are safe to use from several executors; every waiter is resumed by a post to
// the executor it waited on, never inside the caller of set() or notify().
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
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
    /// One that is never cancelled, for callers without a wish to cancel. Costs nothing.
    static Cancellation none() { return Cancellation(nullptr); }

    /// Calls the actions registered, on this thread, before it returns. Once only.
    void cancel();
    bool is_cancelled() const;
    /// Calls `action` at cancel(), at once if that was before; until the returned handle dies. The
    /// handle's death waits for an action that another thread is running at that moment.
    [[nodiscard]] std::shared_ptr<void> on_cancel(std::function<void()> action) const;
    bool can_be_cancelled() const { return state_ != nullptr; }

private:
    struct State;
    struct Registration;
    explicit Cancellation(std::nullptr_t) {}
    std::shared_ptr<State> state_;  // Owned by all copies; null: none().
};

/// Something that happens once: wait() returns when set() has been called, at once if it has been.
class Event {
public:
    Event();
    ~Event();
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;

    void set();
    bool is_set() const;
    Task<void> wait();

private:
    struct State;
    std::shared_ptr<State> state_;  // Also held by set() while it wakes, and by waiters.
};

/// Waiters for "something changed": wait() returns at the next notify(), at the deadline or at
/// cancellation, whichever is first. Take a ticket, check the condition, then wait, in a loop:
///     for (;;) {
///         const auto ticket = changed.ticket();
///         if (condition()) break;
///         const auto outcome = co_await changed.wait(clock, deadline, ticket);
///         if (outcome != Notification::Outcome::notified) ...timed out or cancelled...
///     }
class Notification {
public:
    Notification();
    /// Waiters still there come back as cancelled.
    ~Notification();
    Notification(const Notification&) = delete;
    Notification& operator=(const Notification&) = delete;

    void notify();
    /// A ticket taken before the condition is checked closes the gap in which a notify() from
    /// another thread could be missed: wait() returns at once if notify() came after the ticket.
    std::uint64_t ticket() const;

    enum class Outcome { notified, timed_out, cancelled };
    /// `deadline` may be no_deadline. Requires: Executor::current().
    Task<Outcome> wait(Clock& clock, Instant deadline, std::uint64_t ticket,
                       Cancellation cancellation);
    Task<Outcome> wait(Clock& clock, Instant deadline, std::uint64_t ticket);

private:
    struct State;
    struct Waiter;
    struct Wait;
    std::shared_ptr<State> state_;  // Also owned by waiters' timers until they fire.
};

/// So many may pass at once; the others wait their turn in order of arrival. With a count of one, a
/// mutex that may be held over co_await.
class Semaphore {
public:
    explicit Semaphore(std::size_t count);
    ~Semaphore();
    Semaphore(const Semaphore&) = delete;
    Semaphore& operator=(const Semaphore&) = delete;

    /// A turn, given back when it goes.
    class [[nodiscard]] Permit {
    public:
        Permit() = default;
        explicit Permit(Semaphore& owner) : owner_(&owner) {}
        Permit(Permit&& other) noexcept : owner_(std::exchange(other.owner_, nullptr)) {}
        Permit& operator=(Permit&& other) noexcept {
            if (this != &other) {
                release();
                owner_ = std::exchange(other.owner_, nullptr);
            }
            return *this;
        }
        ~Permit() { release(); }
        void release() {
            if (owner_ != nullptr) std::exchange(owner_, nullptr)->release();
        }
        bool holds() const { return owner_ != nullptr; }

    private:
        Semaphore* owner_ = nullptr;
    };

    /// Waits for a turn. Requires: Executor::current().
    Task<Permit> acquire();
    /// Takes a turn if there is one now; otherwise the permit holds nothing.
    Permit try_acquire();
    std::size_t waiting() const;

private:
    struct State;
    struct Turn;
    void release();
    std::unique_ptr<State> state_;
};

/// Counts tasks spawned through it; join() waits until all have ended. Destroy only after join().
class TaskGroup {
public:
    explicit TaskGroup(Executor& executor);
    ~TaskGroup();
    TaskGroup(const TaskGroup&) = delete;
    TaskGroup& operator=(const TaskGroup&) = delete;

    void spawn(Task<void> task);
    /// As spawn(), on another executor than the group's.
    void spawn_on(Executor& executor, Task<void> task);
    Task<void> join();
    std::size_t running() const;

private:
    struct State;
    struct Member;
    Executor& executor_;
    std::shared_ptr<State> state_;  // Also owned by the tasks that run.
};

/// Runs all tasks at once on the current executor and returns when every one has ended.
Task<void> when_all(std::vector<Task<void>> tasks);

}  // namespace tessera::async
