// SPDX-License-Identifier: Apache-2.0
#include "commands/node.h"

#include "commands/placement.h"
#include "commands/sharding_member.h"

namespace tessera::commands {

Member::~Member() = default;

}  // namespace tessera::commands
