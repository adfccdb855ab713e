// SPDX-License-Identifier: Apache-2.0
#include "net/session.h"

#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/error.hpp>
#include <cerrno>
#include <utility>

#include "base/log.h"

namespace tessera::net {

using boost::system::error_code;

Session::Session(StreamSocket socket, SessionParts parts)
    : parts_(std::move(parts)), loop_(parts_.loop), socket_(std::move(socket)) {}

// ---- Waiting ----

struct Session::UntilReadable {
    Session& session;
    bool await_ready() const noexcept { return session.may_read_ || session.is_gone_; }
    void await_suspend(std::coroutine_handle<> waiting) {
        session.reader_ = waiting;
        session.arm();
    }
    void await_resume() const noexcept {}
};

struct Session::UntilWritable {
    Session& session;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiting) {
        session.socket_.async_wait(
            StreamSocket::wait_write,
            [self = session.shared_from_this(), waiting](const error_code& error) {
                if (error) self->on_gone();
                waiting.resume();
            });
    }
    void await_resume() const noexcept {}
};

void Session::arm() {
    if (is_armed_ || is_gone_) return;
    is_armed_ = true;
    socket_.async_wait(StreamSocket::wait_read,
                       [self = shared_from_this()](const error_code& error) {
                           self->is_armed_ = false;
                           // Cancelled by whoever closes or moves the socket, who sees to the rest.
                           if (error == asio::error::operation_aborted) return;
                           self->on_readable(static_cast<bool>(error));
                       });
}

void Session::on_readable(bool has_failed) {
    if (has_failed) {
        on_gone();
    } else {
        may_read_ = true;
    }
    if (reader_) {
        std::exchange(reader_, {}).resume();
        return;
    }
    if (is_serving_ && !is_gone_) take_ahead();
}

/// While a request is served: notices the client's going, and takes what it sends ahead.
void Session::take_ahead() {
    char* const buffer = loop_.load()->impl().received();
    while (held_.size() - held_at_ < read_ahead_bytes_max) {
        const auto count =
            ::recv(socket_.native_handle(), buffer, receive_bytes, MSG_DONTWAIT);
        if (count > 0) {
            parts_.counts->bytes_in.fetch_add(count, std::memory_order_relaxed);
            held_.append(buffer, static_cast<std::size_t>(count));
            continue;
        }
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            may_read_ = false;
            arm();
            return;
        }
        on_gone();
        return;
    }
}

void Session::on_gone() {
    if (is_gone_) return;
    is_gone_ = true;
    cancellation_.cancel();
}

// ---- Reading ----

/// The next message of what was received before.
Result<std::optional<std::string>> Session::next_held() {
    if (held_at_ == held_.size()) return std::optional<std::string>();
    std::string_view input = std::string_view(held_).substr(held_at_);
    Result<std::optional<std::string>> message = framer_.next(input);
    held_at_ = held_.size() - input.size();
    if (input.empty()) {
        held_ = std::string();  // Gives its memory back.
        held_at_ = 0;
    }
    return message;
}

/// One recv, and the message it completes, if it does.
Result<std::optional<std::string>> Session::receive() {
    char* const buffer = loop_.load()->impl().received();
    const auto count = ::recv(socket_.native_handle(), buffer, receive_bytes, MSG_DONTWAIT);
    if (count <= 0) {
        if (count < 0 && errno == EINTR) return std::optional<std::string>();
        may_read_ = false;
        if (count == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) on_gone();
        return std::optional<std::string>();
    }
    const auto size = static_cast<std::size_t>(count);
    // A short read empties the socket; what comes later makes it readable anew.
    may_read_ = size == receive_bytes;
    parts_.counts->bytes_in.fetch_add(count, std::memory_order_relaxed);
    std::string_view input(buffer, size);
    Result<std::optional<std::string>> message = framer_.next(input);
    if (message && !input.empty()) held_.assign(input);
    return message;
}

async::Task<Result<std::optional<wire::Request>>> Session::read_request() {
    for (;;) {
        CO_TRY(std::optional<std::string> message, next_held());
        while (!message) {
            if (is_gone_ || is_closing_) co_return std::optional<wire::Request>();
            UntilReadable readable{*this};
            co_await readable;
            if (is_gone_ || is_closing_) co_return std::optional<wire::Request>();
            CO_TRY(message, receive());
        }
        const std::size_t received = message->size();
        CO_TRY(wire::Request request, wire::parse_request(std::move(*message)));
        if (request.compressor) note_decompressed(request, received);
        co_return std::optional<wire::Request>(std::move(request));
    }
}

// Headers are not compressed and not counted; OP_COMPRESSED's own says opcode, size, compressor.
constexpr std::size_t compressed_header_bytes = wire::header_bytes + 9;

void Session::note_decompressed(const wire::Request& request, std::size_t bytes_received) {
    CompressionCounts& counts =
        parts_.counts->compression[static_cast<std::size_t>(*request.compressor)];
    counts.decompressed_in.fetch_add(
        static_cast<std::int64_t>(bytes_received - compressed_header_bytes),
        std::memory_order_relaxed);
    counts.decompressed_out.fetch_add(
        static_cast<std::int64_t>(request.bytes.size() - wire::header_bytes),
        std::memory_order_relaxed);
}

void Session::note_compressed(wire::Compressor compressor, std::size_t plain, std::size_t sent) {
    CompressionCounts& counts = parts_.counts->compression[static_cast<std::size_t>(compressor)];
    counts.compressed_in.fetch_add(static_cast<std::int64_t>(plain), std::memory_order_relaxed);
    counts.compressed_out.fetch_add(static_cast<std::int64_t>(sent - compressed_header_bytes),
                                    std::memory_order_relaxed);
}

// ---- Writing ----

/// Sends what the socket takes now; -1: the client has gone.
std::int64_t Session::try_send(std::string_view bytes) {
    if (is_gone_) return -1;
    std::size_t sent = 0;
    while (sent < bytes.size()) {
        const auto count = ::send(socket_.native_handle(), bytes.data() + sent,
                                  bytes.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count >= 0) {
            sent += static_cast<std::size_t>(count);
            continue;
        }
        if (errno == EINTR) continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) break;
        return -1;
    }
    parts_.counts->bytes_out.fetch_add(static_cast<std::int64_t>(sent),
                                       std::memory_order_relaxed);
    return static_cast<std::int64_t>(sent);
}

/// What follows after try_send() has sent so many of the bytes.
async::Task<Status> Session::write_rest(std::string_view bytes, std::int64_t sent) {
    for (;;) {
        if (sent < 0) {
            on_gone();
            co_return Error(ErrorCode::client_disconnect, "the client has gone");
        }
        bytes.remove_prefix(static_cast<std::size_t>(sent));
        if (bytes.empty()) co_return ok();
        UntilWritable writable{*this};
        co_await writable;
        sent = try_send(bytes);
    }
}

async::Task<Status> Session::send(wire::ReplyWriter& reply) {
    if (async::Executor::current() != loop_.load()) co_await async::resume_on(*loop_.load());
    if (is_dropped_) co_return Error(ErrorCode::client_disconnect, "the connection is closed");
    CO_TRY(const std::string_view bytes, reply.finish(++last_reply_id_, true));
    const std::int64_t sent = try_send(bytes);
    co_return co_await write_rest(bytes, sent);
}

// ---- Serving ----

async::Task<void> Session::serve(wire::Request request) {
    Loop& loop = *loop_.load();
    wire::ReplyWriter reply(request, loop.impl().take_buffer());
    const bool expects_reply = request.expects_reply();
    const auto compressor = request.compressor;
    co_await parts_.handler->handle(*this, request, reply);
    if (async::Executor::current() != &loop) co_await async::resume_on(loop);
    if (expects_reply && !is_dropped_) {
        if (reply.has_body()) {
            // Flags and the section's kind come before the body.
            const std::size_t plain_bytes = compressor ? reply.body().size() + 5 : 0;
            const auto bytes = reply.finish(++last_reply_id_);
            if (bytes) {
                if (compressor) note_compressed(*compressor, plain_bytes, bytes->size());
                // A client that has gone is noticed by whoever reads next.
                const std::int64_t sent = try_send(*bytes);
                if (sent != static_cast<std::int64_t>(bytes->size()))
                    (void)co_await write_rest(*bytes, sent);
            } else {
                log_failure(bytes.error());
                is_closing_ = true;
            }
        } else {
            log::error(log::Component::network, 9'020'001, "Request was left without an answer",
                       {{"connectionId", parts_.id}});
            is_closing_ = true;
        }
    }
    loop.impl().give_buffer(std::move(reply).release());
}

void Session::log_failure(const Error& error) const {
    log::warning(log::Component::network, 9'020'002,
                 "Closing a connection because of what came over it",
                 {{"remote", parts_.remote.to_string()},
                  {"connectionId", parts_.id},
                  {"error", error}});
}

async::Task<void> Session::run() {
    parts_.handler->on_open(*this);
    for (;;) {
        Result<std::optional<wire::Request>> next = co_await read_request();
        if (!next) {
            log_failure(next.error());
            break;
        }
        if (!next.value()) break;
        parts_.counts->requests.fetch_add(1, std::memory_order_relaxed);
        parts_.counts->active.fetch_add(1, std::memory_order_relaxed);
        is_serving_ = true;
        arm();
        co_await serve(std::move(**next));
        is_serving_ = false;
        parts_.counts->active.fetch_sub(1, std::memory_order_relaxed);
        if (is_dropped_ || is_closing_) break;
        if (wants_control_ && loop_.load() != parts_.control) co_await migrate();
        // A client that sends ahead does not keep the others of this loop waiting.
        if (++served_ % turn_requests == 0) co_await async::resume_on(*loop_.load());
    }
    on_gone();
    error_code ignored;
    socket_.close(ignored);  // The pending wait ends; it holds the session until then.
    parts_.handler->on_close(*this);
    state.reset();
}

/// Takes the descriptor from one loop's context to the other's. The old wait ends as cancelled.
async::Task<void> Session::migrate() {
    error_code error;
    const auto protocol = socket_.local_endpoint(error).protocol();
    const int descriptor = error ? -1 : socket_.release(error);
    if (descriptor < 0 || error) {
        on_gone();
        co_return;
    }
    // The cancelled wait's handler runs on the old loop and must find nobody waiting: let it.
    while (is_armed_) co_await async::resume_on(*loop_.load());
    Loop& to = *parts_.control;
    loop_.store(&to);
    co_await async::resume_on(to);
    socket_ = StreamSocket(to.impl().context);
    socket_.assign(protocol, descriptor, error);
    if (error) {
        ::close(descriptor);
        on_gone();
    }
    may_read_ = true;
}

// ---- Closing ----

void Session::close_now() {
    is_dropped_ = true;
    is_closing_ = true;
}

void Session::on_own_loop(void (Session::*action)()) {
    loop_.load()->post([self = shared_from_this(), action] {
        // It may have moved on while this was in the queue.
        if (async::Executor::current() != self->loop_.load()) {
            self->on_own_loop(action);
            return;
        }
        ((*self).*action)();
    });
}

void Session::shut_down_here() {
    is_closing_ = true;
    if (reader_) std::exchange(reader_, {}).resume();
}

void Session::abort_here() {
    is_closing_ = true;
    is_dropped_ = true;
    ::shutdown(socket_.native_handle(), SHUT_RDWR);
    on_gone();
    error_code ignored;
    if (socket_.is_open()) socket_.cancel(ignored);
    if (reader_) std::exchange(reader_, {}).resume();
}

void Session::begin_shutdown() { on_own_loop(&Session::shut_down_here); }
void Session::abort() { on_own_loop(&Session::abort_here); }

}  // namespace tessera::net
