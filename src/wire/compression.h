// SPDX-License-Identifier: Apache-2.0
//
// The compressors of OP_COMPRESSED. Decompression is held to the size the message claims, which is
// bounded before anything is allocated; what comes out shorter or longer is an error, so that no
// byte that was not decompressed is ever looked at.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tessera::wire {

enum class Compressor : std::uint8_t { noop = 0, snappy = 1, zlib = 2, zstd = 3 };

/// "snappy", "zlib", "zstd", as `hello` negotiates them; nothing for any other name.
std::optional<Compressor> compressor_by_name(std::string_view name);
std::string_view compressor_name(Compressor compressor);

/// Appends `bytes`, compressed, to `out`.
void compress(Compressor compressor, std::string_view bytes, std::string& out);

/// Appends to `out` what `bytes` hold. Fails with BadValue unless that is exactly `size` bytes.
/// Requires: size <= message_bytes_max.
Status decompress(Compressor compressor,
                  std::string_view bytes,
                  std::size_t size,
                  std::string& out);

}  // namespace tessera::wire
