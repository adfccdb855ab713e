// SPDX-License-Identifier: Apache-2.0
#include "bson/ids.h"

#include <cstring>

namespace tessera::bson {

ObjectIdSource::ObjectIdSource(Random& random)
    : process_(random.next() & 0xffffffffffU),
      counter_(static_cast<std::uint32_t>(random.below(1U << 24))) {}

ObjectId ObjectIdSource::next(WallTime now) {
    const auto seconds = static_cast<std::uint32_t>(now.milliseconds / 1000);
    counter_ = (counter_ + 1) & 0xffffffU;
    ObjectId id;
    for (std::size_t i = 0; i < 4; ++i)
        id.bytes[i] = static_cast<std::uint8_t>(seconds >> (24 - 8 * i));
    for (std::size_t i = 0; i < 5; ++i) {
        id.bytes[4 + i] = static_cast<std::uint8_t>(process_ >> (32 - 8 * i));
    }
    for (std::size_t i = 0; i < 3; ++i) {
        id.bytes[9 + i] = static_cast<std::uint8_t>(counter_ >> (16 - 8 * i));
    }
    return id;
}

Uuid make_uuid(Random& random) {
    Uuid uuid;
    const std::uint64_t words[2] = {random.next(), random.next()};
    std::memcpy(uuid.bytes.data(), words, uuid.bytes.size());
    uuid.bytes[6] = static_cast<std::uint8_t>((uuid.bytes[6] & 0x0fU) | 0x40U);  // Version 4.
    uuid.bytes[8] = static_cast<std::uint8_t>((uuid.bytes[8] & 0x3fU) | 0x80U);  // RFC 4122.
    return uuid;
}

std::optional<Uuid> uuid_of(const Value& value) {
    Uuid uuid;
    if (value.type() != Type::binary || value.as_binary().bytes.size() != uuid.bytes.size())
        return std::nullopt;
    std::memcpy(uuid.bytes.data(), value.as_binary().bytes.data(), uuid.bytes.size());
    return uuid;
}

Result<Uuid> uuid_in(const Value& value) {
    const auto uuid = uuid_of(value);
    if (!uuid) return Error(ErrorCode::type_mismatch, "expected a UUID");
    return *uuid;
}

}  // namespace tessera::bson
