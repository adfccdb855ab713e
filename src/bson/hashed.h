// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "bson/view.h"

namespace tessera::bson {

/// The hash of hashed indexes and hashed shard keys: the first 8 bytes, little-endian, of an MD5
/// over seed 0, canonical types and value bytes. Equal numbers of different types hash equal.
/// Missing hashes as null. Source: reference/protocol.md 4.8 (with test vectors).
std::int64_t shard_hash(const Value& value);

}  // namespace tessera::bson
