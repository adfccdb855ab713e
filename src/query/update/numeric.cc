// SPDX-License-Identifier: Apache-2.0
#include "query/update/numeric.h"

#include "bson/decimal.h"

namespace tessera::query {
namespace {

using bson::Type;
using bson::Value;

bson::Decimal128 as_decimal(const Value& value) {
    if (value.type() == Type::decimal128) return value.as_decimal128();
    if (value.type() == Type::number_double) return bson::decimal_from(value.as_double());
    return bson::decimal_from(value.to_int64());
}

bool either_is(Type type, const Value& one, const Value& two) {
    return one.type() == type || two.type() == type;
}

Value narrow(std::int64_t result, const Value& one, const Value& two, bson::Arena& arena) {
    const bool are_small = one.type() == Type::int32 && two.type() == Type::int32;
    if (are_small && result >= INT32_MIN && result <= INT32_MAX) {
        return arena.make(static_cast<std::int32_t>(result));
    }
    return arena.make(result);
}

}  // namespace

std::optional<Value> add(const Value& one, const Value& two, bson::Arena& arena) {
    if (either_is(Type::decimal128, one, two)) {
        return arena.make(bson::add(as_decimal(one), as_decimal(two)));
    }
    if (either_is(Type::number_double, one, two)) {
        return arena.make(one.to_double() + two.to_double());
    }
    std::int64_t result;
    if (__builtin_add_overflow(one.to_int64(), two.to_int64(), &result)) return std::nullopt;
    return narrow(result, one, two, arena);
}

std::optional<Value> multiply(const Value& one, const Value& two, bson::Arena& arena) {
    if (either_is(Type::decimal128, one, two)) {
        return arena.make(bson::multiply(as_decimal(one), as_decimal(two)));
    }
    if (either_is(Type::number_double, one, two)) {
        return arena.make(one.to_double() * two.to_double());
    }
    std::int64_t result;
    if (__builtin_mul_overflow(one.to_int64(), two.to_int64(), &result)) return std::nullopt;
    return narrow(result, one, two, arena);
}

}  // namespace tessera::query
