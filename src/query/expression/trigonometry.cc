// SPDX-License-Identifier: Apache-2.0
//
// $sin, $cos, ... Decimals are refused by name: decimal128 has no such functions in bson/decimal.h,
// and a double's 15 digits would not be the exact answer.
#include <cmath>
#include <limits>
#include <numbers>

#include <fmt/format.h>

#include "query/expression/node.h"

namespace tessera::query::expression {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// The function on doubles and the interval it takes.
struct Domain {
    std::string_view name;
    double (*function)(double);
    double low;
    double high;
    bool includes_bounds;
};

Result<Value> apply(Evaluation& evaluation, const Value& value, const Domain& domain) {
    if (value.is_nullish()) return null();
    if (!value.is_number())
        return failure(
            28765,
            fmt::format("{} only supports numeric types, not {}", domain.name, type_text(value)));
    if (value.type() == Type::decimal128)
        return Error(ErrorCode::not_implemented,
                     fmt::format("{} of a decimal is not supported", domain.name));
    const double number = value.to_double();
    const bool is_inside = domain.includes_bounds ? number >= domain.low && number <= domain.high
                                                  : number > domain.low && number < domain.high;
    if (!std::isnan(number) && !is_inside)
        return failure(50989,
                       fmt::format("cannot apply {} to {:g}, value must be in {}{:g},{:g}{}",
                                   domain.name,
                                   number,
                                   domain.includes_bounds ? '[' : '(',
                                   domain.low,
                                   domain.high,
                                   domain.includes_bounds ? ']' : ')'));
    return evaluation.arena().make(domain.function(number));
}

double to_radians(double degrees) {
    return degrees * (std::numbers::pi / 180);
}
double to_degrees(double radians) {
    return radians * (180 / std::numbers::pi);
}

#define TRIGONOMETRY(identifier, operator_name, function, low, high, includes)             \
    Result<Value> identifier(Evaluation& evaluation, Args args) {                          \
        return apply(evaluation, args[0], {operator_name, function, low, high, includes}); \
    }
TRIGONOMETRY(sine, "$sin", std::sin, -infinity, infinity, false)
TRIGONOMETRY(cosine, "$cos", std::cos, -infinity, infinity, false)
TRIGONOMETRY(tangent, "$tan", std::tan, -infinity, infinity, false)
TRIGONOMETRY(arc_sine, "$asin", std::asin, -1, 1, true)
TRIGONOMETRY(arc_cosine, "$acos", std::acos, -1, 1, true)
TRIGONOMETRY(arc_tangent, "$atan", std::atan, -infinity, infinity, true)
TRIGONOMETRY(hyperbolic_sine, "$sinh", std::sinh, -infinity, infinity, true)
TRIGONOMETRY(hyperbolic_cosine, "$cosh", std::cosh, -infinity, infinity, true)
TRIGONOMETRY(hyperbolic_tangent, "$tanh", std::tanh, -infinity, infinity, true)
TRIGONOMETRY(inverse_hyperbolic_sine, "$asinh", std::asinh, -infinity, infinity, true)
TRIGONOMETRY(inverse_hyperbolic_cosine, "$acosh", std::acosh, 1, infinity, true)
TRIGONOMETRY(inverse_hyperbolic_tangent, "$atanh", std::atanh, -1, 1, true)
TRIGONOMETRY(radians, "$degreesToRadians", to_radians, -infinity, infinity, true)
TRIGONOMETRY(degrees, "$radiansToDegrees", to_degrees, -infinity, infinity, true)
#undef TRIGONOMETRY

Result<Value> arc_tangent2(Evaluation& evaluation, Args args) {
    for (std::size_t i = 0; i < 2; ++i) {
        if (args[i].is_nullish()) return null();
        if (!args[i].is_number())
            return failure(
                51044 + static_cast<int>(i),
                fmt::format("$atan2 only supports numeric types, not {}", type_text(args[i])));
        if (args[i].type() == Type::decimal128)
            return Error(ErrorCode::not_implemented, "$atan2 of a decimal is not supported");
    }
    return evaluation.arena().make(std::atan2(args[0].to_double(), args[1].to_double()));
}

double sigmoid_of(double x) {
    return 1 / (1 + std::exp(-x));
}
Result<Value> sigmoid(Evaluation& evaluation, Args args) {
    return apply(evaluation, args[0], {"$sigmoid", sigmoid_of, -infinity, infinity, true});
}

constexpr Function functions[] = {
    {"$sin", 1, 1, sine},
    {"$cos", 1, 1, cosine},
    {"$tan", 1, 1, tangent},
    {"$asin", 1, 1, arc_sine},
    {"$acos", 1, 1, arc_cosine},
    {"$atan", 1, 1, arc_tangent},
    {"$atan2", 2, 2, arc_tangent2},
    {"$sinh", 1, 1, hyperbolic_sine},
    {"$cosh", 1, 1, hyperbolic_cosine},
    {"$tanh", 1, 1, hyperbolic_tangent},
    {"$asinh", 1, 1, inverse_hyperbolic_sine},
    {"$acosh", 1, 1, inverse_hyperbolic_cosine},
    {"$atanh", 1, 1, inverse_hyperbolic_tangent},
    {"$degreesToRadians", 1, 1, radians},
    {"$radiansToDegrees", 1, 1, degrees},
    {"$sigmoid", 1, 1, sigmoid},
};

}  // namespace

OperatorTable trigonometry_operators() {
    return {functions, {}, {}};
}

}  // namespace tessera::query::expression
