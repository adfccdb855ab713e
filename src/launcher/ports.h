// SPDX-License-Identifier: Apache-2.0
//
// Which ports of this machine are taken, and by whom.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::launcher {

/// Ports something listens at, with the socket's inode.
using ListeningPorts = std::map<std::uint16_t, std::uint64_t>;

/// Reads the text of /proc/net/tcp or tcp6.
void collect_listening(std::string_view table, ListeningPorts& out);
ListeningPorts listening_ports();

struct PortHolder {
    std::uint16_t port = 0;
    int pid = 0;               // 0: another user's process, or gone.
    std::string command_line;  // Shortened.
};
/// Those of `ports` that are taken, with their holders.
std::vector<PortHolder> taken_ports(const std::vector<std::uint16_t>& ports);

/// The first of `count` neighbouring free ports within the range of --any-port; nothing when there
/// are none. `draw(n)` gives a number below n.
std::optional<std::uint16_t> find_free_block(
    std::size_t count,
    const ListeningPorts& taken,
    const std::function<std::uint64_t(std::uint64_t)>& draw);

}  // namespace tessera::launcher
