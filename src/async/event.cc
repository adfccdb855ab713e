// SPDX-License-Identifier: Apache-2.0
//
// A waiter that several parties may wake (notify, a timer, a cancellation) is a record of its own
// on the heap: whoever settles it first wins, the others find it settled. Between the moment it is
// linked and the end of await_suspend the coroutine may already run elsewhere, so that nothing of
// its frame is touched after linking.
#include "async/event.h"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <list>
#include <thread>

#include "async/detached.h"
#include "base/assert.h"

namespace tessera::async {

namespace {

/// Where a coroutine waits and what to resume.
struct Sleeper {
    Executor* executor = nullptr;
    std::coroutine_handle<> handle;

    static Sleeper here(std::coroutine_handle<> handle) {
        ASSERT(Executor::current() != nullptr);
        return Sleeper{Executor::current(), handle};
    }
    void wake() const {
        executor->post([waiting = handle] { waiting.resume(); });
    }
};

}  // namespace

// ---- Cancellation ----

struct Cancellation::State {
    std::mutex mutex;
    std::condition_variable action_ended;
    std::atomic<bool> is_cancelled = false;
    // Guarded by mutex.
    Registration* first = nullptr;  // Of a list in which everybody knows their neighbours.
    Registration* running = nullptr;
    std::thread::id running_on;
};

struct Cancellation::Registration {
    std::shared_ptr<State> state;
    std::function<void()> action;
    Registration* previous = nullptr;
    Registration* next = nullptr;
    bool is_listed = false;

    // Both under the state's mutex.
    void enlist() {
        is_listed = true;
        next = state->first;
        if (next != nullptr) next->previous = this;
        state->first = this;
    }
    void strike() {
        is_listed = false;
        (previous != nullptr ? previous->next : state->first) = next;
        if (next != nullptr) next->previous = previous;
    }

    ~Registration() {
        if (!state) return;
        std::unique_lock lock(state->mutex);
        if (is_listed) {
            strike();
            return;
        }
        // An action may drop its own handle; anybody else waits until it is over.
        if (state->running_on == std::this_thread::get_id()) {
            if (state->running == this) state->running = nullptr;
            return;
        }
        state->action_ended.wait(lock, [&] { return state->running != this; });
    }
};

Cancellation::Cancellation() : state_(std::make_shared<State>()) {}

void Cancellation::cancel() {
    if (!state_) return;
    const std::shared_ptr<State> state = state_;  // An action may destroy *this.
    std::unique_lock lock(state->mutex);
    if (state->is_cancelled.exchange(true)) return;
    state->running_on = std::this_thread::get_id();
    while (Registration* const next = state->first) {
        next->strike();
        state->running = next;
        const std::function<void()> action = std::move(next->action);
        lock.unlock();
        action();
        lock.lock();
        state->running = nullptr;
        state->action_ended.notify_all();
    }
    state->running_on = std::thread::id();
}

bool Cancellation::is_cancelled() const {
    return state_ && state_->is_cancelled.load(std::memory_order_acquire);
}

std::shared_ptr<void> Cancellation::on_cancel(std::function<void()> action) const {
    if (!state_) return nullptr;
    auto registration = std::make_shared<Registration>();
    {
        const std::lock_guard lock(state_->mutex);
        if (!state_->is_cancelled.load(std::memory_order_relaxed)) {
            registration->state = state_;
            registration->action = std::move(action);
            registration->enlist();
            return registration;
        }
    }
    action();
    return registration;
}

// ---- Event ----

struct Event::State {
    std::mutex mutex;
    bool is_set = false;
    std::vector<Sleeper> sleepers;

    struct Wait {
        State& state;
        bool await_ready() const noexcept { return false; }
        bool await_suspend(std::coroutine_handle<> waiting) {
            const std::lock_guard lock(state.mutex);
            if (state.is_set) return false;
            state.sleepers.push_back(Sleeper::here(waiting));
            return true;
        }
        void await_resume() const noexcept {}
    };
};

Event::Event() : state_(std::make_shared<State>()) {}
Event::~Event() = default;

void Event::set() {
    const std::shared_ptr<State> state = state_;
    std::vector<Sleeper> sleepers;
    {
        const std::lock_guard lock(state->mutex);
        state->is_set = true;
        sleepers.swap(state->sleepers);
    }
    for (const Sleeper& sleeper : sleepers) sleeper.wake();
}

bool Event::is_set() const {
    const std::lock_guard lock(state_->mutex);
    return state_->is_set;
}

Task<void> Event::wait() {
    const std::shared_ptr<State> state = state_;
    State::Wait wait{*state};
    co_await wait;
}

// ---- Notification ----

struct Notification::Waiter {
    // Guarded by State::mutex.
    Sleeper sleeper;
    Outcome outcome = Outcome::notified;
    bool is_settled = false;
    bool is_linked = false;
    std::list<std::shared_ptr<Waiter>>::iterator position;
};

struct Notification::State {
    mutable std::mutex mutex;
    std::uint64_t count = 0;
    std::list<std::shared_ptr<Waiter>> waiters;

    void settle(const std::shared_ptr<Waiter>& waiter, Outcome outcome) {
        {
            const std::lock_guard lock(mutex);
            if (waiter->is_settled) return;
            waiter->is_settled = true;
            waiter->outcome = outcome;
            if (!waiter->is_linked) return;  // It looks before it sleeps.
            waiters.erase(waiter->position);
        }
        waiter->sleeper.wake();
    }

    void settle_all(Outcome outcome) {
        std::list<std::shared_ptr<Waiter>> woken;
        {
            const std::lock_guard lock(mutex);
            ++count;
            woken.swap(waiters);
            for (const auto& waiter : woken) {
                waiter->is_settled = true;
                waiter->outcome = outcome;
            }
        }
        for (const auto& waiter : woken) waiter->sleeper.wake();
    }
};

struct Notification::Wait {
    std::shared_ptr<State> state;
    std::shared_ptr<Waiter> waiter;
    std::uint64_t ticket;

    Wait(std::shared_ptr<State> s, std::shared_ptr<Waiter> w, std::uint64_t t)
        : state(std::move(s)), waiter(std::move(w)), ticket(t) {}
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> waiting) {
        // Held here, not through *this: see the top of this file.
        const std::shared_ptr<State> shared = state;
        const std::lock_guard lock(shared->mutex);
        if (waiter->is_settled) return false;
        if (shared->count != ticket) {
            waiter->is_settled = true;
            return false;
        }
        waiter->sleeper = Sleeper::here(waiting);
        waiter->is_linked = true;
        waiter->position = shared->waiters.insert(shared->waiters.end(), waiter);
        return true;
    }
    void await_resume() const noexcept {}
};

Notification::Notification() : state_(std::make_shared<State>()) {}
Notification::~Notification() { state_->settle_all(Outcome::cancelled); }

void Notification::notify() {
    const std::shared_ptr<State> state = state_;
    state->settle_all(Outcome::notified);
}

std::uint64_t Notification::ticket() const {
    const std::lock_guard lock(state_->mutex);
    return state_->count;
}

Task<Notification::Outcome> Notification::wait(Clock& clock,
                                               Instant deadline,
                                               std::uint64_t ticket,
                                               Cancellation cancellation) {
    const std::shared_ptr<State> state = state_;
    {
        const std::lock_guard lock(state->mutex);
        if (state->count != ticket) co_return Outcome::notified;
    }
    if (cancellation.is_cancelled()) co_return Outcome::cancelled;
    if (deadline != no_deadline && clock.now() >= deadline) co_return Outcome::timed_out;
    ASSERT(Executor::current() != nullptr);

    const auto waiter = std::make_shared<Waiter>();
    std::shared_ptr<void> on_cancel;
    if (cancellation.can_be_cancelled()) {
        on_cancel = cancellation.on_cancel(
            [state, waiter] { state->settle(waiter, Outcome::cancelled); });
    }
    Clock::TimerId timer = 0;
    if (deadline != no_deadline) {
        timer = clock.call_at(deadline, *Executor::current(), [state, waiter] {
            state->settle(waiter, Outcome::timed_out);
        });
    }
    Wait wait(state, waiter, ticket);
    co_await wait;
    if (deadline != no_deadline) clock.cancel_timer(timer);
    on_cancel.reset();
    const std::lock_guard lock(state->mutex);
    co_return waiter->outcome;
}

Task<Notification::Outcome> Notification::wait(Clock& clock,
                                               Instant deadline,
                                               std::uint64_t ticket) {
    return wait(clock, deadline, ticket, Cancellation::none());
}

// ---- Semaphore ----

struct Semaphore::State {
    mutable std::mutex mutex;
    std::size_t free;
    std::deque<Sleeper> queue;  // Invariant: empty while free > 0.
};

struct Semaphore::Turn {
    State& state;
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> waiting) {
        const std::lock_guard lock(state.mutex);
        if (state.free > 0) {
            --state.free;
            return false;
        }
        state.queue.push_back(Sleeper::here(waiting));
        return true;
    }
    void await_resume() const noexcept {}
};

Semaphore::Semaphore(std::size_t count) : state_(std::make_unique<State>()) {
    state_->free = count;
}
Semaphore::~Semaphore() { ASSERT(state_->queue.empty()); }

Task<Semaphore::Permit> Semaphore::acquire() {
    Turn turn{*state_};
    co_await turn;
    co_return Permit(*this);
}

Semaphore::Permit Semaphore::try_acquire() {
    const std::lock_guard lock(state_->mutex);
    if (state_->free == 0) return Permit();
    --state_->free;
    return Permit(*this);
}

std::size_t Semaphore::waiting() const {
    const std::lock_guard lock(state_->mutex);
    return state_->queue.size();
}

void Semaphore::release() {
    Sleeper next;
    {
        const std::lock_guard lock(state_->mutex);
        if (state_->queue.empty()) {
            ++state_->free;
            return;
        }
        next = state_->queue.front();  // The turn passes to it directly.
        state_->queue.pop_front();
    }
    next.wake();
}

// ---- TaskGroup ----

struct TaskGroup::State {
    mutable std::mutex mutex;
    std::size_t running = 0;
    std::vector<Sleeper> joiners;

    struct Join {
        State& state;
        bool await_ready() const noexcept { return false; }
        bool await_suspend(std::coroutine_handle<> waiting) {
            const std::lock_guard lock(state.mutex);
            if (state.running == 0) return false;
            state.joiners.push_back(Sleeper::here(waiting));
            return true;
        }
        void await_resume() const noexcept {}
    };
};

/// Counted from its making to the end of the frame that holds it, started or not.
struct TaskGroup::Member {
    std::shared_ptr<State> state;

    explicit Member(std::shared_ptr<State> s) : state(std::move(s)) {
        const std::lock_guard lock(state->mutex);
        ++state->running;
    }
    Member(Member&& other) noexcept : state(std::move(other.state)) {}
    Member& operator=(Member&&) = delete;
    ~Member() {
        if (!state) return;
        std::vector<Sleeper> joiners;
        {
            const std::lock_guard lock(state->mutex);
            if (--state->running > 0) return;
            joiners.swap(state->joiners);
        }
        for (const Sleeper& joiner : joiners) joiner.wake();
    }

    static detail::Detached run(Member member, Task<void> task) {
        co_await std::move(task);
        task = Task<void>();  // The task's own frame is gone before anybody is told.
        (void)member;
    }
};

TaskGroup::TaskGroup(Executor& executor)
    : executor_(executor), state_(std::make_shared<State>()) {}
TaskGroup::~TaskGroup() { ASSERT(running() == 0); }

void TaskGroup::spawn(Task<void> task) { spawn_on(executor_, std::move(task)); }

void TaskGroup::spawn_on(Executor& executor, Task<void> task) {
    detail::start(executor, Member::run(Member(state_), std::move(task)));
}

Task<void> TaskGroup::join() {
    const std::shared_ptr<State> state = state_;
    State::Join join{*state};
    co_await join;
}

std::size_t TaskGroup::running() const {
    const std::lock_guard lock(state_->mutex);
    return state_->running;
}

// ---- when_all ----

namespace {

/// Lives in when_all's frame; the last to arrive wakes it.
struct Latch {
    std::atomic<std::size_t> missing;
    Sleeper sleeper;

    void arrive() {
        const Sleeper waiting = sleeper;  // At zero the frame may go at any moment.
        if (missing.fetch_sub(1, std::memory_order_acq_rel) == 1) waiting.wake();
    }
};

detail::Detached run_counted(Task<void> task, Latch& latch) {
    co_await std::move(task);
    task = Task<void>();
    latch.arrive();
}

struct StartAll {
    std::vector<Task<void>>& tasks;
    Latch& latch;
    bool await_ready() const noexcept { return tasks.empty(); }
    bool await_suspend(std::coroutine_handle<> waiting) {
        latch.sleeper = Sleeper::here(waiting);
        latch.missing = tasks.size() + 1;  // One for ourselves, so that it cannot end under us.
        for (Task<void>& task : tasks) run_counted(std::move(task), latch).handle.resume();
        return latch.missing.fetch_sub(1, std::memory_order_acq_rel) != 1;
    }
    void await_resume() const noexcept {}
};

}  // namespace

Task<void> when_all(std::vector<Task<void>> tasks) {
    Latch latch{0, {}};
    StartAll start{tasks, latch};
    co_await start;
}

}  // namespace tessera::async
