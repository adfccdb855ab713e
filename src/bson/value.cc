// SPDX-License-Identifier: Apache-2.0
#include "bson/value.h"

#include <cmath>
#include <limits>

#include "bson/decimal.h"
#include "bson/view.h"

namespace tessera::bson {
namespace {

constexpr char hex_digits[] = "0123456789abcdef";

void append_hex(std::string& out, std::uint8_t byte) {
    out += hex_digits[byte >> 4];
    out += hex_digits[byte & 0xf];
}

std::int32_t load_int32(const char* data) {
    std::int32_t result;
    std::memcpy(&result, data, sizeof(result));
    return result;
}

// Size of: int32 length, then `length` bytes the last of which is NUL; -1 when it does not fit.
std::int64_t string_size(const char* data, std::size_t available) {
    if (available < 5) return -1;
    const std::int32_t length = load_int32(data);
    if (length < 1 || static_cast<std::size_t>(length) > available - 4) return -1;
    return data[4 + length - 1] == '\0' ? 4 + std::int64_t{length} : -1;
}

std::int64_t document_size(const char* data, std::size_t available) {
    if (available < 5) return -1;
    const std::int32_t length = load_int32(data);
    if (length < 5 || static_cast<std::size_t>(length) > available) return -1;
    return data[length - 1] == '\0' ? length : -1;
}

std::int64_t fixed(std::size_t size, std::size_t available) {
    return size <= available ? static_cast<std::int64_t>(size) : -1;
}

// Two C strings one after the other.
std::int64_t regex_size(const char* data, std::size_t available) {
    const void* const first = std::memchr(data, 0, available);
    if (first == nullptr) return -1;
    const auto used = static_cast<std::size_t>(static_cast<const char*>(first) - data) + 1;
    const void* const second = std::memchr(data + used, 0, available - used);
    if (second == nullptr) return -1;
    return static_cast<const char*>(second) - data + 1;
}

std::int64_t binary_size(const char* data, std::size_t available) {
    if (available < 5) return -1;
    const std::int32_t length = load_int32(data);
    if (length < 0 || static_cast<std::size_t>(length) > available - 5) return -1;
    if (static_cast<BinarySubtype>(data[4]) == BinarySubtype::old_binary &&
        (length < 4 || load_int32(data + 5) != length - 4))
        return -1;
    return 5 + std::int64_t{length};
}

std::int64_t code_with_scope_size(const char* data, std::size_t available) {
    if (available < 4) return -1;
    const std::int32_t length = load_int32(data);
    if (length < 14 || static_cast<std::size_t>(length) > available) return -1;
    const auto inner = static_cast<std::size_t>(length) - 4;
    const std::int64_t code = string_size(data + 4, inner);
    if (code < 0) return -1;
    const std::int64_t scope =
        document_size(data + 4 + code, inner - static_cast<std::size_t>(code));
    return scope >= 0 && 4 + code + scope == length ? length : -1;
}

std::int64_t db_pointer_size(const char* data, std::size_t available) {
    const std::int64_t text = string_size(data, available);
    if (text < 0) return -1;
    return fixed(static_cast<std::size_t>(text) + 12, available);
}

}  // namespace

std::int64_t value_size(Type type, const char* data, std::size_t available) {
    switch (type) {
        case Type::number_double:
        case Type::date:
        case Type::timestamp:
        case Type::int64:
            return fixed(8, available);
        case Type::int32:
            return fixed(4, available);
        case Type::boolean:
            return fixed(1, available);
        case Type::object_id:
            return fixed(12, available);
        case Type::decimal128:
            return fixed(16, available);
        case Type::undefined:
        case Type::null:
        case Type::min_key:
        case Type::max_key:
            return 0;
        case Type::string:
        case Type::code:
        case Type::symbol:
            return string_size(data, available);
        case Type::object:
        case Type::array:
            return document_size(data, available);
        case Type::binary:
            return binary_size(data, available);
        case Type::regex:
            return regex_size(data, available);
        case Type::db_pointer:
            return db_pointer_size(data, available);
        case Type::code_with_scope:
            return code_with_scope_size(data, available);
        case Type::missing:
            break;
    }
    return -1;
}

std::string_view type_name(Type type) {
    switch (type) {
        case Type::missing: return "missing";
        case Type::number_double: return "double";
        case Type::string: return "string";
        case Type::object: return "object";
        case Type::array: return "array";
        case Type::binary: return "binData";
        case Type::undefined: return "undefined";
        case Type::object_id: return "objectId";
        case Type::boolean: return "bool";
        case Type::date: return "date";
        case Type::null: return "null";
        case Type::regex: return "regex";
        case Type::db_pointer: return "dbPointer";
        case Type::code: return "javascript";
        case Type::symbol: return "symbol";
        case Type::code_with_scope: return "javascriptWithScope";
        case Type::int32: return "int";
        case Type::timestamp: return "timestamp";
        case Type::int64: return "long";
        case Type::decimal128: return "decimal";
        case Type::max_key: return "maxKey";
        case Type::min_key: return "minKey";
    }
    return "unknown";
}

std::string ObjectId::to_hex() const {
    std::string out;
    for (const std::uint8_t byte : bytes) append_hex(out, byte);
    return out;
}

std::string Uuid::to_string() const {
    std::string out;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        if (i == 4 || i == 6 || i == 8 || i == 10) out += '-';
        append_hex(out, bytes[i]);
    }
    return out;
}

Binary Value::as_binary() const {
    return {static_cast<BinarySubtype>(data_[4]), {data_ + 5, size_ - 5}};
}

Regex Value::as_regex() const {
    const std::string_view pattern(data_);
    return {pattern, std::string_view(data_ + pattern.size() + 1)};
}

View Value::as_view() const { return View(data_); }

std::string_view Value::as_scope_code() const {
    return {data_ + 8, static_cast<std::size_t>(load<std::int32_t>(4)) - 1};
}

View Value::as_scope() const {
    return View(data_ + 8 + static_cast<std::size_t>(load<std::int32_t>(4)));
}

bool Value::is_truthy() const {
    switch (type_) {
        case Type::missing:
        case Type::null:
        case Type::undefined:
            return false;
        case Type::boolean:
            return as_bool();
        case Type::int32:
            return as_int32() != 0;
        case Type::int64:
            return as_int64() != 0;
        case Type::number_double:
            return as_double() != 0;
        case Type::decimal128:
            return !is_zero(as_decimal128());
        default:
            return true;
    }
}

double Value::to_double() const {
    switch (type_) {
        case Type::int32: return as_int32();
        case Type::int64: return static_cast<double>(as_int64());
        case Type::number_double: return as_double();
        case Type::decimal128: return bson::to_double(as_decimal128());
        default: return 0;
    }
}

std::int64_t Value::to_int64() const {
    switch (type_) {
        case Type::int32: return as_int32();
        case Type::int64: return as_int64();
        case Type::number_double: {
            const double value = as_double();
            if (std::isnan(value)) return 0;
            if (value >= 0x1p63) return std::numeric_limits<std::int64_t>::max();
            if (value < -0x1p63) return std::numeric_limits<std::int64_t>::min();
            return static_cast<std::int64_t>(value);
        }
        case Type::decimal128: return bson::to_int64(as_decimal128());
        default: return 0;
    }
}

bool Value::is_integral() const {
    switch (type_) {
        case Type::int32:
        case Type::int64:
            return true;
        case Type::number_double: {
            const double value = as_double();
            return value >= -0x1p63 && value < 0x1p63 && value == std::trunc(value);
        }
        case Type::decimal128:
            return is_int64(as_decimal128());
        default:
            return false;
    }
}

}  // namespace tessera::bson
