// SPDX-License-Identifier: Apache-2.0
//
// The sockets a server listens on. Inside of Server only.
#pragma once

#include <string>
#include <vector>

#include "base/host_and_port.h"
#include "base/result.h"

namespace tessera::net {

struct ListenAddresses {
    std::vector<std::string> hosts;  // As ServerOptions::bind_addresses.
    std::uint16_t port = 0;
    bool ipv6 = false;
    std::string unix_socket_directory;
    bool has_local_sockets = false;  // net/local_socket.h
};

/// One bound, listening, non-blocking descriptor; closed with it.
class Listener {
public:
    enum class Kind {
        tcp,
        unix_file,
        local,  // net/local_socket.h: its address is that of the TCP socket it goes beside.
    };
    Listener(Kind kind, int descriptor, HostAndPort address)
        : kind_(kind), address_(std::move(address)), descriptor_(descriptor) {}
    Listener(Listener&& other) noexcept;
    Listener& operator=(Listener&&) = delete;
    ~Listener();

    /// For a Unix socket the host is its path.
    const HostAndPort& address() const { return address_; }
    Kind kind() const { return kind_; }
    int family() const;
    /// As the log names it.
    std::string to_string() const;
    /// The caller owns the descriptor from here on; a Unix socket's file is still removed here.
    int release();

private:
    Kind kind_;
    HostAndPort address_;
    int descriptor_;
};

/// Takes all addresses or none; the first one's port, when 0 was asked, is used for all. A local
/// socket that cannot be had is done without.
Result<std::vector<Listener>> listen_on(const ListenAddresses& addresses);

}  // namespace tessera::net
