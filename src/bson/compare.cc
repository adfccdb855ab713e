// SPDX-License-Identifier: Apache-2.0
//
// Order, equality and hash of values. Numbers of different types are compared exactly: an int64
// that no double can hold does not equal the double next to it.
#include "bson/compare.h"

#include <cmath>

#include "bson/decimal.h"

namespace tessera::bson {
namespace {

template <class T>
int order(const T& one, const T& two) {
    return one < two ? -1 : two < one ? 1 : 0;
}

int sign(int order) {
    return order < 0 ? -1 : order > 0 ? 1 : 0;
}

int order_text(std::string_view one, std::string_view two) {
    return sign(one.compare(two));
}

/// Shorter first, then bytes.
int order_sized(std::string_view one, std::string_view two) {
    if (one.size() != two.size()) return one.size() < two.size() ? -1 : 1;
    return order_text(one, two);
}

int order_doubles(double one, double two) {
    if (one < two) return -1;
    if (one > two) return 1;
    if (one == two) return 0;
    const bool one_nan = std::isnan(one);
    const bool two_nan = std::isnan(two);
    return one_nan == two_nan ? 0 : one_nan ? -1 : 1;
}

int order_int64_double(std::int64_t one, double two) {
    if (std::isnan(two)) return 1;
    if (two >= 0x1p63) return -1;
    if (two < -0x1p63) return 1;
    // Truncation is exact here; what it cut off decides between equals.
    const auto whole = static_cast<std::int64_t>(two);
    if (one != whole) return one < whole ? -1 : 1;
    return order_doubles(0, two - static_cast<double>(whole));
}

bool is_integer_type(Type type) {
    return type == Type::int32 || type == Type::int64;
}

std::int64_t integer(const Value& value) {
    return value.type() == Type::int32 ? value.as_int32() : value.as_int64();
}

int compare_numbers(const Value& one, const Value& two) {
    if (one.type() == Type::decimal128) {
        const Decimal128 decimal = one.as_decimal128();
        if (two.type() == Type::decimal128) return compare(decimal, two.as_decimal128());
        if (two.type() == Type::number_double) return compare(decimal, two.as_double());
        return compare(decimal, integer(two));
    }
    if (two.type() == Type::decimal128) return -compare_numbers(two, one);
    if (is_integer_type(one.type())) {
        if (is_integer_type(two.type())) return order(integer(one), integer(two));
        return order_int64_double(integer(one), two.as_double());
    }
    if (is_integer_type(two.type())) return -order_int64_double(integer(two), one.as_double());
    return order_doubles(one.as_double(), two.as_double());
}

int compare_regexes(const Regex& one, const Regex& two) {
    if (const int result = order_text(one.pattern, two.pattern); result != 0) return result;
    return order_text(one.options, two.options);
}

/// Requires: both have the same canonical type.
int compare_same_rank(const Value& one, const Value& two) {
    switch (one.type()) {
        case Type::number_double:
        case Type::int32:
        case Type::int64:
        case Type::decimal128:
            return compare_numbers(one, two);
        case Type::string:
        case Type::symbol:
        case Type::code:
            return order_text(one.as_string(), two.as_string());
        case Type::object:
            return compare(one.as_view(), two.as_view());
        case Type::array:
            return compare(one.as_view(), two.as_view(), false);
        case Type::binary:  // Length, subtype, bytes: as they are stored.
            if (one.bytes().size() != two.bytes().size()) {
                return one.bytes().size() < two.bytes().size() ? -1 : 1;
            }
            return order_text(one.bytes().substr(4), two.bytes().substr(4));
        case Type::object_id:
            return order_text(one.bytes(), two.bytes());
        case Type::boolean:
            return order(one.as_bool(), two.as_bool());
        case Type::date:
            return order(one.as_int64(), two.as_int64());
        case Type::timestamp:
            return order(static_cast<std::uint64_t>(one.as_int64()),
                         static_cast<std::uint64_t>(two.as_int64()));
        case Type::regex:
            return compare_regexes(one.as_regex(), two.as_regex());
        case Type::db_pointer:
            return order_sized(one.bytes(), two.bytes());
        case Type::code_with_scope: {
            const int result = order_text(one.as_scope_code(), two.as_scope_code());
            return result != 0 ? result : compare(one.as_scope(), two.as_scope());
        }
        case Type::missing:
        case Type::undefined:
        case Type::null:
        case Type::max_key:
        case Type::min_key:
            return 0;
    }
    return 0;
}

std::uint64_t mix(std::uint64_t one, std::uint64_t two) {
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(one ^ 0x9e3779b97f4a7c15U) * (two ^ 0xbf58476d1ce4e5b9U);
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::uint64_t hash_bytes(std::string_view bytes, std::uint64_t seed) {
    std::uint64_t result = mix(seed, bytes.size());
    std::size_t at = 0;
    for (; at + 8 <= bytes.size(); at += 8) {
        std::uint64_t word;
        std::memcpy(&word, bytes.data() + at, 8);
        result = mix(result, word);
    }
    if (at < bytes.size()) {
        std::uint64_t word = 0;
        std::memcpy(&word, bytes.data() + at, bytes.size() - at);
        result = mix(result, word);
    }
    return result;
}

std::uint64_t hash_integer(std::int64_t value, std::uint64_t seed) {
    return mix(seed, static_cast<std::uint64_t>(value));
}

std::uint64_t hash_double(double value, std::uint64_t seed) {
    if (std::isnan(value)) return mix(seed, 0x7ff8dead00000000U);
    if (value >= -0x1p63 && value < 0x1p63) {
        const auto whole = static_cast<std::int64_t>(value);
        if (static_cast<double>(whole) == value) return hash_integer(whole, seed);
    }
    return mix(seed + 1, std::bit_cast<std::uint64_t>(value));
}

std::uint64_t hash_decimal(const Decimal128& value, std::uint64_t seed) {
    if (is_int64(value)) return hash_integer(to_int64(value), seed);
    const TruncatedDouble truncated = truncate_to_double(value);
    if (truncated.is_exact) return hash_double(truncated.value, seed);
    DecimalParts parts = split(value);
    while (parts.coefficient % 10 == 0) {  // Not zero, which is an int64: this ends.
        parts.coefficient /= 10;
        ++parts.exponent;
    }
    std::uint64_t result = mix(seed + 2, static_cast<std::uint64_t>(parts.coefficient));
    result = mix(result, static_cast<std::uint64_t>(parts.coefficient >> 64));
    return mix(result, static_cast<std::uint64_t>(parts.exponent) << 1 | parts.is_negative);
}

std::uint64_t hash_fields(View view, bool with_names, std::uint64_t seed) {
    std::uint64_t result = mix(seed, 7);
    for (const Element& element : view) {
        if (with_names) result = hash_bytes(element.name, result);
        result = hash(element.value, result);
    }
    return result;
}

}  // namespace

int canonical_type(Type type) {
    switch (type) {
        case Type::min_key:
            return -1;
        case Type::missing:
        case Type::undefined:
            return 0;
        case Type::null:
            return 5;
        case Type::number_double:
        case Type::int32:
        case Type::int64:
        case Type::decimal128:
            return 10;
        case Type::string:
        case Type::symbol:
            return 15;
        case Type::object:
            return 20;
        case Type::array:
            return 25;
        case Type::binary:
            return 30;
        case Type::object_id:
            return 35;
        case Type::boolean:
            return 40;
        case Type::date:
            return 45;
        case Type::timestamp:
            return 47;
        case Type::regex:
            return 50;
        case Type::db_pointer:
            return 55;
        case Type::code:
            return 60;
        case Type::code_with_scope:
            return 65;
        case Type::max_key:
            return 127;
    }
    return 0;
}

int compare(const Value& one, const Value& two) {
    if (one.type() != two.type()) {
        const int rank = canonical_type(one.type()) - canonical_type(two.type());
        if (rank != 0) return sign(rank);
    }
    return compare_same_rank(one, two);
}

int compare(View one, View two, bool with_names) {
    auto at_one = one.begin();
    auto at_two = two.begin();
    for (;; ++at_one, ++at_two) {
        const bool one_ends = at_one == one.end();
        const bool two_ends = at_two == two.end();
        if (one_ends || two_ends) return one_ends == two_ends ? 0 : one_ends ? -1 : 1;
        const int rank =
            canonical_type(at_one->value.type()) - canonical_type(at_two->value.type());
        if (rank != 0) return sign(rank);
        if (with_names) {
            const int name = order_text(at_one->name, at_two->name);
            if (name != 0) return name;
        }
        const int value = compare_same_rank(at_one->value, at_two->value);
        if (value != 0) return value;
    }
}

bool equal(const Value& one, const Value& two) {
    return compare(one, two) == 0;
}

std::uint64_t hash(const Value& value, std::uint64_t seed) {
    const int rank = canonical_type(value.type()) + 2;
    const std::uint64_t start = mix(seed, static_cast<std::uint64_t>(rank));
    switch (value.type()) {
        case Type::int32:
            return hash_integer(value.as_int32(), start);
        case Type::int64:
            return hash_integer(value.as_int64(), start);
        case Type::number_double:
            return hash_double(value.as_double(), start);
        case Type::decimal128:
            return hash_decimal(value.as_decimal128(), start);
        case Type::object:
            return hash_fields(value.as_view(), true, start);
        case Type::array:
            return hash_fields(value.as_view(), false, start);
        case Type::boolean:
            return mix(start, value.as_bool() ? 1 : 0);
        case Type::code_with_scope:
            return hash_fields(value.as_scope(), true, hash_bytes(value.as_scope_code(), start));
        default:
            return hash_bytes(value.bytes(), start);
    }
}

}  // namespace tessera::bson
