// SPDX-License-Identifier: Apache-2.0
//
// What a member does for createIndexes and dropIndexes.
#pragma once

#include "commands/command.h"

namespace tessera::commands {

async::Task<Status> create_indexes(Member& member, Invocation& invocation);
Status drop_indexes(Member& member, Invocation& invocation);

}  // namespace tessera::commands
