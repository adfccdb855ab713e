// SPDX-License-Identifier: Apache-2.0
//
// The one source of randomness, seeded and handed down, so that a run can be repeated. Algorithm:
// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). Not for
// keys or nonces. Standard distributions differ between libraries, hence bounded draws of our own.
#pragma once

#include <cstdint>

#include "base/assert.h"

namespace tessera {

class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed) {}

    std::uint64_t next() {
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15U);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
        return z ^ (z >> 31);
    }
    /// Returns a number in [0, bound). Requires: bound > 0.
    std::uint64_t below(std::uint64_t bound) {
        ASSERT(bound > 0);
        return static_cast<std::uint64_t>((static_cast<Wide>(next()) * bound) >> 64);
    }
    /// Returns a number in [0, 1).
    double fraction() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
    /// Returns a generator that shares nothing with this one from here on.
    Random split() { return Random(next()); }

private:
    __extension__ using Wide = unsigned __int128;
    std::uint64_t state_;
};

}  // namespace tessera
