// SPDX-License-Identifier: Apache-2.0
#include "commands/ddl_execution.h"

#include <algorithm>

namespace tessera::commands {

void answer_after_newest_write(const Member& member, Invocation& invocation) {
    invocation.last_write = std::max(invocation.last_write, member.replication->newest_write());
}

Status run_ddl(Member& member,
               Invocation& invocation,
               std::vector<Namespace> namespaces,
               const DdlBody& body) {
    const std::vector<Namespace> asked = namespaces;
    std::sort(namespaces.begin(), namespaces.end());
    namespaces.erase(std::unique(namespaces.begin(), namespaces.end()), namespaces.end());
    while (true) {
        TRY_OK(invocation.operation->check(member.clock));
        std::vector<catalog::CollectionLock> sorted;
        for (const Namespace& ns : namespaces)
            sorted.push_back(member.catalog->lock_exclusive(ns));
        // In the order the body named them.
        std::vector<catalog::CollectionLock> locks;
        for (const Namespace& ns : asked) {
            const auto at = std::lower_bound(namespaces.begin(), namespaces.end(), ns);
            auto& lock = sorted[static_cast<std::size_t>(at - namespaces.begin())];
            locks.push_back(std::move(lock));
        }
        TRY(auto unit, replication::WriteUnit::begin(*member.replication, *member.engine,
                                                     member.clock));
        if (asked.front().is_replicated()) TRY_OK(unit.reserve(1));
        const auto done = body(unit, locks);
        if (done) {
            if (asked.front().is_replicated() && done->is_null())
                answer_after_newest_write(member, invocation);
            if (invocation.last_write < *done) invocation.last_write = *done;
            return {};
        }
        if (done.error().code() != ErrorCode::write_conflict) return done.error();
        member.metrics.write_conflicts.fetch_add(1, std::memory_order_relaxed);
    }
}

}  // namespace tessera::commands
