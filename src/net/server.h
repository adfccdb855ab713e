// SPDX-License-Identifier: Apache-2.0
//
// Accepts clients and serves their requests: listeners, N network loops to which connections are
// pinned in turn, and a control loop for listeners and for connections moved there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/result.h"
#include "base/time.h"
#include "net/connection.h"
#include "net/loop.h"

namespace tessera::net {

/// What start() fails with when another process has the port: mongod's exit code is then 48.
inline constexpr ErrorCode address_in_use = location(9'000'048);

struct ServerOptions {
    /// Host names or addresses; "*" is every address (IPv4, and IPv6 with ipv6).
    std::vector<std::string> bind_addresses = {"127.0.0.1"};
    std::uint16_t port = 27017;  // 0: any free one, see Server::port().
    bool ipv6 = false;           // Whether names and "*" also mean IPv6 addresses.
    /// Where to make the Unix socket "mongodb-<port>.sock"; empty: none.
    std::string unix_socket_directory;
    /// Whether processes of this machine may come by the short way (net/local_socket.h).
    bool has_local_sockets = true;
    std::size_t network_threads = 2;
    std::size_t connections_max = 65'536;
};

struct ServerStatistics {
    std::int64_t current = 0;        // Open connections.
    std::int64_t available = 0;      // How many more may come.
    std::int64_t total_created = 0;
    std::int64_t rejected = 0;       // Beyond connections_max.
    std::int64_t active = 0;         // Serving a request at this moment.
    std::int64_t requests = 0;
    std::int64_t bytes_in = 0;
    std::int64_t bytes_out = 0;
    struct Compression {
        wire::Compressor compressor = wire::Compressor::noop;
        std::int64_t compressed_in = 0;
        std::int64_t compressed_out = 0;
        std::int64_t decompressed_in = 0;
        std::int64_t decompressed_out = 0;
    };
    std::vector<Compression> compression;  // snappy, zstd, zlib.
};

class Server {
public:
    /// The loops run from here on. `handler` must outlive the server.
    Server(ServerOptions options, Handler& handler);
    /// As shut_down() with no grace.
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    /// Takes all addresses or none. Fails with address_in_use, HostNotFound, BadValue (no such
    /// address on this machine) or SocketException. Accepts nothing yet: clients queue.
    Status listen();
    /// The port taken; known after listen().
    std::uint16_t port() const;
    /// Begins to accept; logs "Listening on" for each address and "Waiting for connections".
    void accept();
    /// Logs "Waiting for connections", the line launchers read the port from.
    void announce() const;

    /// Stops to accept, closes idle connections, gives commands that run `grace` to end and their
    /// clients their answers, then cancels them. Blocks until no connection is left. Fails with
    /// ExceededTimeLimit when commands did not end though cancelled: their connections are still in
    /// use, and the process should end without destroying anything. Not from a loop.
    Status shut_down(Duration grace);

    /// Loops for other users of the process (ClientTransport, background work).
    Loop& control();
    std::vector<Loop*> network_loops();
    ServerStatistics statistics() const;

private:
    struct Impl;
    std::shared_ptr<Impl> impl_;  // Also owned by its sessions.
};

}  // namespace tessera::net
