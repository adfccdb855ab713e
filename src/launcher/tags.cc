// SPDX-License-Identifier: Apache-2.0
#include "launcher/tags.h"

#include <algorithm>

#include <fmt/format.h>

namespace tessera::launcher {
namespace {

enum class Kind { none, all, one, set, role, process, member };

bool is_one_of(std::string_view word, std::initializer_list<std::string_view> words) {
    return std::find(words.begin(), words.end(), word) != words.end();
}

// "routers" is as good as "router".
std::string_view singular(std::string_view word) {
    if (is_one_of(word, {"routers", "shards", "secondaries", "primaries", "arbiters"})) {
        if (word == "secondaries") return "secondary";
        if (word == "primaries") return "primary";
        word.remove_suffix(1);
    }
    return word;
}

Kind kind_of(const Topology& topology, std::string_view word) {
    word = singular(word);
    if (word == "all") return Kind::all;
    if (is_one_of(word, {"router", "config", "shard"})) return Kind::role;
    if (is_one_of(word, {"running", "down", "frozen"})) return Kind::process;
    if (is_one_of(word, {"primary", "secondary", "arbiter"})) return Kind::member;
    for (const Node& node : topology.nodes) {
        if (node.name == word || std::to_string(node.port) == word) return Kind::one;
        if (node.set == word) return Kind::set;
    }
    return Kind::none;
}

bool fits(const NodeStatus& status, std::string_view word, Kind kind) {
    word = singular(word);
    const Node& node = *status.node;
    switch (kind) {
        case Kind::all:
            return true;
        case Kind::one:
            return node.name == word || std::to_string(node.port) == word;
        case Kind::set:
            return node.set == word;
        case Kind::role:
            return role_name(node.role) == word;
        case Kind::process:
            return word == "down"     ? status.process == ProcessState::gone
                   : word == "frozen" ? status.process == ProcessState::frozen
                                      : status.process != ProcessState::gone;
        case Kind::member:
            return status.member == word;
        case Kind::none:
            break;
    }
    return false;
}

}  // namespace

bool is_tag(const Topology& topology, std::string_view word) {
    return kind_of(topology, word) != Kind::none;
}

bool needs_status(const std::vector<std::string>& words) {
    return std::any_of(words.begin(), words.end(), [](const std::string& word) {
        return is_one_of(singular(word), {"primary", "secondary", "arbiter"});
    });
}

Result<std::vector<const Node*>> select_nodes(const Topology& topology,
                                              const std::vector<std::string>& words,
                                              const std::vector<NodeStatus>& states) {
    std::string text;
    for (const std::string& word : words) {
        if (kind_of(topology, word) == Kind::none)
            return Error(ErrorCode::bad_value,
                         fmt::format("'{}' names no process of this cluster. Tags: router, config, "
                                     "shard, shard-1, shard-1-2, a port, primary, secondary, "
                                     "arbiter, running, down, all",
                                     word));
        text += (text.empty() ? "" : " ") + word;
    }
    std::vector<const Node*> chosen;
    for (const NodeStatus& status : states) {
        bool is_chosen = true;
        for (const Kind kind :
             {Kind::all, Kind::one, Kind::set, Kind::role, Kind::process, Kind::member}) {
            bool is_asked = false;
            bool is_met = false;
            for (const std::string& word : words) {
                if (kind_of(topology, word) != kind) continue;
                is_asked = true;
                is_met = is_met || fits(status, word, kind);
            }
            is_chosen = is_chosen && (!is_asked || is_met);
        }
        if (is_chosen) chosen.push_back(status.node);
    }
    if (chosen.empty())
        return Error(ErrorCode::no_such_key,
                     fmt::format("no process is '{}' now; see "
                                 "tessera status",
                                 text));
    return chosen;
}

}  // namespace tessera::launcher
