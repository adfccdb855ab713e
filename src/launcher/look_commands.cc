// SPDX-License-Identifier: Apache-2.0
//
// The verbs that only look: status, logs, uri, env, list.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>

#include <fmt/format.h>
#include <poll.h>

#include "bson/builder.h"
#include "bson/json.h"
#include "launcher/clusters.h"
#include "launcher/files.h"
#include "launcher/limits.h"
#include "launcher/signals.h"
#include "launcher/status.h"
#include "launcher/tags.h"
#include "launcher/verbs.h"

namespace tessera::launcher {
namespace {

constexpr int follow_milliseconds = 200;
constexpr int health_pause_milliseconds = 200;

// Follows one log: what was added since the last look.
class Tail {
public:
    Tail(std::string name, std::string path) : name_(std::move(name)), path_(std::move(path)) {}

    void skip_to_end() {
        std::ifstream input(path_, std::ios::binary | std::ios::ate);
        at_ = input ? static_cast<std::streamoff>(input.tellg()) : 0;
    }
    void print_new(const std::string& grep, std::size_t width) {
        std::ifstream input(path_, std::ios::binary | std::ios::ate);
        if (!input) return;
        const auto size = static_cast<std::streamoff>(input.tellg());
        if (size < at_) at_ = 0;  // It was rotated.
        input.seekg(at_);
        std::string line;
        while (std::getline(input, line) && !input.eof()) {
            at_ = static_cast<std::streamoff>(input.tellg());
            if (line.find(grep) != std::string::npos) fmt::print("{:<{}} {}\n", name_, width, line);
        }
    }

private:
    std::string name_;
    std::string path_;
    std::streamoff at_ = 0;
};

void follow(std::vector<Tail>& tails, const std::string& grep, std::size_t width) {
    Signals signals;
    pollfd told{signals.descriptor(), POLLIN, 0};
    while (signals.take() == 0) {
        for (Tail& tail : tails)
            tail.print_new(grep, width);
        std::fflush(stdout);
        ::poll(&told, 1, follow_milliseconds);
    }
}

}  // namespace

int run_status(Arguments arguments) {
    Progress progress(arguments.quiet || arguments.json);
    const auto topology = find_cluster(arguments);
    if (!topology) {
        complain(progress, topology.error());
        return static_cast<int>(Health::down);
    }
    const ClusterStatus status = read_status(*topology);
    if (arguments.json)
        fmt::print("{}\n", status_json(*topology, status));
    else
        fmt::print("{}", status_text(*topology, status));
    return static_cast<int>(status.health);
}

int run_health(Arguments arguments) {
    Progress progress(arguments.quiet || arguments.json);
    const auto deadline = std::chrono::steady_clock::now() + arguments.wait;
    Signals signals;
    for (;;) {
        const auto topology = find_cluster(arguments);
        Health health = Health::down;
        if (topology) health = read_status(*topology).health;
        const bool is_last = health == Health::healthy || signals.take() != 0 ||
                             std::chrono::steady_clock::now() >= deadline;
        if (!is_last) {
            pollfd told{signals.descriptor(), POLLIN, 0};
            ::poll(&told, 1, health_pause_milliseconds);
            continue;
        }
        if (!topology) complain(progress, topology.error());
        if (arguments.json)
            fmt::print("{{\"state\":\"{}\"}}\n", health_name(health));
        else if (!arguments.quiet)
            fmt::print("{}\n", health_name(health));
        return static_cast<int>(health);
    }
}

int run_logs(Arguments arguments) {
    Progress progress(arguments.quiet);
    const auto topology = find_cluster(arguments);
    if (!topology) return complain(progress, topology.error());
    const auto states =
        needs_status(arguments.words) ? read_status(*topology).nodes : process_states(*topology);
    std::vector<const Node*> nodes;
    if (arguments.words.empty()) {
        for (const Node& node : topology->nodes)
            nodes.push_back(&node);
    } else {
        const auto chosen = select_nodes(*topology, arguments.words, states);
        if (!chosen) return complain(progress, chosen.error());
        nodes = *chosen;
    }
    std::size_t width = 0;
    for (const Node* node : nodes)
        width = std::max(width, node->name.size());
    std::vector<Tail> tails;
    // Lines begin with their time ({"t":{"$date":"..."), so that sorting them merges the logs.
    std::vector<std::pair<std::string, std::string>> lines;
    for (const Node* node : nodes) {
        tails.emplace_back(node->name, topology->log_of(*node));
        tails.back().skip_to_end();
        for (std::string& line :
             last_lines(topology->log_of(*node), static_cast<std::size_t>(arguments.tail)))
            if (line.find(arguments.grep) != std::string::npos)
                lines.emplace_back(std::move(line), node->name);
    }
    if (nodes.size() > 1) std::sort(lines.begin(), lines.end());
    for (const auto& [line, name] : lines)
        fmt::print("{:<{}} {}\n", name, width, line);
    std::fflush(stdout);
    if (arguments.follow) follow(tails, arguments.grep, width);
    return exit_code::clean;
}

int run_uri(Arguments arguments) {
    Progress progress(arguments.quiet);
    const auto topology = find_cluster(arguments);
    if (!topology) return complain(progress, topology.error());
    std::string uri = topology->uri();
    if (!arguments.direct.empty()) {
        const auto chosen = select_nodes(*topology, {arguments.direct}, process_states(*topology));
        if (!chosen) return complain(progress, chosen.error());
        uri = fmt::format("mongodb://{}/?directConnection=true",
                          chosen->front()->address().to_string());
    }
    if (arguments.json)
        fmt::print("{}\n", bson::to_json(bson::make("uri", uri)));
    else
        fmt::print("{}\n", uri);
    return exit_code::clean;
}

int run_env(Arguments arguments) {
    Progress progress(arguments.quiet);
    const auto topology = find_cluster(arguments);
    if (!topology) return complain(progress, topology.error());
    const std::string uri = topology->uri();
    if (arguments.json)
        fmt::print(
            "{}\n",
            bson::to_json(bson::make("MONGODB_URI", uri, "TESSERA_CLUSTER", topology->name)));
    else if (arguments.shell == "fish")
        fmt::print("set -gx MONGODB_URI '{}'\n", uri);
    else if (arguments.shell == "powershell")
        fmt::print("$Env:MONGODB_URI = '{}'\n", uri);
    else
        fmt::print("export MONGODB_URI='{}'\n", uri);
    return exit_code::clean;
}

int run_list(const Arguments& arguments) {
    bson::Builder out;
    std::string text;
    {
        auto clusters = out.array("clusters");
        for (const Place& place : known_clusters()) {
            const auto topology = load_topology(place.directory);
            if (!topology) continue;
            int running = 0;
            for (const NodeStatus& status : process_states(*topology))
                running += status.process == ProcessState::gone ? 0 : 1;
            auto entry = clusters.object();
            entry.append("name", place.name).append("directory", place.directory);
            entry.append("uri", topology->uri()).append("running", running);
            entry.append("processes", topology->shape.processes());
            text += fmt::format("{:<12} {:>2}/{} running   {}   {}\n",
                                place.name,
                                running,
                                topology->shape.processes(),
                                topology->uri(),
                                short_path(place.directory));
        }
    }
    if (arguments.json)
        fmt::print("{}\n", bson::to_json(std::move(out).finish()));
    else if (text.empty())
        fmt::print(stderr, "no clusters yet. Next step: tessera up\n");
    else
        fmt::print("{}", text);
    return exit_code::clean;
}

}  // namespace tessera::launcher
