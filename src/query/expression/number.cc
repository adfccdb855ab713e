// SPDX-License-Identifier: Apache-2.0
#include "query/expression/number.h"

#include <cmath>
#include <limits>

#include "bson/builder.h"

namespace tessera::query::expression {

using bson::Arena;
using bson::Decimal128;
using bson::Type;
using bson::Value;

namespace {

int rank(Type type) {
    switch (type) {
        case Type::int32:
            return 0;
        case Type::int64:
            return 1;
        case Type::number_double:
            return 2;
        default:
            return 3;
    }
}

constexpr WideInt two_to_32 = WideInt{1} << 32;

Decimal128 decimal_of(WideInt value) {
    const bool is_negative = value < 0;
    if (is_negative) value = -value;
    const auto part = [](WideInt bits) {
        return bson::decimal_from(static_cast<std::int64_t>(bits));
    };
    const Decimal128 base = part(two_to_32);
    Decimal128 result = part(value >> 96);
    for (int shift = 64; shift >= 0; shift -= 32)
        result = bson::add(bson::multiply(result, base), part((value >> shift) % two_to_32));
    return is_negative ? bson::negate(result) : result;
}

}  // namespace

Type widest(Type one, Type two) {
    return rank(one) >= rank(two) ? one : two;
}

Decimal128 as_decimal(const Value& number) {
    switch (number.type()) {
        case Type::decimal128:
            return number.as_decimal128();
        case Type::number_double:
            return bson::decimal_from(number.as_double());
        default:
            return bson::decimal_from(number.to_int64());
    }
}

Value make_integer(Arena& arena, WideInt value, Type type) {
    if (type == Type::int32 && value >= std::numeric_limits<std::int32_t>::min() &&
        value <= std::numeric_limits<std::int32_t>::max())
        return arena.make(static_cast<std::int32_t>(value));
    if (value >= std::numeric_limits<std::int64_t>::min() &&
        value <= std::numeric_limits<std::int64_t>::max())
        return arena.make(static_cast<std::int64_t>(value));
    return arena.make(static_cast<double>(value));
}

void NumberSum::add_double(double value) {
    const double sum = doubles_ + value;
    if (std::isfinite(sum)) {
        if (std::fabs(doubles_) >= std::fabs(value))
            compensation_ += (doubles_ - sum) + value;
        else
            compensation_ += (value - sum) + doubles_;
    }
    doubles_ = sum;
}

void NumberSum::add(const Value& number) {
    type_ = widest(type_, number.type());
    switch (number.type()) {
        case Type::int32:
            integers_ += number.as_int32();
            break;
        case Type::int64:
            integers_ += number.as_int64();
            break;
        case Type::number_double:
            add_double(number.as_double());
            break;
        default:
            decimals_ = bson::add(decimals_, number.as_decimal128());
            break;
    }
}

void NumberSum::add(const NumberSum& other) {
    type_ = widest(type_, other.type_);
    integers_ += other.integers_;
    add_double(other.doubles_);
    compensation_ += other.compensation_;
    decimals_ = bson::add(decimals_, other.decimals_);
}

double NumberSum::total_double() const {
    if (!std::isfinite(doubles_)) return doubles_;
    NumberSum copy = *this;
    // In two halves, so that no bit of a long is lost before it meets the compensation.
    const WideInt high = integers_ / two_to_32 * two_to_32;
    copy.add_double(static_cast<double>(high));
    copy.add_double(static_cast<double>(integers_ - high));
    return copy.doubles_ + copy.compensation_;
}

Decimal128 NumberSum::total_decimal() const {
    Decimal128 total = bson::add(decimals_, decimal_of(integers_));
    if (doubles_ != 0 || compensation_ != 0)
        total = bson::add(total, bson::decimal_from(doubles_ + compensation_));
    return total;
}

Value NumberSum::result(Arena& arena) const {
    if (type_ == Type::decimal128) return arena.make(total_decimal());
    if (type_ == Type::number_double) return arena.make(total_double());
    return make_integer(arena, integers_, type_);
}

Value NumberSum::average(Arena& arena, std::int64_t count) const {
    if (type_ == Type::decimal128)
        return arena.make(bson::divide(total_decimal(), bson::decimal_from(count)));
    return arena.make(total_double() / static_cast<double>(count));
}

std::int64_t NumberSum::as_int64() const {
    if (type_ == Type::decimal128) return bson::to_int64(total_decimal());
    if (type_ == Type::number_double) {
        const double total = total_double();
        if (std::isnan(total)) return 0;
        if (total >= 0x1p63) return std::numeric_limits<std::int64_t>::max();
        if (total <= -0x1p63) return std::numeric_limits<std::int64_t>::min();
        return std::llround(total);
    }
    return static_cast<std::int64_t>(integers_);
}

Value NumberSum::state(Arena& arena) const {
    bson::Builder builder;
    builder.append("type", static_cast<std::int32_t>(type_));
    builder.append("high", static_cast<std::int64_t>(integers_ >> 64));
    builder.append("low", static_cast<std::int64_t>(integers_));
    builder.append("double", doubles_).append("error", compensation_);
    builder.append("decimal", decimals_);
    const bson::Document document = std::move(builder).finish();
    return arena.make_object(document.view());
}

void NumberSum::add_state(bson::View state) {
    type_ = widest(type_, static_cast<Type>(state["type"].to_int64()));
    const auto low = static_cast<std::uint64_t>(state["low"].to_int64());
    integers_ +=
        WideInt{state["high"].to_int64()} * two_to_32 * two_to_32 + static_cast<WideInt>(low);
    add_double(state["double"].to_double());
    compensation_ += state["error"].to_double();
    if (state["decimal"].type() == Type::decimal128)
        decimals_ = bson::add(decimals_, state["decimal"].as_decimal128());
}

}  // namespace tessera::query::expression
