// SPDX-License-Identifier: Apache-2.0
//
// New identifiers. Randomness and time come in, so that a simulated run repeats.
#pragma once

#include <optional>

#include "base/random.h"
#include "base/result.h"
#include "base/time.h"
#include "bson/value.h"

namespace tessera::bson {

/// Makes ObjectIds: seconds, five random bytes of this process, a counter. Not thread-safe.
class ObjectIdSource {
public:
    explicit ObjectIdSource(Random& random);
    ObjectId next(WallTime now);

private:
    std::uint64_t process_;
    std::uint32_t counter_;
};

/// A version 4 (random) UUID.
Uuid make_uuid(Random& random);

/// The UUID that a value holds; nothing where it holds none.
std::optional<Uuid> uuid_of(const Value& value);
/// As uuid_of(), where there must be one: fails with TypeMismatch.
Result<Uuid> uuid_in(const Value& value);

}  // namespace tessera::bson
