// SPDX-License-Identifier: Apache-2.0
#include "bson/arena.h"

#include <algorithm>

namespace tessera::bson {
namespace {
constexpr std::size_t block_bytes_min = 4096;
constexpr std::size_t block_bytes_usual_max = std::size_t{256} * 1024;
constexpr char true_byte = 1;
constexpr char false_byte = 0;
}  // namespace

char* Arena::allocate(std::size_t size) {
    size = (size + 7) & ~std::size_t{7};
    if (size > left_) {
        const std::size_t grown =
            blocks_.empty() ? block_bytes_min
                            : std::min(blocks_.back().size * 2, block_bytes_usual_max);
        const std::size_t block = std::max(size, grown);
        blocks_.push_back({std::make_unique_for_overwrite<char[]>(block), block});
        next_ = blocks_.back().bytes.get();
        left_ = block;
    }
    char* const result = next_;
    next_ += size;
    left_ -= size;
    used_ += size;
    return result;
}

std::string_view Arena::copy(std::string_view bytes) {
    char* const at = allocate(bytes.size());
    if (!bytes.empty()) std::memcpy(at, bytes.data(), bytes.size());
    return {at, bytes.size()};
}

Value Arena::make_text(Type type, std::string_view value) {
    char* const at = allocate(value.size() + 5);
    const auto length = static_cast<std::int32_t>(value.size() + 1);
    std::memcpy(at, &length, sizeof(length));
    if (!value.empty()) std::memcpy(at + 4, value.data(), value.size());
    at[4 + value.size()] = '\0';
    return {type, at, static_cast<std::uint32_t>(value.size() + 5)};
}

Value Arena::make_binary(const Binary& value) {
    char* const at = allocate(value.bytes.size() + 5);
    const auto length = static_cast<std::int32_t>(value.bytes.size());
    std::memcpy(at, &length, sizeof(length));
    at[4] = static_cast<char>(value.subtype);
    if (!value.bytes.empty()) std::memcpy(at + 5, value.bytes.data(), value.bytes.size());
    return {Type::binary, at, static_cast<std::uint32_t>(value.bytes.size() + 5)};
}

Value Arena::make_object(View value) {
    const auto bytes = copy(value.bytes());
    return {Type::object, bytes.data(), static_cast<std::uint32_t>(bytes.size())};
}

Value Arena::make_array(View value) {
    const auto bytes = copy(value.bytes());
    return {Type::array, bytes.data(), static_cast<std::uint32_t>(bytes.size())};
}

Value Arena::copy(const Value& value) {
    const auto bytes = copy(value.bytes());
    return {value.type(), bytes.data(), static_cast<std::uint32_t>(bytes.size())};
}

Value Arena::make_bool(bool value) {
    return {Type::boolean, value ? &true_byte : &false_byte, 1};
}

void Arena::clear() {
    if (blocks_.size() > 1) {
        // The largest block is the last of usual size or a rare huge one; keep the first instead,
        // so that one large document does not pin its memory.
        blocks_.resize(1);
    }
    next_ = blocks_.empty() ? nullptr : blocks_.front().bytes.get();
    left_ = blocks_.empty() ? 0 : blocks_.front().size;
    used_ = 0;
}

}  // namespace tessera::bson
