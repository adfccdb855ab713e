// SPDX-License-Identifier: Apache-2.0
//
// Arithmetic of $inc, $mul and $bit: int32 grows to int64, any double makes a double, any
// Decimal128 a Decimal128; int64 overflow is an error.
#pragma once

#include <optional>

#include "bson/arena.h"

namespace tessera::query {

/// Both require numbers; nothing when an int64 overflows.
std::optional<bson::Value> add(const bson::Value& one, const bson::Value& two, bson::Arena& arena);
std::optional<bson::Value> multiply(const bson::Value& one,
                                    const bson::Value& two,
                                    bson::Arena& arena);

}  // namespace tessera::query
