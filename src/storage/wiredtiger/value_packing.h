// SPDX-License-Identifier: Apache-2.0
//
// How a table with TableOptions::packs_large_values keeps its values: most as they are; a large one
// that snappy makes smaller as a mark and what snappy made of it. A value that begins with the mark
// by itself is kept that way too, so that every byte string comes back as it went in.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tessera::storage::wiredtiger {

/// Bytes of nobody's until they are asked for; what it held is gone then.
class Scratch {
public:
    char* take(std::size_t bytes) {
        if (bytes > size_) bytes_ = std::make_unique_for_overwrite<char[]>(size_ = bytes);
        return bytes_.get();
    }

private:
    std::unique_ptr<char[]> bytes_;
    std::size_t size_ = 0;
};

/// What to store for `value`: itself, or a view of `scratch`.
std::string_view pack_value(std::string_view value, Scratch& scratch);
/// The value of which `stored` was made: itself, or a view of `scratch`. Fails with InternalError
/// for what pack_value() cannot have made.
[[nodiscard]] Result<std::string_view> unpack_value(std::string_view stored, Scratch& scratch);

}  // namespace tessera::storage::wiredtiger
