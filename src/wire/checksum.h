// SPDX-License-Identifier: Apache-2.0
//
// CRC-32C (Castagnoli, polynomial 0x1EDC6F41, reflected), as OP_MSG's optional checksum. By the
// processor's instruction where there is one.
#pragma once

#include <cstdint>
#include <string_view>

namespace tessera::wire {

std::uint32_t crc32c(std::string_view bytes);
/// The same by table, for machines without the instruction.
std::uint32_t crc32c_portable(std::string_view bytes);

}  // namespace tessera::wire
