// SPDX-License-Identifier: Apache-2.0
//
// The bytes that are hashed are gathered first: values are small, and MD5 then runs once.
#include "bson/hashed.h"

#include <cstring>
#include <string>

#include <openssl/evp.h>

#include "base/assert.h"
#include "bson/compare.h"

namespace tessera::bson {
namespace {

template <class T>
void append_raw(std::string& out, T value) {
    out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void append_type(std::string& out, Type type) {
    append_raw(out, static_cast<std::int32_t>(canonical_type(type)));
}

void append_payload(std::string& out, const Value& value);

void append_fields(std::string& out, View view) {
    for (const Element& element : view) {
        append_type(out, element.value.type());
        out.append(element.name);
        out.push_back('\0');
        append_payload(out, element.value);
    }
    append_type(out, Type::missing);  // The end-of-object element: type alone.
}

void append_payload(std::string& out, const Value& value) {
    switch (value.type()) {
        case Type::int32:
        case Type::int64:
        case Type::number_double:
        case Type::decimal128:
            append_raw(out, value.to_int64());
            return;
        case Type::object:
        case Type::array:
            append_fields(out, value.as_view());
            return;
        case Type::code_with_scope:
            out.append(value.as_scope_code());
            out.push_back('\0');
            append_fields(out, value.as_scope());
            return;
        default:
            out.append(value.bytes());
            return;
    }
}

}  // namespace

std::int64_t shard_hash(const Value& value) {
    std::string bytes;
    append_raw(bytes, std::int32_t{0});  // Seed.
    append_type(bytes, value.is_missing() ? Type::null : value.type());
    append_payload(bytes, value);
    unsigned char digest[EVP_MAX_MD_SIZE];
    const int done = EVP_Digest(bytes.data(), bytes.size(), digest, nullptr, EVP_md5(), nullptr);
    ASSERT(done == 1);
    std::int64_t result;
    std::memcpy(&result, digest, sizeof(result));
    return result;
}

}  // namespace tessera::bson
