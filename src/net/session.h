// SPDX-License-Identifier: Apache-2.0
//
// One accepted connection and the coroutine that serves it. Inside of Server only.
//
// Reading: the loop's one receive buffer takes whatever a recv brings; the first message is copied
// out of it, the rest of it, if any, is kept with the session. So an idle session has no buffers at
// all. A wait for readability stays armed while a request is served, so that the client's going is
// noticed; what it sends meanwhile is taken in, up to a limit.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>

#include <array>
#include <atomic>
#include <coroutine>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "net/asio_loop.h"
#include "net/connection.h"

namespace tessera::net {

using StreamSocket = asio::generic::stream_protocol::socket;

/// Counts of all sessions of a server; any thread.
/// Bytes before and after one compressor did its work.
struct CompressionCounts {
    std::atomic<std::int64_t> compressed_in = 0;
    std::atomic<std::int64_t> compressed_out = 0;
    std::atomic<std::int64_t> decompressed_in = 0;
    std::atomic<std::int64_t> decompressed_out = 0;
};

struct SessionCounts {
    std::atomic<std::int64_t> active = 0;
    std::atomic<std::int64_t> requests = 0;
    std::atomic<std::int64_t> bytes_in = 0;
    std::atomic<std::int64_t> bytes_out = 0;
    std::array<CompressionCounts, 4> compression;  // By wire::Compressor.
};

struct SessionParts {
    std::int64_t id = 0;
    HostAndPort remote;
    HostAndPort local;
    Loop* loop = nullptr;
    Loop* control = nullptr;
    Handler* handler = nullptr;
    SessionCounts* counts = nullptr;
};

class Session : public Connection, public std::enable_shared_from_this<Session> {
public:
    /// `socket` belongs to parts.loop's context. Requires: counts outlives the session.
    Session(StreamSocket socket, SessionParts parts);

    /// Serves until the client goes or the session is closed. On its loop, once. The session must
    /// be held by the caller until this has ended.
    async::Task<void> run();

    /// Any thread: an idle session closes now, a busy one when it has answered.
    void begin_shutdown();
    /// Any thread: cancels what runs and closes.
    void abort();

    std::int64_t id() const override { return parts_.id; }
    const HostAndPort& remote() const override { return parts_.remote; }
    const HostAndPort& local() const override { return parts_.local; }
    async::Executor& executor() const override { return *loop_.load(); }
    const async::Cancellation& cancellation() const override { return cancellation_; }
    async::Task<Status> send(wire::ReplyWriter& reply) override;
    void move_to_control() override { wants_control_ = true; }
    void close_after_reply() override { is_closing_ = true; }
    void close_now() override;

private:
    void note_decompressed(const wire::Request& request, std::size_t bytes_received);
    void note_compressed(wire::Compressor compressor, std::size_t plain, std::size_t sent);
    struct UntilReadable;
    struct UntilWritable;

    async::Task<Result<std::optional<wire::Request>>> read_request();
    async::Task<void> serve(wire::Request request);
    async::Task<Status> write_rest(std::string_view bytes, std::int64_t sent);
    async::Task<void> migrate();

    Result<std::optional<std::string>> next_held();
    Result<std::optional<std::string>> receive();
    void take_ahead();
    void arm();
    void on_readable(bool has_failed);
    void on_gone();
    std::int64_t try_send(std::string_view bytes);
    void log_failure(const Error& error) const;
    void on_own_loop(void (Session::*action)());
    void shut_down_here();
    void abort_here();

    const SessionParts parts_;
    async::Cancellation cancellation_;
    std::atomic<Loop*> loop_;  // Changes on its own loop only.

    // Touched on the loop's thread only.
    StreamSocket socket_;
    wire::Framer framer_;
    std::string held_;  // Received, not yet framed, from held_at_ on.
    std::size_t held_at_ = 0;
    std::coroutine_handle<> reader_;  // Waits for readability.
    std::int32_t last_reply_id_ = 0;
    std::uint64_t served_ = 0;
    bool is_armed_ = false;     // A wait for readability is pending.
    bool may_read_ = true;      // There may be bytes to receive.
    bool is_serving_ = false;
    bool is_gone_ = false;      // Nothing more will come or can be sent.
    std::atomic<bool> wants_control_ = false;  // Set from wherever the handler runs.
    std::atomic<bool> is_closing_ = false;
    std::atomic<bool> is_dropped_ = false;
};

}  // namespace tessera::net
