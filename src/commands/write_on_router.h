// SPDX-License-Identifier: Apache-2.0
//
// The router's side of the write commands: split by shard, sent, merged (write_on_router.cc).
#pragma once

#include "commands/command.h"

namespace tessera::commands {
async::Task<Status> insert_on_router(Router& router, Invocation& invocation);
async::Task<Status> update_on_router(Router& router, Invocation& invocation);
async::Task<Status> delete_on_router(Router& router, Invocation& invocation);
async::Task<Status> find_and_modify_on_router(Router& router, Invocation& invocation);
}  // namespace tessera::commands
