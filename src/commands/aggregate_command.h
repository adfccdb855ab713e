// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "commands/command.h"
#include "commands/find_command.h"

namespace tessera::commands {

extern const Command aggregate_command;

/// Runs a find on a view as the aggregation it stands for.
async::Task<Status> find_on_view(Member& member, Invocation& invocation, const FindArguments& args);

}  // namespace tessera::commands
