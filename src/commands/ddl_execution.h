// SPDX-License-Identifier: Apache-2.0
//
// What DDL commands on a member share: exclusive locks in a fixed order, one write unit, and
// another try after a write conflict.
#pragma once

#include <functional>
#include <vector>

#include "commands/command.h"
#include "replication/ddl.h"
#include "replication/write_unit.h"

namespace tessera::commands {

/// Locks every namespace exclusively (in order, so that two DDLs cannot wait for each other) and
/// runs `body` in a fresh unit with one position reserved where the namespace is replicated; again
/// after WriteConflict. `body` commits the unit and returns its position; null when there was
/// nothing to do, which is as certain as the newest write here. Runs on the calling thread, which
/// should be a worker's.
using DdlBody = std::function<Result<OpTime>(replication::WriteUnit& unit,
                                             std::vector<catalog::CollectionLock>& locks)>;
Status run_ddl(Member& member,
               Invocation& invocation,
               std::vector<Namespace> namespaces,
               const DdlBody& body);

/// For a command that finds done already what it was to do: whoever did it may still wait for a
/// majority, and so does this one's answer, good or not. Under the lock that made it see so.
void answer_after_newest_write(const Member& member, Invocation& invocation);

/// A command that runs on a worker from its start to its end.
template <Status (*Function)(Member&, Invocation&)>
async::Task<Status> worker_function(Member& member, Invocation& invocation) {
    async::resume_on hop(member.workers);
    co_await hop;
    co_return Function(member, invocation);
}

}  // namespace tessera::commands
