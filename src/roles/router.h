// SPDX-License-Identifier: Apache-2.0
//
// A router: it keeps nothing but caches, finds the config servers by the addresses it was given,
// and sends commands on. It serves from its first moment: what needs to know where data lives waits
// until a config server has answered.
#pragma once

#include <memory>

#include "commands/router.h"
#include "roles/member.h"

namespace tessera::roles {

struct RouterOptions {
    commands::ProcessInfo process;
    sharding::SetAddress config_servers;
};

class RouterRole {
public:
    /// Begins to look for the config servers, in the background.
    RouterRole(Surroundings surroundings, RouterOptions options);
    /// Requires: shut_down() has ended.
    ~RouterRole();

    commands::Dispatcher& dispatcher() { return *dispatcher_; }
    commands::Router& router() { return *router_; }

    /// Stops background work and fails what still runs with InterruptedAtShutdown.
    async::Task<void> shut_down();

private:
    async::Task<void> expire_cursors();
    async::Task<void> find_config_servers();
    async::Task<void> send_pings();
    async::Task<void> pause(Duration duration);
    async::Task<Status> ping(Instant deadline);

    Surroundings surroundings_;
    async::Cancellation stopping_;
    async::Notification stop_;  // Notified at shut_down().
    std::unique_ptr<commands::Router> router_;
    std::unique_ptr<commands::Dispatcher> dispatcher_;
    std::unique_ptr<async::TaskGroup> background_;
};

}  // namespace tessera::roles
