// SPDX-License-Identifier: Apache-2.0
#include "bson/view.h"

namespace tessera::bson {

void View::Iterator::read() {
    const auto type = static_cast<Type>(static_cast<std::uint8_t>(*at_));
    if (type == Type::missing) {  // The document's closing NUL.
        element_ = {};
        return;
    }
    const char* const name = at_ + 1;
    const std::size_t length = std::strlen(name);
    const char* const data = name + length + 1;
    // Valid documents only: the sizes were checked when the bytes came in.
    const auto size = value_size(type, data, std::size_t{1} << 31);
    element_ = {{name, length}, Value(type, data, static_cast<std::uint32_t>(size))};
}

Value View::operator[](std::string_view name) const {
    for (const Element& element : *this)
        if (element.name == name) return element.value;
    return {};
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
