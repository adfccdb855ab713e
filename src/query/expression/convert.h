// SPDX-License-Identifier: Apache-2.0
//
// Conversions between BSON types, as $convert does them.
#pragma once

#include <string>

#include "base/result.h"
#include "bson/arena.h"
#include "bson/value.h"

namespace tessera::query::expression {

/// The shortest text that reads back as the same double, in the form $toString shows.
std::string double_to_string(double value);

/// Converts a value that is not nullish. Fails with ConversionFailure.
Result<bson::Value> convert(const bson::Value& value, bson::Type type, bson::Arena& arena);

}  // namespace tessera::query::expression
