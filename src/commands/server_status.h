// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "bson/builder.h"
#include "commands/node.h"

namespace tessera::commands {

/// Appends serverStatus's sections; `member` is null on a router.
void append_server_status(Node& node, Member* member, bson::Builder& reply);

}  // namespace tessera::commands
