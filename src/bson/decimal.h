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
/// Rounds to 15 significant digits as the server does for doubles, unless that loses nothing.
Decimal128 decimal_from(double value);
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
/// Whether the value is finite, integral and within int64.
bool is_int64(const Decimal128& value);
/// Numeric comparison; NaN equals NaN and is below everything.
int compare(const Decimal128& one, const Decimal128& two);

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
