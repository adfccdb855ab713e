// SPDX-License-Identifier: Apache-2.0
#include "replication/waiters.h"

namespace tessera::replication {

void Waiters::set_leading(std::optional<Term> term, const Error& reason) {
    std::list<WaiterPtr> failed;
    {
        const std::lock_guard lock(mutex_);
        leading_ = term;
        if (term) return;
        failed.swap(waiting_);
        for (const WaiterPtr& waiter : failed)
            waiter->outcome = Status(reason);
    }
    for (const WaiterPtr& waiter : failed)
        waiter->changed.notify();
}

bool Waiters::is_met(const Waiter& waiter) const {
    if (progress_.config == nullptr) return false;
    const consensus::ReplicationProgress view{
        progress_.config.get(), progress_.self, progress_.commit_point, progress_.positions};
    return consensus::is_satisfied(waiter.concern, waiter.at, view);
}

void Waiters::update(Progress progress) {
    std::vector<WaiterPtr> done;
    {
        const std::lock_guard lock(mutex_);
        progress_ = std::move(progress);
        for (auto at = waiting_.begin(); at != waiting_.end();) {
            if (!is_met(**at)) {
                ++at;
                continue;
            }
            (*at)->outcome = Status();
            done.push_back(std::move(*at));
            at = waiting_.erase(at);
        }
    }
    for (const WaiterPtr& waiter : done)
        waiter->changed.notify();
}

bool Waiters::is_empty() const {
    const std::lock_guard lock(mutex_);
    return waiting_.empty();
}

std::optional<Status> Waiters::enroll(const WaiterPtr& waiter) {
    const std::lock_guard lock(mutex_);
    if (!leading_)
        return Status(Error(ErrorCode::primary_stepped_down,
                            "Primary stepped down while waiting for replication"));
    if (progress_.config != nullptr) {
        auto possible = consensus::check_satisfiable(waiter->concern, *progress_.config);
        if (!possible) return possible;
    }
    if (is_met(*waiter)) return Status();
    waiting_.push_back(waiter);
    return std::nullopt;
}

void Waiters::leave(const WaiterPtr& waiter) {
    const std::lock_guard lock(mutex_);
    waiting_.remove(waiter);
}

async::Task<Status> Waiters::wait(OpTime at,
                                  WriteConcern concern,
                                  Instant deadline,
                                  async::Cancellation cancellation,
                                  std::function<void()> before_wait) {
    const auto waiter = std::make_shared<Waiter>();
    waiter->at = at;
    waiter->concern = concern.concern;
    if (auto outcome = enroll(waiter)) co_return *std::move(outcome);
    before_wait();
    Instant until = deadline;
    if (concern.timeout > Duration::zero()) until = std::min(until, clock_.now() + concern.timeout);
    while (true) {
        const auto ticket = waiter->changed.ticket();
        {
            const std::lock_guard lock(mutex_);
            if (waiter->outcome) co_return *waiter->outcome;
        }
        const auto outcome = co_await waiter->changed.wait(clock_, until, ticket, cancellation);
        if (outcome == async::Notification::Outcome::notified) continue;
        leave(waiter);
        {
            const std::lock_guard lock(mutex_);
            if (waiter->outcome) co_return *waiter->outcome;
        }
        if (outcome == async::Notification::Outcome::cancelled)
            co_return Error(ErrorCode::interrupted, "operation was interrupted");
        if (clock_.now() >= deadline)
            co_return Error(ErrorCode::max_time_ms_expired, "operation exceeded time limit");
        co_return Error(ErrorCode::write_concern_timeout, "waiting for replication timed out");
    }
}

}  // namespace tessera::replication
