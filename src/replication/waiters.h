// SPDX-License-Identifier: Apache-2.0
//
// Who waits for a write concern. The driver tells it every change of the members' positions; it
// wakes exactly those whose concern is met. On step-down all fail, since the commit point of a
// later term may pass an entry that was rolled back. Thread-safe.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "async/clock.h"
#include "async/event.h"
#include "base/result.h"
#include "consensus/write_concern.h"
#include "replication/read_write_concern.h"

namespace tessera::replication {

/// consensus::ReplicationProgress that owns what it speaks of.
struct Progress {
    std::shared_ptr<const consensus::ReplicaSetConfig> config;  // Shared with every reader of it.
    consensus::MemberId self = consensus::no_member;
    OpTime commit_point;
    std::vector<consensus::KnownPosition> positions;
};

class Waiters {
public:
    explicit Waiters(async::Clock& clock) : clock_(clock) {}

    /// From now on this member leads in `term`; nullopt: it leads no more, and everybody who waits
    /// fails with `reason`.
    void set_leading(std::optional<Term> term, const Error& reason);
    void update(Progress progress);
    /// Whether somebody waits for more than what is known.
    bool is_empty() const;

    /// Waits until `at` is replicated as `concern` asks. `before_wait` runs once it has registered.
    async::Task<Status> wait(OpTime at,
                             WriteConcern concern,
                             Instant deadline,
                             async::Cancellation cancellation,
                             std::function<void()> before_wait);

private:
    struct Waiter {
        OpTime at;
        consensus::WriteConcern concern;
        std::optional<Status> outcome;
        async::Notification changed;
    };
    using WaiterPtr = std::shared_ptr<Waiter>;  // Owned by the list and by who waits.

    bool is_met(const Waiter& waiter) const;
    std::optional<Status> enroll(const WaiterPtr& waiter);
    void leave(const WaiterPtr& waiter);

    async::Clock& clock_;
    mutable std::mutex mutex_;  // Guards what follows.
    std::optional<Term> leading_;
    Progress progress_;
    std::list<WaiterPtr> waiting_;
};

}  // namespace tessera::replication
