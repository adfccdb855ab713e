// SPDX-License-Identifier: Apache-2.0
//
// What config servers ask of a shard's primary.
#include <algorithm>

#include "bson/arena.h"
#include "catalog/index.h"
#include "commands/ddl_execution.h"
#include "commands/sharding_commands.h"
#include "commands/support.h"
#include "query/plan/executor.h"
#include "sharding/limits.h"

namespace tessera::commands {
namespace {

Result<std::string> name_of(const Request& request) {
    const bson::Value value = request.body.front().value;
    if (!value.is_string())
        return Error(ErrorCode::type_mismatch, std::string(request.name) + " takes a name");
    return std::string(value.as_string());
}

// {_shardsvrSetIdentity: {_id: "shardIdentity", ...}}: this set becomes a shard of that cluster.
async::Task<Status> set_identity(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_shard(member, invocation.request.name));
    const bson::Value given = invocation.request.body.front().value;
    if (!given.is_object())
        co_return Error(ErrorCode::type_mismatch, "_shardsvrSetIdentity takes a document");
    CO_TRY(auto identity, sharding::ShardIdentity::parse(given.as_view()));
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

// Whether this is still the primary shard that the config servers meant. A config primary that has
// just been elected may show what its predecessor told to all a little later.
async::Task<Status> check_primary_shard(MemberSharding& sharding,
                                        const Request& request,
                                        std::string ns,
                                        Instant deadline) {
    CO_TRY(const auto expected,
           routing::DatabaseVersion::parse(request.database_version.as_object_value()));
    async::Clock& clock = sharding.member.clock;
    for (;;) {
        CO_TRY_OK(co_await sharding.state.refresh(ns, deadline));
        const auto entry = sharding.state.known_database(Namespace::split(ns).db);
        if (entry && entry->version == expected) co_return Status();
        const bool may_be_old = !entry || entry->version.is_older_than(expected);
        if (!may_be_old || clock.now() >= deadline) {
            routing::StaleDatabaseInfo info;
            info.db = Namespace::split(ns).db;
            info.received = expected;
            if (entry) info.wanted = entry->version;
            co_return info.to_error("version mismatch for database " + info.db);
        }
        async::sleep_until wait(clock, clock.now() + sharding::limits::discovery_pause_min);
        co_await wait;
    }
}

// Blocks a collection until _shardsvrEndChange, or until the lease is over.
async::Task<Status> begin_change(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_shard(member, invocation.request.name));
    CO_TRY(const std::string ns, name_of(invocation.request));
    CO_TRY_OK(check_not_moving(*sharding, ns));
    const Instant now = member.clock.now();
    const Instant half = now + sharding::limits::change_lease / 2;
    CO_TRY_OK(sharding->state.begin_change(ns,
                                           sharding::ShardingState::Section::reads_too,
                                           now + sharding::limits::change_lease));
    auto status = co_await sharding->state.drain_writes(ns, half);
    if (status && !invocation.request.database_version.is_empty())
        status = co_await check_primary_shard(*sharding, invocation.request, ns, half);
    if (!status) sharding->state.end_change(ns);
    co_return status;
}

async::Task<Status> end_change(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_shard(member, invocation.request.name));
    CO_TRY(const std::string ns, name_of(invocation.request));
    sharding->state.forget(ns);
    sharding->state.end_change(ns);
    co_return Status();
}

// {_shardsvrForget: "db" or "db.coll"}
async::Task<Status> forget(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_shard(member, invocation.request.name));
    CO_TRY(const std::string name, name_of(invocation.request));
    if (name.find('.') == std::string::npos)
        sharding->state.forget_database(name);
    else
        sharding->state.forget(name);
    co_return Status();
}

// {uuid, options, indexes, count} of a collection; {count: 0} where there is none.
Status describe(Member& member, Invocation& invocation) {
    TRY(MemberSharding* const sharding, require_shard(member, invocation.request.name));
    TRY(const std::string ns, name_of(invocation.request));
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
    TRY(const std::string text, name_of(invocation.request));
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
    TRY(const std::string text, name_of(invocation.request));
    const bson::View body = invocation.request.body;
    TRY(const bson::View pattern, required_object(body, "key", invocation.request.name));
    TRY(const bson::View min, required_object(body, "min", invocation.request.name));
    TRY(const bson::View max, required_object(body, "max", invocation.request.name));
    TRY(const auto key, routing::ShardKeyPattern::parse(pattern));
    TRY(const routing::Key low, key.encode_bound(min));
    TRY(const routing::Key high, key.encode_bound(max));
    const Namespace ns = Namespace::split(text);
    const catalog::CollectionLock lock = member.catalog->lock_shared(ns);
    if (!lock) return {};
    TRY(const auto transaction, member.engine->begin());
    query::Executor executor(lock->source(), query::ReadRequest());
    TRY_OK(executor.start(*transaction));
    std::vector<std::pair<routing::Key, bson::RecordId>> keys;
    for (;;) {
        TRY(const bool has_document, executor.next());
        if (!has_document) break;
        auto found = key.key_of(executor.document());
        if (found && low <= *found && *found < high)
            keys.emplace_back(std::move(*found), executor.record_id());
    }
    executor.save_state();
    std::sort(keys.begin(), keys.end());
    if (keys.empty()) return {};
    // The first key from the middle on that is not the lowest: a split point lies inside.
    auto at = keys.begin() + static_cast<std::ptrdiff_t>(keys.size() / 2);
    while (at != keys.end() && (at->first == low || at->first == keys.front().first))
        ++at;
    if (at == keys.end()) return {};
    TRY(const auto document, lock->find_record(*transaction, at->second));
    if (!document) return {};
    TRY(const bson::Document median, key.key_document_of(*document));
    invocation.reply.append("median", median);
    return {};
}

// ---- Migrations --------------------------------------------------------------------------------

Result<bson::Uuid> migration_id(const Request& request) {
    const bson::Value value = request.body.front().value;
    if (value.type() != bson::Type::binary || value.as_binary().bytes.size() != 16)
        return Error(ErrorCode::type_mismatch,
                     std::string(request.name) + " takes a migration's UUID");
    bson::Uuid uuid;
    std::memcpy(uuid.bytes.data(), value.as_binary().bytes.data(), 16);
    return uuid;
}

Result<sharding::MigrationDocument> migration_document(const Request& request) {
    const bson::Value value = request.body.front().value;
    if (!value.is_object())
        return Error(ErrorCode::type_mismatch, std::string(request.name) + " takes a document");
    return sharding::MigrationDocument::parse(value.as_view());
}

async::Task<Status> move_range_command(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_shard(member, invocation.request.name));
    CO_TRY(auto request, sharding::MoveRangeRequest::parse(invocation.request.body));
    const Instant deadline = std::min(invocation.operation->deadline,
                                      member.clock.now() + sharding::limits::migration_catch_up);
    co_return co_await sharding->source.move_range(
        std::move(request), member.make_uuid(), deadline);
}

Result<OpTime> make_like(void* context, const Namespace& ns, bson::View like) {
    return ensure_collection_like(*static_cast<Member*>(context), ns, like);
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
    CO_TRY(const bson::Uuid id, migration_id(invocation.request));
    invocation.reply.append_all(sharding->destination.status(id));
    co_return Status();
}

async::Task<Status> receive_commit(Member& member, Invocation& invocation) {
    CO_TRY(MemberSharding * sharding, require_shard(member, invocation.request.name));
    CO_TRY(const bson::Uuid id, migration_id(invocation.request));
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
    TRY(const bson::Uuid id, migration_id(invocation.request));
    TRY(const bson::Document batch, sharding->source.next_clone_batch(id));
    invocation.reply.append_all(batch);
    return {};
}

Status transfer_changes(Member& member, Invocation& invocation) {
    TRY(MemberSharding* const sharding, require_shard(member, invocation.request.name));
    TRY(const bson::Uuid id, migration_id(invocation.request));
    TRY(const bson::Document batch, sharding->source.next_changes(id));
    invocation.reply.append_all(batch);
    return {};
}

Status session_changes(Member& member, Invocation& invocation) {
    TRY(MemberSharding* const sharding, require_shard(member, invocation.request.name));
    TRY(const bson::Uuid id, migration_id(invocation.request));
    TRY(const bson::Document batch, sharding->source.next_session_changes(id));
    invocation.reply.append_all(batch);
    return {};
}

constexpr unsigned internal_write =
    flags::admin_only | flags::writes | flags::internal | flags::hidden;

}  // namespace

const std::array<Command, 15> sharding_shard_commands = {{
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

// Documents of a collection that is indexed under its exclusive lock, at most.
constexpr std::int64_t indexed_under_lock_max = 10'000;

Result<OpTime> ensure_collection_like(Member& member, const Namespace& ns, bson::View description) {
    OpTime last = member.replication->last_applied();
    std::optional<bson::Uuid> uuid;
    if (const bson::Value given = description["uuid"]; given.type() == bson::Type::binary) {
        uuid.emplace();
        std::memcpy(uuid->bytes.data(), given.as_binary().bytes.data(), 16);
    }
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
