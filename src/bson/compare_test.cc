// SPDX-License-Identifier: Apache-2.0
#include "bson/compare.h"

#include <limits>

#include <gtest/gtest.h>

#include "bson/decimal.h"
#include "bson/json.h"
#include "bson/random_value.h"

namespace tessera::bson {
namespace {

int sign(int order) {
    return order < 0 ? -1 : order > 0 ? 1 : 0;
}

Decimal128 dec(std::string_view text) {
    return *decimal_from(text);
}

TEST(Compare, OrdersEveryPairOfTypes) {
    Arena arena;
    Random random(1);
    const std::string code_with_scope("\x0e\0\0\0\1\0\0\0\0\5\0\0\0\0", 14);
    const std::string pointer = std::string("\1\0\0\0\0", 5) + std::string(12, 'x');
    // Each row compares equal within itself and below the rows after it.
    const std::vector<std::vector<Value>> rows = {
        {Arena::make_min_key()},
        {Value(), Value(Type::undefined, "", 0)},
        {Arena::make_null()},
        {arena.make(std::numeric_limits<double>::quiet_NaN()), arena.make(dec("NaN"))},
        {arena.make(-std::numeric_limits<double>::infinity()), arena.make(dec("-Infinity"))},
        {arena.make(-1.5), arena.make(dec("-1.50"))},
        {arena.make(0), arena.make(std::int64_t{0}), arena.make(-0.0), arena.make(dec("-0E+5"))},
        {arena.make(1), arena.make(std::int64_t{1}), arena.make(1.0), arena.make(dec("1.00"))},
        {arena.make(std::numeric_limits<double>::infinity()), arena.make(dec("Infinity"))},
        {arena.make(""), arena.make_text(Type::symbol, "")},
        {arena.make("a"), arena.make_text(Type::symbol, "a")},
        {arena.make(std::string_view("a\0", 2))},
        {arena.make("b")},
        {arena.make_object(View())},
        {arena.make_object(make("a", 1))},
        {arena.make_array(View())},
        {arena.make_array(make("0", 1))},
        {arena.make_binary({BinarySubtype::generic, ""})},
        {arena.make(ObjectId{})},
        {Arena::make_bool(false)},
        {Arena::make_bool(true)},
        {arena.make(WallTime{-5})},
        {arena.make(WallTime{5})},
        {arena.make(Timestamp{1, 0})},
        {arena.make(Timestamp{0xffffffff, 0})},
        {Value(Type::regex, "a\0\0", 3)},
        {Value(Type::regex, "a\0i\0", 4)},
        {Value(Type::db_pointer, pointer.data(), static_cast<std::uint32_t>(pointer.size()))},
        {arena.make_text(Type::code, "a")},
        {Value(Type::code_with_scope, code_with_scope.data(), 14)},
        {Arena::make_max_key()},
    };
    for (std::size_t i = 0; i < rows.size(); ++i) {
        for (std::size_t j = 0; j < rows.size(); ++j) {
            for (const Value& one : rows[i]) {
                for (const Value& two : rows[j]) {
                    EXPECT_EQ(sign(compare(one, two)),
                              i < j   ? -1
                              : i > j ? 1
                                      : 0)
                        << to_json(one) << " " << to_json(two);
                    if (i == j) {
                        EXPECT_EQ(hash(one), hash(two)) << to_json(one) << " " << to_json(two);
                    } else {
                        EXPECT_NE(hash(one), hash(two)) << to_json(one) << " " << to_json(two);
                    }
                }
            }
        }
    }
}

TEST(Compare, ComparesNumbersOfDifferentTypesExactly) {
    Arena arena;
    constexpr std::int64_t two_53 = std::int64_t{1} << 53;
    EXPECT_GT(compare(arena.make(two_53 + 1), arena.make(0x1p53)), 0);
    EXPECT_LT(compare(arena.make(0x1p53), arena.make(two_53 + 1)), 0);
    EXPECT_EQ(compare(arena.make(two_53), arena.make(0x1p53)), 0);
    EXPECT_LT(compare(arena.make(two_53 - 1), arena.make(0x1p53)), 0);
    EXPECT_LT(compare(arena.make(INT64_MAX), arena.make(0x1p63)), 0);
    EXPECT_EQ(compare(arena.make(INT64_MIN), arena.make(-0x1p63)), 0);
    EXPECT_LT(compare(arena.make(INT64_MAX), arena.make(dec("9223372036854775807.1"))), 0);
    EXPECT_EQ(compare(arena.make(INT64_MAX), arena.make(dec("9223372036854775807.00"))), 0);
    EXPECT_GT(compare(arena.make(3), arena.make(2.999)), 0);
    EXPECT_LT(compare(arena.make(-3), arena.make(-2.999)), 0);
    // 0.1 as a double is a little more than a tenth.
    EXPECT_LT(compare(arena.make(dec("0.1")), arena.make(0.1)), 0);
    EXPECT_GT(compare(arena.make(dec("0.1000000000000000055511151231257828")), arena.make(0.1)), 0);
    EXPECT_EQ(compare(arena.make(dec("0.5")), arena.make(0.5)), 0);
    EXPECT_LT(compare(arena.make(std::numeric_limits<double>::max()), arena.make(dec("1E309"))), 0);
    EXPECT_LT(compare(arena.make(dec("1E-6000")), arena.make(5e-324)), 0);
    EXPECT_GT(compare(arena.make(dec("-1E-6000")), arena.make(-5e-324)), 0);
}

TEST(Compare, ComparesDocumentsFieldByField) {
    EXPECT_LT(compare(make("a", 1), make("a", 2)), 0);
    EXPECT_LT(compare(make("a", 2), make("b", 1)), 0);
    EXPECT_LT(compare(make("b", 1), make("a", "x")), 0);  // Type before name.
    EXPECT_EQ(compare(make("b", 1), make("a", 1), false), 0);
    EXPECT_LT(compare(make("a", 1), make("a", 1, "b", 1)), 0);
    EXPECT_EQ(compare(make("a", 1), make("a", 1.0)), 0);
}

TEST(Compare, ComparesBinaryByLengthThenSubtypeThenBytes) {
    Arena arena;
    const auto binary = [&](BinarySubtype subtype, std::string_view bytes) {
        return arena.make_binary({subtype, bytes});
    };
    EXPECT_LT(compare(binary(BinarySubtype::user, "a"), binary(BinarySubtype::generic, "aa")), 0);
    EXPECT_LT(compare(binary(BinarySubtype::generic, "b"), binary(BinarySubtype::user, "a")), 0);
    EXPECT_LT(compare(binary(BinarySubtype::user, "a"), binary(BinarySubtype::user, "b")), 0);
}

TEST(Compare, IsATotalOrderOverRandomValuesAndAgreesWithHash) {
    Arena arena;
    RandomValues values(7, arena);
    for (int round = 0; round < 200; ++round) {
        std::vector<Value> some(12);
        for (Value& value : some) value = values.any();
        for (const Value& a : some) {
            EXPECT_EQ(compare(a, a), 0);
            for (const Value& b : some) {
                const int order = sign(compare(a, b));
                EXPECT_EQ(order, -sign(compare(b, a)));
                if (order == 0) {
                    EXPECT_EQ(hash(a), hash(b)) << to_json(a) << to_json(b);
                }
                for (const Value& c : some) {
                    if (order <= 0 && compare(b, c) <= 0) {
                        EXPECT_LE(compare(a, c), 0)
                            << to_json(a) << " " << to_json(b) << " " << to_json(c);
                    }
                }
            }
        }
        arena.clear();
    }
}

}  // namespace
}  // namespace tessera::bson
