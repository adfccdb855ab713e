// SPDX-License-Identifier: Apache-2.0
//
// What the server of requests sees of a client's connection, and what it has to provide.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "async/event.h"
#include "async/task.h"
#include "base/host_and_port.h"
#include "base/result.h"
#include "wire/reply_writer.h"
#include "wire/request.h"

namespace tessera::net {

/// Whatever the handler wants to keep with a connection (client metadata, authentication, ...).
class ClientState {
public:
    virtual ~ClientState() = default;
};

/// One client. Requests are served one after the other, in the order they came, on executor(): only
/// there may a connection be used, except for what says otherwise.
class Connection {
public:
    virtual ~Connection() = default;

    /// Counted from 1 within the process. Any thread.
    virtual std::int64_t id() const = 0;
    /// Where it comes from; over a Unix socket the host is "anonymous unix socket". Any thread.
    virtual const HostAndPort& remote() const = 0;
    /// The address it was accepted on. Any thread.
    virtual const HostAndPort& local() const = 0;
    /// The loop it is pinned to; a handler that hops to a pool need not come back itself.
    virtual async::Executor& executor() const = 0;

    /// Cancelled when the client has gone, or at the end of a shutdown's grace. Any thread.
    virtual const async::Cancellation& cancellation() const = 0;

    /// Sends `reply` now, with moreToCome set: one of a stream (exhaust). Start the next answer in
    /// the same writer afterwards; the last one is sent by returning from handle(). Requires: the
    /// request allows_exhaust(). Fails when the client has gone. The executor, when it was left,
    /// is resumed.
    virtual async::Task<Status> send(wire::ReplyWriter& reply) = 0;

    /// From the next request on this connection is served on the server's control loop, where no
    /// data traffic is in front of it: for members' connections and drivers' monitors.
    virtual void move_to_control() = 0;

    /// Closes it when the request in progress has been answered.
    virtual void close_after_reply() = 0;
    /// Closes it; the request in progress gets no answer.
    virtual void close_now() = 0;

    std::unique_ptr<ClientState> state;  // The handler's, from on_open() to on_close().
};

/// Serves requests. One for all connections: calls come from every loop.
class Handler {
public:
    virtual ~Handler() = default;

    virtual void on_open(Connection&) {}
    /// Nothing of the connection is running any more.
    virtual void on_close(Connection&) {}

    /// Serves `request`. Must look at request.error first (wire::parse_command_line does). Unless
    /// the request expects no reply, `reply` has a body when this ends, or close_now() was called.
    /// `request` and `reply` live until then.
    virtual async::Task<void> handle(Connection& connection,
                                     wire::Request& request,
                                     wire::ReplyWriter& reply) = 0;
};

}  // namespace tessera::net
