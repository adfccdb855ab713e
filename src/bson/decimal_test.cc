// SPDX-License-Identifier: Apache-2.0
#include "bson/decimal.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "bson/random_value.h"

namespace tessera::bson {
namespace {

Decimal128 dec(std::string_view text) {
    return *decimal_from(text);
}

TEST(Decimal, ReadsAndWritesText) {
    for (const char* text : {"0",
                             "-0",
                             "1.50",
                             "1E+3",
                             "-1.234E-10",
                             "NaN",
                             "Infinity",
                             "-Infinity",
                             "9.999999999999999999999999999999999E+6144",
                             "1E-6176"}) {
        EXPECT_EQ(to_string(dec(text)), text);
    }
    for (const char* text : {"", "x", "1.2.3", "1e", "--1", "1 ", " 1", "."}) {
        EXPECT_FALSE(decimal_from(std::string_view(text))) << text;
    }
    EXPECT_EQ(to_string(dec("+inf")), "Infinity");
}

TEST(Decimal, TakesFifteenDigitsOfADouble) {
    EXPECT_EQ(to_string(decimal_from(2.5)), "2.50000000000000");
    EXPECT_EQ(to_string(decimal_from(0.1)), "0.100000000000000");
    EXPECT_EQ(to_string(decimal_from(-1e20)), "-1.00000000000000E+20");
    EXPECT_EQ(to_string(decimal_from(9.9999999999999999e15)), "1.00000000000000E+16");
    EXPECT_EQ(to_string(decimal_from(0.99999999999999989)), "1.00000000000000");
    EXPECT_EQ(to_string(decimal_from(0.0)), "0");
    EXPECT_TRUE(is_nan(decimal_from(std::nan(""))));
    EXPECT_TRUE(is_infinite(decimal_from(-HUGE_VAL)) && is_negative(decimal_from(-HUGE_VAL)));
}

TEST(Decimal, TakesIntegersWhole) {
    EXPECT_EQ(to_string(decimal_from(INT64_MIN)), "-9223372036854775808");
    EXPECT_EQ(to_int64(decimal_from(INT64_MIN)), INT64_MIN);
    EXPECT_EQ(to_int64(dec("1E100")), INT64_MAX);
    EXPECT_EQ(to_int64(dec("-1E100")), INT64_MIN);
    EXPECT_EQ(to_int64(dec("-2.9")), -2);
    EXPECT_EQ(to_int64(dec("NaN")), 0);
    EXPECT_TRUE(is_int64(dec("5.00")));
    EXPECT_FALSE(is_int64(dec("5.01")));
    EXPECT_FALSE(is_int64(dec("9223372036854775808")));
    EXPECT_FALSE(is_int64(dec("Infinity")));
}

TEST(Decimal, Computes) {
    EXPECT_EQ(to_string(add(dec("0.1"), dec("0.2"))), "0.3");
    EXPECT_EQ(to_string(subtract(dec("1.00"), dec("0.1"))), "0.90");
    EXPECT_EQ(to_string(multiply(dec("1.5"), dec("2"))), "3.0");
    EXPECT_EQ(to_string(divide(dec("1"), dec("3"))), "0.3333333333333333333333333333333333");
    EXPECT_TRUE(is_infinite(divide(dec("1"), dec("0"))));
    EXPECT_EQ(to_string(modulo(dec("-7.5"), dec("2"))), "-1.5");
    EXPECT_EQ(to_string(negate(dec("5"))), "-5");
    EXPECT_EQ(to_string(square_root(dec("4"))), "2");
    EXPECT_EQ(to_double(exponential(dec("0"))), 1.0);
    EXPECT_EQ(to_double(natural_logarithm(dec("1"))), 0.0);
    EXPECT_EQ(to_double(logarithm10(dec("1000"))), 3.0);
    EXPECT_EQ(to_double(power(dec("2"), dec("10"))), 1024.0);
}

TEST(Decimal, RoundsToPlaces) {
    EXPECT_EQ(to_string(round(dec("2.345"), 2, Rounding::half_even)), "2.34");
    EXPECT_EQ(to_string(round(dec("2.355"), 2, Rounding::half_even)), "2.36");
    EXPECT_EQ(to_string(round(dec("-2.5"), 0, Rounding::floor)), "-3");
    EXPECT_EQ(to_string(round(dec("-2.5"), 0, Rounding::ceiling)), "-2");
    EXPECT_EQ(to_string(round(dec("-2.5"), 0, Rounding::toward_zero)), "-2");
    EXPECT_EQ(to_string(round(dec("1234"), -2, Rounding::half_even)), "1.2E+3");
    EXPECT_EQ(to_string(round(dec("1E+30"), 20, Rounding::half_even)), "1E+30");
    EXPECT_TRUE(is_nan(round(dec("NaN"), 2, Rounding::floor)));
}

TEST(Decimal, SplitsAndJoins) {
    Arena arena;
    RandomValues values(9, arena);
    for (int i = 0; i < 5000; ++i) {
        const Decimal128 value = values.decimal();
        const DecimalParts parts = split(value);
        if (parts.kind == DecimalParts::Kind::finite) {
            EXPECT_EQ(join(parts), value);
        }
    }
}

TEST(Decimal, KnowsWhenADoubleIsExact) {
    EXPECT_TRUE(truncate_to_double(dec("0.5")).is_exact);
    EXPECT_TRUE(truncate_to_double(dec("Infinity")).is_exact);
    EXPECT_FALSE(truncate_to_double(dec("0.1")).is_exact);
    EXPECT_LT(truncate_to_double(dec("0.1")).value, 0.1);
    const TruncatedDouble large = truncate_to_double(dec("1E400"));
    EXPECT_EQ(large.value, std::numeric_limits<double>::max());
    EXPECT_FALSE(large.is_exact);
    const TruncatedDouble small = truncate_to_double(dec("1E-400"));
    EXPECT_EQ(small.value, 0.0);
    EXPECT_FALSE(small.is_exact);
}

}  // namespace
}  // namespace tessera::bson
