// SPDX-License-Identifier: Apache-2.0
//
// A small client that blocks: for the launcher and for tests, which have threads to spare. One
// connection, one command at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/host_and_port.h"
#include "base/result.h"
#include "base/time.h"
#include "bson/view.h"
#include "wire/message.h"
#include "wire/request.h"

namespace tessera::net {

class BlockingClient {
public:
    /// Connects; each call's own limit is `timeout`. Fails with HostUnreachable, HostNotFound or
    /// NetworkInterfaceExceededTimeLimit.
    static Result<BlockingClient> connect(const HostAndPort& target, Duration timeout);
    /// To a Unix socket.
    static Result<BlockingClient> connect_unix(const std::string& path, Duration timeout);
    BlockingClient(BlockingClient&& other) noexcept;
    BlockingClient& operator=(BlockingClient&& other) noexcept;
    ~BlockingClient();

    /// Runs `command` (without $db) on `database` and returns the whole reply, whatever its "ok".
    Result<bson::Document> run(std::string_view database, bson::View command, Duration timeout);
    /// As run(), turning a reply with ok: 0 into an Error of its code and errmsg.
    Result<bson::Document> run_ok(std::string_view database, bson::View command,
                                  Duration timeout);

    /// Bytes as they are, for tests of malformed messages and of streams.
    Status send_bytes(std::string_view bytes, Duration timeout);
    Result<wire::Reply> receive(Duration timeout);
    /// Sends an OP_MSG and returns its id.
    Result<std::int32_t> send_command(bson::View body, std::uint32_t flags, Duration timeout);
    int descriptor() const { return descriptor_; }

private:
    explicit BlockingClient(int descriptor) : descriptor_(descriptor) {}

    int descriptor_ = -1;
    std::int32_t last_id_ = 0;
    wire::Framer framer_;
    std::string unread_;
};

}  // namespace tessera::net
