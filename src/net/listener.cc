// SPDX-License-Identifier: Apache-2.0
#include "net/listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "net/local_socket.h"
#include "net/server.h"

namespace tessera::net {

namespace {

Error system_failure(const std::string& what, int number) {
    const ErrorCode code = number == EADDRINUSE      ? address_in_use
                           : number == EADDRNOTAVAIL ? ErrorCode::bad_value
                                                     : ErrorCode::socket_exception;
    return Error(code, what + ": " + std::strerror(number));
}

struct FreeAddresses {
    void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

Result<Addresses> resolve(const std::string& host, bool ipv6) {
    addrinfo hints{};
    hints.ai_family = ipv6 || host.find(':') != std::string::npos ? AF_UNSPEC : AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE;
    addrinfo* list = nullptr;
    const int outcome = ::getaddrinfo(host == "*" ? nullptr : host.c_str(), "0", &hints, &list);
    if (outcome != 0) {
        return Error(ErrorCode::host_not_found,
                     "cannot resolve the bind address " + host + ": " + ::gai_strerror(outcome));
    }
    return Addresses(list);
}

std::string numeric_host(const sockaddr* address, socklen_t length) {
    char host[NI_MAXHOST] = "";
    ::getnameinfo(address, length, host, sizeof(host), nullptr, 0, NI_NUMERICHOST);
    return host;
}

/// Owns a descriptor until it is handed on.
struct Descriptor {
    int number;
    explicit Descriptor(int n) : number(n) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
        if (number >= 0) ::close(number);
    }
    int release() { return std::exchange(number, -1); }
};

Result<Listener> listen_tcp(const addrinfo& info, std::uint16_t port) {
    sockaddr_storage address{};
    std::memcpy(&address, info.ai_addr, info.ai_addrlen);
    if (info.ai_family == AF_INET6) {
        reinterpret_cast<sockaddr_in6*>(&address)->sin6_port = htons(port);
    } else {
        reinterpret_cast<sockaddr_in*>(&address)->sin_port = htons(port);
    }
    auto* const raw = reinterpret_cast<sockaddr*>(&address);
    const std::string host = numeric_host(raw, info.ai_addrlen);
    const std::string name = HostAndPort{host, port}.to_string();

    Descriptor socket(
        ::socket(info.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (socket.number < 0) return system_failure("cannot make a socket for " + name, errno);
    const int on = 1;
    ::setsockopt(socket.number, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    ::setsockopt(socket.number, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));  // Accepted inherit.
    if (info.ai_family == AF_INET6)
        ::setsockopt(socket.number, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (::bind(socket.number, raw, info.ai_addrlen) != 0 ||
        ::listen(socket.number, SOMAXCONN) != 0) {
        return system_failure("cannot listen on " + name, errno);
    }
    socklen_t length = sizeof(address);
    ::getsockname(socket.number, raw, &length);
    const std::uint16_t bound =
        ntohs(info.ai_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                                         : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
    return Listener(Listener::Kind::tcp, socket.release(), HostAndPort{host, bound});
}

Result<Listener> listen_unix(const std::string& directory, std::uint16_t port) {
    const std::string path = directory + "/mongodb-" + std::to_string(port) + ".sock";
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof(address.sun_path))
        return Error(ErrorCode::bad_value, "the path of the Unix socket is too long: " + path);
    std::memcpy(address.sun_path, path.data(), path.size());
    Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (socket.number < 0) return system_failure("cannot make a Unix socket", errno);
    // We own the TCP port of that number, so a file left there belongs to nobody.
    ::unlink(path.c_str());
    if (::bind(socket.number, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
        ::listen(socket.number, SOMAXCONN) != 0) {
        return system_failure("cannot listen on " + path, errno);
    }
    ::chmod(path.c_str(), 0700);
    return Listener(Listener::Kind::unix_file, socket.release(), HostAndPort{path, port});
}

// The address by which this machine's processes reach a TCP socket.
HostAndPort loopback_of(HostAndPort address) {
    if (address.host == "0.0.0.0") address.host = "127.0.0.1";
    if (address.host == "::") address.host = "::1";
    return address;
}

Result<Listener> listen_local(const HostAndPort& beside) {
    const LocalName name = local_name(beside);
    Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (socket.number < 0) return system_failure("cannot make a Unix socket", errno);
    if (::bind(socket.number, name.get(), name.length) != 0 ||
        ::listen(socket.number, SOMAXCONN) != 0) {
        return system_failure("cannot listen on " + name.to_string(), errno);
    }
    return Listener(Listener::Kind::local, socket.release(), beside);
}

}  // namespace

Listener::Listener(Listener&& other) noexcept
    : kind_(std::exchange(other.kind_, Kind::tcp)),
      address_(std::move(other.address_)),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

Listener::~Listener() {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (kind_ == Kind::unix_file) ::unlink(address_.host.c_str());
}

int Listener::family() const {
    if (kind_ != Kind::tcp) return AF_UNIX;
    return address_.host.find(':') != std::string::npos ? AF_INET6 : AF_INET;
}

std::string Listener::to_string() const {
    if (kind_ == Kind::unix_file) return address_.host;
    if (kind_ == Kind::local) return local_name(address_).to_string();
    return address_.to_string();
}

int Listener::release() { return std::exchange(descriptor_, -1); }

Result<std::vector<Listener>> listen_on(const ListenAddresses& addresses) {
    std::vector<Listener> result;
    std::uint16_t port = addresses.port;
    for (const std::string& host : addresses.hosts) {
        TRY(const Addresses resolved, resolve(host, addresses.ipv6));
        for (const addrinfo* info = resolved.get(); info != nullptr; info = info->ai_next) {
            const std::string numeric = numeric_host(info->ai_addr, info->ai_addrlen);
            bool is_taken = false;  // "localhost,127.0.0.1" names one address twice.
            for (const Listener& other : result) is_taken |= other.address().host == numeric;
            if (is_taken) continue;
            TRY(Listener listener, listen_tcp(*info, port));
            port = listener.address().port;
            result.push_back(std::move(listener));
        }
    }
    std::vector<Listener> local;
    for (const Listener& listener : result) {
        const HostAndPort reached = loopback_of(listener.address());
        if (!addresses.has_local_sockets || !reached.is_loopback()) continue;
        if (auto beside = listen_local(reached)) local.push_back(std::move(*beside));
    }
    for (Listener& each : local)
        result.push_back(std::move(each));
    if (!addresses.unix_socket_directory.empty()) {
        TRY(Listener listener, listen_unix(addresses.unix_socket_directory, port));
        result.push_back(std::move(listener));
    }
    return result;
}

}  // namespace tessera::net
