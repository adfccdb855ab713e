// SPDX-License-Identifier: Apache-2.0
//
// Everything a stranger's bytes meet before any command: framing, OP_MSG, OP_QUERY, OP_COMPRESSED,
// BSON validation. Corpus: fuzz/corpus/wire, replayed by wire_test.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "wire/fuzz_entry.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    tessera::wire::fuzz_one({reinterpret_cast<const char*>(data), size});
    return 0;
}
