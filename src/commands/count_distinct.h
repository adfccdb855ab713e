// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "commands/command.h"

namespace tessera::commands {
/// count's limit; a negative one means the same as a positive one, as in the shell.
Result<std::int64_t> count_limit(const Request& request);

extern const Command count_command;
extern const Command distinct_command;
}  // namespace tessera::commands
