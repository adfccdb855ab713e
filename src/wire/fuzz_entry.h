// SPDX-License-Identifier: Apache-2.0
//
// What fuzz/wire_fuzz.cc feeds, so that unit tests can replay its corpus: a stream of bytes goes
// through framing, both parsers and a reply, as it would on a connection.
#pragma once

#include <string_view>

namespace tessera::wire {

void fuzz_one(std::string_view stream);

}  // namespace tessera::wire
