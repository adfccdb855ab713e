// SPDX-License-Identifier: Apache-2.0
//
// The operators on single values: $set, $inc, $mul, $min, $max, $bit, $currentDate, $rename.
#include <fmt/format.h>

#include "bson/compare.h"
#include "bson/json.h"
#include "bson/validate.h"
#include "query/update/messages.h"
#include "query/update/numeric.h"
#include "query/update/tree.h"

namespace tessera::query {

using bson::Type;
using bson::Value;

namespace {

Error bad_value(std::string reason) {
    return {ErrorCode::bad_value, std::move(reason)};
}

Outcome set(const Value& value, const Value& old) {
    if (old.type() == value.type() && old.bytes() == value.bytes()) return {};
    return {Outcome::Kind::set, value, nullptr};
}

Result<Outcome> run_arithmetic(const Modifier& modifier,
                               const Value& old,
                               const std::string& field,
                               const ModifierContext& context) {
    const bool is_sum = modifier.kind == ModifierKind::increment;
    if (old.is_missing()) {
        if (is_sum) return set(modifier.operand, old);
        // A product with an absent field is a zero of the operand's type.
        switch (modifier.operand.type()) {
            case Type::int32:
                return set(context.arena->make(std::int32_t{0}), old);
            case Type::int64:
                return set(context.arena->make(std::int64_t{0}), old);
            case Type::number_double:
                return set(context.arena->make(0.0), old);
            default:
                return set(
                    *multiply(
                        context.arena->make(std::int32_t{0}), modifier.operand, *context.arena),
                    old);
        }
    }
    if (!old.is_number()) {
        return Error(ErrorCode::type_mismatch,
                     fmt::format("Cannot apply {} to a value of non-numeric type. {} has the field "
                                 "'{}' of non-numeric type {}",
                                 name_of(modifier.kind),
                                 show_id(context.document),
                                 field,
                                 bson::type_name(old.type())));
    }
    const auto result = is_sum ? add(old, modifier.operand, *context.arena)
                               : multiply(old, modifier.operand, *context.arena);
    if (!result) {
        return bad_value(
            fmt::format("Failed to apply {} operations to current value (({}){}) for document {}",
                        name_of(modifier.kind),
                        old.type() == Type::int64 ? "NumberLong" : "NumberInt",
                        old.to_int64(),
                        show_id(context.document)));
    }
    return set(*result, old);
}

Result<Outcome> run_bit(const Modifier& modifier,
                        const Value& old,
                        const std::string& field,
                        const ModifierContext& context) {
    Value current = old;
    if (old.is_missing()) current = context.arena->make(std::int32_t{0});
    if (current.type() != Type::int32 && current.type() != Type::int64) {
        return bad_value(
            fmt::format("Cannot apply $bit to a value of non-integral type.{} has the "
                        "field {} of non-integer type {}",
                        show_id(context.document, false),
                        field,
                        bson::type_name(old.type())));
    }
    bool is_wide = current.type() == Type::int64;
    std::int64_t number = current.to_int64();
    for (const auto& step : modifier.operand.as_view()) {
        is_wide = is_wide || step.value.type() == Type::int64;
        const std::int64_t operand = step.value.to_int64();
        if (step.name == "and") number &= operand;
        if (step.name == "or") number |= operand;
        if (step.name == "xor") number ^= operand;
    }
    if (is_wide) return set(context.arena->make(number), old);
    return set(context.arena->make(static_cast<std::int32_t>(number)), old);
}

// The source of a $rename, in the document before the update. Neither end may stand in an array.
Result<Outcome> run_rename(const Modifier& modifier,
                           const Value& old,
                           const ModifierContext& context) {
    Value at = context.document.as_object_value();
    std::string_view holder;
    for (const auto& part : modifier.source.parts()) {
        if (at.is_array()) {
            return bad_value(fmt::format(
                "The source field cannot be an array element, '{}' in doc with {} has an array "
                "field called '{}'",
                modifier.source.dotted(),
                show_id(context.document, false),
                holder));
        }
        if (!at.is_object()) return Outcome{};
        at = at.as_view()[part.name];
        holder = part.name;
    }
    if (at.is_missing()) return Outcome{};
    TRY_OK(check_nesting(at, modifier.depth));
    return set(at, old);
}

}  // namespace

std::string show_element(std::string_view name, const Value& value) {
    return fmt::format("{{{}: {}}}", name, bson::to_json(value, bson::JsonMode::message));
}

std::string show_id(bson::View document, bool has_braces) {
    const Value id = document["_id"];
    const std::string text =
        id.is_missing() ? std::string("no id")
                        : fmt::format("_id: {}", bson::to_json(id, bson::JsonMode::message));
    return has_braces ? fmt::format("{{{}}}", text) : text;
}

Status check_nesting(const Value& value, std::size_t levels) {
    if (levels > static_cast<std::size_t>(bson::nesting_max)) {
        return Error(
            ErrorCode::overflow,
            fmt::format("Document exceeds maximum nesting depth of {}", bson::nesting_max));
    }
    if (!value.is_object() && !value.is_array()) return {};
    for (const auto& element : value.as_view())
        TRY_OK(check_nesting(element.value, levels + 1));
    return {};
}

Result<Outcome> run_modifier(const Modifier& modifier,
                             const Value& old,
                             const std::string& field,
                             const ModifierContext& context) {
    switch (modifier.kind) {
        case ModifierKind::set:
            return set(modifier.operand, old);
        case ModifierKind::set_on_insert:
            if (!context.is_insert) return Outcome{};
            return set(modifier.operand, old);
        case ModifierKind::unset:
            if (old.is_missing()) return Outcome{};
            return Outcome{Outcome::Kind::remove, {}, nullptr};
        case ModifierKind::increment:
        case ModifierKind::multiply:
            return run_arithmetic(modifier, old, field, context);
        case ModifierKind::minimum:
            if (!old.is_missing() && bson::compare(modifier.operand, old) >= 0) return Outcome{};
            return set(modifier.operand, old);
        case ModifierKind::maximum:
            if (!old.is_missing() && bson::compare(modifier.operand, old) <= 0) return Outcome{};
            return set(modifier.operand, old);
        case ModifierKind::current_date:
            return set(context.arena->make(context.now), old);
        case ModifierKind::current_timestamp:
            return set(context.arena->make(context.timestamp), old);
        case ModifierKind::rename_to:
            return run_rename(modifier, old, context);
        case ModifierKind::bit:
            return run_bit(modifier, old, field, context);
        default:
            return run_array_modifier(modifier, old, field, context);
    }
}

}  // namespace tessera::query
