// SPDX-License-Identifier: Apache-2.0
//
// `tessera up` and its family: whole clusters on one machine. It talks to the processes by public
// flags and public commands alone.
#pragma once

#include <string>
#include <vector>

namespace tessera::launcher {

/// Runs one verb; `words` with the program's name first. Returns the exit code
/// (docs/operations.md).
int run(const std::vector<std::string>& words);

}  // namespace tessera::launcher
