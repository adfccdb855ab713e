// SPDX-License-Identifier: Apache-2.0
#include "replication/logical_clock.h"

#include <algorithm>

namespace tessera::replication {
namespace {
constexpr std::int64_t drift_seconds_max = 31'536'000;

std::uint64_t at_wall(WallTime wall) {
    return Timestamp{static_cast<std::uint32_t>(wall.milliseconds / 1000), 0}.packed();
}
}  // namespace

Status LogicalClock::advance(Timestamp heard, WallTime wall) {
    if (std::int64_t{heard.seconds} > wall.milliseconds / 1000 + drift_seconds_max)
        return Error(ErrorCode::cluster_time_fails_rate_limiter,
                     "New cluster time, " + std::to_string(heard.seconds) +
                         ", is too far from this node's wall clock time, " +
                         std::to_string(wall.milliseconds / 1000) + ".");
    std::uint64_t latest = latest_.load(std::memory_order_relaxed);
    while (heard.packed() > latest &&
           !latest_.compare_exchange_weak(latest, heard.packed(), std::memory_order_acq_rel)) {
    }
    return {};
}

Timestamp LogicalClock::make(std::uint32_t count, WallTime wall) {
    ASSERT(count > 0);
    std::uint64_t latest = latest_.load(std::memory_order_relaxed);
    std::uint64_t first;
    do {
        first = std::max(latest, at_wall(wall)) + 1;
    } while (!latest_.compare_exchange_weak(latest, first + count - 1,
                                            std::memory_order_acq_rel));
    return Timestamp::unpack(first);
}

}  // namespace tessera::replication
