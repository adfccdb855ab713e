// SPDX-License-Identifier: Apache-2.0
//
// $type, $isNumber, $convert and its short forms.
#include "query/expression/convert.h"

#include <array>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "bson/decimal.h"
#include "query/expression/date.h"
#include "query/expression/node.h"
#include "query/expression/number.h"
#include "query/expression/text.h"

namespace tessera::query::expression {

std::string double_to_string(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
    if (value == 0) return std::signbit(value) ? "-0" : "0";
    std::array<char, 40> buffer;
    const double size = std::fabs(value);
    // Between 1e-6 and 1e21 as digits, else with an exponent, as JavaScript prints numbers.
    const auto format =
        size >= 1e-6 && size < 1e21 ? std::chars_format::fixed : std::chars_format::scientific;
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format);
    std::string text(buffer.data(), end.ptr);
    if (format == std::chars_format::scientific) {  // "1e-07" is written "1e-7".
        const std::size_t exponent = text.find('e');
        if (exponent != std::string::npos && text.size() > exponent + 2 &&
            text[exponent + 2] == '0')
            text.erase(exponent + 2, 1);
    }
    return text;
}

namespace {

Error conversion_error(std::string reason) {
    return Error(ErrorCode::conversion_failure, std::move(reason));
}
Error unsupported(const Value& value, Type type) {
    return conversion_error(
        fmt::format("Unsupported conversion from {} to {} in $convert with no "
                    "onError value",
                    type_text(value),
                    bson::type_name(type)));
}
Error parse_error(std::string_view text, std::string_view why) {
    return conversion_error(
        fmt::format("Failed to parse number '{}' in $convert with no onError "
                    "value: {}",
                    text,
                    why));
}
Error overflow(const Value& value) {
    return conversion_error(
        fmt::format("Conversion would overflow target type in $convert with no "
                    "onError value: {}",
                    value.type() == Type::decimal128 ? bson::to_string(value.as_decimal128())
                                                     : double_to_string(value.to_double())));
}

Result<std::int64_t> parse_integer(std::string_view text) {
    std::string_view digits = text;
    if (digits.starts_with('+')) digits.remove_prefix(1);
    std::int64_t result = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), result);
    if (error == std::errc::result_out_of_range) return parse_error(text, "Overflow");
    if (error != std::errc() || (text.size() > 1 && text[0] == '+' && text[1] == '-'))
        return parse_error(text, text.empty() ? "No digits" : "Did not consume any digits");
    if (end != digits.data() + digits.size())
        return parse_error(text, "Did not consume whole string.");
    return result;
}

/// A number (or date) as an integer within [low, high].
Result<std::int64_t> to_integer(const Value& value, std::int64_t low, std::int64_t high) {
    if (value.type() == Type::number_double) {
        const double number = value.as_double();
        if (!std::isfinite(number))
            return conversion_error(
                "Attempt to convert NaN value to integer type in $convert with "
                "no onError value");
        if (number >= 0x1p63 || number < -0x1p63 || std::trunc(number) < static_cast<double>(low) ||
            std::trunc(number) > static_cast<double>(high))
            return overflow(value);
    }
    if (value.type() == Type::decimal128) {
        const bson::Decimal128 number = value.as_decimal128();
        if (bson::is_nan(number) || bson::is_infinite(number))
            return conversion_error(
                "Attempt to convert NaN value to integer type in $convert with "
                "no onError value");
        const bson::Decimal128 whole = bson::round(number, 0, bson::Rounding::toward_zero);
        if (bson::compare(whole, bson::decimal_from(low)) < 0 ||
            bson::compare(whole, bson::decimal_from(high)) > 0)
            return overflow(value);
    }
    const std::int64_t number = value.to_int64();
    if (number < low || number > high) return overflow(value);
    return number;
}

Result<Value> to_integer_type(const Value& value, Type type, Arena& arena) {
    const bool is_int = type == Type::int32;
    const std::int64_t low = is_int ? INT32_MIN : INT64_MIN;
    const std::int64_t high = is_int ? INT32_MAX : INT64_MAX;
    std::int64_t number = 0;
    if (value.is_boolean()) {
        number = value.as_bool() ? 1 : 0;
    } else if (value.is_string()) {
        TRY(number, parse_integer(value.as_string()));
        if (number < low || number > high) return parse_error(value.as_string(), "Overflow");
    } else if (value.is_number()) {
        TRY(number, to_integer(value, low, high));
    } else if (value.type() == Type::date && !is_int) {
        number = value.as_date().milliseconds;
    } else {
        return unsupported(value, type);
    }
    return make_integer(arena, number, type);
}

Result<Value> to_double_type(const Value& value, Arena& arena) {
    if (value.is_boolean()) return arena.make(value.as_bool() ? 1.0 : 0.0);
    if (value.type() == Type::date)
        return arena.make(static_cast<double>(value.as_date().milliseconds));
    if (value.type() == Type::decimal128) {
        const bson::Decimal128 number = value.as_decimal128();
        const double result = bson::to_double(number);
        if (std::isinf(result) && !bson::is_infinite(number)) return overflow(value);
        return arena.make(result);
    }
    if (value.is_number()) return arena.make(value.to_double());
    if (!value.is_string()) return unsupported(value, Type::number_double);
    const std::string_view text = value.as_string();
    std::string_view digits = text;
    if (digits.starts_with('+')) digits.remove_prefix(1);
    double result = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), result);
    if (error == std::errc::result_out_of_range) return parse_error(text, "Out of range");
    if (error != std::errc())
        return parse_error(text, text.empty() ? "Empty string" : "Did not consume whole string.");
    if (end != digits.data() + digits.size())
        return parse_error(text, "Did not consume whole string.");
    return arena.make(result);
}

Result<Value> to_decimal_type(const Value& value, Arena& arena) {
    if (value.is_boolean())
        return arena.make(bson::decimal_from(std::int64_t{value.as_bool() ? 1 : 0}));
    if (value.is_number()) return arena.make(as_decimal(value));
    if (value.type() == Type::date)
        return arena.make(bson::decimal_from(value.as_date().milliseconds));
    if (!value.is_string()) return unsupported(value, Type::decimal128);
    auto parsed = bson::decimal_from(value.as_string());
    if (!parsed) return parse_error(value.as_string(), "Failed to parse string to decimal");
    return arena.make(*parsed);
}

Result<Value> to_date_type(const Value& value, Arena& arena) {
    switch (value.type()) {
        case Type::date:
            return value;
        case Type::timestamp:
        case Type::object_id: {
            TRY(const WallTime date, date_argument(value));
            return arena.make(date);
        }
        case Type::int64:
        case Type::number_double:
        case Type::decimal128: {
            TRY(const std::int64_t number, to_integer(value, INT64_MIN, INT64_MAX));
            return arena.make(WallTime{number});
        }
        case Type::string: {
            TRY(const WallTime date, parse_date(value.as_string(), TimeZone(), false));
            return arena.make(date);
        }
        default:
            return unsupported(value, Type::date);
    }
}

Result<Value> to_string_type(const Value& value, Arena& arena) {
    switch (value.type()) {
        case Type::string:
            return value;
        case Type::boolean:
            return arena.make(std::string_view(value.as_bool() ? "true" : "false"));
        case Type::object_id: {
            const std::string text = value.as_object_id().to_hex();
            return arena.make(std::string_view(text));
        }
        case Type::binary: {
            const bson::Binary binary = value.as_binary();
            if (binary.subtype != bson::BinarySubtype::uuid || binary.bytes.size() != 16)
                return unsupported(value, Type::string);
            bson::Uuid uuid;
            std::memcpy(uuid.bytes.data(), binary.bytes.data(), 16);
            const std::string text = uuid.to_string();
            return arena.make(std::string_view(text));
        }
        default: {
            if (!value.is_number() && value.type() != Type::date)
                return unsupported(value, Type::string);
            TRY(const std::string text, coerce_to_string(value));
            return arena.make(std::string_view(text));
        }
    }
}

Result<Value> to_object_id_type(const Value& value, Arena& arena) {
    if (value.type() == Type::object_id) return value;
    if (!value.is_string()) return unsupported(value, Type::object_id);
    const std::string_view text = value.as_string();
    bson::ObjectId id;
    bool is_good = text.size() == 24;
    for (std::size_t i = 0; is_good && i < id.bytes.size(); ++i) {
        const auto [end, error] =
            std::from_chars(text.data() + 2 * i, text.data() + 2 * i + 2, id.bytes[i], 16);
        is_good = error == std::errc() && end == text.data() + 2 * i + 2;
    }
    if (!is_good)
        return conversion_error(
            fmt::format("Failed to parse objectId '{}' in $convert with no "
                        "onError value: Invalid string length for parsing to "
                        "OID, expected 24 but found {}",
                        text,
                        text.size()));
    return arena.make(id);
}

}  // namespace

Result<Value> convert(const Value& value, Type type, Arena& arena) {
    switch (type) {
        case Type::int32:
        case Type::int64:
            return value.type() == type ? Result<Value>(value)
                                        : to_integer_type(value, type, arena);
        case Type::number_double:
            return to_double_type(value, arena);
        case Type::decimal128:
            return to_decimal_type(value, arena);
        case Type::boolean:
            return value.is_number() || value.is_boolean() ? boolean(value.is_truthy())
                                                           : boolean(true);
        case Type::date:
            return to_date_type(value, arena);
        case Type::string:
            return to_string_type(value, arena);
        case Type::object_id:
            return to_object_id_type(value, arena);
        default:
            return unsupported(value, type);
    }
}

namespace {

template <Type type>
Result<Value> convert_to(Evaluation& evaluation, Args args) {
    if (args[0].is_nullish()) return null();
    return convert(args[0], type, evaluation.arena());
}

Result<Value> type_of(Evaluation& evaluation, Args args) {
    return evaluation.arena().make(bson::type_name(args[0].type()));
}
Result<Value> is_number(Evaluation&, Args args) {
    return boolean(args[0].is_number());
}

constexpr std::array<Type, 21> all_types = {
    Type::number_double, Type::string,     Type::object,  Type::array,      Type::binary,
    Type::undefined,     Type::object_id,  Type::boolean, Type::date,       Type::null,
    Type::regex,         Type::db_pointer, Type::code,    Type::symbol,     Type::code_with_scope,
    Type::int32,         Type::timestamp,  Type::int64,   Type::decimal128, Type::min_key,
    Type::max_key};

Result<Type> target_type(const Value& to) {
    if (to.is_string()) {
        for (const Type type : all_types)
            if (bson::type_name(type) == to.as_string()) return type;
        return Error(ErrorCode::bad_value, fmt::format("Unknown type name: {}", to.as_string()));
    }
    if (!to.is_number())
        return Error(ErrorCode::failed_to_parse,
                     fmt::format("$convert's 'to' argument must be a string or number, but is {}",
                                 type_text(to)));
    if (!to.is_integral())
        return Error(ErrorCode::failed_to_parse,
                     "In $convert, numeric 'to' argument is not an integer");
    for (const Type type : all_types)
        if (static_cast<std::int8_t>(type) == to.to_int64()) return type;
    return Error(ErrorCode::failed_to_parse,
                 fmt::format("In $convert, numeric value for 'to' does not correspond to a BSON "
                             "type: {}",
                             to.to_int64()));
}

class Convert final : public Node {
public:
    NodePtr input;
    NodePtr to;
    NodePtr on_error;
    NodePtr on_null;

    Result<Value> evaluate(Evaluation& evaluation) const override {
        TRY(const Value target, to->evaluate(evaluation));
        TRY(const Value value, input->evaluate(evaluation));
        if (value.is_nullish()) return on_null ? on_null->evaluate(evaluation) : null();
        if (target.is_nullish()) return null();
        TRY(const Type type, target_type(target));
        auto result = convert(value, type, evaluation.arena());
        if (!result && on_error && result.error().code() == ErrorCode::conversion_failure)
            return on_error->evaluate(evaluation);
        return result;
    }
    void add_children(std::vector<NodePtr*>& out) override {
        for (NodePtr* node : {&input, &to, &on_error, &on_null})
            if (*node) out.push_back(node);
    }
    bool is_foldable() const override { return true; }
};

Result<NodePtr> parse_convert(Parser& parser, std::string_view, const Value& argument) {
    if (!argument.is_object())
        return Error(ErrorCode::failed_to_parse,
                     fmt::format("$convert expects an object of named arguments but found: {}",
                                 type_text(argument)));
    auto node = std::make_unique<Convert>();
    for (const auto& element : argument.as_view()) {
        NodePtr* const target = element.name == "input"     ? &node->input
                                : element.name == "to"      ? &node->to
                                : element.name == "onError" ? &node->on_error
                                : element.name == "onNull"  ? &node->on_null
                                                            : nullptr;
        if (!target)
            return Error(ErrorCode::failed_to_parse,
                         fmt::format("$convert found an unknown argument: {}", element.name));
        TRY(*target, parser.operand(element.value));
    }
    if (!node->input)
        return Error(ErrorCode::failed_to_parse, "Missing 'input' parameter to $convert");
    if (!node->to) return Error(ErrorCode::failed_to_parse, "Missing 'to' parameter to $convert");
    return NodePtr(std::move(node));
}

constexpr Function functions[] = {
    {"$type", 1, 1, type_of},
    {"$isNumber", 1, 1, is_number},
    {"$toBool", 1, 1, convert_to<Type::boolean>},
    {"$toDate", 1, 1, convert_to<Type::date>},
    {"$toDecimal", 1, 1, convert_to<Type::decimal128>},
    {"$toDouble", 1, 1, convert_to<Type::number_double>},
    {"$toInt", 1, 1, convert_to<Type::int32>},
    {"$toLong", 1, 1, convert_to<Type::int64>},
    {"$toObjectId", 1, 1, convert_to<Type::object_id>},
    {"$toString", 1, 1, convert_to<Type::string>},
};
constexpr Form forms[] = {{"$convert", parse_convert}};

}  // namespace

OperatorTable conversion_operators() {
    return {functions, {}, forms};
}

}  // namespace tessera::query::expression
