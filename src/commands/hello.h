// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "commands/command.h"

namespace tessera::commands {
extern const Command hello_command;
extern const Command is_master_command;
extern const Command is_master_lower_command;
}  // namespace tessera::commands
