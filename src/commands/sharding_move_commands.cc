// SPDX-License-Identifier: Apache-2.0
//
// What movePrimary is made of, and how secondaries learn of placement: the config primary starts
// the donor ("_shardsvrMovePrimary"), donor and recipient talk ("_recvDatabase..."), the config
// primary decides ("_configsvr...MovePrimary").
#include "commands/ddl_execution.h"
#include "commands/sharding_commands.h"
#include "commands/support.h"
#include "sharding/limits.h"

namespace tessera::commands {
namespace {

Result<sharding::DatabaseMove> move_document(const Request& request) {
    TRY(const bson::View document, document_argument(request));
    return sharding::DatabaseMove::parse(document);
}

Status check_not_renaming(MemberSharding& sharding, const std::string& db) {
    if (!sharding.renames.is_renaming(db)) return {};
    return Error(ErrorCode::conflicting_operation_in_progress,
                 "a rename in database " + db + " has not ended");
}

// {_shardsvrMovePrimary: "db", toShard: "shard"}
async::Task<Status> move_primary_here(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_shard(member, invocation.request.name));
    CO_TRY(std::string db, name_argument(invocation.request));
    const bson::Value to = invocation.request.body["toShard"];
    if (!to.is_string())
        co_return Error(ErrorCode::no_such_key, "_shardsvrMovePrimary lacks toShard");
    CO_TRY_OK(check_not_renaming(*sharding, db));
    std::string shard(to.as_string());
    co_return co_await sharding->move_source.move(
        std::move(db), std::move(shard), member.make_uuid(), invocation.operation->deadline);
}

async::Task<Status> receive_start(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_shard(member, invocation.request.name));
    CO_TRY(auto move, move_document(invocation.request));
    CO_TRY_OK(check_not_renaming(*sharding, move.db));
    CO_TRY_OK(co_await sharding->move_destination.start(move, invocation.operation->deadline));
    sharding->spawn(sharding->move_destination.pull(std::move(move), make_like, &member));
    co_return Status();
}

async::Task<Status> receive_status(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_shard(member, invocation.request.name));
    CO_TRY(const bson::Uuid id, uuid_argument(invocation.request));
    invocation.reply.append_all(sharding->move_destination.status(id));
    co_return Status();
}

async::Task<Status> receive_release(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_shard(member, invocation.request.name));
    CO_TRY(auto move, move_document(invocation.request));
    const bool is_committed = invocation.request.body["isCommitted"].is_truthy();
    co_return co_await sharding->move_destination.release(
        std::move(move), is_committed, invocation.operation->deadline);
}

Status session_changes(Member& member, Invocation& invocation) {
    TRY(MemberSharding* const sharding, require_shard(member, invocation.request.name));
    TRY(const bson::Uuid id, uuid_argument(invocation.request));
    TRY(const bson::Document batch, sharding->move_source.next_session_changes(id));
    invocation.reply.append_all(batch);
    return {};
}

// {_flushRoutingTableCacheUpdates: "db.coll"}: a secondary asks; what is known is on its way to it
// at the position the answer names.
async::Task<Status> flush_placement(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_shard(member, invocation.request.name));
    CO_TRY(std::string ns, name_argument(invocation.request));
    const Instant deadline = std::min(invocation.operation->deadline,
                                      member.clock.now() + sharding::limits::config_read);
    CO_TRY_OK(co_await sharding->records.flush(std::move(ns), deadline));
    invocation.reply.append("appliedAt", member.replication->last_applied().timestamp);
    co_return Status();
}

Result<sharding::DatabaseCommit> parse_commit(const Request& request) {
    sharding::DatabaseCommit move;
    TRY(move.db, name_argument(request));
    if (!request.body["from"].is_string() || !request.body["to"].is_string())
        return Error(ErrorCode::no_such_key, std::string(request.name) + " lacks its fields");
    move.from = request.body["from"].as_string();
    move.to = request.body["to"].as_string();
    TRY(move.expected, routing::DatabaseVersion::parse(request.body["version"]));
    return move;
}

async::Task<Status> commit_move(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_config_server(member, invocation.request.name));
    CO_TRY(auto move, parse_commit(invocation.request));
    co_return co_await sharding->catalog.commit_move_primary(std::move(move));
}

async::Task<Status> resolve_move(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_config_server(member, invocation.request.name));
    CO_TRY(auto move, parse_commit(invocation.request));
    CO_TRY(const bool is_committed,
           co_await sharding->catalog.resolve_move_primary(std::move(move)));
    invocation.reply.append("isCommitted", is_committed);
    co_return Status();
}

constexpr unsigned internal_write =
    flags::admin_only | flags::writes | flags::internal | flags::hidden;

}  // namespace

const std::array<Command, 8> sharding_move_commands = {{
    {"_shardsvrMovePrimary",
     internal_write,
     move_primary_here,
     nullptr,
     Counted::command,
     "Moves the unsharded collections of a database to another shard."},
    {"_recvDatabaseStart",
     internal_write,
     receive_start,
     nullptr,
     Counted::command,
     "Begins to receive a database's unsharded collections."},
    {"_recvDatabaseStatus",
     internal_write,
     receive_status,
     nullptr,
     Counted::command,
     "Says how far receiving a database is."},
    {"_recvDatabaseRelease",
     internal_write,
     receive_release,
     nullptr,
     Counted::command,
     "Keeps or gives up what was received of a database."},
    {"_getNextDatabaseSessionMods",
     internal_write,
     worker_function<session_changes>,
     nullptr,
     Counted::command,
     "Gives what sessions have executed in a database that is moved."},
    {"_flushRoutingTableCacheUpdates",
     internal_write,
     flush_placement,
     nullptr,
     Counted::command,
     "Writes what is known of a collection's placement for the secondaries."},
    {"_configsvrCommitMovePrimary",
     internal_write,
     commit_move,
     nullptr,
     Counted::command,
     "Gives a database to its new primary shard."},
    {"_configsvrResolveMovePrimary",
     internal_write,
     resolve_move,
     nullptr,
     Counted::command,
     "Says whether a movePrimary has been committed; if not, it never will be."},
}};

}  // namespace tessera::commands
