// SPDX-License-Identifier: Apache-2.0
//
// One connection to another process: one command at a time, with a deadline. Inside of
// ClientTransport only; everything here happens on the link's loop.
//
// The timer is lazy: it stays armed from call to call and looks, when it fires, whether the call
// that runs now is overdue, so that a call costs no timer operation. A wait for readability stays
// armed while the link is unused, so that the other side's closing is noticed.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include <coroutine>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "async/clock.h"
#include "async/event.h"
#include "async/task.h"
#include "base/host_and_port.h"
#include "base/result.h"
#include "net/asio_loop.h"
#include "wire/request.h"

namespace tessera::net {

class Link : public std::enable_shared_from_this<Link> {
public:
    Link(Loop& loop, HostAndPort target);

    /// `may_be_local`: by the short way to a process of this machine, if there is one.
    async::Task<Status> connect(Instant deadline, bool may_be_local);
    /// Sends a command and waits for its answer. A failure closes the link.
    async::Task<Result<std::string>> exchange(std::string_view command_bson,
                                              Instant deadline,
                                              async::Cancellation cancellation);
    /// Begins to watch for the other side's closing, between calls.
    void watch() { arm(); }

    bool is_open() const { return !failure_; }
    /// Closes it; what waits on it fails with `why`.
    void fail(Error why);

    const HostAndPort& target() const { return target_; }
    /// Changes with every call's begin and end; odd while one runs.
    std::uint64_t calls() const { return calls_; }
    Loop& loop() const { return loop_; }

    // The pool's own notes.
    Instant idle_since;
    std::uint64_t generation = 0;
    std::uint64_t calls_seen = 0;  // When it was last looked at.
    bool is_pooled = false;

private:
    struct Wait;
    using Socket = asio::generic::stream_protocol::socket;
    using Endpoints = std::vector<asio::ip::tcp::endpoint>;

    async::Task<Result<Endpoints>> resolve();
    bool connect_local(const asio::ip::tcp::endpoint& endpoint);
    async::Task<Status> connect_one(asio::ip::tcp::endpoint endpoint);
    std::string_view send_now(std::string_view bytes);
    async::Task<void> send_rest(std::string_view bytes);
    void cancel(std::uint64_t call);
    async::Task<Result<wire::Reply>> receive();
    Result<std::optional<std::string>> take_received();
    void arm();
    void arm_timer(Instant at);
    void set_deadline(Instant deadline);
    void wake();
    Error describe(std::string_view what, const boost::system::error_code& error) const;

    Loop& loop_;
    const HostAndPort target_;
    Socket socket_;
    asio::steady_timer timer_;
    wire::Framer framer_;
    std::string held_;
    std::coroutine_handle<> waiting_;
    std::optional<Error> failure_;
    Instant deadline_ = async::no_deadline;  // Of the call that runs.
    Instant timer_at_ = async::no_deadline;  // no_deadline: the timer is not armed.
    std::uint64_t calls_ = 0;
    std::int32_t last_id_ = 0;
    bool is_armed_ = false;
    bool may_read_ = false;
};

}  // namespace tessera::net
