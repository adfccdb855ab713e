// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "commands/command.h"

namespace tessera::commands {

extern const std::array<Command, 2> operation_commands;

/// What $currentOp showed of a shard, as a router shows it: with the shard's name, and the opid as
/// killOp takes it there ("shard01:123").
bson::Document operation_of_shard(bson::View document, const std::string& shard);

}  // namespace tessera::commands
