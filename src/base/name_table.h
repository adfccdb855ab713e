// SPDX-License-Identifier: Apache-2.0
//
// NameTable: a handful of names known at compile time, found by one hash and one comparison. For
// what every request looks up for each of its fields.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tessera {

/// Tells names of commands and fields apart, mostly: of length, first, middle and last letter.
constexpr std::uint32_t name_hash(std::string_view name) {
    if (name.empty()) return 0;
    const auto at = [&](std::size_t i) { return static_cast<std::uint8_t>(name[i]); };
    const auto size = static_cast<std::uint32_t>(name.size());
    return size * 5407U + at(0) * 287U + at(name.size() / 2) * 4113U + at(name.size() - 1);
}

template <std::size_t count>
class NameTable {
public:
    static constexpr std::size_t none = count;

    /// Requires: none is there twice.
    constexpr explicit NameTable(const std::array<std::string_view, count>& names)
        : names_(names) {
        static_assert(count < empty);
        slots_.fill(empty);
        for (std::size_t i = 0; i < count; ++i) {
            std::size_t slot = name_hash(names_[i]) % slots;
            while (slots_[slot] != empty) slot = (slot + 1) % slots;
            slots_[slot] = static_cast<std::uint8_t>(i);
        }
    }

    /// Where the name stands among those given; `none` when it is not there.
    constexpr std::size_t find(std::string_view name) const { return find(name, name_hash(name)); }
    /// The same for who has its name_hash() already.
    constexpr std::size_t find(std::string_view name, std::uint32_t hash) const {
        std::size_t slot = hash % slots;
        for (; slots_[slot] != empty; slot = (slot + 1) % slots)
            if (names_[slots_[slot]] == name) return slots_[slot];
        return none;
    }

private:
    static constexpr std::uint8_t empty = 0xff;
    static constexpr std::size_t slots = std::bit_ceil(count * 4);  // So that few share one.

    std::array<std::string_view, count> names_;
    std::array<std::uint8_t, slots> slots_{};
};

}  // namespace tessera
