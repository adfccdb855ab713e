// SPDX-License-Identifier: Apache-2.0
//
// async::Transport over real sockets: pooled connections, one command at a time on each. Every loop
// it was given has pools of its own, so that a call from one of those loops needs neither locks nor
// another thread; calls from elsewhere use the first loop.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "async/transport.h"
#include "net/loop.h"

namespace tessera::net {

struct TransportOptions {
    /// The `hello` a new connection begins with: one document, with $db. Empty: the default, which
    /// says internalClient.
    std::string hello_bson;
    /// Runs after the handshake on each new connection, before its first call (authentication).
    std::function<async::Task<Status>(async::Stream&, Instant deadline)> authenticate;
    /// Whether processes of this machine are reached by the short way (net/local_socket.h).
    bool uses_local_sockets = true;
};

class ClientTransport : public async::Transport {
public:
    /// Requires: `loops` is not empty; they outlive the transport and all its calls.
    ClientTransport(const std::vector<Loop*>& loops, TransportOptions options);
    /// As shut_down().
    ~ClientTransport() override;

    async::Task<Result<std::string>> call(async::RemoteCall request,
                                          async::Cancellation cancellation) override;
    async::Task<Result<std::unique_ptr<async::Stream>>> open(
        HostAndPort target, Instant deadline, async::Cancellation cancellation) override;
    void drop_connections(const HostAndPort& target) override;

    /// Fails calls in progress with ShutdownInProgress, and all later ones. Blocks until every
    /// connection is closed. Not from one of its loops.
    void shut_down();

    /// Connections open now.
    std::size_t connections() const;

private:
    struct Impl;
    std::shared_ptr<Impl> impl_;  // Also owned by calls and streams.
};

}  // namespace tessera::net
