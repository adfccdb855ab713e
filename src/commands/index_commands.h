// SPDX-License-Identifier: Apache-2.0
//
// What a member does for createIndexes and dropIndexes.
#pragma once

#include "commands/command.h"

namespace tessera::commands {

async::Task<Status> create_indexes(Member& member, Invocation& invocation);
Status drop_indexes(Member& member, Invocation& invocation);
Status set_index_commit_quorum(Member& member, Invocation& invocation);
/// A member tells its primary that its part of an index build is done.
async::Task<Status> vote_commit_index_build(Member& member, Invocation& invocation);

/// Fails with OutOfDiskSpace when an index build should not go on.
Status check_build_disk(const Member& member);

}  // namespace tessera::commands
