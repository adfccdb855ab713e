// SPDX-License-Identifier: Apache-2.0
#include "query/match/type_set.h"

#include <array>

#include <fmt/format.h>

#include "bson/view.h"

namespace tessera::query {
namespace {

using bson::Type;

constexpr std::array all_types{
    Type::min_key,    Type::number_double, Type::string,    Type::object,
    Type::array,      Type::binary,        Type::undefined, Type::object_id,
    Type::boolean,    Type::date,          Type::null,      Type::regex,
    Type::db_pointer, Type::code,          Type::symbol,    Type::code_with_scope,
    Type::int32,      Type::timestamp,     Type::int64,     Type::decimal128,
    Type::max_key};

Error bad_value(std::string reason) {
    return {ErrorCode::bad_value, std::move(reason)};
}

Status add_one(const bson::Value& operand, std::string_view name, TypeSet& set) {
    if (operand.is_string()) {
        if (set.add_alias(operand.as_string())) return {};
        return bad_value(fmt::format("Unknown type name alias: {}", operand.as_string()));
    }
    if (!operand.is_number()) {
        return Error(ErrorCode::type_mismatch, "type must be represented as a number or a string");
    }
    const std::int64_t code = operand.to_int64();
    if (!operand.is_integral() || code < -1 || code > 127) {
        return bad_value(fmt::format("Invalid numerical type code: {}", operand.to_double()));
    }
    if (code == 0) {
        return bad_value("Invalid numerical type code: 0. Instead use {$exists:false}.");
    }
    const auto wanted = code == -1 ? Type::min_key : static_cast<Type>(code);
    for (const Type type : all_types) {
        if (type != wanted) continue;
        set.add(type);
        return {};
    }
    return bad_value(fmt::format("Invalid numerical type code: {} in {}", code, name));
}

}  // namespace

void TypeSet::add_numbers() {
    add(Type::number_double);
    add(Type::int32);
    add(Type::int64);
    add(Type::decimal128);
}

std::vector<bson::Type> TypeSet::types() const {
    std::vector<bson::Type> result;
    for (const Type type : all_types) {
        if (has(type)) result.push_back(type);
    }
    return result;
}

bool TypeSet::add_alias(std::string_view alias) {
    if (alias == "number") {
        add_numbers();
        return true;
    }
    for (const Type type : all_types) {
        if (bson::type_name(type) != alias) continue;
        add(type);
        return true;
    }
    return false;
}

Result<TypeSet> TypeSet::parse(const bson::Value& operand, std::string_view name) {
    TypeSet set;
    if (!operand.is_array()) {
        TRY_OK(add_one(operand, name, set));
        return set;
    }
    for (const auto& element : operand.as_view()) {
        TRY_OK(add_one(element.value, name, set));
    }
    if (set.is_empty()) {
        return Error(ErrorCode::failed_to_parse,
                     fmt::format("{} must match at least one type", name));
    }
    return set;
}

}  // namespace tessera::query
