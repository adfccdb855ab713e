// SPDX-License-Identifier: Apache-2.0
//
// A member: a standalone, or one of a replica set (a shard's, the config servers', or neither).
// Assembled from a Transport, a Clock, executors, an Engine and a Random that come from outside:
// the server gives it real ones, the simulator its own.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "commands/dispatch.h"
#include "commands/node.h"

namespace tessera::roles {

struct MemberOptions {
    commands::ProcessInfo process;
    replication::Options replication;
    bool was_unclean = false;  // The process before did not end by itself.
};

/// What a role lives on; all of it outlives the role.
struct Surroundings {
    async::Clock& clock;
    async::Transport& transport;
    async::Executor& control;  // A strand.
    async::Executor& workers;  // A pool, or a strand in the simulator.
    Random& random;
    /// Begins the end of the process; called by the shutdown command.
    std::function<void(int exit_code)> request_shutdown;
    std::function<commands::ConnectionCounts()> connection_counts;
};

class MemberRole {
public:
    /// Opens the catalog, recovers, and joins its set in the background. Blocks while it recovers.
    static Result<std::unique_ptr<MemberRole>> start(Surroundings surroundings,
                                                     MemberOptions options,
                                                     std::unique_ptr<storage::Engine> engine);
    /// Requires: shut_down() has ended.
    ~MemberRole();

    commands::Dispatcher& dispatcher() { return *dispatcher_; }
    commands::Member& member() { return *member_; }

    /// Steps down with a hand-off where it is primary, stops background work, saves what is kept in
    /// memory. Commands still running fail with InterruptedAtShutdown.
    async::Task<void> shut_down(Duration quiesce);

private:
    MemberRole(Surroundings surroundings, MemberOptions options);
    Status open(std::unique_ptr<storage::Engine> engine);
    async::Task<void> expire_cursors();
    async::Task<void> expire_documents();
    async::Task<void> keep_counts();

    Surroundings surroundings_;
    MemberOptions options_;
    async::Cancellation stopping_;
    async::Notification stop_;  // Notified at shut_down().
    std::unique_ptr<commands::Member> member_;
    std::unique_ptr<replication::RoleObserver> operations_killer_;
    std::unique_ptr<commands::Dispatcher> dispatcher_;
    std::unique_ptr<async::TaskGroup> background_;
};

}  // namespace tessera::roles
