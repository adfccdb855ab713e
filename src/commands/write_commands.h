// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "commands/command.h"

namespace tessera::commands {
extern const Command insert_command;
extern const Command update_command;
extern const Command delete_command;
extern const Command find_and_modify_command;
extern const Command find_and_modify_lower_command;
}  // namespace tessera::commands
