// SPDX-License-Identifier: Apache-2.0
//
// Walks the bytes once, with an explicit stack, so that hostile nesting cannot exhaust ours.
#include "bson/validate.h"

#include <array>

namespace tessera::bson {
namespace {

Error invalid(const char* why) {
    return Error(ErrorCode::invalid_bson, std::string("invalid BSON: ") + why);
}

}  // namespace

Result<View> validate(std::string_view bytes, int nesting) {
    ASSERT(nesting <= nesting_max);
    if (value_size(Type::object, bytes.data(), bytes.size()) !=
        static_cast<std::int64_t>(bytes.size()))
        return invalid("the length does not match");

    std::array<const char*, nesting_max + 1> ends;  // Where each open document's NUL stands.
    int depth = 0;
    ends[0] = bytes.data() + bytes.size() - 1;
    const char* at = bytes.data() + 4;
    while (true) {
        const char* const end = ends[static_cast<std::size_t>(depth)];
        if (at == end) {
            if (depth-- == 0) return View(bytes.data());
            ++at;
            continue;
        }
        const auto type = static_cast<Type>(static_cast<std::uint8_t>(*at));
        const char* const name = at + 1;
        // At the latest it ends with this document's own NUL.
        const char* const data = name + std::strlen(name) + 1;
        if (data > end) return invalid("a field name has no end");
        const std::int64_t size = value_size(type, data, static_cast<std::size_t>(end - data));
        if (size < 0) return invalid("a value is malformed or of unknown type");
        if (type == Type::boolean && static_cast<std::uint8_t>(*data) > 1)
            return invalid("a boolean is neither 0 nor 1");
        if (type == Type::object || type == Type::array) {
            if (++depth > nesting)
                return Error(ErrorCode::overflow, "BSON document nests too deeply");
            ends[static_cast<std::size_t>(depth)] = data + size - 1;
            at = data + 4;
            continue;
        }
        if (type == Type::code_with_scope) {
            if (depth + 1 > nesting)
                return Error(ErrorCode::overflow, "BSON document nests too deeply");
            const View scope = Value(type, data, static_cast<std::uint32_t>(size)).as_scope();
            // Recursion is bounded by `nesting`, which shrinks by what is used so far.
            const auto valid = validate({scope.data(), scope.size()}, nesting - depth - 1);
            if (!valid) return valid.error();
        }
        at = data + size;
    }
}

}  // namespace tessera::bson
