// SPDX-License-Identifier: Apache-2.0
//
// What a router's commands may use.
#pragma once

#include "async/event.h"
#include "commands/node.h"

namespace tessera::commands {

struct Router : Node {
    using Node::Node;

    /// What awaitable hellos wait for in vain; notified at shutdown.
    async::Notification never_changes;
};

}  // namespace tessera::commands
