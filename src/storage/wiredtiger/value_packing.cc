// SPDX-License-Identifier: Apache-2.0
#include "storage/wiredtiger/value_packing.h"

#include <cstring>

#include <snappy.h>

#include "storage/limits.h"

namespace tessera::storage::wiredtiger {
namespace {

// The length no BSON document has, so that hardly a value begins with it by chance.
constexpr std::string_view mark = "\xff\xff\xff\xff";

}  // namespace

std::string_view pack_value(std::string_view value, Scratch& scratch) {
    const bool must = value.starts_with(mark);
    if (value.size() < limits::packed_value_bytes_min && !must) [[likely]]
        return value;
    char* const out = scratch.take(mark.size() + snappy::MaxCompressedLength(value.size()));
    std::memcpy(out, mark.data(), mark.size());
    std::size_t size = 0;
    snappy::RawCompress(value.data(), value.size(), out + mark.size(), &size);
    size += mark.size();
    // Unpacking is to be worth it: a quarter less, at least.
    if (size > value.size() / 4 * 3 && !must) return value;
    return {out, size};
}

Result<std::string_view> unpack_value(std::string_view stored, Scratch& scratch) {
    if (!stored.starts_with(mark)) [[likely]]
        return stored;
    const std::string_view packed = stored.substr(mark.size());
    std::size_t size = 0;
    // The length is checked before memory is taken for it: snappy's best is 64 bytes for 3.
    if (snappy::GetUncompressedLength(packed.data(), packed.size(), &size) &&
        size <= packed.size() * 32) {
        char* const out = scratch.take(size);
        if (snappy::RawUncompress(packed.data(), packed.size(), out)) {
            return std::string_view(out, size);
        }
    }
    return Error(ErrorCode::internal_error, "A packed value is damaged");
}

}  // namespace tessera::storage::wiredtiger
