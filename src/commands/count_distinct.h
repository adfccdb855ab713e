// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "commands/command.h"

namespace tessera::commands {
extern const Command count_command;
extern const Command distinct_command;
}  // namespace tessera::commands
