// SPDX-License-Identifier: Apache-2.0
#include "launcher/ports.h"

#include <charconv>
#include <fstream>
#include <iterator>

#include <dirent.h>
#include <fmt/format.h>
#include <unistd.h>

#include "launcher/limits.h"
#include "launcher/processes.h"

namespace tessera::launcher {
namespace {

constexpr std::string_view listen_state = "0A";
constexpr std::size_t command_line_shown = 120;

std::vector<std::string_view> fields_of(std::string_view line) {
    std::vector<std::string_view> fields;
    std::size_t at = 0;
    while (at < line.size()) {
        const std::size_t begin = line.find_first_not_of(" \t", at);
        if (begin == std::string_view::npos) break;
        at = std::min(line.find_first_of(" \t", begin), line.size());
        fields.push_back(line.substr(begin, at - begin));
    }
    return fields;
}

// The inode of an open socket: the link reads "socket:[12345]".
std::uint64_t socket_inode(const std::string& link) {
    char target[64] = {};
    const ssize_t length = ::readlink(link.c_str(), target, sizeof(target) - 1);
    const std::string_view text(target, length > 0 ? static_cast<std::size_t>(length) : 0);
    std::uint64_t inode = 0;
    if (text.starts_with("socket:["))
        std::from_chars(text.data() + 8, text.data() + text.size(), inode);
    return inode;
}

void name_holders(std::map<std::uint64_t, PortHolder*>& by_inode) {
    for (const int pid : all_process_ids()) {
        if (by_inode.empty()) return;
        const std::string folder = fmt::format("/proc/{}/fd", pid);
        DIR* const directory = ::opendir(folder.c_str());
        if (directory == nullptr) continue;  // Another user's.
        while (const dirent* const entry = ::readdir(directory)) {
            const auto found = by_inode.find(socket_inode(folder + "/" + entry->d_name));
            if (found == by_inode.end()) continue;
            found->second->pid = pid;
            found->second->command_line = command_line_of(pid).substr(0, command_line_shown);
            by_inode.erase(found);
        }
        ::closedir(directory);
    }
}

}  // namespace

void collect_listening(std::string_view table, ListeningPorts& out) {
    bool is_heading = true;
    while (!table.empty()) {
        const std::size_t end = table.find('\n');
        const std::string_view line = table.substr(0, end);
        table = end == std::string_view::npos ? std::string_view() : table.substr(end + 1);
        if (std::exchange(is_heading, false)) continue;
        const auto fields = fields_of(line);
        if (fields.size() < 10 || fields[3] != listen_state) continue;
        const std::size_t colon = fields[1].rfind(':');
        if (colon == std::string_view::npos) continue;
        std::uint16_t port = 0;
        std::uint64_t inode = 0;
        const std::string_view hex = fields[1].substr(colon + 1);
        std::from_chars(hex.data(), hex.data() + hex.size(), port, 16);
        std::from_chars(fields[9].data(), fields[9].data() + fields[9].size(), inode);
        out.emplace(port, inode);
    }
}

ListeningPorts listening_ports() {
    ListeningPorts ports;
    for (const char* const path : {"/proc/net/tcp", "/proc/net/tcp6"}) {
        std::ifstream input(path);
        const std::string text{std::istreambuf_iterator<char>(input), {}};
        collect_listening(text, ports);
    }
    return ports;
}

std::vector<PortHolder> taken_ports(const std::vector<std::uint16_t>& ports) {
    const ListeningPorts listening = listening_ports();
    std::vector<PortHolder> taken;
    for (const std::uint16_t port : ports)
        if (listening.contains(port)) taken.push_back({port, 0, ""});
    std::map<std::uint64_t, PortHolder*> by_inode;
    for (PortHolder& holder : taken)
        by_inode[listening.at(holder.port)] = &holder;
    name_holders(by_inode);
    return taken;
}

std::optional<std::uint16_t> find_free_block(
    std::size_t count,
    const ListeningPorts& taken,
    const std::function<std::uint64_t(std::uint64_t)>& draw) {
    const std::uint64_t range = any_port_last - any_port_first;
    if (count == 0 || count > range) return std::nullopt;
    for (int attempt = 0; attempt < any_port_attempts_max; ++attempt) {
        const auto first = static_cast<std::uint16_t>(any_port_first + draw(range - count + 1));
        const auto next = taken.lower_bound(first);
        if (next == taken.end() || next->first >= first + count) return first;
    }
    return std::nullopt;
}

}  // namespace tessera::launcher
