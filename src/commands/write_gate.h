// SPDX-License-Identifier: Apache-2.0
//
// Where commands that write pass, so that fsync's lock can keep them out. Open, it costs a command
// two atomic additions. What the member writes for itself (its vote, a new term's first entry,
// sharding's housekeeping) does not pass here: a copy of the files is whole all the same
// (storage/backup.h). Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "async/clock.h"
#include "async/event.h"
#include "commands/operation.h"
#include "storage/backup.h"

namespace tessera::commands {

class WriteGate {
public:
    /// Held while a command writes.
    class Pass {
    public:
        Pass() = default;
        explicit Pass(WriteGate& gate) : gate_(&gate) {}
        Pass(Pass&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
        Pass& operator=(Pass&& other) noexcept {
            std::swap(gate_, other.gate_);
            return *this;
        }
        ~Pass() {
            if (gate_ != nullptr) gate_->leave();
        }

    private:
        WriteGate* gate_ = nullptr;
    };

    bool is_closed() const { return is_closed_.load(); }
    /// Without waiting: no pass while it is closed.
    std::optional<Pass> try_enter() {
        inside_.fetch_add(1);
        Pass pass(*this);
        if (is_closed_.load()) return std::nullopt;
        return pass;
    }
    /// Waits until the gate is open. Fails when the operation is killed or its time is over.
    async::Task<Result<Pass>> enter(async::Clock& clock, Operation& operation);

    /// Closes it and waits until nobody is inside. Fails with LockTimeout at the deadline, and as
    /// the operation does; the gate is open again then.
    async::Task<Status> close(async::Clock& clock, Instant deadline, Operation& operation);
    void open();

    // What the lock's holders share.
    std::mutex lock_mutex;  // Guards what follows.
    std::int64_t lock_count = 0;
    bool is_changing = false;  // Somebody closes or opens it now; the others wait for his end.
    std::unique_ptr<storage::Backup> backup;
    async::Notification lock_changed;  // Of the end of a change.

private:
    void leave() {
        if (inside_.fetch_sub(1) == 1 && is_closed_.load()) changed_.notify();
    }

    std::atomic<std::int64_t> inside_{0};
    std::atomic<bool> is_closed_{false};
    async::Notification changed_;
};

}  // namespace tessera::commands
