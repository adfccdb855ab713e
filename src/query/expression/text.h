// SPDX-License-Identifier: Apache-2.0
//
// UTF-8 positions and the texts of values, shared by the string operators.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "bson/value.h"

namespace tessera::query::expression {

inline bool is_continuation(char c) {
    return (static_cast<unsigned char>(c) & 0xc0U) == 0x80U;
}
/// Number of code points.
std::size_t count_code_points(std::string_view text);
/// Byte offset of code point `index`, the text's size when there are fewer.
std::size_t code_point_offset(std::string_view text, std::size_t index);
/// "2017-02-08T12:10:40.787Z".
std::string date_to_iso(WallTime date);
/// What string operators take beside strings: numbers, dates, timestamps become text, null "".
/// Fails with 16007.
Result<std::string> coerce_to_string(const bson::Value& value);

}  // namespace tessera::query::expression
