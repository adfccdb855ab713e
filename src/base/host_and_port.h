// SPDX-License-Identifier: Apache-2.0
//
// "host:port", the name by which members, routers and clients know a process.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tessera {

struct HostAndPort {
    std::string host;
    std::uint16_t port = 27017;

    auto operator<=>(const HostAndPort&) const = default;
    bool is_empty() const { return host.empty(); }
    /// "host:port"; an IPv6 address gets its brackets back. Empty for an empty one.
    std::string to_string() const;
    /// Whether the host names this machine alone: localhost, 127.0.0.0/8, ::1.
    bool is_loopback() const;

    /// Parses "host", "host:port", "[::1]:port". Fails with FailedToParse.
    static Result<HostAndPort> parse(std::string_view text);
};

}  // namespace tessera
