// SPDX-License-Identifier: Apache-2.0
#include "async/manual.h"

namespace tessera::async {

ManualExecutor::~ManualExecutor() { shut_down(); }

void ManualExecutor::post(std::function<void()> work) {
    if (!is_shut_down_) queue_.push_back(std::move(work));
}

bool ManualExecutor::run_one() {
    if (queue_.empty()) return false;
    const std::function<void()> work = std::move(queue_.front());
    queue_.pop_front();
    const Scope scope(*this);
    work();
    return true;
}

std::size_t ManualExecutor::run(std::size_t steps_max) {
    std::size_t steps = 0;
    while (steps < steps_max && run_one()) ++steps;
    return steps;
}

void ManualExecutor::shut_down() {
    is_shut_down_ = true;
    queue_.clear();
}

Clock::TimerId VirtualClock::call_at(Instant due,
                                     Executor& executor,
                                     std::function<void()> action) {
    const TimerId timer = ++last_id_;
    actions_.emplace(timer, Armed{&executor, std::move(action), due, false});
    due_.emplace(std::pair(due, timer), timer);
    return timer;
}

void VirtualClock::cancel_timer(TimerId timer) {
    const auto found = actions_.find(timer);
    if (found == actions_.end()) return;
    if (!found->second.is_posted) due_.erase(std::pair(found->second.due, timer));
    actions_.erase(found);
}

std::optional<Instant> VirtualClock::next_due() const {
    if (due_.empty()) return std::nullopt;
    return due_.begin()->first.first;
}

void VirtualClock::fire(TimerId timer) {
    Armed& armed = actions_.at(timer);
    armed.is_posted = true;
    armed.executor->post([this, timer] {
        const auto found = actions_.find(timer);
        if (found == actions_.end()) return;  // Cancelled after it was posted.
        const std::function<void()> action = std::move(found->second.action);
        actions_.erase(found);
        action();
    });
}

void VirtualClock::advance_to(Instant to) {
    while (!due_.empty() && due_.begin()->first.first <= to) {
        const TimerId timer = due_.begin()->second;
        if (due_.begin()->first.first > now_) now_ = due_.begin()->first.first;
        due_.erase(due_.begin());
        fire(timer);
    }
    if (to > now_) now_ = to;
}

bool VirtualClock::advance_to_next() {
    const auto next = next_due();
    if (!next) return false;
    advance_to(*next);
    return true;
}

}  // namespace tessera::async
