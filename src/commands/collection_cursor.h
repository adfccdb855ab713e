// SPDX-License-Identifier: Apache-2.0
//
// A cursor over one collection of this member.
#pragma once

#include <memory>

#include "commands/cursor_registry.h"
#include "commands/find_command.h"
#include "commands/placement.h"

namespace tessera::commands {

/// Fails with BadValue for a tailable cursor on a collection that is not capped.
Result<std::unique_ptr<CursorSource>> make_collection_cursor(
    Member& member, const Namespace& ns, CompiledFind find, Placement placement, Timestamp read_at);

}  // namespace tessera::commands
