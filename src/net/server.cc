// SPDX-License-Identifier: Apache-2.0
#include "net/server.h"

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "base/assert.h"
#include "base/log.h"
#include "net/asio_loop.h"
#include "net/listener.h"
#include "net/local_socket.h"
#include "net/session.h"

namespace tessera::net {

using boost::system::error_code;
using async::Task;

namespace {

/// Who is at the other end. A client on a local socket is named by its process.
HostAndPort address_of(const sockaddr_storage& address, const LocalPeer& process) {
    char text[INET6_ADDRSTRLEN] = "";
    if (address.ss_family == AF_INET) {
        const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
        ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text));
        return HostAndPort{text, ntohs(v4.sin_port)};
    }
    if (address.ss_family == AF_INET6) {
        const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
        ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text));
        return HostAndPort{text, ntohs(v6.sin6_port)};
    }
    if (process.process != 0) return HostAndPort{"process " + std::to_string(process.process), 0};
    return HostAndPort{"anonymous unix socket", 0};
}

}  // namespace

/// A listening socket on the control loop.
struct Acceptor {
    Listener listener;
    asio::posix::stream_descriptor descriptor;
    asio::steady_timer pause;
    int number;
    int family;

    Acceptor(Listener l, asio::io_context& context)
        : listener(std::move(l)),
          descriptor(context),
          pause(context),
          number(listener.release()),
          family(listener.family()) {
        descriptor.assign(number);
    }
};

struct Server::Impl : std::enable_shared_from_this<Server::Impl> {
    const ServerOptions options;
    Handler& handler;
    SessionCounts counts;
    std::unique_ptr<Loop> control;
    std::vector<std::unique_ptr<Loop>> loops;

    std::vector<Listener> listeners;  // Between listen() and accept().
    std::uint16_t port = 0;

    // Touched on the control loop only.
    std::vector<std::unique_ptr<Acceptor>> acceptors;
    std::size_t next_loop = 0;

    std::mutex mutex;
    std::condition_variable session_ended;
    // Guarded by mutex.
    std::unordered_map<std::int64_t, std::shared_ptr<Session>> sessions;
    std::int64_t last_id = 0;
    std::int64_t rejected = 0;
    bool is_stopping = false;

    Impl(ServerOptions o, Handler& h)
        : options(std::move(o)), handler(h), control(std::make_unique<Loop>("control")) {
        ASSERT(options.network_threads > 0);
        for (std::size_t i = 0; i < options.network_threads; ++i)
            loops.push_back(std::make_unique<Loop>("network-" + std::to_string(i)));
    }

    void wait_for_clients(Acceptor& acceptor);
    void accept_all(Acceptor& acceptor);
    void admit(int descriptor, const Acceptor& acceptor, const sockaddr_storage& peer);
    Task<void> run(std::shared_ptr<Session> session);
    void start_session(int descriptor, int family, SessionParts parts);
    void forget(const Session& session);
    void stop_accepting();
    bool wait_for_end(Duration limit);
    std::vector<std::shared_ptr<Session>> open_sessions();
};

void Server::Impl::wait_for_clients(Acceptor& acceptor) {
    acceptor.descriptor.async_wait(
        asio::posix::stream_descriptor::wait_read,
        [self = shared_from_this(), &acceptor](const error_code& error) {
            if (!error) self->accept_all(acceptor);
        });
}

void Server::Impl::accept_all(Acceptor& acceptor) {
    for (;;) {
        sockaddr_storage peer{};
        socklen_t length = sizeof(peer);
        const int descriptor = ::accept4(acceptor.number, reinterpret_cast<sockaddr*>(&peer),
                                         &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (descriptor >= 0) {
            admit(descriptor, acceptor, peer);
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED) continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) break;
        log::warning(log::Component::network, 9'020'003, "Cannot accept a connection",
                     {{"error", std::strerror(errno)}});
        acceptor.pause.expires_after(accept_pause);
        acceptor.pause.async_wait([self = shared_from_this(), &acceptor](const error_code& error) {
            if (!error) self->accept_all(acceptor);
        });
        return;
    }
    wait_for_clients(acceptor);
}

void Server::Impl::admit(int descriptor, const Acceptor& acceptor, const sockaddr_storage& peer) {
    LocalPeer process;
    if (acceptor.listener.kind() == Listener::Kind::local) {
        process = local_peer(descriptor);
        if (!process.is_trusted) {
            ::close(descriptor);
            return;
        }
    }
    SessionParts parts;
    parts.remote = address_of(peer, process);
    parts.local = acceptor.listener.address();
    parts.control = control.get();
    parts.handler = &handler;
    parts.counts = &counts;
    std::int64_t open = 0;
    {
        const std::lock_guard lock(mutex);
        open = static_cast<std::int64_t>(sessions.size());
        if (is_stopping || sessions.size() >= options.connections_max) {
            ::close(descriptor);
            if (is_stopping) return;
            ++rejected;
        } else {
            parts.id = ++last_id;
            sessions.emplace(parts.id, nullptr);  // Holds the place.
        }
    }
    if (parts.id == 0) {
        log::warning(log::Component::network, 22942,
                     "Connection refused because there are too many open connections",
                     {{"remote", parts.remote.to_string()}, {"connectionCount", open}});
        return;
    }
    log::info(log::Component::network, 22943, "Connection accepted",
              {{"remote", parts.remote.to_string()},
               {"connectionId", parts.id},
               {"connectionCount", open + 1}});
    if (acceptor.family != AF_UNIX) {
        const int on = 1;
        ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        ::setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    }
    parts.loop = loops[next_loop++ % loops.size()].get();
    Loop& loop = *parts.loop;
    loop.post([self = shared_from_this(), descriptor, family = acceptor.family,
               parts = std::move(parts)]() mutable {
        self->start_session(descriptor, family, std::move(parts));
    });
}

void Server::Impl::start_session(int descriptor, int family, SessionParts parts) {
    Loop& loop = *parts.loop;
    StreamSocket socket(loop.impl().context);
    error_code error;
    const asio::generic::stream_protocol protocol(family, family == AF_UNIX ? 0 : IPPROTO_TCP);
    socket.assign(protocol, descriptor, error);
    if (error) ::close(descriptor);
    const auto session = std::make_shared<Session>(std::move(socket), std::move(parts));
    bool is_refused = static_cast<bool>(error);
    {
        const std::lock_guard lock(mutex);
        is_refused = is_refused || is_stopping;
        if (!is_refused) sessions[session->id()] = session;
    }
    if (is_refused) {
        forget(*session);
        return;
    }
    spawn(loop, run(session));
}

Task<void> Server::Impl::run(std::shared_ptr<Session> session) {
    const std::shared_ptr<Impl> self = shared_from_this();
    co_await session->run();
    self->forget(*session);
}

void Server::Impl::forget(const Session& session) {
    const std::int64_t id = session.id();
    const std::string remote = session.remote().to_string();
    std::shared_ptr<Session> gone;
    std::int64_t open = 0;
    {
        const std::lock_guard lock(mutex);
        const auto found = sessions.find(id);
        ASSERT(found != sessions.end());
        gone = std::move(found->second);
        open = static_cast<std::int64_t>(sessions.size()) - 1;
    }
    log::info(log::Component::network, 22944, "Connection ended",
              {{"remote", remote}, {"connectionId", id}, {"connectionCount", open}});
    const std::lock_guard lock(mutex);
    sessions.erase(id);
    session_ended.notify_all();
}

void Server::Impl::stop_accepting() {
    std::mutex done_mutex;
    std::condition_variable done;
    bool is_done = false;
    control->post([&] {
        acceptors.clear();
        const std::lock_guard lock(done_mutex);
        is_done = true;
        done.notify_one();
    });
    std::unique_lock lock(done_mutex);
    done.wait(lock, [&] { return is_done; });
}

std::vector<std::shared_ptr<Session>> Server::Impl::open_sessions() {
    std::vector<std::shared_ptr<Session>> result;
    const std::lock_guard lock(mutex);
    for (const auto& [id, session] : sessions) {
        if (session) result.push_back(session);
    }
    return result;
}

bool Server::Impl::wait_for_end(Duration limit) {
    std::unique_lock lock(mutex);
    return session_ended.wait_for(lock, limit, [&] { return sessions.empty(); });
}

// ---- Server ----

Server::Server(ServerOptions options, Handler& handler)
    : impl_(std::make_shared<Impl>(std::move(options), handler)) {}

Server::~Server() {
    const Status ended = shut_down(Duration::zero());
    ASSERT(ended.has_value());  // Otherwise the process was to end: see shut_down().
    for (const auto& loop : impl_->loops) loop->stop();
    impl_->control->stop();
    // Handlers that never ran go with their loops; some of them hold the Impl that owns those.
    impl_->loops.clear();
    impl_->control.reset();
}

Status Server::listen() {
    ListenAddresses addresses;
    addresses.hosts = impl_->options.bind_addresses;
    addresses.port = impl_->options.port;
    addresses.ipv6 = impl_->options.ipv6;
    addresses.unix_socket_directory = impl_->options.unix_socket_directory;
    addresses.has_local_sockets = impl_->options.has_local_sockets;
    TRY(impl_->listeners, listen_on(addresses));
    if (impl_->listeners.empty())
        return Error(ErrorCode::bad_value, "there is no address to listen on");
    impl_->port = impl_->listeners.front().address().port;
    return {};
}

std::uint16_t Server::port() const { return impl_->port; }

void Server::announce() const {
    log::info(log::Component::network, 23016, "Waiting for connections",
              {{"port", std::int64_t{impl_->port}}, {"ssl", "off"}});
}

void Server::accept() {
    for (const Listener& listener : impl_->listeners) {
        log::info(log::Component::network, 23015, "Listening on",
                  {{"address", listener.to_string()}});
    }
    announce();
    impl_->control->post([impl = impl_] {
        for (Listener& listener : impl->listeners) {
            impl->acceptors.push_back(std::make_unique<Acceptor>(
                std::move(listener), impl->control->impl().context));
            impl->wait_for_clients(*impl->acceptors.back());
        }
        impl->listeners.clear();
    });
}

Status Server::shut_down(Duration grace) {
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->is_stopping = true;
    }
    impl_->stop_accepting();
    impl_->listeners.clear();
    for (const auto& session : impl_->open_sessions()) session->begin_shutdown();
    if (impl_->wait_for_end(grace)) return {};
    for (const auto& session : impl_->open_sessions()) session->abort();
    if (impl_->wait_for_end(cancelled_end_max)) return {};
    return Error(ErrorCode::exceeded_time_limit,
                 "commands of clients did not end though they were cancelled");
}

Loop& Server::control() { return *impl_->control; }

std::vector<Loop*> Server::network_loops() {
    std::vector<Loop*> result;
    for (const auto& loop : impl_->loops) result.push_back(loop.get());
    return result;
}

ServerStatistics Server::statistics() const {
    ServerStatistics result;
    {
        const std::lock_guard lock(impl_->mutex);
        result.current = static_cast<std::int64_t>(impl_->sessions.size());
        result.total_created = impl_->last_id;
        result.rejected = impl_->rejected;
    }
    result.available = static_cast<std::int64_t>(impl_->options.connections_max) - result.current;
    result.active = impl_->counts.active.load(std::memory_order_relaxed);
    result.requests = impl_->counts.requests.load(std::memory_order_relaxed);
    result.bytes_in = impl_->counts.bytes_in.load(std::memory_order_relaxed);
    result.bytes_out = impl_->counts.bytes_out.load(std::memory_order_relaxed);
    for (const auto compressor :
         {wire::Compressor::snappy, wire::Compressor::zstd, wire::Compressor::zlib}) {
        const CompressionCounts& counts =
            impl_->counts.compression[static_cast<std::size_t>(compressor)];
        result.compression.push_back({compressor,
                                      counts.compressed_in.load(std::memory_order_relaxed),
                                      counts.compressed_out.load(std::memory_order_relaxed),
                                      counts.decompressed_in.load(std::memory_order_relaxed),
                                      counts.decompressed_out.load(std::memory_order_relaxed)});
    }
    return result;
}

}  // namespace tessera::net
