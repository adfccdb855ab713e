// SPDX-License-Identifier: Apache-2.0
//
// What routers and shards ask of the config servers' primary.
#include "commands/sharding_commands.h"
#include "commands/support.h"

namespace tessera::commands {
namespace {

// A router's first write to a database that does not exist: {_configsvrCreateDatabase: "db"}.
async::Task<Status> create_database_command(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_config_server(member, invocation.request.name));
    CO_TRY(std::string db, name_argument(invocation.request));
    const bson::Value primary = invocation.request.body["primaryShard"];
    std::string wanted = primary.is_string() ? std::string(primary.as_string()) : std::string();
    CO_TRY(const auto entry, co_await create_database(*sharding, std::move(db), std::move(wanted)));
    invocation.reply.append("database", entry.to_document());
    co_return Status();
}

// {_configsvrDropCollection: "db.name", uuid}
async::Task<Status> drop_collection_command(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_config_server(member, invocation.request.name));
    CO_TRY(std::string ns, name_argument(invocation.request));
    CO_TRY(const bson::Uuid uuid, bson::uuid_in(invocation.request.body["uuid"]));
    co_return co_await drop_sharded_collection(
        *sharding, std::move(ns), uuid, invocation.operation->deadline);
}

async::Task<Status> drop_database_command(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_config_server(member, invocation.request.name));
    CO_TRY(std::string db, name_argument(invocation.request));
    co_return co_await drop_database_everywhere(
        *sharding, std::move(db), invocation.operation->deadline);
}

Result<sharding::MoveCommit> parse_move(const Request& request) {
    sharding::MoveCommit move;
    TRY(move.ns, name_argument(request));
    const bson::View body = request.body;
    if (!body["min"].is_object() || !body["max"].is_object() || !body["from"].is_string() ||
        !body["to"].is_string() || body["epoch"].type() != bson::Type::object_id ||
        body["timestamp"].type() != bson::Type::timestamp ||
        body["expected"].type() != bson::Type::timestamp)
        return Error(ErrorCode::no_such_key, std::string(request.name) + " lacks its fields");
    move.range = {bson::Document(body["min"].as_view()), bson::Document(body["max"].as_view())};
    move.from = body["from"].as_string();
    move.to = body["to"].as_string();
    move.generation = {body["epoch"].as_object_id(), body["timestamp"].as_timestamp()};
    move.expected = routing::Placement::of(body["expected"].as_timestamp());
    return move;
}

async::Task<Status> commit_migration(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_config_server(member, invocation.request.name));
    CO_TRY(auto move, parse_move(invocation.request));
    co_return co_await sharding->catalog.commit_move(std::move(move));
}

async::Task<Status> resolve_migration(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_config_server(member, invocation.request.name));
    CO_TRY(auto move, parse_move(invocation.request));
    CO_TRY(const bool is_committed, co_await sharding->catalog.resolve_move(std::move(move)));
    invocation.reply.append("isCommitted", is_committed);
    co_return Status();
}

// {_configsvrLogChange: what, ns, details}: for shards and routers.
async::Task<Status> log_change_command(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_config_server(member, invocation.request.name));
    CO_TRY(std::string what, name_argument(invocation.request));
    const bson::Value ns = invocation.request.body["ns"];
    const bson::Value details = invocation.request.body["details"];
    std::string name = ns.is_string() ? std::string(ns.as_string()) : std::string();
    bson::Document copy;
    if (details.is_object()) copy = bson::Document(details.as_view());
    co_await sharding->catalog.log_change(
        "changelog", std::move(what), std::move(name), std::move(copy));
    co_return Status();
}

// {_configsvrRenameCollection: "db.from", to: "db.to", dropTarget, uuid}
async::Task<Status> rename_command(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_config_server(member, invocation.request.name));
    const bson::View body = invocation.request.body;
    RenameArguments arguments;
    CO_TRY(arguments.from, name_argument(invocation.request));
    CO_TRY(const auto to, string_argument(body, "to", "", invocation.request.name));
    arguments.to = to;
    CO_TRY(arguments.drop_target, bool_argument(body, "dropTarget", false, "renameCollection"));
    if (body.has("uuid")) {
        CO_TRY(arguments.uuid, bson::uuid_in(body["uuid"]));
    }
    co_return co_await rename_everywhere(
        *sharding, std::move(arguments), invocation.operation->deadline);
}

// {_configsvrResolveRename: "db.from", id}
async::Task<Status> resolve_rename_command(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_config_server(member, invocation.request.name));
    sharding::CollectionRename rename;
    CO_TRY(rename.from, name_argument(invocation.request));
    CO_TRY(rename.id, bson::uuid_in(invocation.request.body["id"]));
    CO_TRY(const auto outcome, co_await resolve_rename(*sharding, std::move(rename)));
    outcome.append_to(invocation.reply);
    co_return Status();
}

constexpr unsigned internal_write =
    flags::admin_only | flags::writes | flags::internal | flags::hidden;

}  // namespace

const std::array<Command, 8> sharding_config_commands = {{
    {"_configsvrCreateDatabase",
     internal_write,
     create_database_command,
     nullptr,
     Counted::command,
     "Makes a database known to the cluster."},
    {"_configsvrDropCollection",
     internal_write,
     drop_collection_command,
     nullptr,
     Counted::command,
     "Drops a collection on every shard."},
    {"_configsvrDropDatabase",
     internal_write,
     drop_database_command,
     nullptr,
     Counted::command,
     "Drops a database on every shard."},
    {"_configsvrCommitChunkMigration",
     internal_write,
     commit_migration,
     nullptr,
     Counted::command,
     "Gives a range to its new shard."},
    {"_configsvrResolveChunkMigration",
     internal_write,
     resolve_migration,
     nullptr,
     Counted::command,
     "Says whether a migration has been committed; if not, it never will be."},
    {"_configsvrRenameCollection",
     internal_write,
     rename_command,
     nullptr,
     Counted::command,
     "Renames a collection on every shard."},
    {"_configsvrResolveRename",
     internal_write,
     resolve_rename_command,
     nullptr,
     Counted::command,
     "Says whether a rename has been committed; if not, it never will be."},
    {"_configsvrLogChange",
     internal_write,
     log_change_command,
     nullptr,
     Counted::command,
     "Writes an entry of config.changelog."},
}};

}  // namespace tessera::commands
