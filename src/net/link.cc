// SPDX-License-Identifier: Apache-2.0
#include "net/link.h"

#include <sys/socket.h>

#include <boost/asio/ip/address.hpp>
#include <cerrno>
#include <utility>

#include "async/system_clock.h"
#include "base/assert.h"
#include "net/local_socket.h"
#include "wire/reply_writer.h"

namespace tessera::net {

using async::Cancellation;
using async::Task;
using boost::system::error_code;

/// Suspends until wake(); whoever arms something to call it does so before.
struct Link::Wait {
    Link& link;
    bool await_ready() const noexcept { return link.failure_.has_value(); }
    void await_suspend(std::coroutine_handle<> waiting) {
        ASSERT(!link.waiting_);
        link.waiting_ = waiting;
    }
    void await_resume() const noexcept {}
};

Link::Link(Loop& loop, HostAndPort target)
    : loop_(loop),
      target_(std::move(target)),
      socket_(loop.impl().context),
      timer_(loop.impl().context) {}

void Link::wake() {
    if (waiting_) std::exchange(waiting_, {}).resume();
}

void Link::fail(Error why) {
    if (failure_) return;
    failure_ = std::move(why);
    error_code ignored;
    socket_.close(ignored);
    timer_.cancel();
    timer_at_ = async::no_deadline;
    // By post: the caller may be in the middle of something.
    loop_.post([self = shared_from_this()] { self->wake(); });
}

Error Link::describe(std::string_view what, const error_code& error) const {
    return Error(ErrorCode::host_unreachable, std::string(what) + " " + target_.to_string() +
                                                  " :: caused by :: " + error.message());
}

// ---- Timer ----

void Link::set_deadline(Instant deadline) {
    deadline_ = deadline;
    if (deadline < timer_at_) arm_timer(deadline);
}

void Link::arm_timer(Instant at) {
    timer_at_ = at;
    timer_.expires_at(std::chrono::steady_clock::time_point(
        std::chrono::duration_cast<std::chrono::steady_clock::duration>(at.time_since_epoch())));
    timer_.async_wait([self = shared_from_this()](const error_code& error) {
        if (error || self->failure_) return;  // Armed anew, or closed.
        self->timer_at_ = async::no_deadline;
        if (self->deadline_ == async::no_deadline) return;
        if (async::SystemClock::read() < self->deadline_) {
            self->arm_timer(self->deadline_);
            return;
        }
        self->fail(Error(ErrorCode::network_interface_exceeded_time_limit,
                         "timed out waiting for " + self->target_.to_string()));
    });
}

// ---- Connecting ----

Task<Result<Link::Endpoints>> Link::resolve() {
    Endpoints result;
    error_code error;
    const auto address = asio::ip::make_address(target_.host, error);
    if (!error) {
        result.emplace_back(address, target_.port);
        co_return result;
    }
    if (target_.host == "localhost") {  // Without the resolver and its thread.
        result.emplace_back(asio::ip::address_v4::loopback(), target_.port);
        result.emplace_back(asio::ip::address_v6::loopback(), target_.port);
        co_return result;
    }
    // Shared with the resolver's answer, which may come after a timeout ended this coroutine.
    struct Answer {
        asio::ip::tcp::resolver resolver;
        error_code error;
        Endpoints endpoints;
        explicit Answer(asio::io_context& context) : resolver(context) {}
    };
    const auto answer = std::make_shared<Answer>(loop_.impl().context);
    answer->resolver.async_resolve(
        target_.host, std::to_string(target_.port),
        [self = shared_from_this(), answer](const error_code& failure, const auto& found) {
            answer->error = failure;
            for (const auto& entry : found) answer->endpoints.push_back(entry.endpoint());
            self->wake();
        });
    Wait wait{*this};
    co_await wait;
    if (failure_) co_return *failure_;
    if (answer->error) {
        co_return Error(ErrorCode::host_not_found, "cannot resolve " + target_.host +
                                                       " :: caused by :: " +
                                                       answer->error.message());
    }
    co_return answer->endpoints;
}

// A Unix socket is connected at once or not at all.
bool Link::connect_local(const asio::ip::tcp::endpoint& endpoint) {
    if (!endpoint.address().is_loopback()) return false;
    const LocalName name = local_name({endpoint.address().to_string(), endpoint.port()});
    error_code error;
    socket_.open(asio::generic::stream_protocol(AF_UNIX, 0), error);
    if (error) return false;
    socket_.native_non_blocking(true, error);
    if (!error && ::connect(socket_.native_handle(), name.get(), name.length) == 0 &&
        local_peer(socket_.native_handle()).is_trusted)
        return true;
    socket_.close(error);
    return false;
}

Task<Status> Link::connect_one(asio::ip::tcp::endpoint endpoint) {
    error_code error;
    socket_.close(error);
    socket_.open(endpoint.protocol(), error);
    if (error) co_return describe("cannot make a socket for", error);
    socket_.set_option(asio::ip::tcp::no_delay(true), error);
    socket_.non_blocking(true, error);
    const auto outcome = std::make_shared<error_code>();  // Shared with the handler.
    socket_.async_connect(endpoint,
                          [self = shared_from_this(), outcome](const error_code& failure) {
                              *outcome = failure;
                              if (failure != asio::error::operation_aborted) self->wake();
                          });
    Wait wait{*this};
    co_await wait;
    if (failure_) co_return *failure_;
    if (*outcome) co_return describe("cannot connect to", *outcome);
    co_return ok();
}

Task<Status> Link::connect(Instant deadline, bool may_be_local) {
    set_deadline(deadline);
    const auto resolved = co_await resolve();
    Status last = Error(ErrorCode::host_not_found, "no address for " + target_.host);
    if (!resolved) {
        last = resolved.error();
    } else {
        for (const auto& endpoint : *resolved) {
            if (may_be_local && connect_local(endpoint)) {
                last = ok();
                break;
            }
            last = co_await connect_one(endpoint);
            if (last || failure_) break;
        }
    }
    set_deadline(async::no_deadline);
    if (!last) fail(last.error());
    co_return last;
}

// ---- Talking ----

void Link::arm() {
    if (is_armed_ || failure_) return;
    is_armed_ = true;
    socket_.async_wait(Socket::wait_read, [self = shared_from_this()](const error_code& error) {
        self->is_armed_ = false;
        if (error) return;  // Closed by fail(), which wakes.
        self->may_read_ = true;
        if (self->waiting_) {
            self->wake();
        } else if (self->deadline_ == async::no_deadline && self->calls_ > 0) {
            // Nobody asked: the other side has closed, or does not speak our protocol.
            self->fail(Error(ErrorCode::host_unreachable,
                             self->target_.to_string() + " closed the connection"));
        }
    });
}

/// Sends what the socket takes now and returns the rest.
std::string_view Link::send_now(std::string_view bytes) {
    while (!failure_ && !bytes.empty()) {
        const auto count = ::send(socket_.native_handle(), bytes.data(), bytes.size(),
                                  MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count >= 0) {
            bytes.remove_prefix(static_cast<std::size_t>(count));
            continue;
        }
        if (errno == EINTR) continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) break;
        fail(describe("cannot send to", error_code(errno, boost::system::system_category())));
    }
    return bytes;
}

Task<void> Link::send_rest(std::string_view bytes) {
    while (!failure_ && !bytes.empty()) {
        socket_.async_wait(Socket::wait_write,
                           [self = shared_from_this()](const error_code& error) {
                               if (!error) self->wake();
                           });
        Wait wait{*this};
        co_await wait;
        bytes = send_now(bytes);
    }
}

/// One recv, and the message it completes, if it does.
Result<std::optional<std::string>> Link::take_received() {
    if (!held_.empty()) {
        std::string_view input = held_;
        auto message = framer_.next(input);
        held_.erase(0, held_.size() - input.size());
        return message;
    }
    char* const buffer = loop_.impl().received();
    const auto count = ::recv(socket_.native_handle(), buffer, receive_bytes, MSG_DONTWAIT);
    if (count <= 0) {
        may_read_ = false;
        if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
            return std::optional<std::string>();
        return Error(ErrorCode::host_unreachable, target_.to_string() +
                                                      " closed the connection");
    }
    const auto size = static_cast<std::size_t>(count);
    may_read_ = size == receive_bytes;
    std::string_view input(buffer, size);
    auto message = framer_.next(input);
    if (message && !input.empty()) held_.assign(input);
    return message;
}

Task<Result<wire::Reply>> Link::receive() {
    while (!failure_) {
        if (held_.empty() && !may_read_) {
            arm();
            Wait wait{*this};
            co_await wait;
            continue;
        }
        CO_TRY(std::optional<std::string> message, take_received());
        if (!message) continue;
        // NOLINTNEXTLINE(clang-analyzer-cplusplus.Move): each round has a message of its own.
        co_return wire::parse_reply(std::move(*message));
    }
    co_return *failure_;
}

/// From any thread: ends the call of that number unless it is over.
void Link::cancel(std::uint64_t call) {
    loop_.post([self = shared_from_this(), call] {
        if (self->calls_ != call) return;
        self->fail(Error(ErrorCode::callback_canceled, "the call was cancelled"));
    });
}

Task<Result<std::string>> Link::exchange(std::string_view command_bson,
                                         Instant deadline,
                                         Cancellation cancellation) {
    if (failure_) co_return *failure_;
    const std::uint64_t call = ++calls_;
    std::shared_ptr<void> listening;
    if (cancellation.can_be_cancelled()) {
        // The link outlives its call, and with it the listener.
        listening = cancellation.on_cancel([this, call] { cancel(call); });
    }
    // The largest finite instant stands for "no deadline" here, so that a call is always marked.
    set_deadline(deadline == async::no_deadline ? deadline - 1ns : deadline);
    wire::CommandMessage command;
    command.id = ++last_id_;
    command.body = command_bson;
    std::string bytes;
    wire::append_command(command, bytes);
    const std::string_view rest = send_now(bytes);
    if (!rest.empty()) co_await send_rest(rest);
    std::string body;
    if (!failure_) {
        Result<wire::Reply> reply = co_await receive();
        if (!reply) {
            fail(reply.error());
        } else if (reply->response_to != command.id || reply->more_to_come()) {
            fail(Error(ErrorCode::protocol_error,
                       target_.to_string() + " answered something that was not asked"));
        } else {
            body = std::move(*reply).take_body();
        }
    }
    deadline_ = async::no_deadline;
    ++calls_;  // A cancellation that is under way finds its call over.
    if (failure_) co_return *failure_;
    co_return body;
}

}  // namespace tessera::net
