// SPDX-License-Identifier: Apache-2.0
//
// Calls of Intel's library in its call-by-value variant with explicit rounding and flags, so that
// nothing here has state. The encoding is read and written by hand where that is all it takes.
#include "bson/decimal.h"

#include <cmath>
#include <cstring>

#include <bson/bson.h>

#define DECIMAL_CALL_BY_REFERENCE 0
#define DECIMAL_GLOBAL_ROUNDING 0
#define DECIMAL_GLOBAL_EXCEPTION_FLAGS 0
#include <bid_conf.h>
#include <bid_functions.h>

namespace tessera::bson {
namespace {

using Coefficient = DecimalParts::Coefficient;

constexpr std::int32_t exponent_bias = 6176;
constexpr std::uint64_t sign_bit = std::uint64_t{1} << 63;

constexpr Coefficient power_of_ten(int exponent) {
    Coefficient result = 1;
    for (int i = 0; i < exponent; ++i)
        result *= 10;
    return result;
}
constexpr Coefficient coefficient_end = power_of_ten(34);

BID_UINT128 in(const Decimal128& value) {
    BID_UINT128 result;
    result.w[0] = value.low;
    result.w[1] = value.high;
    return result;
}

Decimal128 out(const BID_UINT128& value) {
    return {value.w[0], value.w[1]};
}

int digits(Coefficient coefficient) {
    int result = 1;
    while (coefficient >= 10) {
        coefficient /= 10;
        ++result;
    }
    return result;
}

unsigned mode_of(Rounding rounding) {
    switch (rounding) {
        case Rounding::half_even:
            return BID_ROUNDING_TO_NEAREST;
        case Rounding::toward_zero:
            return BID_ROUNDING_TO_ZERO;
        case Rounding::floor:
            return BID_ROUNDING_DOWN;
        case Rounding::ceiling:
            return BID_ROUNDING_UP;
    }
    return BID_ROUNDING_TO_NEAREST;
}

/// Rounds to a multiple of 10^exponent; NaN when that takes more than 34 digits.
Decimal128 quantize(const Decimal128& value, std::int32_t exponent, unsigned mode) {
    unsigned flags = 0;
    const Decimal128 quantum = join({.exponent = exponent, .coefficient = 1});
    return out(bid128_quantize(in(value), in(quantum), mode, &flags));
}

/// Whether `text` is a number, "nan" or "inf" as Decimal128's specification spells them.
bool is_decimal_text(std::string_view text) {
    std::size_t at = 0;
    const auto digits_at = [&] {
        const std::size_t start = at;
        while (at < text.size() && text[at] >= '0' && text[at] <= '9')
            ++at;
        return at - start;
    };
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    std::string rest(text.substr(at));
    for (char& c : rest) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    if (rest == "nan" || rest == "inf" || rest == "infinity") return true;
    std::size_t count = digits_at();
    if (at < text.size() && text[at] == '.') {
        ++at;
        count += digits_at();
    }
    if (count == 0) return false;
    if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
        ++at;
        if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
        if (digits_at() == 0) return false;
    }
    return at == text.size();
}

}  // namespace

DecimalParts split(const Decimal128& value) {
    DecimalParts parts;
    parts.is_negative = (value.high & sign_bit) != 0;
    const std::uint64_t combination = value.high >> 58 & 0x1fU;
    if (combination == 0x1f) {
        parts.kind = DecimalParts::Kind::nan;
        return parts;
    }
    if (combination == 0x1e) {
        parts.kind = DecimalParts::Kind::infinite;
        return parts;
    }
    if ((value.high >> 61 & 3U) == 3) {  // Non-canonical: counts as zero.
        parts.exponent = static_cast<std::int32_t>(value.high >> 47 & 0x3fffU) - exponent_bias;
        return parts;
    }
    parts.exponent = static_cast<std::int32_t>(value.high >> 49 & 0x3fffU) - exponent_bias;
    parts.coefficient = Coefficient{value.high & 0x1ffffffffffffU} << 64 | value.low;
    if (parts.coefficient >= coefficient_end) parts.coefficient = 0;
    return parts;
}

Decimal128 join(const DecimalParts& parts) {
    Decimal128 result;
    result.low = static_cast<std::uint64_t>(parts.coefficient);
    result.high = static_cast<std::uint64_t>(parts.coefficient >> 64) |
                  static_cast<std::uint64_t>(parts.exponent + exponent_bias) << 49 |
                  (parts.is_negative ? sign_bit : 0);
    return result;
}

Decimal128 decimal_infinity(bool is_negative) {
    return {0, 0x7800000000000000U | (is_negative ? sign_bit : 0)};
}

Decimal128 decimal_nan() {
    return {0, 0x7c00000000000000U};
}

Decimal128 decimal_from(std::int64_t value) {
    const bool is_negative = value < 0;
    const auto bits = static_cast<std::uint64_t>(value);
    return join({.is_negative = is_negative, .coefficient = is_negative ? ~bits + 1 : bits});
}

Decimal128 nearest_decimal(double value) {
    unsigned flags = 0;
    return out(binary64_to_bid128(value, BID_ROUNDING_TO_NEAREST, &flags));
}

Decimal128 decimal_from(double value) {
    if (std::isnan(value)) return decimal_nan();
    if (std::isinf(value)) return decimal_infinity(value < 0);
    if (value == 0) return join({.is_negative = std::signbit(value)});
    constexpr int significant = 15;
    const Decimal128 exact = nearest_decimal(value);
    DecimalParts parts = split(exact);
    std::int32_t exponent = parts.exponent + digits(parts.coefficient) - significant;
    Decimal128 rounded = quantize(exact, exponent, BID_ROUNDING_TO_NEAREST);
    parts = split(rounded);
    if (digits(parts.coefficient) > significant) {  // 9.99...9 became 10.0...0.
        ++exponent;
        rounded = quantize(exact, exponent, BID_ROUNDING_TO_NEAREST);
    }
    return rounded;
}

Result<Decimal128> decimal_from(std::string_view text) {
    if (!is_decimal_text(text)) {
        return Error(ErrorCode::failed_to_parse,
                     "Failed to parse number '" + std::string(text) + "' as a decimal");
    }
    std::string copy(text);
    unsigned flags = 0;
    return out(bid128_from_string(copy.data(), BID_ROUNDING_TO_NEAREST, &flags));
}

std::string to_string(const Decimal128& value) {
    bson_decimal128_t decimal;
    decimal.low = value.low;
    decimal.high = value.high;
    char text[BSON_DECIMAL128_STRING];
    bson_decimal128_to_string(&decimal, text);
    return text;
}

double to_double(const Decimal128& value) {
    unsigned flags = 0;
    return bid128_to_binary64(in(value), BID_ROUNDING_TO_NEAREST, &flags);
}

TruncatedDouble truncate_to_double(const Decimal128& value) {
    unsigned flags = 0;
    const double result = bid128_to_binary64(in(value), BID_ROUNDING_TO_ZERO, &flags);
    return {result, (flags & BID_INEXACT_EXCEPTION) == 0};
}

std::int64_t to_int64(const Decimal128& value) {
    if (is_nan(value)) return 0;
    unsigned flags = 0;
    const long long result = bid128_to_int64_int(in(value), &flags);
    if ((flags & BID_INVALID_EXCEPTION) == 0) return result;
    return is_negative(value) ? INT64_MIN : INT64_MAX;
}

bool is_nan(const Decimal128& value) {
    return (value.high >> 58 & 0x1fU) == 0x1f;
}
bool is_infinite(const Decimal128& value) {
    return (value.high >> 58 & 0x1fU) == 0x1e;
}
bool is_negative(const Decimal128& value) {
    return (value.high & sign_bit) != 0;
}

bool is_zero(const Decimal128& value) {
    const DecimalParts parts = split(value);
    return parts.kind == DecimalParts::Kind::finite && parts.coefficient == 0;
}

bool is_int64(const Decimal128& value) {
    if (is_nan(value) || is_infinite(value)) return false;
    unsigned flags = 0;
    bid128_to_int64_xint(in(value), &flags);
    return flags == 0;
}

int compare(const Decimal128& one, const Decimal128& two) {
    const bool one_nan = is_nan(one);
    const bool two_nan = is_nan(two);
    if (one_nan || two_nan) return one_nan == two_nan ? 0 : one_nan ? -1 : 1;
    unsigned flags = 0;
    if (bid128_quiet_less(in(one), in(two), &flags) != 0) return -1;
    return bid128_quiet_equal(in(one), in(two), &flags) != 0 ? 0 : 1;
}

int compare(const Decimal128& one, double two) {
    const bool one_nan = is_nan(one);
    const bool two_nan = std::isnan(two);
    if (one_nan || two_nan) return one_nan == two_nan ? 0 : one_nan ? -1 : 1;
    if (std::isinf(two)) return compare(one, decimal_infinity(two < 0));
    // The decimal next below the double. If that lost something, no decimal lies between it and
    // the double, so a decimal above it is above the double too.
    unsigned flags = 0;
    const Decimal128 below = out(binary64_to_bid128(two, BID_ROUNDING_DOWN, &flags));
    const int order = compare(one, below);
    if ((flags & BID_INEXACT_EXCEPTION) == 0) return order;
    return order <= 0 ? -1 : 1;
}

int compare(const Decimal128& one, std::int64_t two) {
    return compare(one, decimal_from(two));
}

Decimal128 add(const Decimal128& one, const Decimal128& two) {
    unsigned flags = 0;
    return out(bid128_add(in(one), in(two), BID_ROUNDING_TO_NEAREST, &flags));
}

Decimal128 subtract(const Decimal128& one, const Decimal128& two) {
    unsigned flags = 0;
    return out(bid128_sub(in(one), in(two), BID_ROUNDING_TO_NEAREST, &flags));
}

Decimal128 multiply(const Decimal128& one, const Decimal128& two) {
    unsigned flags = 0;
    return out(bid128_mul(in(one), in(two), BID_ROUNDING_TO_NEAREST, &flags));
}

Decimal128 divide(const Decimal128& one, const Decimal128& two) {
    unsigned flags = 0;
    return out(bid128_div(in(one), in(two), BID_ROUNDING_TO_NEAREST, &flags));
}

Decimal128 modulo(const Decimal128& one, const Decimal128& two) {
    unsigned flags = 0;
    return out(bid128_fmod(in(one), in(two), &flags));
}

Decimal128 negate(const Decimal128& value) {
    return {value.low, value.high ^ sign_bit};
}

Decimal128 round(const Decimal128& value, int places, Rounding rounding) {
    if (is_nan(value) || is_infinite(value)) return value;
    if (places > exponent_bias || places < -6111) return value;
    const Decimal128 result = quantize(value, -places, mode_of(rounding));
    return is_nan(result) ? value : result;  // More digits than there are: nothing to round.
}

Decimal128 square_root(const Decimal128& value) {
    unsigned flags = 0;
    return out(bid128_sqrt(in(value), BID_ROUNDING_TO_NEAREST, &flags));
}

Decimal128 exponential(const Decimal128& value) {
    unsigned flags = 0;
    return out(bid128_exp(in(value), BID_ROUNDING_TO_NEAREST, &flags));
}

Decimal128 natural_logarithm(const Decimal128& value) {
    unsigned flags = 0;
    return out(bid128_log(in(value), BID_ROUNDING_TO_NEAREST, &flags));
}

Decimal128 logarithm10(const Decimal128& value) {
    unsigned flags = 0;
    return out(bid128_log10(in(value), BID_ROUNDING_TO_NEAREST, &flags));
}

Decimal128 power(const Decimal128& base, const Decimal128& exponent) {
    unsigned flags = 0;
    return out(bid128_pow(in(base), in(exponent), BID_ROUNDING_TO_NEAREST, &flags));
}

}  // namespace tessera::bson
