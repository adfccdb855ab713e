// SPDX-License-Identifier: Apache-2.0
//
// DDL on a router. An unsharded collection's shard carries it out; indexes and options of a sharded
// one go to every shard that has a part of it; dropping or renaming what is sharded, or dropping a
// whole database, is an operation of the config servers.
#include "commands/ddl_commands.h"
#include "commands/router_calls.h"
#include "commands/router_commands.h"
#include "routing/retry.h"

namespace tessera::commands {
namespace {

// The address mongosh shows a shard's answer under.
std::string raw_name(Router& router, const routing::ShardName& shard) {
    const auto address = router.shards.address(shard);
    return address ? address->to_string() : shard;
}

void append_raw(Router& router, const std::vector<ShardAnswer>& answers, bson::Builder& reply) {
    bson::Builder raw = reply.object("raw");
    for (const ShardAnswer& answer : answers) {
        bson::Builder one = raw.object(raw_name(router, answer.shard));
        append_payload(*answer.reply, one);
        one.append("ok", 1.0);
    }
}

async::Task<std::vector<ShardAnswer>> ask(Router& router,
                                          Invocation& invocation,
                                          const std::vector<routing::ShardTarget>& targets) {
    std::vector<ShardCommand> commands;
    for (const routing::ShardTarget& target : targets)
        commands.push_back(ShardCommand{target.shard, forwarded(invocation.request, &target)});
    co_return co_await call_shards(
        router, invocation, std::move(commands), primary_options(invocation, false));
}

async::Task<Result<std::vector<ShardAnswer>>> send_to(Router& router,
                                                      Invocation& invocation,
                                                      std::vector<routing::ShardTarget> targets) {
    auto answers = co_await ask(router, invocation, targets);
    CO_TRY_OK(check_answers(answers));
    co_return answers;
}

// Sends the client's command to the primary shard of its collection or view.
async::Task<Status> send_to_primary(Router& router, Invocation& invocation, const Namespace& ns) {
    const Instant deadline = routing_deadline(router, *invocation.operation);
    const auto attempt = [&](const routing::RoutingInfo& info) {
        std::vector<routing::ShardTarget> targets = {
            routing::target_of(info, info.database.primary)};
        return send_to(router, invocation, std::move(targets));
    };
    auto running = sharding::with_routing<std::vector<ShardAnswer>>(
        router.routing, ns.to_string(), deadline, attempt);
    CO_TRY(const auto answers, co_await std::move(running));
    append_payload(*answers.front().reply, invocation.reply);
    co_return Status();
}

// ... to every shard that owns a part of the collection.
async::Task<Result<std::vector<ShardAnswer>>> send_to_owners(Router& router,
                                                             Invocation& invocation,
                                                             const Namespace& ns) {
    const Instant deadline = routing_deadline(router, *invocation.operation);
    const auto attempt = [&](const routing::RoutingInfo& info) {
        return send_to(router, invocation, routing::target_all(info));
    };
    auto running = sharding::with_routing<std::vector<ShardAnswer>>(
        router.routing, ns.to_string(), deadline, attempt);
    co_return co_await std::move(running);
}

bool is_protected(std::string_view db) {
    return db == "admin" || db == "local" || db == "config";
}

// The config servers forget it and drop it on every shard, as one operation of theirs. Has another
// been faster, that is what a drop by name asked for, but not one by UUID.
async::Task<Status> drop_sharded(Router& router,
                                 Invocation& invocation,
                                 DropArguments arguments,
                                 bson::Uuid uuid) {
    const std::string ns = arguments.ns.to_string();
    bson::Document drop = bson::make("_configsvrDropCollection", ns, "uuid", uuid);
    const auto dropped = co_await call_config(router, invocation, std::move(drop));
    router.routing.forget(ns);
    if (dropped) co_return Status();
    if (dropped.error().code() != ErrorCode::collection_uuid_mismatch) co_return dropped.error();
    if (arguments.uuid) co_return uuid_mismatch(arguments, "");
    co_return Status();
}

struct ShardedRename {
    Namespace from;
    Namespace to;
    routing::RoutingInfo source;
    routing::RoutingInfo target;
};

// An operation of the config servers, too.
async::Task<Status> rename_sharded(Router& router, Invocation& invocation, ShardedRename rename) {
    for (const Namespace& ns : {rename.from, rename.to})
        if (ns.is_system())
            co_return Error(ErrorCode::illegal_operation,
                            "renaming system collection " + ns.to_string() + " is not allowed");
    const bool drops = invocation.request.body["dropTarget"].is_truthy();
    if (rename.target.is_sharded() && !drops)
        co_return Error(ErrorCode::namespace_exists, "target namespace exists");
    bson::Builder command;
    command.append("_configsvrRenameCollection", rename.from.to_string());
    command.append("to", rename.to.to_string()).append("dropTarget", drops);
    if (rename.source.is_sharded())
        command.append("uuid", rename.source.chunks->collection().uuid);
    bson::Document body = std::move(command).finish();
    const auto renamed = co_await call_config(router, invocation, std::move(body));
    if (!renamed) co_return renamed.error();
    co_return Status();
}

// A unique index is kept by each shard alone: its key must begin with the shard key.
Status check_unique_indexes(const Request& request, const routing::RoutingInfo& info) {
    if (!info.is_sharded()) return {};
    TRY(const auto specs, request.documents("indexes"));
    for (const bson::View spec : specs) {
        if (!spec["unique"].is_truthy() || !spec["key"].is_object()) continue;
        if (info.chunks->key().can_guarantee_unique(spec["key"].as_view())) continue;
        return Error(ErrorCode::cannot_create_index,
                     "cannot create unique index over collection " + info.chunks->collection().ns +
                         ": its key does not begin with the shard key");
    }
    return {};
}

}  // namespace

async::Task<Status> create_on_router(Router& router, Invocation& invocation) {
    CO_TRY(const Namespace ns, invocation.request.collection());
    invocation.ns = ns;
    CO_TRY_OK(co_await ensure_database(router, invocation, ns.db));
    co_return co_await send_to_primary(router, invocation, ns);
}

async::Task<Status> drop_on_router(Router& router, Invocation& invocation) {
    CO_TRY(const DropArguments arguments, parse_drop(invocation.request));
    const Namespace& ns = arguments.ns;
    invocation.ns = ns;
    const Instant deadline = routing_deadline(router, *invocation.operation);
    router.routing.forget(ns.to_string());  // Dropping by an old map would leave things behind.
    const auto info = co_await router.routing.get(ns.to_string(), deadline);
    if (!info && info.error().code() == ErrorCode::namespace_not_found)
        co_return Error(ErrorCode::namespace_not_found, "ns not found");
    if (!info) co_return call_error(router, *invocation.operation, info.error());
    if (!info->is_sharded()) co_return co_await send_to_primary(router, invocation, ns);
    const bson::Uuid uuid = info->chunks->collection().uuid;
    if (arguments.uuid && arguments.uuid != uuid) co_return uuid_mismatch(arguments, "");
    CO_TRY_OK(co_await drop_sharded(router, invocation, arguments, uuid));
    invocation.reply.append("ns", ns.to_string());
    co_return Status();
}

async::Task<Status> drop_database_on_router(Router& router, Invocation& invocation) {
    const std::string db(invocation.request.db);
    if (is_protected(db))
        co_return Error(ErrorCode::illegal_operation,
                        "Dropping the '" + db + "' database is prohibited.");
    const Instant deadline = routing_deadline(router, *invocation.operation);
    const auto known = co_await router.routing.get_database(db, deadline);
    if (!known && known.error().code() != ErrorCode::namespace_not_found)
        co_return call_error(router, *invocation.operation, known.error());
    bson::Document drop = bson::make("_configsvrDropDatabase", db);
    const auto dropped = co_await call_config(router, invocation, std::move(drop));
    if (!dropped) co_return dropped.error();
    router.routing.forget_database(db);
    if (known) invocation.reply.append("dropped", db);
    co_return Status();
}

async::Task<Status> rename_collection_on_router(Router& router, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY_OK(request.check_known_fields("renameCollection", {"to", "dropTarget", "stayTemp"}));
    const bson::Value source = request.body.front().value;
    const bson::Value target = request.body["to"];
    if (!source.is_string() || !target.is_string())
        co_return Error(ErrorCode::type_mismatch,
                        "'renameCollection' and 'to' must be namespaces as strings");
    const Namespace from = Namespace::split(source.as_string());
    const Namespace to = Namespace::split(target.as_string());
    CO_TRY_OK(check_namespace(from));
    CO_TRY_OK(check_namespace(to));
    invocation.ns = from;
    if (from.db != to.db)
        co_return Error(ErrorCode::command_not_supported,
                        "renaming a collection to another database is not supported; copy it with "
                        "$out and drop it");
    if (from == to)
        co_return Error(ErrorCode::illegal_operation, "Can't rename a collection to itself");
    const Instant deadline = routing_deadline(router, *invocation.operation);
    // By an old map two names would be taken for unsharded that are not.
    router.routing.forget(from.to_string());
    router.routing.forget(to.to_string());
    auto info = co_await router.routing.get(from.to_string(), deadline);
    if (!info && info.error().code() == ErrorCode::namespace_not_found)
        co_return Error(ErrorCode::namespace_not_found,
                        "Source collection " + from.to_string() + " does not exist");
    if (!info) co_return call_error(router, *invocation.operation, info.error());
    CO_TRY(const auto other, co_await router.routing.get(to.to_string(), deadline));
    const bool is_sharded = info->is_sharded() || other.is_sharded();
    ShardedRename rename{from, to, std::move(*info), other};
    auto renaming = is_sharded ? rename_sharded(router, invocation, std::move(rename))
                               : send_to_primary(router, invocation, from);
    auto status = co_await std::move(renaming);
    router.routing.forget(from.to_string());
    router.routing.forget(to.to_string());
    co_return status;
}

async::Task<Status> create_indexes_on_router(Router& router, Invocation& invocation) {
    CO_TRY(const Namespace ns, invocation.request.collection());
    invocation.ns = ns;
    CO_TRY_OK(co_await ensure_database(router, invocation, ns.db));
    const Instant deadline = routing_deadline(router, *invocation.operation);
    CO_TRY(const auto info, co_await router.routing.get(ns.to_string(), deadline));
    CO_TRY_OK(check_unique_indexes(invocation.request, info));
    CO_TRY(const auto answers, co_await send_to_owners(router, invocation, ns));
    append_raw(router, answers, invocation.reply);
    append_write_concern_errors(answers, invocation.reply);
    co_return Status();
}

namespace {

using Answers = Result<std::vector<ShardAnswer>>;

Status append_changed(Router& router,
                      Invocation& invocation,
                      const Namespace& ns,
                      const Answers& answers) {
    if (!answers && answers.error().code() == ErrorCode::namespace_not_found)
        return Error(ErrorCode::namespace_not_found, "ns not found " + ns.to_string());
    if (!answers) return call_error(router, *invocation.operation, answers.error());
    if (answers->size() == 1) append_payload(*answers->front().reply, invocation.reply);
    append_raw(router, *answers, invocation.reply);
    append_write_concern_errors(*answers, invocation.reply);
    return {};
}

async::Task<Status> change_on_owners(Router& router, Invocation& invocation) {
    CO_TRY(const Namespace ns, invocation.request.collection());
    invocation.ns = ns;
    const Answers answers = co_await send_to_owners(router, invocation, ns);
    co_return append_changed(router, invocation, ns, answers);
}

// A shard that does not have the index (any more) is as good as one that drops it now, if there is
// one that does, or did in an attempt before: `has_dropped`.
async::Task<Answers> drop_indexes_on(Router& router,
                                     Invocation& invocation,
                                     std::vector<routing::ShardTarget> targets,
                                     bool& has_dropped) {
    auto answers = co_await ask(router, invocation, targets);
    for (const ShardAnswer& answer : answers)
        has_dropped = has_dropped || answer.reply.has_value();
    if (has_dropped)
        std::erase_if(answers, [](const ShardAnswer& answer) {
            return !answer.reply && answer.reply.error().code() == ErrorCode::index_not_found;
        });
    CO_TRY_OK(check_answers(answers));
    co_return answers;
}

}  // namespace

async::Task<Status> drop_indexes_on_router(Router& router, Invocation& invocation) {
    CO_TRY(const Namespace ns, invocation.request.collection());
    invocation.ns = ns;
    const Instant deadline = routing_deadline(router, *invocation.operation);
    bool has_dropped = false;
    const auto attempt = [&](const routing::RoutingInfo& info) {
        return drop_indexes_on(router, invocation, routing::target_all(info), has_dropped);
    };
    auto running = sharding::with_routing<std::vector<ShardAnswer>>(
        router.routing, ns.to_string(), deadline, attempt);
    const Answers answers = co_await std::move(running);
    co_return append_changed(router, invocation, ns, answers);
}
async::Task<Status> set_index_commit_quorum_on_router(Router& router, Invocation& invocation) {
    return change_on_owners(router, invocation);
}
async::Task<Status> coll_mod_on_router(Router& router, Invocation& invocation) {
    return change_on_owners(router, invocation);
}

}  // namespace tessera::commands
