// SPDX-License-Identifier: Apache-2.0
//
// What users and operators ask of a cluster. Routers send these on; the config servers' primary
// carries them out.
#include "commands/sharding_commands.h"

#include <algorithm>

#include "bson/arena.h"
#include "commands/router.h"
#include "commands/router_calls.h"
#include "commands/support.h"
#include "sharding/limits.h"

namespace tessera::commands {
namespace {

// The generic arguments of a command that a router must not send on as they came.
bool is_hop_by_hop(std::string_view name) {
    return name == "$db" || name == "lsid" || name == "$clusterTime" || name == "txnNumber" ||
           name == "$readPreference" || name == "apiVersion" || name == "apiStrict" ||
           name == "apiDeprecationErrors" || name == "readConcern" || name == "$configTime" ||
           name == "$topologyTime";
}

Result<std::string> first_string(const Request& request) {
    const bson::Value value = request.body.front().value;
    if (!value.is_string())
        return Error(ErrorCode::type_mismatch,
                     "BSON field '" + std::string(request.name) + "' must be a string");
    return std::string(value.as_string());
}

Result<routing::Range> bounds_argument(const Request& request) {
    const bson::Value bounds = request.body["bounds"];
    if (!bounds.is_array() || bounds.as_view().count() != 2)
        return Error(ErrorCode::bad_value, "bounds must be an array of two shard keys");
    const bson::Value min = bounds.as_view()["0"];
    const bson::Value max = bounds.as_view()["1"];
    if (!min.is_object() || !max.is_object())
        return Error(ErrorCode::bad_value, "bounds must be an array of two shard keys");
    return routing::Range{bson::Document(min.as_view()), bson::Document(max.as_view())};
}

Instant deadline_of(Member& member, const Invocation& invocation) {
    return std::min(invocation.operation->deadline, member.clock.now() + std::chrono::hours(1));
}

// ---- Shards ------------------------------------------------------------------------------------

async::Task<Status> add_shard_command(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY(MemberSharding * sharding, require_config_server(member, request.name));
    CO_TRY_OK(request.check_known_fields("addShard", {"name", "maxSize"}));
    CO_TRY(std::string address, first_string(request));
    CO_TRY(const auto name, string_argument(request.body, "name", "", "addShard"));
    std::string wanted(name);
    CO_TRY(const std::string added,
           co_await add_shard(
               *sharding, std::move(address), std::move(wanted), deadline_of(member, invocation)));
    invocation.reply.append("shardAdded", added);
    co_return Status();
}

async::Task<Status> list_shards(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_config_server(member, invocation.request.name));
    CO_TRY(const auto shards, sharding->catalog.shards());
    auto list = invocation.reply.array("shards");
    for (const sharding::ShardEntry& each : shards)
        list.append(each.document);
    list.done();
    co_return Status();
}

async::Task<Status> remove_shard(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY(MemberSharding * sharding, require_config_server(member, request.name));
    auto& catalog = sharding->catalog;
    CO_TRY(const std::string name, first_string(request));
    CO_TRY(const auto shards, catalog.shards());
    CO_TRY(const sharding::ShardEntry shard, catalog.shard(name));
    const auto others = std::count_if(shards.begin(), shards.end(), [&](const auto& each) {
        return each.name != name && !each.is_draining;
    });
    if (others == 0)
        co_return Error(ErrorCode::illegal_operation,
                        "Operation not allowed because it would remove the last shard");
    bson::Builder& reply = invocation.reply;
    if (!shard.is_draining) {
        CO_TRY_OK(co_await catalog.set_draining(name, true));
        sharding->wake_balancer();
        co_await catalog.log_change(
            "changelog", "removeShard.start", "", bson::make("shard", name));
    }
    std::int64_t chunks = 0;
    std::int64_t jumbo = 0;
    CO_TRY(const auto of_shard,
           catalog.store().find(sharding::config_ns("chunks"), bson::make("shard", name)));
    for (const bson::Document& each : of_shard) {
        ++chunks;
        if (each["jumbo"].is_truthy()) ++jumbo;
    }
    CO_TRY(const auto databases, catalog.databases());
    std::vector<std::string> to_move;
    for (const auto& each : databases)
        if (each.primary == name) to_move.push_back(each.name);
    const auto append_databases = [&] {
        reply.append("note", "you need to drop or movePrimary these databases");
        auto list = reply.array("dbsToMove");
        for (const std::string& each : to_move)
            list.append(each);
    };
    if (!shard.is_draining) {
        reply.append("msg", "draining started successfully").append("state", "started");
        reply.append("shard", name);
        append_databases();
        co_return Status();
    }
    if (chunks > 0 || !to_move.empty()) {
        reply.append("msg", "draining ongoing").append("state", "ongoing");
        {
            auto remaining = reply.object("remaining");
            remaining.append("chunks", chunks);
            remaining.append("dbs", static_cast<std::int64_t>(to_move.size()));
            remaining.append("jumboChunks", jumbo);
        }
        append_databases();
        co_return Status();
    }
    CO_TRY_OK(co_await catalog.remove_shard(name));
    co_await catalog.log_change("changelog", "removeShard", "", bson::make("shard", name));
    reply.append("msg", "removeshard completed successfully").append("state", "completed");
    reply.append("shard", name);
    co_return Status();
}

async::Task<Status> add_shard_to_zone(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY(MemberSharding * sharding, require_config_server(member, request.name));
    CO_TRY(std::string shard, first_string(request));
    CO_TRY(const auto zone, string_argument(request.body, "zone", "", request.name));
    if (zone.empty()) co_return Error(ErrorCode::bad_value, "a zone's name may not be empty");
    std::string name(zone);
    co_return co_await sharding->catalog.add_shard_to_zone(std::move(shard), std::move(name));
}

async::Task<Status> remove_shard_from_zone(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY(MemberSharding * sharding, require_config_server(member, request.name));
    CO_TRY(std::string shard, first_string(request));
    CO_TRY(const auto zone, string_argument(request.body, "zone", "", request.name));
    std::string name(zone);
    co_return co_await sharding->catalog.remove_shard_from_zone(std::move(shard), std::move(name));
}

async::Task<Status> update_zone_key_range(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY(MemberSharding * sharding, require_config_server(member, request.name));
    CO_TRY(std::string ns, first_string(request));
    CO_TRY(const bson::View min, required_object(request.body, "min", request.name));
    CO_TRY(const bson::View max, required_object(request.body, "max", request.name));
    const bson::Value zone = request.body["zone"];
    if (!zone.is_null() && !zone.is_string())
        co_return Error(ErrorCode::type_mismatch, "\"zone\" must be a string or null");
    std::optional<std::string> name;
    if (zone.is_string()) name = std::string(zone.as_string());
    routing::Range range{bson::Document(min), bson::Document(max)};
    co_return co_await sharding->catalog.update_zone_key_range(
        std::move(ns), std::move(range), std::move(name));
}

// ---- Databases and collections -----------------------------------------------------------------

async::Task<Status> enable_sharding(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY(MemberSharding * sharding, require_config_server(member, request.name));
    CO_TRY_OK(request.check_known_fields("enableSharding", {"primaryShard"}));
    CO_TRY(std::string db, first_string(request));
    CO_TRY(const auto primary, string_argument(request.body, "primaryShard", "", request.name));
    std::string wanted(primary);
    CO_TRY([[maybe_unused]] const auto entry,
           co_await create_database(*sharding, std::move(db), std::move(wanted)));
    co_return Status();
}

async::Task<Status> shard_collection_command(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY(MemberSharding * sharding, require_config_server(member, request.name));
    CO_TRY_OK(request.check_known_fields("shardCollection",
                                         {"key",
                                          "unique",
                                          "numInitialChunks",
                                          "presplitHashedZones",
                                          "collation",
                                          "enforceUniquenessCheck",
                                          "implicitlyCreateIndex"}));
    ShardCollectionArguments arguments;
    CO_TRY(arguments.ns, first_string(request));
    CO_TRY(const bson::View key, required_object(request.body, "key", request.name));
    arguments.key = bson::Document(key);
    CO_TRY(arguments.is_unique, bool_argument(request.body, "unique", false, request.name));
    CO_TRY(arguments.num_initial_chunks,
           integer_argument(request.body, "numInitialChunks", 0, request.name));
    CO_TRY(arguments.presplit_hashed_zones,
           bool_argument(request.body, "presplitHashedZones", false, request.name));
    const bson::Value collation = request.body["collation"];
    if (collation.is_object() && !collation.as_view().is_empty()) {
        const bson::Value locale = collation.as_view()["locale"];
        if (!locale.is_string() || locale.as_string() != "simple")
            co_return Error(ErrorCode::bad_value,
                            "The collation for shardCollection must be {locale: 'simple'}, but "
                            "found another");
    }
    const std::string ns = arguments.ns;
    CO_TRY_OK(co_await shard_collection(
        *sharding, std::move(arguments), deadline_of(member, invocation)));
    invocation.reply.append("collectionsharded", ns);
    co_return Status();
}

async::Task<Status> move_primary_command(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY(MemberSharding * sharding, require_config_server(member, request.name));
    CO_TRY_OK(request.check_known_fields("movePrimary", {"to"}));
    CO_TRY(std::string db, first_string(request));
    CO_TRY(const auto to, string_argument(request.body, "to", "", "movePrimary"));
    CO_TRY_OK(check_database_name(db));
    if (db == "admin" || db == "config" || db == "local")
        co_return Error(ErrorCode::invalid_options, "Can't move primary for " + db + " database");
    if (to.empty())
        co_return Error(ErrorCode::bad_value, "you have to specify where you want to move it");
    std::string shard(to);
    co_return co_await move_primary(
        *sharding, std::move(db), std::move(shard), deadline_of(member, invocation));
}

// ---- Chunks ------------------------------------------------------------------------------------

async::Task<Status> split(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY(MemberSharding * sharding, require_config_server(member, request.name));
    CO_TRY(const std::string ns, first_string(request));
    CO_TRY(const auto map, sharding->catalog.chunks(ns));
    const bson::Value middle = request.body["middle"];
    const bson::Value find = request.body["find"];
    const bool has_bounds = request.body.has("bounds");
    if ((middle.is_object() ? 1 : 0) + (find.is_object() ? 1 : 0) + (has_bounds ? 1 : 0) != 1)
        co_return Error(ErrorCode::bad_value,
                        "need to specify find/bounds or middle, and only one of them");
    const routing::Chunk* chunk = nullptr;
    bson::Document point;
    if (middle.is_object()) {
        CO_TRY(point, map->key().extend_bound(middle.as_view()));
        CO_TRY(const routing::Key key, map->key().encode_bound(point));
        chunk = &map->chunk_of(key);
    } else {
        if (find.is_object()) {
            CO_TRY(const routing::Key key, map->key().key_of(find.as_view()));
            chunk = &map->chunk_of(key);
        } else {
            CO_TRY(const routing::Range bounds, bounds_argument(request));
            chunk = map->chunk_with(bounds);
            if (chunk == nullptr)
                co_return Error(ErrorCode::bad_value, "no chunk found with these bounds");
        }
        bson::Document command = bson::make("_shardsvrMedianKey",
                                            ns,
                                            "min",
                                            chunk->range.min,
                                            "max",
                                            chunk->range.max,
                                            "key",
                                            map->key().document(),
                                            "$db",
                                            "admin");
        sharding::CallOptions options;
        options.deadline = deadline_of(member, invocation);
        options.is_retryable = true;
        CO_TRY(const bson::Document reply,
               co_await sharding->registry.call_ok(chunk->shard, std::move(command), options));
        if (!reply["median"].is_object())
            co_return Error(ErrorCode::cannot_split,
                            "cannot split the chunk " + routing::to_string(chunk->range) +
                                ": it holds fewer than two keys");
        point = bson::Document(reply["median"].as_view());
    }
    std::vector<bson::Document> points;
    points.push_back(std::move(point));
    routing::Range range = chunk->range;
    CO_TRY_OK(co_await sharding->catalog.split(ns, range, std::move(points)));
    co_await sharding->catalog.log_change(
        "changelog", "split", ns, bson::make("min", range.min, "max", range.max));
    co_return Status();
}

async::Task<Status> merge_chunks(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY(MemberSharding * sharding, require_config_server(member, request.name));
    CO_TRY(const std::string ns, first_string(request));
    CO_TRY(routing::Range range, bounds_argument(request));
    CO_TRY_OK(co_await sharding->catalog.merge(ns, range));
    co_await sharding->catalog.log_change(
        "changelog", "merge", ns, bson::make("min", range.min, "max", range.max));
    co_return Status();
}

Result<bson::Document> move_request(const Request& request,
                                    const routing::ChunkMap& map,
                                    const std::string& ns) {
    const bool is_range = request.name == "moveRange";
    bson::Builder command;
    command.append("ns", ns);
    const bson::Value to = request.body[is_range ? "toShard" : "to"];
    if (!to.is_string())
        return Error(ErrorCode::bad_value, "have to specify where you want to move the chunk");
    command.append("toShard", to);
    if (is_range) {
        const bson::Value min = request.body["min"];
        const bson::Value max = request.body["max"];
        if (!min.is_object() && !max.is_object())
            return Error(ErrorCode::bad_value, "moveRange needs min or max");
        if (!min.is_object())
            return Error(ErrorCode::not_implemented, "moveRange with max alone is not supported");
        TRY(const auto low, map.key().extend_bound(min.as_view()));
        TRY(const routing::Key key, map.key().encode_bound(low));
        command.append("min", low);
        if (max.is_object()) {
            TRY(const auto high, map.key().extend_bound(max.as_view()));
            command.append("max", high);
        } else {
            command.append("maxOfChunk", map.chunk_of(key).range.max);
        }
    } else {
        const routing::Chunk* chunk = nullptr;
        if (const bson::Value find = request.body["find"]; find.is_object()) {
            TRY(const routing::Key key, map.key().key_of(find.as_view()));
            chunk = &map.chunk_of(key);
        } else {
            TRY(const routing::Range bounds, bounds_argument(request));
            chunk = map.chunk_with(bounds);
        }
        if (chunk == nullptr)
            return Error(ErrorCode::bad_value, "no chunk found with these bounds");
        command.append("min", chunk->range.min).append("max", chunk->range.max);
    }
    const bson::Value force = request.body["forceJumbo"];
    command.append("forceJumbo", force.is_truthy());
    const bson::Value wait = request.body["_waitForDelete"];
    command.append("waitForDelete", wait.is_truthy() || request.body["waitForDelete"].is_truthy());
    return std::move(command).finish();
}

async::Task<Status> move_command(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY(MemberSharding * sharding, require_config_server(member, request.name));
    CO_TRY(const std::string ns, first_string(request));
    CO_TRY(const auto map, sharding->catalog.chunks(ns));
    CO_TRY(bson::Document command, move_request(request, *map, ns));
    const Instant began = member.clock.now();
    CO_TRY_OK(co_await move_range(*sharding, std::move(command), deadline_of(member, invocation)));
    invocation.reply.append_integer("millis", to_milliseconds(member.clock.now() - began));
    co_return Status();
}

// ---- The balancer's settings -------------------------------------------------------------------

async::Task<Status> set_balancer(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY(MemberSharding * sharding, require_config_server(member, request.name));
    const bool is_on = request.name == "balancerStart";
    const sharding::DocumentStore& store = sharding->catalog.store();
    CO_TRY(const auto found,
           store.find_one(sharding::config_ns("settings"), bson::make("_id", "balancer")));
    bson::Builder settings;
    settings.append("_id", "balancer");
    settings.append("mode", is_on ? "full" : "off").append("stopped", !is_on);
    if (found)
        for (const bson::Element& each : found->view())
            if (each.name != "_id" && each.name != "mode" && each.name != "stopped")
                settings.append(each);
    bson::Document whole = std::move(settings).finish();
    CO_TRY_OK(
        co_await sharding->catalog.store().put(sharding::config_ns("settings"), std::move(whole)));
    sharding->wake_balancer();
    co_return Status();
}

async::Task<Status> balancer_collection_status(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_config_server(member, invocation.request.name));
    CO_TRY(const std::string ns, first_string(invocation.request));
    CO_TRY(const std::string violation, co_await sharding->balancer.first_violation(ns));
    CO_TRY(const auto settings, sharding->balancer.settings());
    bson::Builder& reply = invocation.reply;
    reply.append("chunkSize", static_cast<double>(settings.chunk_bytes_max) / (1024.0 * 1024.0));
    reply.append("balancerCompliant", violation.empty());
    if (!violation.empty()) reply.append("firstComplianceViolation", violation);
    co_return Status();
}

async::Task<Status> balancer_status(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_config_server(member, invocation.request.name));
    CO_TRY(const auto found,
           sharding->catalog.store().find_one(sharding::config_ns("settings"),
                                              bson::make("_id", "balancer")));
    const bool is_off =
        found && ((*found)["stopped"].is_truthy() ||
                  ((*found)["mode"].is_string() && (*found)["mode"].as_string() == "off"));
    invocation.reply.append("mode", is_off ? "off" : "full");
    invocation.reply.append("inBalancerRound", sharding->balancer.is_in_round());
    invocation.reply.append("numBalancerRounds", sharding->balancer.rounds());
    co_return Status();
}

// ---- What this cluster is ----------------------------------------------------------------------

async::Task<Status> get_shard_map(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_config_server(member, invocation.request.name));
    CO_TRY(const auto shards, sharding->catalog.shards());
    {
        auto map = invocation.reply.object("map");
        for (const sharding::ShardEntry& each : shards)
            map.append(each.name, each.address.to_string());
        map.append("config", sharding->own_set().to_string());
    }
    auto hosts = invocation.reply.object("hosts");
    for (const sharding::ShardEntry& each : shards)
        for (const HostAndPort& host : each.address.hosts)
            hosts.append(host.to_string(), each.name);
    hosts.done();
    co_return Status();
}

async::Task<Status> flush_router_config(Router& router, Invocation& invocation) {
    const bson::Value what = invocation.request.body.front().value;
    if (!what.is_string()) {
        router.routing.forget_all();
    } else if (what.as_string().find('.') == std::string_view::npos) {
        router.routing.forget_database(std::string(what.as_string()));
    } else {
        router.routing.forget(std::string(what.as_string()));
    }
    invocation.reply.append("flushed", true);
    co_return Status();
}

async::Task<Status> flush_on_member(Member& member, Invocation& invocation) {
    if (member.sharding) member.sharding->state.forget_all();
    invocation.reply.append("flushed", true);
    co_return Status();
}

async::Task<Status> not_here(Member&, Invocation& invocation) {
    co_return Error(ErrorCode::not_implemented,
                    std::string(invocation.request.name) + " is not supported yet");
}

constexpr unsigned admin_write = flags::admin_only | flags::writes;

// Whether a command does no harm, and gives the same answer, when a lost answer makes the router
// send it again.
bool may_run_twice(std::string_view name) {
    return name != "split" && name != "mergeChunks" && name != "moveChunk" &&
           name != "moveRange" && name != "removeShard";
}

}  // namespace

async::Task<Status> forward_to_config(Router& router, Invocation& invocation) {
    bson::Builder command;
    bool has_concern = false;
    for (const bson::Element& each : invocation.request.body) {
        if (is_hop_by_hop(each.name)) continue;
        has_concern |= each.name == "writeConcern";
        command.append(each);
    }
    if (!has_concern) command.append("writeConcern", bson::make("w", "majority"));
    command.append("$db", "admin");
    const auto options = primary_options(invocation, may_run_twice(invocation.request.name));
    bson::Document body = std::move(command).finish();
    CO_TRY(const bson::Document reply,
           co_await router.shards.call_ok(sharding::config_shard, std::move(body), options));
    for (const bson::Element& each : reply.view())
        if (each.name != "ok" && !each.name.starts_with("$") && each.name != "operationTime" &&
            each.name != "lastCommittedOpTime" && each.name != "electionId" &&
            each.name != "opTime")
            invocation.reply.append(each);
    // What this command changed is to be seen at once through this router.
    router.routing.forget_all();
    co_return Status();
}

const std::array<Command, 22> sharding_admin_commands = {{
    {"addShard",
     admin_write,
     add_shard_command,
     forward_to_config,
     Counted::command,
     "Adds a replica set to the cluster as a shard."},
    {"addshard",
     admin_write | flags::hidden,
     add_shard_command,
     forward_to_config,
     Counted::command,
     "Adds a replica set to the cluster as a shard."},
    {"listShards",
     flags::admin_only | flags::reads,
     list_shards,
     forward_to_config,
     Counted::command,
     "Lists the cluster's shards."},
    {"removeShard",
     admin_write,
     remove_shard,
     forward_to_config,
     Counted::command,
     "Drains a shard, says how far it is, and removes it when it is empty."},
    {"addShardToZone",
     admin_write,
     add_shard_to_zone,
     forward_to_config,
     Counted::command,
     "Makes a shard part of a zone."},
    {"removeShardFromZone",
     admin_write,
     remove_shard_from_zone,
     forward_to_config,
     Counted::command,
     "Takes a shard out of a zone."},
    {"updateZoneKeyRange",
     admin_write,
     update_zone_key_range,
     forward_to_config,
     Counted::command,
     "Assigns a range of a collection's keys to a zone."},
    {"enableSharding",
     admin_write,
     enable_sharding,
     forward_to_config,
     Counted::command,
     "Makes a database known to the cluster."},
    {"shardCollection",
     admin_write,
     shard_collection_command,
     forward_to_config,
     Counted::command,
     "Spreads a collection over shards by a key."},
    {"split", admin_write, split, forward_to_config, Counted::command, "Cuts a chunk in two."},
    {"mergeChunks",
     admin_write,
     merge_chunks,
     forward_to_config,
     Counted::command,
     "Joins neighbouring chunks of one shard."},
    {"moveChunk",
     admin_write,
     move_command,
     forward_to_config,
     Counted::command,
     "Moves a chunk to another shard."},
    {"moveRange",
     admin_write,
     move_command,
     forward_to_config,
     Counted::command,
     "Moves a range of keys to another shard."},
    {"balancerStart",
     admin_write,
     set_balancer,
     forward_to_config,
     Counted::command,
     "Lets the balancer work."},
    {"balancerStop",
     admin_write,
     set_balancer,
     forward_to_config,
     Counted::command,
     "Stops the balancer."},
    {"balancerStatus",
     flags::admin_only | flags::writes,
     balancer_status,
     forward_to_config,
     Counted::command,
     "Says what the balancer does."},
    {"balancerCollectionStatus",
     admin_write,
     balancer_collection_status,
     forward_to_config,
     Counted::command,
     "Says whether a collection is balanced."},
    {"movePrimary",
     admin_write,
     move_primary_command,
     forward_to_config,
     Counted::command,
     "Moves a database's unsharded collections to another shard."},
    {"reshardCollection",
     admin_write,
     not_here,
     forward_to_config,
     Counted::command,
     "Gives a sharded collection another key."},
    {"refineCollectionShardKey",
     admin_write,
     not_here,
     forward_to_config,
     Counted::command,
     "Adds fields to a collection's shard key."},
    {"getShardMap",
     flags::admin_only | flags::reads,
     get_shard_map,
     forward_to_config,
     Counted::command,
     "Lists the members of every shard."},
    {"flushRouterConfig",
     flags::any_state,
     flush_on_member,
     flush_router_config,
     Counted::command,
     "Forgets cached placement of collections."},
}};

}  // namespace tessera::commands
