// SPDX-License-Identifier: Apache-2.0
#include "launcher/topology.h"

#include <fmt/format.h>

#include "bson/builder.h"
#include "bson/json.h"
#include "launcher/files.h"

namespace tessera::launcher {
namespace {

constexpr int file_version = 1;

std::string count(std::int64_t number, std::string_view what) {
    return fmt::format("{} {}{}", number, what, number == 1 ? "" : "s");
}

void append_words(bson::Builder& out,
                  std::string_view name,
                  const std::vector<std::string>& words) {
    auto array = out.array(name);
    for (const std::string& word : words)
        array.append(word);
}

std::vector<std::string> words_of(const bson::Value& value) {
    std::vector<std::string> words;
    if (!value.is_array()) return words;
    for (const auto& element : value.as_view())
        if (element.value.is_string()) words.emplace_back(element.value.as_string());
    return words;
}

}  // namespace

std::string_view role_name(Role role) {
    switch (role) {
        case Role::router:
            return "router";
        case Role::config:
            return "config";
        case Role::shard:
            break;
    }
    return "shard";
}

std::string Shape::to_string() const {
    std::string text = fmt::format(
        "{}, {} of {}", count(routers, "router"), count(shards, "shard"), count(members, "member"));
    if (arbiters > 0) text += fmt::format(" and {}", count(arbiters, "arbiter"));
    return text + ", " + count(config, "config server");
}

std::string Topology::log_of(const Node& node) const {
    return folder_of(node) + (node.role == Role::router ? "/mongos.log" : "/mongod.log");
}

std::vector<const Node*> Topology::of_role(Role role) const {
    std::vector<const Node*> found;
    for (const Node& node : nodes)
        if (node.role == role) found.push_back(&node);
    return found;
}

std::vector<const Node*> Topology::of_set(std::string_view set) const {
    std::vector<const Node*> found;
    for (const Node& node : nodes)
        if (!node.set.empty() && node.set == set) found.push_back(&node);
    return found;
}

std::vector<std::string> Topology::sets() const {
    std::vector<std::string> names;
    for (const Node& node : nodes)
        if (!node.set.empty() && (names.empty() || names.back() != node.set))
            names.push_back(node.set);
    return names;
}

std::string Topology::seeds(std::string_view set) const {
    std::string text = std::string(set) + "/";
    bool is_first = true;
    for (const Node* node : of_set(set)) {
        if (node->is_arbiter) continue;
        if (!is_first) text += ',';
        is_first = false;
        text += node->address().to_string();
    }
    return text;
}

std::string Topology::uri() const {
    std::string text = "mongodb://";
    bool is_first = true;
    for (const Node* node : of_role(Role::router)) {
        if (!is_first) text += ',';
        is_first = false;
        text += node->address().to_string();
    }
    return text + "/";
}

std::vector<std::string> Topology::command_line(const Node& node) const {
    std::vector<std::string> words = {node.role == Role::router ? "mongos" : "mongod"};
    const auto add = [&](std::initializer_list<std::string> more) {
        words.insert(words.end(), more);
    };
    const auto pass = [&](const std::vector<std::string>& more) {
        words.insert(words.end(), more.begin(), more.end());
    };
    add({"--port", std::to_string(node.port), "--bind_ip", "127.0.0.1"});
    add({"--logpath", log_of(node), "--logappend", "--nounixsocket"});
    if (node.role == Role::router) {
        add({"--configdb", seeds("config")});
        pass(flags.all);
        pass(flags.router);
        return words;
    }
    add({"--dbpath", folder_of(node) + "/data", "--replSet", node.set});
    add({node.role == Role::config ? "--configsvr" : "--shardsvr"});
    add({"--wiredTigerCacheSizeGB", fmt::format("{}", cache_gigabytes)});
    // Small clusters are looked at: what a migration leaves behind should go while one looks.
    if (node.role == Role::shard) add({"--setParameter", "orphanCleanupDelaySecs=5"});
    pass(flags.all);
    pass(node.role == Role::config ? flags.config : flags.shard);
    return words;
}

Topology plan(const Shape& shape, std::uint16_t first_port) {
    Topology topology;
    topology.shape = shape;
    for (std::int64_t i = 1; i <= shape.routers; ++i)
        topology.nodes.push_back({fmt::format("router-{}", i), Role::router, "", false, 0});
    for (std::int64_t i = 1; i <= shape.config; ++i)
        topology.nodes.push_back({fmt::format("config-{}", i), Role::config, "config", false, 0});
    for (std::int64_t shard = 1; shard <= shape.shards; ++shard) {
        const std::string set = fmt::format("shard-{}", shard);
        for (std::int64_t i = 1; i <= shape.members + shape.arbiters; ++i)
            topology.nodes.push_back(
                {fmt::format("{}-{}", set, i), Role::shard, set, i > shape.members, 0});
    }
    set_ports(topology, first_port);
    return topology;
}

void set_ports(Topology& topology, std::uint16_t first_port) {
    for (Node& node : topology.nodes)
        node.port = first_port++;
}

std::string topology_to_json(const Topology& topology) {
    bson::Builder out;
    out.append("version", file_version).append("name", topology.name);
    {
        auto shape = out.object("shape");
        shape.append("routers", topology.shape.routers).append("shards", topology.shape.shards);
        shape.append("members", topology.shape.members).append("arbiters", topology.shape.arbiters);
        shape.append("config", topology.shape.config);
    }
    out.append("cacheGB", topology.cache_gigabytes).append("ephemeral", topology.is_ephemeral);
    append_words(out, "flags", topology.flags.all);
    append_words(out, "routerFlags", topology.flags.router);
    append_words(out, "configFlags", topology.flags.config);
    append_words(out, "shardFlags", topology.flags.shard);
    {
        auto ports = out.object("ports");
        for (const Node& node : topology.nodes)
            ports.append(node.name, std::int32_t{node.port});
    }
    return bson::to_json(std::move(out).finish()) + "\n";
}

Result<Topology> topology_from_json(std::string_view text) {
    TRY(const auto document, bson::from_json(text));
    if (document["version"].to_int64() != file_version)
        return Error(ErrorCode::failed_to_parse, "it is of another version of tessera");
    const bson::Value shape_value = document["shape"];
    const bson::Value ports = document["ports"];
    if (!shape_value.is_object() || !ports.is_object() || !document["name"].is_string())
        return Error(ErrorCode::failed_to_parse, "it needs name, shape and ports");
    const bson::View view = shape_value.as_view();
    const Shape shape{view["routers"].to_int64(),
                      view["shards"].to_int64(),
                      view["members"].to_int64(),
                      view["arbiters"].to_int64(),
                      view["config"].to_int64()};
    Topology topology = plan(shape, 0);
    topology.name = document["name"].as_string();
    topology.cache_gigabytes = document["cacheGB"].to_double();
    topology.is_ephemeral = document["ephemeral"].is_truthy();
    topology.flags = {words_of(document["flags"]),
                      words_of(document["routerFlags"]),
                      words_of(document["configFlags"]),
                      words_of(document["shardFlags"])};
    for (Node& node : topology.nodes) {
        const std::int64_t port = ports.as_view()[node.name].to_int64();
        if (port <= 0 || port > 65535)
            return Error(ErrorCode::failed_to_parse, "it has no port for " + node.name);
        node.port = static_cast<std::uint16_t>(port);
    }
    return topology;
}

Result<Topology> load_topology(const std::string& directory) {
    const std::string path = directory + "/cluster.json";
    const auto text = read_small_file(path);
    if (!text)
        return Error(
            ErrorCode::no_such_key,
            fmt::format("there is no cluster in {}. Next step: tessera up", short_path(directory)));
    auto topology = topology_from_json(*text);
    if (!topology)
        return Error(ErrorCode::failed_to_parse,
                     fmt::format("{} cannot be understood: {}", path, topology.error().reason()));
    topology->directory = directory;
    return topology;
}

Status save_topology(const Topology& topology) {
    return write_small_file(topology.directory + "/cluster.json", topology_to_json(topology));
}

}  // namespace tessera::launcher
