// SPDX-License-Identifier: Apache-2.0
//
// Arithmetic on Decimal128 (IEEE 754-2008, 34 digits), by Intel's decimal library, whose BID
// encoding is the one BSON stores.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "bson/value.h"

namespace tessera::bson {

Decimal128 decimal_from(std::int64_t value);
/// Rounds to 15 significant digits, as $toDecimal and mixed arithmetic do: 2.5 gives
/// 2.50000000000000.
Decimal128 decimal_from(double value);
/// Rounds to the nearest of 34 digits: what equality and order mean by a double's value.
Decimal128 nearest_decimal(double value);
/// Fails with FailedToParse.
Result<Decimal128> decimal_from(std::string_view text);
std::string to_string(const Decimal128& value);
double to_double(const Decimal128& value);
/// Truncates toward zero and saturates; 0 for NaN.
std::int64_t to_int64(const Decimal128& value);
bool is_nan(const Decimal128& value);
bool is_infinite(const Decimal128& value);
bool is_negative(const Decimal128& value);
bool is_zero(const Decimal128& value);
Decimal128 decimal_infinity(bool is_negative);
Decimal128 decimal_nan();
/// Whether the value is finite, integral and within int64.
bool is_int64(const Decimal128& value);
/// Numeric comparison, exact; NaN equals NaN and is below everything.
int compare(const Decimal128& one, const Decimal128& two);
int compare(const Decimal128& one, double two);
int compare(const Decimal128& one, std::int64_t two);
/// The double next to `value` toward zero, and whether it is exactly `value`.
struct TruncatedDouble {
    double value;
    bool is_exact;
};
TruncatedDouble truncate_to_double(const Decimal128& value);

/// A number's parts: coefficient * 10^exponent, coefficient below 10^34.
struct DecimalParts {
    __extension__ using Coefficient = unsigned __int128;
    enum class Kind : std::uint8_t { finite, infinite, nan };
    Kind kind = Kind::finite;
    bool is_negative = false;
    std::int32_t exponent = 0;
    Coefficient coefficient = 0;
};
DecimalParts split(const Decimal128& value);
/// The finite number of these parts. Requires: coefficient < 10^34, -6176 <= exponent <= 6111.
Decimal128 join(const DecimalParts& parts);

Decimal128 add(const Decimal128& one, const Decimal128& two);
Decimal128 subtract(const Decimal128& one, const Decimal128& two);
Decimal128 multiply(const Decimal128& one, const Decimal128& two);
Decimal128 divide(const Decimal128& one, const Decimal128& two);
Decimal128 modulo(const Decimal128& one, const Decimal128& two);  // Sign of the dividend.
Decimal128 negate(const Decimal128& value);
/// Rounding to `places` decimal places (may be negative): half to even, or toward a side.
enum class Rounding { half_even, toward_zero, floor, ceiling };
Decimal128 round(const Decimal128& value, int places, Rounding rounding);
/// sqrt, exp, ln, log10, pow for expressions.
Decimal128 square_root(const Decimal128& value);
Decimal128 exponential(const Decimal128& value);
Decimal128 natural_logarithm(const Decimal128& value);
Decimal128 logarithm10(const Decimal128& value);
Decimal128 power(const Decimal128& base, const Decimal128& exponent);

}  // namespace tessera::bson
