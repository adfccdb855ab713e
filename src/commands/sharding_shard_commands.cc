// SPDX-License-Identifier: Apache-2.0
//
// What config servers ask of a shard's primary.
#include <algorithm>

#include "bson/arena.h"
#include "catalog/index.h"
#include "commands/ddl_execution.h"
#include "commands/sharding_commands.h"
#include "commands/support.h"
#include "sharding/limits.h"
#include "sharding/range_scan.h"

namespace tessera::commands {
namespace {

// {_shardsvrSetIdentity: {_id: "shardIdentity", ...}}: this set becomes a shard of that cluster.
async::Task<Status> set_identity(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_shard(member, invocation.request.name));
    CO_TRY(const bson::View given, document_argument(invocation.request));
    CO_TRY(auto identity, sharding::ShardIdentity::parse(given));
    sharding->load_identity();
    CO_TRY_OK(sharding->state.set_identity(identity));
    sharding->registry.set_config_servers(identity.config_servers);
    const Namespace ns{"admin", "system.version"};
    co_return co_await sharding->store.put(ns, identity.to_document());
}

// While a database is leaving, what is here of it is not what it seems.
Status check_not_moving(MemberSharding& sharding, const std::string& ns) {
    if (!sharding.move_source.is_moving(Namespace::split(ns).db)) return {};
    return Error(ErrorCode::conflicting_operation_in_progress,
                 "movePrimary of the database of " + ns + " is in progress");
}

// The database version the config servers know, sent to whom they take for its primary shard.
Result<std::optional<routing::DatabaseVersion>> expected_version(const Request& request) {
    if (request.database_version.is_empty()) return std::optional<routing::DatabaseVersion>();
    TRY(const auto version,
        routing::DatabaseVersion::parse(request.database_version.as_object_value()));
    return std::optional(version);
}

// Blocks a collection until _shardsvrEndChange, or until the lease is over.
async::Task<Status> begin_change(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_shard(member, invocation.request.name));
    CO_TRY(const std::string ns, name_argument(invocation.request));
    CO_TRY_OK(check_not_moving(*sharding, ns));
    CO_TRY(const auto expected, expected_version(invocation.request));
    const Instant now = member.clock.now();
    const Instant half = now + sharding::limits::change_lease / 2;
    const Term term = invocation.request.body["term"].to_int64();
    CO_TRY_OK(sharding->state.begin_change(ns,
                                           sharding::ShardingState::Section::reads_too,
                                           now + sharding::limits::change_lease,
                                           term));
    auto status = co_await sharding->state.drain_writes(ns, half);
    if (status && expected)
        status = co_await sharding->state.await_primary_shard(ns, *expected, half);
    if (!status) sharding->state.end_change(ns, term);
    co_return status;
}

async::Task<Status> end_change(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_shard(member, invocation.request.name));
    CO_TRY(const std::string ns, name_argument(invocation.request));
    sharding->state.forget(ns);
    sharding->state.end_change(ns, invocation.request.body["term"].to_int64());
    co_return Status();
}

Result<sharding::CollectionRename> rename_in(const Request& request) {
    sharding::CollectionRename rename;
    TRY(rename.from, name_argument(request));
    TRY(const auto to, string_argument(request.body, "to", "", request.name));
    rename.to = to;
    TRY(rename.id, bson::uuid_in(request.body["id"]));
    return rename;
}

// {_shardsvrBeginRename: "db.from", to: "db.to", id}: blocks both until the rename has ended.
async::Task<Status> begin_rename(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_shard(member, invocation.request.name));
    CO_TRY(auto rename, rename_in(invocation.request));
    CO_TRY_OK(check_not_moving(*sharding, rename.from));
    CO_TRY(auto expected, expected_version(invocation.request));
    const Instant until = member.clock.now() + sharding::limits::change_lease / 2;
    co_return co_await sharding->renames.begin(std::move(rename), expected, until);
}

// {_shardsvrEndRename: "db.from", to: "db.to", id, isCommitted, uuid, primary}
async::Task<Status> end_rename(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_shard(member, invocation.request.name));
    CO_TRY(auto rename, rename_in(invocation.request));
    CO_TRY(auto outcome, sharding::RenameOutcome::parse(invocation.request.body));
    co_return co_await sharding->renames.end(std::move(rename), std::move(outcome));
}

// {_shardsvrForget: "db" or "db.coll"}. Of a database: no write that has been let in still runs.
async::Task<Status> forget(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_shard(member, invocation.request.name));
    CO_TRY(const std::string name, name_argument(invocation.request));
    if (name.find('.') != std::string::npos) {
        sharding->state.forget(name);
        co_return Status();
    }
    sharding->state.forget_database(name);
    co_return co_await sharding->state.drain_database(
        name, sharding::ShardingState::Access::write, invocation.operation->deadline);
}

// {uuid, options, indexes, count} of a collection; {count: 0} where there is none.
Status describe(Member& member, Invocation& invocation) {
    TRY(MemberSharding* const sharding, require_shard(member, invocation.request.name));
    TRY(const std::string ns, name_argument(invocation.request));
    const Namespace name = Namespace::split(ns);
    bson::Builder& reply = invocation.reply;
    if (member.catalog->find_view(name)) reply.append("isView", true);
    const auto collection = member.catalog->find(name);
    if (!collection) {
        reply.append("count", std::int64_t{0});
        return {};
    }
    reply.append("uuid", collection->uuid());
    reply.append("options", collection->options().document);
    {
        auto indexes = reply.array("indexes");
        for (const auto& each : collection->indexes())
            indexes.append(each->spec());
    }
    reply.append("count", collection->count());
    reply.append("dataSize", collection->data_size());
    TRY(const auto deletions,
        sharding->store.find(sharding::config_ns("rangeDeletions"), bson::make("nss", ns)));
    std::int64_t orphans = 0;
    for (const bson::Document& each : deletions)
        orphans += each["numOrphanDocs"].to_int64();
    reply.append("orphans", orphans);
    return {};
}

// {_shardsvrEnsureCollection: ns, description: {uuid, options, indexes}}: makes it so here.
Status ensure_like(Member& member, Invocation& invocation) {
    TRY(MemberSharding* const sharding, require_shard(member, invocation.request.name));
    TRY(const std::string text, name_argument(invocation.request));
    TRY_OK(check_not_moving(*sharding, text));
    TRY(const bson::View description,
        required_object(invocation.request.body, "description", invocation.request.name));
    TRY(const OpTime at, ensure_collection_like(member, Namespace::split(text), description));
    if (invocation.last_write < at) invocation.last_write = at;
    return {};
}

// {_shardsvrMedianKey: ns, key, min, max}: the key in the middle of what is here of the range.
Status median_key(Member& member, Invocation& invocation) {
    TRY([[maybe_unused]] MemberSharding* const sharding,
        require_shard(member, invocation.request.name));
    TRY(const std::string text, name_argument(invocation.request));
    const bson::View body = invocation.request.body;
    TRY(const bson::View pattern, required_object(body, "key", invocation.request.name));
    TRY(const bson::View min, required_object(body, "min", invocation.request.name));
    TRY(const bson::View max, required_object(body, "max", invocation.request.name));
    TRY(auto key, routing::ShardKeyPattern::parse(pattern));
    TRY(const auto span,
        sharding::KeySpan::make(std::move(key), {bson::Document(min), bson::Document(max)}));
    const catalog::CollectionLock lock = member.catalog->lock_shared(Namespace::split(text));
    if (!lock) return {};
    TRY(const auto transaction, member.engine->begin());
    TRY(const auto median, sharding::middle_of_range(*lock, *transaction, span));
    if (median) invocation.reply.append("median", *median);
    return {};
}

// ---- Migrations --------------------------------------------------------------------------------

Result<sharding::MigrationDocument> migration_document(const Request& request) {
    TRY(const bson::View document, document_argument(request));
    return sharding::MigrationDocument::parse(document);
}

async::Task<Status> move_range_command(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_shard(member, invocation.request.name));
    CO_TRY(auto request, sharding::MoveRangeRequest::parse(invocation.request.body));
    const Instant deadline = std::min(invocation.operation->deadline,
                                      member.clock.now() + sharding::limits::migration_catch_up);
    co_return co_await sharding->source.move_range(
        std::move(request), member.make_uuid(), deadline);
}

async::Task<Status> receive_start(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_shard(member, invocation.request.name));
    CO_TRY(auto migration, migration_document(invocation.request));
    CO_TRY_OK(sharding->destination.start(migration));
    sharding->spawn(sharding->destination.pull(std::move(migration), make_like, &member));
    co_return Status();
}

async::Task<Status> receive_status(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_shard(member, invocation.request.name));
    CO_TRY(const bson::Uuid id, uuid_argument(invocation.request));
    invocation.reply.append_all(sharding->destination.status(id));
    co_return Status();
}

async::Task<Status> receive_commit(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_shard(member, invocation.request.name));
    CO_TRY(const bson::Uuid id, uuid_argument(invocation.request));
    co_return co_await sharding->destination.commit(id, invocation.operation->deadline);
}

async::Task<Status> receive_release(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_shard(member, invocation.request.name));
    CO_TRY(auto migration, migration_document(invocation.request));
    const bool is_committed = invocation.request.body["isCommitted"].is_truthy();
    co_return co_await sharding->destination.release(std::move(migration), is_committed);
}

Status clone_batch(Member& member, Invocation& invocation) {
    TRY(MemberSharding* const sharding, require_shard(member, invocation.request.name));
    TRY(const bson::Uuid id, uuid_argument(invocation.request));
    TRY(const bson::Document batch, sharding->source.next_clone_batch(id));
    invocation.reply.append_all(batch);
    return {};
}

Status transfer_changes(Member& member, Invocation& invocation) {
    TRY(MemberSharding* const sharding, require_shard(member, invocation.request.name));
    TRY(const bson::Uuid id, uuid_argument(invocation.request));
    TRY(const bson::Document batch, sharding->source.next_changes(id));
    invocation.reply.append_all(batch);
    return {};
}

Status session_changes(Member& member, Invocation& invocation) {
    TRY(MemberSharding* const sharding, require_shard(member, invocation.request.name));
    TRY(const bson::Uuid id, uuid_argument(invocation.request));
    TRY(const bson::Document batch, sharding->source.next_session_changes(id));
    invocation.reply.append_all(batch);
    return {};
}

constexpr unsigned internal_write =
    flags::admin_only | flags::writes | flags::internal | flags::hidden;

}  // namespace

const std::array<Command, 17> sharding_shard_commands = {{
    {"_shardsvrSetIdentity",
     internal_write,
     set_identity,
     nullptr,
     Counted::command,
     "Makes this set a shard of a cluster."},
    {"_shardsvrBeginChange",
     internal_write,
     begin_change,
     nullptr,
     Counted::command,
     "Blocks a collection while its placement changes."},
    {"_shardsvrEndChange",
     internal_write,
     end_change,
     nullptr,
     Counted::command,
     "Ends what _shardsvrBeginChange began."},
    {"_shardsvrBeginRename",
     internal_write,
     begin_rename,
     nullptr,
     Counted::command,
     "Blocks two names while a collection gets the one for the other."},
    {"_shardsvrEndRename",
     internal_write,
     end_rename,
     nullptr,
     Counted::command,
     "Ends what _shardsvrBeginRename began, one way or the other."},
    {"_shardsvrForget",
     internal_write,
     forget,
     nullptr,
     Counted::command,
     "Forgets cached placement."},
    {"_shardsvrDescribe",
     internal_write,
     worker_function<describe>,
     nullptr,
     Counted::command,
     "Describes a collection of this shard."},
    {"_shardsvrEnsureCollection",
     internal_write,
     worker_function<ensure_like>,
     nullptr,
     Counted::command,
     "Makes a collection as described."},
    {"_shardsvrMedianKey",
     internal_write,
     worker_function<median_key>,
     nullptr,
     Counted::command,
     "Finds the middle of a range."},
    {"_shardsvrMoveRange",
     internal_write,
     move_range_command,
     nullptr,
     Counted::command,
     "Moves a range of this shard to another."},
    {"_recvChunkStart",
     internal_write,
     receive_start,
     nullptr,
     Counted::command,
     "Begins to receive a range."},
    {"_recvChunkStatus",
     internal_write,
     receive_status,
     nullptr,
     Counted::command,
     "Says how far receiving a range is."},
    {"_recvChunkCommit",
     internal_write,
     receive_commit,
     nullptr,
     Counted::command,
     "Receives the rest of a range."},
    {"_recvChunkRelease",
     internal_write,
     receive_release,
     nullptr,
     Counted::command,
     "Keeps or gives up a received range."},
    {"_migrateClone",
     internal_write,
     worker_function<clone_batch>,
     nullptr,
     Counted::command,
     "Gives the documents of a range that is moved."},
    {"_getNextSessionMods",
     internal_write,
     worker_function<session_changes>,
     nullptr,
     Counted::command,
     "Gives what sessions have executed in a range that is moved."},
    {"_transferMods",
     internal_write,
     worker_function<transfer_changes>,
     nullptr,
     Counted::command,
     "Gives what has changed in a range that is moved."},
}};

Result<OpTime> make_like(void* context, const Namespace& ns, bson::View like) {
    return ensure_collection_like(*static_cast<Member*>(context), ns, like);
}

// Documents of a collection that is indexed under its exclusive lock, at most.
constexpr std::int64_t indexed_under_lock_max = 10'000;

Result<OpTime> ensure_collection_like(Member& member, const Namespace& ns, bson::View description) {
    OpTime last = member.replication->last_applied();
    std::optional<bson::Uuid> uuid;
    if (const auto given = bson::uuid_in(description["uuid"])) uuid = *given;
    for (;;) {
        TRY_OK(member.replication->check_writable(ns));
        const catalog::CollectionLock lock = member.catalog->lock_exclusive(ns);
        if (lock) {
            if (uuid && lock->uuid() != *uuid)
                return Error(ErrorCode::invalid_options,
                             "Collection " + ns.to_string() + " exists here with another UUID");
            break;
        }
        TRY(auto unit,
            replication::WriteUnit::begin(*member.replication, *member.engine, member.clock));
        TRY_OK(unit.reserve(1));
        replication::NewCollection what;
        what.uuid = uuid;
        if (const bson::Value options = description["options"]; options.is_object())
            what.options = bson::Document(options.as_view());
        auto made = replication::create_collection(unit, *member.catalog, ns, what);
        if (!made && made.error().code() != ErrorCode::write_conflict) return made.error();
        if (made) last = *made;
    }
    const bson::Value indexes = description["indexes"];
    if (!indexes.is_array()) return last;
    for (const bson::Element& each : indexes.as_view()) {
        if (!each.value.is_object()) continue;
        for (;;) {
            const catalog::CollectionLock lock = member.catalog->lock_exclusive(ns);
            if (!lock) return Error(ErrorCode::namespace_not_found, "ns not found");
            TRY(const auto spec, member.catalog->check_index(*lock, each.value.as_view()));
            if (spec.exists_already) break;
            if (spec.is_being_built)
                return Error(ErrorCode::background_operation_in_progress_for_namespace,
                             "an index of " + ns.to_string() + " is being built here");
            // Others use the collection meanwhile and wait for the lock.
            if (lock->count() > indexed_under_lock_max)
                return Error(ErrorCode::cannot_create_index,
                             ns.to_string() + " lacks an index here and has more than " +
                                 std::to_string(indexed_under_lock_max) +
                                 " documents. Next step: run createIndexes through a router");
            TRY(auto unit,
                replication::WriteUnit::begin(*member.replication, *member.engine, member.clock));
            TRY_OK(unit.reserve(1));
            auto made = replication::create_index(unit, *member.catalog, *lock, spec.spec);
            if (!made && made.error().code() != ErrorCode::write_conflict) return made.error();
            if (!made) continue;
            last = *made;
            break;
        }
    }
    return last;
}

}  // namespace tessera::commands
