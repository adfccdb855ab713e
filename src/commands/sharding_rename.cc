// SPDX-License-Identifier: Apache-2.0
//
// renameCollection where one of the two names is sharded, as the config primary carries it out
// (sharding/collection_rename.h): every shard blocks both names, the catalogue changes, every shard
// does its part. A document in config.system.sharding_ddl_coordinators is there from before the
// first shard is asked until after the last has answered, so whoever is primary next can end it.
#include <algorithm>

#include "base/log.h"
#include "commands/sharding_commands.h"
#include "sharding/limits.h"

namespace tessera::commands {
namespace {

using sharding::CollectionRename;
using sharding::RenameOutcome;
using sharding::ShardName;

async::Task<Result<RenameOutcome>> outcome_of(MemberSharding& sharding, CollectionRename rename) {
    RenameOutcome outcome;
    outcome.is_committed = rename.is_committed;
    outcome.uuid = rename.uuid;
    CO_TRY(const auto db, sharding.catalog.database(Namespace::split(rename.from).db));
    if (db) outcome.primary = db->primary;
    co_return outcome;
}

// Tells every shard how it ended; the first failure, when all have been told.
async::Task<Status> tell_outcome(MemberSharding& sharding,
                                 CollectionRename rename,
                                 Instant deadline) {
    CO_TRY(const RenameOutcome outcome, co_await outcome_of(sharding, rename));
    CO_TRY(const auto shards, sharding.catalog.shards());
    Status status;
    for (const sharding::ShardEntry& each : shards) {
        bson::Builder body;
        body.append("_shardsvrEndRename", rename.from);
        body.append("to", rename.to).append("id", rename.id);
        outcome.append_to(body);
        body.append("$db", "admin");
        bson::Document command = std::move(body).finish();
        auto reply = co_await ask_shard(sharding, each.name, std::move(command), deadline);
        if (reply) continue;
        log::warning(log::Component::sharding,
                     9000425,
                     "A shard was not told of the end of a rename",
                     {{"shard", each.name}, {"from", rename.from}, {"error", reply.error()}});
        if (status) status = std::move(reply).error();
    }
    co_return status;
}

// Until every shard has done its part, or this is not the primary any more.
async::Task<void> finish(MemberSharding& sharding, CollectionRename rename) {
    Duration pause = sharding::limits::migration_poll_min;
    while (sharding.member.replication->is_writable_primary() &&
           !sharding.registry.is_shut_down()) {
        async::Clock& clock = sharding.member.clock;
        const Instant deadline = clock.now() + sharding::limits::ddl_step;
        auto status = co_await tell_outcome(sharding, rename, deadline);
        if (status) status = co_await sharding.catalog.end_rename(rename);
        if (status) co_return;
        async::sleep_until wait(clock, clock.now() + pause);
        co_await wait;
        pause = std::min(pause * 2, sharding::limits::migration_poll_max);
    }
}

struct Described {
    bool is_view = false;
    std::optional<bson::Uuid> uuid;
};

async::Task<Result<Described>> describe(MemberSharding& sharding,
                                        ShardName shard,
                                        std::string ns,
                                        Instant deadline) {
    bson::Document command = bson::make("_shardsvrDescribe", ns, "$db", "admin");
    CO_TRY(const auto reply,
           co_await ask_shard(sharding, std::move(shard), std::move(command), deadline));
    Described described;
    described.is_view = reply["isView"].is_truthy();
    if (const auto uuid = bson::uuid_in(reply["uuid"])) described.uuid = *uuid;
    co_return described;
}

// Every shard blocks both names.
async::Task<Status> block_everywhere(MemberSharding& sharding,
                                     CollectionRename rename,
                                     std::vector<sharding::ShardEntry> shards,
                                     routing::DatabaseEntry db,
                                     Instant deadline) {
    for (const sharding::ShardEntry& each : shards) {
        bson::Builder body;
        body.append("_shardsvrBeginRename", rename.from);
        body.append("to", rename.to).append("id", rename.id);
        if (each.name == db.primary) db.version.append_to(body, "databaseVersion");
        body.append("$db", "admin");
        bson::Document command = std::move(body).finish();
        CO_TRY([[maybe_unused]] const auto reply,
               co_await ask_shard(sharding, each.name, std::move(command), deadline));
    }
    co_return Status();
}

// With both names blocked on all shards: what is there now decides, then the catalogue changes.
async::Task<Status> check_and_commit(MemberSharding& sharding,
                                     CollectionRename& rename,
                                     RenameArguments arguments,
                                     ShardName primary,
                                     Instant deadline) {
    CO_TRY(const auto source, sharding.catalog.collection(arguments.from));
    CO_TRY(const auto target, sharding.catalog.collection(arguments.to));
    if (target && !arguments.drop_target)
        co_return Error(ErrorCode::namespace_exists, "target namespace exists");
    CO_TRY(const Described here, co_await describe(sharding, primary, arguments.from, deadline));
    if (here.is_view)
        co_return Error(ErrorCode::command_not_supported_on_view, "cannot rename view");
    if (source) {
        rename.uuid = source->uuid;
    } else if (here.uuid) {
        rename.uuid = *here.uuid;
    } else {
        co_return Error(ErrorCode::namespace_not_found,
                        "Source collection " + arguments.from + " does not exist");
    }
    CO_TRY(const auto shards, sharding.catalog.shards());
    for (const sharding::ShardEntry& each : shards) {
        CO_TRY(const Described there,
               co_await describe(sharding, each.name, arguments.to, deadline));
        if (there.is_view || (there.uuid && !arguments.drop_target))
            co_return Error(ErrorCode::namespace_exists, "target namespace exists");
    }
    co_return co_await sharding.catalog.commit_rename(rename);
}

// One attempt, from the first block to the outcome.
async::Task<Status> attempt_rename(MemberSharding& sharding,
                                   RenameArguments arguments,
                                   routing::DatabaseEntry db,
                                   Instant deadline) {
    auto& catalog = sharding.catalog;
    CollectionRename rename;
    rename.id = catalog.new_uuid();
    rename.from = arguments.from;
    rename.to = arguments.to;
    CO_TRY(const auto shards, catalog.shards());
    CO_TRY_OK(co_await catalog.begin_rename(rename));
    auto status = co_await block_everywhere(sharding, rename, shards, db, deadline);
    if (status)
        status = co_await check_and_commit(sharding, rename, arguments, db.primary, deadline);
    // Whatever came back, the catalogue knows; what has not been committed never will be. When it
    // cannot be asked, the next primary resolves it, and the shards ask that one.
    CO_TRY(const CollectionRename known, co_await catalog.resolve_rename(rename));
    if (!known.is_committed) {
        const Instant patience =
            std::min(deadline, sharding.member.clock.now() + sharding::limits::critical_section);
        [[maybe_unused]] const auto told = co_await tell_outcome(sharding, rename, patience);
        if (!status) co_return status;
        co_return Error(ErrorCode::operation_failed,
                        "the rename of " + rename.from + " was given up");
    }
    const auto told = co_await tell_outcome(sharding, known, deadline);
    if (told)
        CO_TRY_OK(co_await catalog.end_rename(known));
    else
        sharding.spawn(finish(sharding, known));
    co_return Status();
}

// Whether that has happened already: the command came a second time.
async::Task<Result<bool>> is_done(MemberSharding& sharding, RenameArguments arguments) {
    if (!arguments.uuid) co_return false;
    CO_TRY(const auto source, sharding.catalog.collection(arguments.from));
    CO_TRY(const auto target, sharding.catalog.collection(arguments.to));
    co_return !source && target && target->uuid == *arguments.uuid;
}

// One attempt with the database's turn. Not a turn for all of them: a shard that has begun a rename
// of a former primary asks how that ended, and needs the turn for its answer.
async::Task<Status> rename_in_turn(MemberSharding& sharding,
                                   RenameArguments arguments,
                                   Instant deadline) {
    const std::string name(Namespace::split(arguments.from).db);
    const auto turn = co_await sharding.lock_database(name);
    CO_TRY(const bool has_happened, co_await is_done(sharding, arguments));
    if (has_happened) co_return Status();
    CO_TRY(const auto db, sharding.catalog.database(name));
    if (!db)
        co_return Error(ErrorCode::namespace_not_found,
                        "Source collection " + arguments.from + " does not exist");
    CO_TRY_OK(co_await attempt_rename(sharding, arguments, *db, deadline));
    co_await sharding.catalog.log_change(
        "changelog", "renameCollection", arguments.from, bson::make("to", arguments.to));
    co_return Status();
}

}  // namespace

async::Task<Status> rename_everywhere(MemberSharding& sharding,
                                      RenameArguments arguments,
                                      Instant deadline) {
    async::Clock& clock = sharding.member.clock;
    const Instant until = std::min(deadline, clock.now() + sharding::limits::rename_quiet);
    Duration pause = sharding::limits::discovery_pause_min;
    for (;;) {
        const auto status = co_await rename_in_turn(sharding, arguments, deadline);
        // A range that moves ends or fails soon enough; nobody is blocked meanwhile.
        if (status || status.error().code() != ErrorCode::conflicting_operation_in_progress ||
            clock.now() + pause >= until)
            co_return status;
        async::sleep_until wait(clock, clock.now() + pause);
        co_await wait;
        pause = std::min(pause * 2, sharding::limits::discovery_pause_max);
    }
}

async::Task<Result<RenameOutcome>> resolve_rename(MemberSharding& sharding,
                                                  CollectionRename rename) {
    // Whoever carries it out here has the turn until it has ended.
    const auto turn = co_await sharding.lock_database(Namespace::split(rename.from).db);
    CO_TRY(auto known, co_await sharding.catalog.resolve_rename(std::move(rename)));
    co_return co_await outcome_of(sharding, std::move(known));
}

namespace {

// One that a former primary left.
async::Task<void> resume(MemberSharding& sharding, CollectionRename rename) {
    std::optional<CollectionRename> known;
    {
        const auto turn = co_await sharding.lock_database(Namespace::split(rename.from).db);
        auto resolved = co_await sharding.catalog.resolve_rename(std::move(rename));
        if (!resolved) co_return;  // Not primary any more.
        known = std::move(*resolved);
    }
    // Of one that was given up they can be told once: those who have not heard it ask.
    const Instant patience =
        sharding.member.clock.now() + sharding::limits::critical_section;
    if (known->is_committed)
        co_await finish(sharding, std::move(*known));
    else
        [[maybe_unused]] const auto told =
            co_await tell_outcome(sharding, std::move(*known), patience);
}

}  // namespace

async::Task<void> resume_renames(MemberSharding& sharding) {
    const auto renames = sharding.catalog.renames();
    if (!renames) {
        log::warning(log::Component::sharding,
                     9000426,
                     "Renames that had begun cannot be read; shards will ask",
                     {{"error", renames.error()}});
        co_return;
    }
    for (const CollectionRename& each : *renames)
        sharding.spawn(resume(sharding, each));
}

}  // namespace tessera::commands
