// SPDX-License-Identifier: Apache-2.0
//
// The short way between processes of one machine: beside each loopback address a server listens on
// a Unix socket of the same name in the abstract namespace (unix(7)), "@tessera/127.0.0.1:27018".
// As a port it belongs to the network namespace and goes with its process; there is no file. It
// spares both processes the work of loopback TCP. Decision 0008.
//
// Anybody may take such a name, so either side talks only to processes of its own user or root's;
// where that fails, TCP is used.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <string>

#include "base/host_and_port.h"

namespace tessera::net {

struct LocalName {
    sockaddr_un address{};
    socklen_t length = 0;
    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
    std::string to_string() const;
};
/// Of a numeric loopback address.
LocalName local_name(const HostAndPort& beside);

/// Who is at the other end of a connected Unix socket. Its id is 0 when it is of another container.
struct LocalPeer {
    pid_t process = 0;
    bool is_trusted = false;
};
LocalPeer local_peer(int descriptor);

}  // namespace tessera::net
