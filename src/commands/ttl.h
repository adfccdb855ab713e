// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "commands/node.h"

namespace tessera::commands {

/// One pass over all TTL indexes: removes the documents that have expired, each with its own oplog
/// entry, at most a stated number an index and pass. Does nothing unless this member may write.
/// Runs on the calling thread, which should be a worker's.
Status run_ttl_pass(Member& member);

}  // namespace tessera::commands
