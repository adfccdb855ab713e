// SPDX-License-Identifier: Apache-2.0
#include "bson/view.h"

namespace tessera::bson {

namespace {

std::uint32_t length_at(const char* data) {
    std::uint32_t length;
    std::memcpy(&length, data, sizeof(length));
    return length;
}

/// The size of a value of a document that is known to be valid. Looks at the value's beginning
/// only: its end may lie in memory nobody needs.
inline std::uint32_t size_of_valid(Type type, const char* data) {
    switch (type) {
        case Type::int32:
            return 4;
        case Type::number_double:
        case Type::date:
        case Type::timestamp:
        case Type::int64:
            return 8;
        case Type::boolean:
            return 1;
        case Type::object_id:
            return 12;
        case Type::string:
        case Type::code:
        case Type::symbol:
            return 4 + length_at(data);
        case Type::object:
        case Type::array:
            return length_at(data);
        case Type::binary:
            return 5 + length_at(data);
        default:
            return static_cast<std::uint32_t>(value_size(type, data, std::size_t{1} << 31));
    }
}

}  // namespace

void View::Iterator::read() {
    const auto type = static_cast<Type>(static_cast<std::uint8_t>(*at_));
    if (type == Type::missing) {  // The document's closing NUL.
        element_ = {};
        return;
    }
    const char* const name = at_ + 1;
    const std::size_t length = std::strlen(name);
    const char* const data = name + length + 1;
    element_ = {{name, length}, Value(type, data, size_of_valid(type, data))};
}

Value View::operator[](std::string_view name) const {
    // As by the iterator, but of a field that is not the one only its size is read.
    const char* at = data_ + 4;
    while (true) {
        const auto type = static_cast<Type>(static_cast<std::uint8_t>(*at));
        if (type == Type::missing) return {};  // The document's closing NUL.
        const char* const field = at + 1;
        const std::size_t length = std::strlen(field);
        const bool is_wanted =
            length == name.size() && std::memcmp(field, name.data(), length) == 0;
        const char* const data = field + length + 1;
        const std::uint32_t size = size_of_valid(type, data);
        if (is_wanted) return {type, data, size};
        at = data + size;
    }
}

Value View::at_path(std::string_view path) const {
    View view = *this;
    while (true) {
        const std::size_t dot = path.find('.');
        const Value value = view[path.substr(0, dot)];
        if (dot == std::string_view::npos) return value;
        if (!value.is_object()) return {};
        view = value.as_view();
        path.remove_prefix(dot + 1);
    }
}

std::size_t View::count() const {
    std::size_t result = 0;
    for (auto it = begin(); it != end(); ++it) ++result;
    return result;
}

}  // namespace tessera::bson
