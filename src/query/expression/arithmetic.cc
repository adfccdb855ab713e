// SPDX-License-Identifier: Apache-2.0
//
// $add, $subtract, $multiply, $divide, $mod, rounding, powers, logarithms, bits.
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "bson/decimal.h"
#include "query/expression/node.h"
#include "query/expression/number.h"

namespace tessera::query::expression {
namespace {

bool has_nullish(Args args) {
    for (const Value& arg : args)
        if (arg.is_nullish()) return true;
    return false;
}

Error only_numbers(std::string_view name, const Value& value, int code = 28765) {
    return failure(code,
                   fmt::format("{} only supports numeric types, not {}", name, type_text(value)));
}

bool is_date(const Value& value) {
    return value.type() == Type::date;
}

Result<Value> add(Evaluation& evaluation, Args args) {
    NumberSum sum;
    const Value* date = nullptr;
    for (const Value& arg : args) {
        if (arg.is_nullish()) return null();
        if (arg.is_number()) {
            sum.add(arg);
        } else if (is_date(arg)) {
            if (date) return failure(16612, "only one date allowed in an $add expression");
            date = &arg;
        } else {
            return failure(
                16554,
                fmt::format("$add only supports numeric or date types, not {}", type_text(arg)));
        }
    }
    if (!date) return sum.result(evaluation.arena());
    std::int64_t result = 0;
    if (__builtin_add_overflow(date->as_date().milliseconds, sum.as_int64(), &result))
        return Error(ErrorCode::overflow, "date overflow in $add");
    return evaluation.arena().make(WallTime{result});
}

Result<Value> subtract(Evaluation& evaluation, Args args) {
    const Value& left = args[0];
    const Value& right = args[1];
    if (has_nullish(args)) return null();
    Arena& arena = evaluation.arena();
    if (left.is_number() && right.is_number()) {
        const Type type = widest(left.type(), right.type());
        if (type == Type::decimal128)
            return arena.make(bson::subtract(as_decimal(left), as_decimal(right)));
        if (type == Type::number_double) return arena.make(left.to_double() - right.to_double());
        return make_integer(arena, WideInt{left.to_int64()} - right.to_int64(), type);
    }
    if (is_date(left) && (is_date(right) || right.is_number())) {
        const WideInt from = left.as_date().milliseconds;
        const WideInt by = is_date(right) ? right.as_date().milliseconds
                           : right.type() == Type::number_double
                               ? static_cast<WideInt>(std::llround(right.as_double()))
                               : right.to_int64();
        const WideInt result = from - by;
        if (result > std::numeric_limits<std::int64_t>::max() ||
            result < std::numeric_limits<std::int64_t>::min())
            return Error(ErrorCode::overflow, "date overflow in $subtract");
        const auto milliseconds = static_cast<std::int64_t>(result);
        if (is_date(right)) return arena.make(milliseconds);
        return arena.make(WallTime{milliseconds});
    }
    return failure(16556,
                   fmt::format("can't $subtract {} from {}", type_text(right), type_text(left)));
}

Result<Value> multiply(Evaluation& evaluation, Args args) {
    Arena& arena = evaluation.arena();
    Value product = arena.make(std::int32_t{1});
    for (const Value& arg : args) {
        if (arg.is_nullish()) return null();
        if (!arg.is_number()) return only_numbers("$multiply", arg, 16555);
        const Type type = widest(product.type(), arg.type());
        if (type == Type::decimal128)
            product = arena.make(bson::multiply(as_decimal(product), as_decimal(arg)));
        else if (type == Type::number_double)
            product = arena.make(product.to_double() * arg.to_double());
        else
            product = make_integer(arena, WideInt{product.to_int64()} * arg.to_int64(), type);
    }
    return product;
}

Result<Value> divide(Evaluation& evaluation, Args args) {
    const Value& left = args[0];
    const Value& right = args[1];
    if (has_nullish(args)) return null();
    if (!left.is_number() || !right.is_number())
        return failure(16609,
                       fmt::format("$divide only supports numeric types, not {} and {}",
                                   type_text(left),
                                   type_text(right)));
    if (widest(left.type(), right.type()) == Type::decimal128) {
        if (bson::is_zero(as_decimal(right)))
            return Error(ErrorCode::bad_value, "can't $divide by zero");
        return evaluation.arena().make(bson::divide(as_decimal(left), as_decimal(right)));
    }
    if (right.to_double() == 0) return Error(ErrorCode::bad_value, "can't $divide by zero");
    return evaluation.arena().make(left.to_double() / right.to_double());
}

Result<Value> modulo(Evaluation& evaluation, Args args) {
    const Value& left = args[0];
    const Value& right = args[1];
    if (has_nullish(args)) return null();
    if (!left.is_number() || !right.is_number())
        return failure(16611,
                       fmt::format("$mod only supports numeric types, not {} and {}",
                                   type_text(left),
                                   type_text(right)));
    Arena& arena = evaluation.arena();
    const Type type = widest(left.type(), right.type());
    const bool is_zero =
        type == Type::decimal128 ? bson::is_zero(as_decimal(right)) : right.to_double() == 0;
    if (is_zero) return failure(16610, "can't $mod by zero");
    if (type == Type::decimal128)
        return arena.make(bson::modulo(as_decimal(left), as_decimal(right)));
    if (type == Type::number_double)
        return arena.make(std::fmod(left.to_double(), right.to_double()));
    if (right.to_int64() == -1) return make_integer(arena, 0, type);
    return make_integer(arena, left.to_int64() % right.to_int64(), type);
}

Result<Value> absolute(Evaluation& evaluation, Args args) {
    const Value& value = args[0];
    if (value.is_nullish()) return null();
    Arena& arena = evaluation.arena();
    switch (value.type()) {
        case Type::int32:
        case Type::int64: {
            const std::int64_t number = value.to_int64();
            if (number == std::numeric_limits<std::int64_t>::min())
                return failure(28680, "can't take $abs of long long min");
            return make_integer(arena, number < 0 ? -number : number, value.type());
        }
        case Type::number_double:
            return arena.make(std::fabs(value.as_double()));
        case Type::decimal128: {
            const bson::Decimal128 number = value.as_decimal128();
            return arena.make(bson::is_negative(number) ? bson::negate(number) : number);
        }
        default:
            return only_numbers("$abs", value);
    }
}

Result<Value> to_integral(Evaluation& evaluation,
                          const Value& value,
                          std::string_view name,
                          double (*of_double)(double),
                          bson::Rounding rounding) {
    if (value.is_nullish()) return null();
    if (!value.is_number()) return only_numbers(name, value);
    if (value.type() == Type::number_double)
        return evaluation.arena().make(of_double(value.as_double()));
    if (value.type() == Type::decimal128)
        return evaluation.arena().make(bson::round(value.as_decimal128(), 0, rounding));
    return value;
}
Result<Value> ceiling(Evaluation& evaluation, Args args) {
    return to_integral(evaluation, args[0], "$ceil", std::ceil, bson::Rounding::ceiling);
}
Result<Value> floor(Evaluation& evaluation, Args args) {
    return to_integral(evaluation, args[0], "$floor", std::floor, bson::Rounding::floor);
}

/// Rounds an integer to a multiple of 10^places.
WideInt round_integer(std::int64_t value, int places, bson::Rounding rounding) {
    WideInt unit = 1;
    for (int i = 0; i < places; ++i)
        unit *= 10;
    const WideInt rest = value % unit;
    WideInt result = value - rest;
    if (rounding == bson::Rounding::toward_zero) return result;
    const WideInt twice = (rest < 0 ? -rest : rest) * 2;
    const bool is_odd = (result / unit) % 2 != 0;
    if (twice > unit || (twice == unit && is_odd)) result += rest < 0 ? -unit : unit;
    return result;
}

Result<Value> round_to(Evaluation& evaluation,
                       Args args,
                       std::string_view name,
                       bson::Rounding rounding) {
    const Value& value = args[0];
    if (has_nullish(args)) return null();
    if (!value.is_number()) return only_numbers(name, value, 51081);
    int places = 0;
    if (args.size() == 2) {
        if (!args[1].is_number() || !args[1].is_integral())
            return failure(51082,
                           fmt::format("precision argument to  {} must be a integral value", name));
        const std::int64_t number = args[1].to_int64();
        if (number < -20 || number > 100)
            return failure(51083,
                           fmt::format("cannot apply {} with precision value {} value must "
                                       "be in [-20, 100]",
                                       name,
                                       number));
        places = static_cast<int>(number);
    }
    Arena& arena = evaluation.arena();
    switch (value.type()) {
        case Type::decimal128:
            return arena.make(bson::round(value.as_decimal128(), places, rounding));
        case Type::number_double: {
            const double number = value.as_double();
            if (!std::isfinite(number)) return value;
            if (places == 0)
                return arena.make(rounding == bson::Rounding::half_even ? std::nearbyint(number)
                                                                        : std::trunc(number));
            return arena.make(
                bson::to_double(bson::round(bson::decimal_from(number), places, rounding)));
        }
        default:
            if (places >= 0) return value;
            return make_integer(
                arena, round_integer(value.to_int64(), -places, rounding), value.type());
    }
}
Result<Value> round_half_even(Evaluation& evaluation, Args args) {
    return round_to(evaluation, args, "$round", bson::Rounding::half_even);
}
Result<Value> truncate(Evaluation& evaluation, Args args) {
    return round_to(evaluation, args, "$trunc", bson::Rounding::toward_zero);
}

Result<Value> exponential(Evaluation& evaluation, Args args) {
    const Value& value = args[0];
    if (value.is_nullish()) return null();
    if (!value.is_number()) return only_numbers("$exp", value);
    if (value.type() == Type::decimal128)
        return evaluation.arena().make(bson::exponential(value.as_decimal128()));
    return evaluation.arena().make(std::exp(value.to_double()));
}

/// Whether a number is above zero or NaN.
bool is_positive(const Value& value) {
    if (value.type() == Type::decimal128) {
        const bson::Decimal128 number = value.as_decimal128();
        return bson::is_nan(number) || (!bson::is_negative(number) && !bson::is_zero(number));
    }
    const double number = value.to_double();
    return std::isnan(number) || number > 0;
}
std::string number_text(const Value& value) {
    if (value.type() == Type::decimal128) return bson::to_string(value.as_decimal128());
    if (value.type() == Type::number_double) return fmt::format("{:g}", value.as_double());
    return std::to_string(value.to_int64());
}

Result<Value> natural_logarithm(Evaluation& evaluation, Args args) {
    const Value& value = args[0];
    if (value.is_nullish()) return null();
    if (!value.is_number()) return only_numbers("$ln", value);
    if (!is_positive(value))
        return failure(
            28766,
            fmt::format("$ln's argument must be a positive number, but is {}", number_text(value)));
    if (value.type() == Type::decimal128)
        return evaluation.arena().make(bson::natural_logarithm(value.as_decimal128()));
    return evaluation.arena().make(std::log(value.to_double()));
}

Result<Value> logarithm10(Evaluation& evaluation, Args args) {
    const Value& value = args[0];
    if (value.is_nullish()) return null();
    if (!value.is_number()) return only_numbers("$log10", value);
    if (!is_positive(value))
        return failure(28761,
                       fmt::format("$log10's argument must be a positive number, but is {}",
                                   number_text(value)));
    if (value.type() == Type::decimal128)
        return evaluation.arena().make(bson::logarithm10(value.as_decimal128()));
    return evaluation.arena().make(std::log10(value.to_double()));
}

Result<Value> logarithm(Evaluation& evaluation, Args args) {
    const Value& value = args[0];
    const Value& base = args[1];
    if (has_nullish(args)) return null();
    if (!value.is_number())
        return failure(28756,
                       fmt::format("$log's argument must be numeric, not {}", type_text(value)));
    if (!base.is_number())
        return failure(28757, fmt::format("$log's base must be numeric, not {}", type_text(base)));
    if (!is_positive(value))
        return failure(28758,
                       fmt::format("$log's argument must be a positive number, but is {}",
                                   number_text(value)));
    if (!is_positive(base) || base.to_double() == 1)
        return failure(28759,
                       fmt::format("$log's base must be a positive number not equal to 1, "
                                   "but is {}",
                                   number_text(base)));
    if (widest(value.type(), base.type()) == Type::decimal128)
        return evaluation.arena().make(bson::divide(bson::natural_logarithm(as_decimal(value)),
                                                    bson::natural_logarithm(as_decimal(base))));
    return evaluation.arena().make(std::log(value.to_double()) / std::log(base.to_double()));
}

/// base^exponent when it is a long, for an exponent >= 0.
bool integer_power(std::int64_t base, std::int64_t exponent, std::int64_t& result) {
    result = 1;
    if (base == 0 || base == 1 || base == -1) {
        if (exponent > 0) result = base == -1 && exponent % 2 == 0 ? 1 : base;
        return true;
    }
    if (exponent > 63) return false;
    for (std::int64_t i = 0; i < exponent; ++i)
        if (__builtin_mul_overflow(result, base, &result)) return false;
    return true;
}

Result<Value> power(Evaluation& evaluation, Args args) {
    const Value& base = args[0];
    const Value& exponent = args[1];
    if (has_nullish(args)) return null();
    if (!base.is_number())
        return failure(28762, fmt::format("$pow's base must be numeric, not {}", type_text(base)));
    if (!exponent.is_number())
        return failure(28763,
                       fmt::format("$pow's exponent must be numeric, not {}", type_text(exponent)));
    Arena& arena = evaluation.arena();
    if (base.to_double() == 0 && exponent.to_double() < 0)
        return failure(28764, "$pow cannot take a base of 0 and a negative exponent");
    const Type type = widest(base.type(), exponent.type());
    if (type == Type::decimal128)
        return arena.make(bson::power(as_decimal(base), as_decimal(exponent)));
    if (type == Type::number_double)
        return arena.make(std::pow(base.to_double(), exponent.to_double()));
    std::int64_t from = base.to_int64();
    std::int64_t to = exponent.to_int64();
    if (to < 0 && (from == 1 || from == -1)) to = -to;
    std::int64_t result = 0;
    if (to >= 0 && integer_power(from, to, result)) return make_integer(arena, result, type);
    return arena.make(std::pow(base.to_double(), exponent.to_double()));
}

Result<Value> square_root(Evaluation& evaluation, Args args) {
    const Value& value = args[0];
    if (value.is_nullish()) return null();
    if (!value.is_number()) return only_numbers("$sqrt", value);
    const Error too_small = failure(28714, "$sqrt's argument must be greater than or equal to 0");
    if (value.type() == Type::decimal128) {
        const bson::Decimal128 number = value.as_decimal128();
        if (bson::is_negative(number) && !bson::is_zero(number) && !bson::is_nan(number))
            return too_small;
        return evaluation.arena().make(bson::square_root(number));
    }
    if (value.to_double() < 0) return too_small;
    return evaluation.arena().make(std::sqrt(value.to_double()));
}

template <class Operation>
Result<Value> bits(Evaluation& evaluation,
                   Args args,
                   std::string_view name,
                   std::int64_t start,
                   Operation operation) {
    std::int64_t result = start;
    Type type = Type::int32;
    for (const Value& arg : args) {
        if (arg.is_nullish()) return null();
        if (arg.type() != Type::int32 && arg.type() != Type::int64)
            return Error(ErrorCode::type_mismatch,
                         fmt::format("{} only supports int and long operands.", name));
        type = widest(type, arg.type());
        result = operation(result, arg.to_int64());
    }
    return make_integer(evaluation.arena(), result, type);
}
Result<Value> bit_and(Evaluation& evaluation, Args args) {
    return bits(evaluation, args, "$bitAnd", -1, [](auto a, auto b) { return a & b; });
}
Result<Value> bit_or(Evaluation& evaluation, Args args) {
    return bits(evaluation, args, "$bitOr", 0, [](auto a, auto b) { return a | b; });
}
Result<Value> bit_xor(Evaluation& evaluation, Args args) {
    return bits(evaluation, args, "$bitXor", 0, [](auto a, auto b) { return a ^ b; });
}
Result<Value> bit_not(Evaluation& evaluation, Args args) {
    const Value& value = args[0];
    if (value.is_nullish()) return null();
    if (value.type() != Type::int32 && value.type() != Type::int64)
        return failure(
            28765, fmt::format("$bitNot only supports int and long, not: {}.", type_text(value)));
    return make_integer(evaluation.arena(), ~value.to_int64(), value.type());
}

constexpr Function functions[] = {
    {"$add", 0, -1, add},          {"$subtract", 2, 2, subtract}, {"$multiply", 0, -1, multiply},
    {"$divide", 2, 2, divide},     {"$mod", 2, 2, modulo},        {"$abs", 1, 1, absolute},
    {"$ceil", 1, 1, ceiling},      {"$floor", 1, 1, floor},       {"$round", 1, 2, round_half_even},
    {"$trunc", 1, 2, truncate},    {"$exp", 1, 1, exponential},   {"$ln", 1, 1, natural_logarithm},
    {"$log10", 1, 1, logarithm10}, {"$log", 2, 2, logarithm},     {"$pow", 2, 2, power},
    {"$sqrt", 1, 1, square_root},  {"$bitAnd", 0, -1, bit_and},   {"$bitOr", 0, -1, bit_or},
    {"$bitXor", 0, -1, bit_xor},   {"$bitNot", 1, 1, bit_not},
};

class RandomNode final : public Node {
public:
    Result<Value> evaluate(Evaluation& evaluation) const override {
        return evaluation.arena().make(evaluation.random().fraction());
    }
};

Result<NodePtr> parse_random(Parser&, std::string_view, const Value& argument) {
    if (!(argument.is_object() || argument.is_array()) || !argument.as_view().is_empty())
        return failure(3040501, "$rand does not currently accept arguments");
    return NodePtr(std::make_unique<RandomNode>());
}

constexpr Form forms[] = {{"$rand", parse_random}};

}  // namespace

OperatorTable arithmetic_operators() {
    return {functions, {}, forms};
}

}  // namespace tessera::query::expression
