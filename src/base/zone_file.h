// SPDX-License-Identifier: Apache-2.0
//
// The system's time zone files, the one thing date expressions need from outside.
#pragma once

#include <string>
#include <string_view>

namespace tessera {

/// Returns the bytes of a zone's TZif file ("Europe/Berlin"); empty when there is no such zone.
/// Blocks for a small read.
std::string read_zone_file(std::string_view name);

}  // namespace tessera
