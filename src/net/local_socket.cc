// SPDX-License-Identifier: Apache-2.0
#include "net/local_socket.h"

#include <unistd.h>

#include <algorithm>
#include <cstddef>

namespace tessera::net {

std::string LocalName::to_string() const {
    const std::size_t size = length - offsetof(sockaddr_un, sun_path);
    return "@" + std::string(address.sun_path + 1, size - 1);
}

LocalName local_name(const HostAndPort& beside) {
    const std::string text = "tessera/" + beside.to_string();
    LocalName name;
    name.address.sun_family = AF_UNIX;
    // A first byte of zero: no file. An address and a port are far shorter than the 107 bytes left.
    std::copy(text.begin(), text.end(), name.address.sun_path + 1);
    name.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
    return name;
}

LocalPeer local_peer(int descriptor) {
    ucred credentials{};
    socklen_t length = sizeof(credentials);
    LocalPeer peer;
    if (::getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return peer;
    peer.process = credentials.pid;
    peer.is_trusted = credentials.uid == ::geteuid() || credentials.uid == 0;
    return peer;
}

}  // namespace tessera::net
