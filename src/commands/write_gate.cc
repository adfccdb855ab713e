// SPDX-License-Identifier: Apache-2.0
#include "commands/write_gate.h"

#include <algorithm>

namespace tessera::commands {

async::Task<Result<WriteGate::Pass>> WriteGate::enter(async::Clock& clock, Operation& operation) {
    while (true) {
        const auto ticket = changed_.ticket();
        // Not tried while it is closed: a vain try wakes everybody who waits.
        if (!is_closed()) {
            if (auto pass = try_enter()) co_return std::move(*pass);
            continue;
        }
        async::Cancellation cancellation = operation.cancellation;
        co_await changed_.wait(clock, operation.deadline, ticket, cancellation);
        CO_TRY_OK(operation.check(clock));
    }
}

async::Task<Status> WriteGate::close(async::Clock& clock, Instant deadline, Operation& operation) {
    is_closed_ = true;
    const Instant until = std::min(deadline, operation.deadline);
    while (inside_.load() != 0) {
        const auto ticket = changed_.ticket();
        if (inside_.load() == 0) break;
        Status status = operation.check(clock);
        if (status && clock.now() >= deadline)
            status = Error(ErrorCode::lock_timeout,
                           "fsync could not get its lock in time: writes are still running");
        if (!status) {
            open();
            co_return status;
        }
        async::Cancellation cancellation = operation.cancellation;
        co_await changed_.wait(clock, until, ticket, cancellation);
    }
    co_return Status();
}

void WriteGate::open() {
    is_closed_ = false;
    changed_.notify();
}

}  // namespace tessera::commands
