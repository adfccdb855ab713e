// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "server/settings.h"

namespace tessera::server {

/// mongod or mongos from its command line to its exit code; `argv` with the program's name first.
int run_program(Program program, std::vector<std::string> argv);

}  // namespace tessera::server
