// SPDX-License-Identifier: Apache-2.0
//
// Positions in the oplog.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace tessera {

/// The oplog's clock: seconds since 1970 and a counter within that second. Ordered as the 64-bit
/// number it is stored as.
struct Timestamp {
    std::uint32_t seconds = 0;
    std::uint32_t increment = 0;

    constexpr auto operator<=>(const Timestamp&) const = default;
    constexpr std::uint64_t packed() const { return std::uint64_t{seconds} << 32 | increment; }
    static constexpr Timestamp unpack(std::uint64_t packed) {
        return {static_cast<std::uint32_t>(packed >> 32), static_cast<std::uint32_t>(packed)};
    }
    constexpr bool is_null() const { return packed() == 0; }
    std::string to_string() const {
        return std::to_string(seconds) + ":" + std::to_string(increment);
    }
};

/// An election's number. -1: none yet; the first election makes 1.
using Term = std::int64_t;
inline constexpr Term term_uninitialized = -1;

/// A position in the oplog: compared by term first, then by timestamp (protocol version 1).
struct OpTime {
    Timestamp timestamp;
    Term term = term_uninitialized;

    constexpr bool operator==(const OpTime&) const = default;
    constexpr std::strong_ordering operator<=>(const OpTime& other) const {
        if (auto order = term <=> other.term; order != 0) return order;
        return timestamp <=> other.timestamp;
    }
    constexpr bool is_null() const { return timestamp.is_null(); }
    std::string to_string() const {
        return "{ts: " + timestamp.to_string() + ", t: " + std::to_string(term) + "}";
    }
};

}  // namespace tessera
