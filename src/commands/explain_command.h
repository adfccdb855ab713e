// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "commands/command.h"

namespace tessera::commands {
extern const Command explain_command;

/// aggregate with explain: true: the plan of the pipeline instead of its results.
Status explain_aggregation(Member& member, Invocation& invocation);
/// The command without explain and what every command may carry.
bson::Document explained_aggregation(bson::View command);
}  // namespace tessera::commands
