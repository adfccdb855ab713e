// SPDX-License-Identifier: Apache-2.0
#include "base/host_and_port.h"

#include <algorithm>
#include <charconv>

namespace tessera {
namespace {

/// Neither blank, control character, bracket nor what separates hosts and users in addresses.
bool is_of_a_name(char c) {
    constexpr std::string_view others = "/,@[]\x7f";
    return static_cast<unsigned char>(c) > ' ' && others.find(c) == std::string_view::npos;
}

}  // namespace

std::string HostAndPort::to_string() const {
    if (host.empty()) return {};
    const bool is_v6 = host.find(':') != std::string::npos;
    return (is_v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

bool HostAndPort::is_loopback() const {
    return host == "localhost" || host.starts_with("127.") || host == "::1";
}

Result<HostAndPort> HostAndPort::parse(std::string_view text) {
    const auto malformed = [&] {
        return Error(ErrorCode::failed_to_parse,
                     "'" + std::string(text) + "' is not a host name with an optional port");
    };
    HostAndPort result;
    std::string_view rest;
    if (text.starts_with('[')) {
        const auto close = text.find(']');
        if (close == std::string_view::npos) return malformed();
        result.host = text.substr(1, close - 1);
        rest = text.substr(close + 1);
    } else {
        const auto colon = text.find(':');
        result.host = text.substr(0, colon);
        rest = colon == std::string_view::npos ? std::string_view() : text.substr(colon);
    }
    if (result.host.empty() || !std::ranges::all_of(result.host, is_of_a_name)) return malformed();
    if (rest.empty()) return result;
    if (rest.front() != ':') return malformed();
    rest.remove_prefix(1);
    const auto [end, failure] =
        std::from_chars(rest.data(), rest.data() + rest.size(), result.port);
    if (failure != std::errc() || end != rest.data() + rest.size() || result.port == 0)
        return malformed();
    return result;
}

}  // namespace tessera
