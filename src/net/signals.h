// SPDX-License-Identifier: Apache-2.0
//
// Signals as events of a loop.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "net/loop.h"

namespace tessera::net {

/// Calls `on_signal` with the number, on `loop`, for each of `numbers` that arrives (SIGTERM and
/// SIGINT: end; SIGUSR1: rotate the log). SIGPIPE is ignored from here on. One per process.
class Signals {
public:
    Signals(Loop& loop, const std::vector<int>& numbers, std::function<void(int)> on_signal);
    /// No call comes afterwards. Not from the loop.
    ~Signals();
    Signals(const Signals&) = delete;
    Signals& operator=(const Signals&) = delete;

private:
    struct Impl;
    std::shared_ptr<Impl> impl_;  // Also owned by the wait that is pending.
};

}  // namespace tessera::net
