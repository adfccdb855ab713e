// SPDX-License-Identifier: Apache-2.0
//
// The format of a key: each field is a class byte and a payload; a descending field has all its
// bytes inverted. Ascending class bytes are 0x10..0x7e, so inverted ones are 0x81..0xef and a key
// can be read without its ordering; the endings (0x01 before, 0x04 exact, 0xfe after) lie outside.
//
// Numbers. A magnitude m in [1, 2^63) has a class by sign and by how many bytes big-endian
// 2 * floor(m) + (it has a fraction) takes, and these bytes; a fraction follows as 7 bytes: 52 bits
// (all that a double of magnitude >= 1 can have), 4 bits that are 0, or 1 when a decimal goes on:
// its coefficient, scaled to 34 digits, 15 bytes. Smaller and larger magnitudes are the bits of the
// double next toward zero, shifted left by one (the sign is in the class), the last bit set when a
// decimal goes on: its exponent, 2 bytes, and coefficient as above. Negative payloads are inverted.
//
// Text: NUL is written 0x00 0xff, the end 0x00; no byte 0xff ever starts what follows. Nested
// fields: the lowest class byte of the type's rank, name, NUL, [class byte where the rank has
// several], payload; the end is 0x00.
//
// Type bits: one tag byte a number or text, in order; trailing tags that say "implied" are left
// out. Implied are: int32 for integers that fit, then int64, double for the rest, string for text.
#pragma once

// Of key.cc and key_decoder.cc alone.

#include <cstdint>
#include <cstring>
#include <string>

namespace tessera::bson {

enum : std::uint8_t {
    nested_end = 0x00,
    ending_before = 0x01,
    ending_exact = 0x04,
    class_min_key = 0x10,
    class_undefined = 0x14,
    class_null = 0x18,
    class_nan = 0x20,
    class_negative_big = 0x21,
    class_negative_8 = 0x22,  // ... 0x29: one byte.
    class_negative_1 = 0x29,
    class_negative_small = 0x2a,
    class_zero = 0x2b,
    class_small = 0x2c,
    class_1 = 0x2d,  // ... 0x34: eight bytes.
    class_8 = 0x34,
    class_big = 0x35,
    class_text = 0x3c,
    class_object = 0x40,
    class_array = 0x44,
    class_binary = 0x48,
    class_object_id = 0x4c,
    class_false = 0x50,
    class_true = 0x51,
    class_date = 0x54,
    class_timestamp = 0x58,
    class_regex = 0x5c,
    class_db_pointer = 0x60,
    class_code = 0x64,
    class_code_with_scope = 0x68,
    class_max_key = 0x7e,
    ending_after = 0xfe,
};

enum Tag : char {
    tag_implied = 0,
    tag_int32 = 1,
    tag_int64 = 2,
    tag_double = 3,
    tag_negative_zero = 4,
    tag_decimal = 5,  // 16 bytes follow: the decimal as stored.
    tag_symbol = 6,
    tag_double_raw = 7,  // 8 bytes follow: a NaN's bits.
};

inline constexpr std::uint64_t quiet_nan = 0x7ff8000000000000U;
inline constexpr double two_63 = 0x1p63;
inline constexpr std::uint64_t fraction_goes_on = 1;

inline bool has_own_class_byte(std::uint8_t rank_class) {
    return rank_class == class_nan || rank_class == class_false;
}

inline void invert(std::string& bytes, std::size_t from) {
    for (std::size_t at = from; at < bytes.size(); ++at) {
        bytes[at] = static_cast<char>(~static_cast<unsigned char>(bytes[at]));
    }
}

/// Appends the lowest `count` bytes of `value`, most significant first.
inline void append_big_endian(std::string& out, std::uint64_t value, std::size_t count) {
    const std::uint64_t swapped = __builtin_bswap64(value);
    char bytes[8];
    std::memcpy(bytes, &swapped, 8);
    out.append(bytes + 8 - count, count);
}

inline std::uint64_t load_big_endian(const char* data, std::size_t count) {
    std::uint64_t result = 0;
    for (std::size_t i = 0; i < count; ++i) {
        result = result << 8 | static_cast<unsigned char>(data[i]);
    }
    return result;
}

}  // namespace tessera::bson
