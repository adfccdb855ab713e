// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "commands/command.h"
#include "commands/cursor_registry.h"

namespace tessera::commands {

extern const std::array<Command, 2> cursor_commands;

/// Answers {cursor: {firstBatch, id, ns}} from `source` and registers it when there is more. The
/// same on members and routers.
struct FirstBatch {
    std::int64_t batch_size = 101;
    bool is_single = false;   // singleBatch: close after it, whatever is left.
};
async::Task<Status> reply_with_cursor(Node& node,
                                      Invocation& invocation,
                                      std::unique_ptr<CursorSource> source,
                                      CursorOptions options,
                                      FirstBatch first);

/// The documents a batch holds when the client does not say.
inline constexpr std::int64_t default_batch_size = 101;

}  // namespace tessera::commands
