// SPDX-License-Identifier: Apache-2.0
//
// Two kinds of time. An Instant is monotonic and means something only against another Instant of
// the same process; the WallTime is what people and documents see. Neither is read here: clocks
// come in through async::Clock, so that a simulator can own them.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>

namespace tessera {

using Duration = std::chrono::nanoseconds;
using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace): 10ms, 2s.

struct MonotonicClock {
    using duration = Duration;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<MonotonicClock>;
    static constexpr bool is_steady = true;
};
using Instant = MonotonicClock::time_point;

/// Milliseconds since 1970-01-01T00:00:00Z, as a BSON date stores it.
struct WallTime {
    std::int64_t milliseconds = 0;
    auto operator<=>(const WallTime&) const = default;
};

constexpr std::int64_t to_milliseconds(Duration duration) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}
constexpr std::int64_t to_microseconds(Duration duration) {
    return std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
}

}  // namespace tessera
