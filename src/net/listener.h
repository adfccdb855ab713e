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
};

/// One bound, listening, non-blocking descriptor; closed with it.
class Listener {
public:
    Listener(int descriptor, HostAndPort address, std::string unix_path)
        : address_(std::move(address)),
          unix_path_(std::move(unix_path)),
          descriptor_(descriptor) {}
    Listener(Listener&& other) noexcept;
    Listener& operator=(Listener&&) = delete;
    ~Listener();

    /// For a Unix socket the host is its path.
    const HostAndPort& address() const { return address_; }
    bool is_unix() const { return !unix_path_.empty(); }
    int family() const;
    /// The caller owns the descriptor from here on; a Unix socket's file is still removed here.
    int release();

private:
    HostAndPort address_;
    std::string unix_path_;
    int descriptor_;
};

/// Takes all addresses or none; the first one's port, when 0 was asked, is used for all.
Result<std::vector<Listener>> listen_on(const ListenAddresses& addresses);

}  // namespace tessera::net
