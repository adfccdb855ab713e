// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "commands/command.h"

namespace tessera::commands {
extern const std::array<Command, 10> ddl_commands;
}  // namespace tessera::commands
