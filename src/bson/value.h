// SPDX-License-Identifier: Apache-2.0
//
// Value: a small tagged view over the bytes of one BSON value (bsonspec.org, version 1.1), without
// its type byte and name. It owns nothing: the bytes belong to a document, a storage page or an
// Arena and must outlive it. A computed value points into an Arena (bson/arena.h), so filters,
// expressions and sort keys all speak of one kind of value, and writing one is a memcpy.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "base/optime.h"
#include "base/time.h"

namespace tessera::bson {

static_assert(std::endian::native == std::endian::little, "BSON is read in place");

enum class Type : std::uint8_t {
    missing = 0x00,  // Not a BSON type: no value at all (an absent field).
    number_double = 0x01,
    string = 0x02,
    object = 0x03,
    array = 0x04,
    binary = 0x05,
    undefined = 0x06,  // Deprecated, still read.
    object_id = 0x07,
    boolean = 0x08,
    date = 0x09,
    null = 0x0a,
    regex = 0x0b,
    db_pointer = 0x0c,  // Deprecated, still read.
    code = 0x0d,
    symbol = 0x0e,            // Deprecated, still read.
    code_with_scope = 0x0f,   // Deprecated, still read.
    int32 = 0x10,
    timestamp = 0x11,
    int64 = 0x12,
    decimal128 = 0x13,
    max_key = 0x7f,
    min_key = 0xff,
};

/// The name $type uses: "double", "string", "objectId", "int", "long", "missing", ...
std::string_view type_name(Type type);

struct ObjectId {
    std::array<std::uint8_t, 12> bytes{};
    auto operator<=>(const ObjectId&) const = default;
    std::string to_hex() const;
};

struct Uuid {
    std::array<std::uint8_t, 16> bytes{};
    auto operator<=>(const Uuid&) const = default;
    /// "4eac31d3-e3b9-42ee-b222-81bbd0762faa".
    std::string to_string() const;
    std::string_view view() const {
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }
};

/// IEEE 754-2008 decimal128 in its BID encoding; arithmetic is in bson/decimal.h.
struct Decimal128 {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    bool operator==(const Decimal128&) const = default;  // Bit equality, not numeric.
};

enum class BinarySubtype : std::uint8_t {
    generic = 0, function = 1, old_binary = 2, old_uuid = 3, uuid = 4, md5 = 5, encrypted = 6,
    column = 7, sensitive = 8, vector = 9, user = 0x80,
};
struct Binary {
    BinarySubtype subtype = BinarySubtype::generic;
    std::string_view bytes;
};
struct Regex {
    std::string_view pattern;
    std::string_view options;
};

class View;

class Value {
public:
    constexpr Value() = default;  // Missing.
    constexpr Value(Type type, const char* data, std::uint32_t size)
        : data_(data), size_(size), type_(type) {}

    constexpr Type type() const { return type_; }
    /// The value's bytes as BSON stores them, e.g. length, characters and NUL of a string.
    constexpr std::string_view bytes() const { return {data_, size_}; }

    constexpr bool is_missing() const { return type_ == Type::missing; }
    constexpr bool is_null() const { return type_ == Type::null; }
    /// Missing, null or undefined.
    constexpr bool is_nullish() const {
        return type_ == Type::missing || type_ == Type::null || type_ == Type::undefined;
    }
    constexpr bool is_number() const {
        return type_ == Type::int32 || type_ == Type::int64 || type_ == Type::number_double ||
               type_ == Type::decimal128;
    }
    constexpr bool is_string() const { return type_ == Type::string; }
    constexpr bool is_object() const { return type_ == Type::object; }
    constexpr bool is_array() const { return type_ == Type::array; }
    constexpr bool is_boolean() const { return type_ == Type::boolean; }

    // Each as_x() requires the type it names (as_string: string, code or symbol; as_view: object
    // or array).
    double as_double() const { return load<double>(0); }
    std::int32_t as_int32() const { return load<std::int32_t>(0); }
    std::int64_t as_int64() const { return load<std::int64_t>(0); }
    bool as_bool() const { return data_[0] != 0; }
    std::string_view as_string() const { return {data_ + 4, size_ - 5}; }
    WallTime as_date() const { return {load<std::int64_t>(0)}; }
    Timestamp as_timestamp() const { return Timestamp::unpack(load<std::uint64_t>(0)); }
    ObjectId as_object_id() const { return load<ObjectId>(0); }
    Decimal128 as_decimal128() const { return load<Decimal128>(0); }
    Binary as_binary() const;
    Regex as_regex() const;
    View as_view() const;
    /// The bytes of a code-with-scope's code and scope.
    std::string_view as_scope_code() const;
    View as_scope() const;

    /// What $expr, $and, projections and flags count as true: all but false, 0, NaN is true, null,
    /// undefined and missing.
    bool is_truthy() const;

    /// A number of any type as a double; 0 when it is no number. Decimal128 is rounded.
    double to_double() const;
    /// A number of any type as an int64, truncated and saturated; 0 when it is no number or NaN.
    std::int64_t to_int64() const;
    /// Whether this is a number with an exact integral value within int64.
    bool is_integral() const;

private:
    template <class T>
    T load(std::size_t offset) const {
        T result;
        std::memcpy(&result, data_ + offset, sizeof(T));
        return result;
    }

    const char* data_ = nullptr;
    std::uint32_t size_ = 0;
    Type type_ = Type::missing;
};

/// Returns how many bytes a value of `type` at `data` takes, of at most `available`; -1 when it is
/// malformed or does not fit. Checks lengths and terminators, not what is nested within.
std::int64_t value_size(Type type, const char* data, std::size_t available);

}  // namespace tessera::bson
