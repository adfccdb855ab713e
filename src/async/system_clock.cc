// SPDX-License-Identifier: Apache-2.0
#include "async/system_clock.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace tessera::async {

namespace {

struct Later {
    template <class Due>
    bool operator()(const Due& one, const Due& other) const {
        if (one.at != other.at) return one.at > other.at;
        return one.timer > other.timer;
    }
};

}  // namespace

SystemClock::SystemClock()
    : state_(std::make_shared<State>()), thread_([state = state_] { run(state); }) {}

SystemClock::~SystemClock() { stop(); }

Instant SystemClock::read() {
    return Instant(std::chrono::duration_cast<Duration>(
        std::chrono::steady_clock::now().time_since_epoch()));
}

WallTime SystemClock::wall_now() const {
    const auto since = std::chrono::system_clock::now().time_since_epoch();
    return WallTime{std::chrono::duration_cast<std::chrono::milliseconds>(since).count()};
}

Clock::TimerId SystemClock::call_at(Instant due,
                                    Executor& executor,
                                    std::function<void()> action) {
    const std::lock_guard lock(state_->mutex);
    const TimerId timer = ++state_->last_id;
    if (state_->is_stopped) return timer;
    state_->armed.emplace(timer, Armed{&executor, std::move(action)});
    state_->heap.push_back(Due{due, timer});
    std::push_heap(state_->heap.begin(), state_->heap.end(), Later());
    if (due < state_->waiting_until) {
        state_->waiting_until = due;
        state_->earlier.notify_one();
    }
    return timer;
}

void SystemClock::cancel_timer(TimerId timer) {
    Armed gone{nullptr, {}};  // Destroyed without the lock.
    const std::lock_guard lock(state_->mutex);
    const auto found = state_->armed.find(timer);
    if (found == state_->armed.end()) return;
    gone = std::move(found->second);
    state_->armed.erase(found);
    // A fired one is no longer in the heap; counting it too only compacts earlier.
    ++state_->cancelled;
    if (state_->cancelled > 64 && state_->cancelled > state_->heap.size() / 2) state_->compact();
}

void SystemClock::State::compact() {
    std::erase_if(heap, [&](const Due& due) { return !armed.contains(due.timer); });
    std::make_heap(heap.begin(), heap.end(), Later());
    cancelled = 0;
}

// A cancelled timer is nothing to wake for: most are deadlines of requests long answered.
void SystemClock::State::drop_cancelled() {
    while (!heap.empty() && !armed.contains(heap.front().timer)) {
        std::pop_heap(heap.begin(), heap.end(), Later());
        heap.pop_back();
        if (cancelled > 0) --cancelled;
    }
}

std::size_t SystemClock::pending() const {
    const std::lock_guard lock(state_->mutex);
    return state_->armed.size();
}

void SystemClock::stop() {
    std::unordered_map<TimerId, Armed> dropped;
    {
        const std::lock_guard lock(state_->mutex);
        state_->is_stopped = true;
        dropped.swap(state_->armed);
        state_->heap.clear();
        state_->earlier.notify_one();
    }
    if (thread_.joinable()) thread_.join();
}

void SystemClock::State::fire_due(std::unique_lock<std::mutex>& lock,
                                  const std::shared_ptr<State>& self) {
    while (!heap.empty() && heap.front().at <= read()) {
        const TimerId timer = heap.front().timer;
        std::pop_heap(heap.begin(), heap.end(), Later());
        heap.pop_back();
        const auto found = armed.find(timer);
        if (found == armed.end()) continue;  // Cancelled.
        Executor* executor = found->second.executor;
        // Posting under the lock: whoever cancels and then destroys the executor waits for it.
        executor->post([self, timer] {
            std::unique_lock inner(self->mutex);
            const auto posted = self->armed.find(timer);
            if (posted == self->armed.end()) return;  // Cancelled after it was posted.
            const std::function<void()> action = std::move(posted->second.action);
            self->armed.erase(posted);
            inner.unlock();
            action();
        });
        lock.unlock();  // Lets others in between two timers.
        lock.lock();
    }
}

void SystemClock::run(const std::shared_ptr<State>& state) {
    pthread_setname_np(pthread_self(), "timer");
    std::unique_lock lock(state->mutex);
    while (!state->is_stopped) {
        state->waiting_until = Instant();  // Nobody needs to wake us now.
        state->fire_due(lock, state);
        if (state->is_stopped) break;
        state->drop_cancelled();
        if (state->heap.empty()) {
            state->waiting_until = no_deadline;
            state->earlier.wait(lock);
        } else {
            state->waiting_until = state->heap.front().at;
            const std::chrono::steady_clock::time_point until(
                std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                    state->waiting_until.time_since_epoch()));
            state->earlier.wait_until(lock, until);
        }
    }
}

}  // namespace tessera::async
