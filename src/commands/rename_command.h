// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "commands/command.h"

namespace tessera::commands {
Status rename_collection(Member& member, Invocation& invocation);
}  // namespace tessera::commands
