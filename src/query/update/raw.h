// SPDX-License-Identifier: Apache-2.0
//
// Writing BSON by hand at the end of a string, where whole runs of elements are copied at once.
#pragma once

#include <charconv>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "bson/view.h"

namespace tessera::query::raw {

/// Opens a document and returns where it starts.
inline std::size_t open(std::string& out) {
    const std::size_t start = out.size();
    out.append(4, '\0');
    return start;
}

inline void close(std::string& out, std::size_t start) {
    out.push_back('\0');
    const auto size = static_cast<std::uint32_t>(out.size() - start);
    std::memcpy(out.data() + start, &size, sizeof size);
}

inline void put_header(std::string& out, bson::Type type, std::string_view name) {
    out.push_back(static_cast<char>(type));
    out.append(name);
    out.push_back('\0');
}

inline void put(std::string& out, std::string_view name, const bson::Value& value) {
    put_header(out, value.type(), name);
    out.append(value.bytes());
}

/// Copies the elements from one position (their type byte) up to another.
inline void copy(std::string& out, const char* from, const char* to) {
    out.append(from, static_cast<std::size_t>(to - from));
}

/// An array element's name.
class IndexName {
public:
    explicit IndexName(std::size_t index) {
        size_ =
            static_cast<std::size_t>(std::to_chars(text_, text_ + sizeof text_, index).ptr - text_);
    }
    // NOLINTNEXTLINE(google-explicit-constructor): a name is text.
    operator std::string_view() const { return {text_, size_}; }

private:
    char text_[20];
    std::size_t size_;
};

}  // namespace tessera::query::raw
