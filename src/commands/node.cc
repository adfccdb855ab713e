// SPDX-License-Identifier: Apache-2.0
#include "commands/node.h"

#include "commands/placement.h"

namespace tessera::commands {

Member::~Member() = default;

}  // namespace tessera::commands
