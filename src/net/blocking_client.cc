// SPDX-License-Identifier: Apache-2.0
#include "net/blocking_client.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <utility>

#include "bson/builder.h"
#include "wire/reply_writer.h"

namespace tessera::net {

namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

SteadyTime after(Duration timeout) {
    return std::chrono::steady_clock::now() +
           std::chrono::duration_cast<std::chrono::steady_clock::duration>(timeout);
}

Error timed_out() {
    return Error(ErrorCode::network_interface_exceeded_time_limit,
                 "timed out waiting for the other side");
}

/// Waits until `events` are possible on `descriptor`.
Status wait_for(int descriptor, short events, SteadyTime deadline) {
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(
            deadline - std::chrono::steady_clock::now());
        const auto milliseconds = std::clamp<std::int64_t>(left.count(), 0, 1 << 30);
        pollfd poll_for{descriptor, events, 0};
        const int outcome = ::poll(&poll_for, 1, static_cast<int>(milliseconds));
        if (outcome > 0) return {};
        if (outcome < 0 && errno == EINTR) continue;
        return timed_out();
    }
}

Result<int> connect_to(const sockaddr* address, socklen_t length, int family, SteadyTime deadline) {
    const int descriptor = ::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return Error(ErrorCode::socket_exception, std::strerror(errno));
    const int on = 1;
    if (family != AF_UNIX) ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    int failure = ::connect(descriptor, address, length) == 0 ? 0 : errno;
    if (failure == EINPROGRESS) {
        if (const Status waited = wait_for(descriptor, POLLOUT, deadline); !waited) {
            ::close(descriptor);
            return waited.error();
        }
        socklen_t size = sizeof(failure);
        ::getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &failure, &size);
    }
    if (failure == 0) return descriptor;
    ::close(descriptor);
    return Error(ErrorCode::host_unreachable, std::strerror(failure));
}

}  // namespace

Result<BlockingClient> BlockingClient::connect(const HostAndPort& target, Duration timeout) {
    const SteadyTime deadline = after(timeout);
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* list = nullptr;
    const std::string port = std::to_string(target.port);
    const int outcome = ::getaddrinfo(target.host.c_str(), port.c_str(), &hints, &list);
    if (outcome != 0) {
        return Error(ErrorCode::host_not_found,
                     "cannot resolve " + target.host + ": " + ::gai_strerror(outcome));
    }
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(list, &::freeaddrinfo);
    Error last(ErrorCode::host_not_found, "no address");
    for (const addrinfo* info = list; info != nullptr; info = info->ai_next) {
        Result<int> descriptor =
            connect_to(info->ai_addr, info->ai_addrlen, info->ai_family, deadline);
        if (descriptor) return BlockingClient(*descriptor);
        last = descriptor.error();
    }
    return last.with_prefix("cannot connect to " + target.to_string() + ": ");
}

Result<BlockingClient> BlockingClient::connect_unix(const std::string& path, Duration timeout) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof(address.sun_path))
        return Error(ErrorCode::bad_value, "the path of the Unix socket is too long: " + path);
    std::memcpy(address.sun_path, path.data(), path.size());
    TRY(const int descriptor, connect_to(reinterpret_cast<const sockaddr*>(&address),
                                         sizeof(address), AF_UNIX, after(timeout)));
    return BlockingClient(descriptor);
}

BlockingClient::BlockingClient(BlockingClient&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      last_id_(other.last_id_),
      framer_(std::move(other.framer_)),
      unread_(std::move(other.unread_)) {}

BlockingClient& BlockingClient::operator=(BlockingClient&& other) noexcept {
    if (this == &other) return *this;
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = std::exchange(other.descriptor_, -1);
    last_id_ = other.last_id_;
    framer_ = std::move(other.framer_);
    unread_ = std::move(other.unread_);
    return *this;
}

BlockingClient::~BlockingClient() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

Status BlockingClient::send_bytes(std::string_view bytes, Duration timeout) {
    const SteadyTime deadline = after(timeout);
    while (!bytes.empty()) {
        const auto count = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (count >= 0) {
            bytes.remove_prefix(static_cast<std::size_t>(count));
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            TRY_OK(wait_for(descriptor_, POLLOUT, deadline));
        } else if (errno != EINTR) {
            return Error(ErrorCode::host_unreachable,
                         std::string("cannot send: ") + std::strerror(errno));
        }
    }
    return {};
}

Result<wire::Reply> BlockingClient::receive(Duration timeout) {
    const SteadyTime deadline = after(timeout);
    for (;;) {
        std::string_view input = unread_;
        TRY(std::optional<std::string> message, framer_.next(input));
        unread_.erase(0, unread_.size() - input.size());
        if (message) return wire::parse_reply(std::move(*message));
        char buffer[16 * 1024];
        const auto count = ::recv(descriptor_, buffer, sizeof(buffer), 0);
        if (count > 0) {
            unread_.append(buffer, static_cast<std::size_t>(count));
        } else if (count == 0) {
            return Error(ErrorCode::host_unreachable, "the other side closed the connection");
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            TRY_OK(wait_for(descriptor_, POLLIN, deadline));
        } else if (errno != EINTR) {
            return Error(ErrorCode::host_unreachable,
                         std::string("cannot receive: ") + std::strerror(errno));
        }
    }
}

Result<std::int32_t> BlockingClient::send_command(bson::View body,
                                                  std::uint32_t flags,
                                                  Duration timeout) {
    wire::CommandMessage command;
    command.id = ++last_id_;
    command.body = body.bytes();
    command.flags = flags;
    std::string bytes;
    wire::append_command(command, bytes);
    TRY_OK(send_bytes(bytes, timeout));
    return command.id;
}

Result<bson::Document> BlockingClient::run(std::string_view database,
                                           bson::View command,
                                           Duration timeout) {
    bson::Builder body;
    body.append_all(command);
    body.append("$db", database);
    const bson::Document document = std::move(body).finish();
    TRY(const std::int32_t id, send_command(document, 0, timeout));
    for (;;) {
        TRY(wire::Reply reply, receive(timeout));
        // An answer to an earlier command that timed out is not ours.
        if (reply.response_to == id) return bson::Document(reply.body);
    }
}

Result<bson::Document> BlockingClient::run_ok(std::string_view database,
                                              bson::View command,
                                              Duration timeout) {
    TRY(bson::Document reply, run(database, command, timeout));
    if (reply["ok"].is_truthy()) return reply;
    const bson::Value reason = reply["errmsg"];
    return Error(static_cast<ErrorCode>(reply["code"].to_int64()),
                 std::string(reason.is_string() ? reason.as_string() : "it gave no reason"),
                 std::string(reply.bytes()));
}

}  // namespace tessera::net
