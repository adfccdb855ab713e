// SPDX-License-Identifier: Apache-2.0
//
// The one gate through which bytes from outside become documents.
#pragma once

#include <string_view>

#include "base/result.h"
#include "bson/view.h"

namespace tessera::bson {

/// A stored document's size limit, and what commands and oplog entries may have on top of it.
inline constexpr std::uint32_t document_bytes_max = 16 * 1024 * 1024;
inline constexpr std::uint32_t internal_bytes_max = document_bytes_max + 16 * 1024;
/// Levels a document may nest (MongoDB's limit for stored documents is 100, for commands 180+).
inline constexpr int nesting_max = 200;

/// Checks that `bytes` is exactly one well-formed document: lengths, terminators, known types,
/// nesting, booleans of 0 or 1, field names without inner NUL. Text is not checked for UTF-8, as
/// the reference does not. Fails with InvalidBSON (or Overflow for nesting, code 15).
Result<View> validate(std::string_view bytes, int nesting = nesting_max);

}  // namespace tessera::bson
