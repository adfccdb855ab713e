// SPDX-License-Identifier: Apache-2.0
//
// Tailable cursors over local.oplog.rs: what members copy from each other with, and what change
// readers tail. Never shows a position beyond the oplog's no-hole point.
#pragma once

#include <memory>

#include "commands/cursor_registry.h"
#include "commands/find_command.h"

namespace tessera::commands {

Result<std::unique_ptr<CursorSource>> make_oplog_cursor(Member& member,
                                                        const Request& request,
                                                        const FindArguments& args);

}  // namespace tessera::commands
