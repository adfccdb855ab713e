// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "commands/command.h"

namespace tessera::commands {
extern const Command shard_version_command;
}  // namespace tessera::commands
