// SPDX-License-Identifier: Apache-2.0
//
// The cluster's hybrid logical clock ($clusterTime): the largest Timestamp this process has made or
// heard of. Only a primary makes new ones. Source: Lamport 1978; reference/protocol.md 4.12.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/optime.h"
#include "base/result.h"
#include "base/time.h"

namespace tessera::replication {

class LogicalClock {
public:
    Timestamp now() const { return Timestamp::unpack(latest_.load(std::memory_order_acquire)); }

    /// Takes over a time heard from another process. One more than a year ahead of our wall clock
    /// is refused with ClusterTimeFailsRateLimiter, lest one bad clock exhaust the numbers.
    Status advance(Timestamp heard, WallTime wall);

    /// Makes `count` consecutive new times and returns the first; later ones differ in increment.
    /// Requires: count > 0.
    Timestamp make(std::uint32_t count, WallTime wall);

private:
    std::atomic<std::uint64_t> latest_{0};  // Packed Timestamp; only grows.
};

}  // namespace tessera::replication
