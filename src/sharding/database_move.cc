// SPDX-License-Identifier: Apache-2.0
#include "sharding/database_move.h"

#include <algorithm>
#include <set>

#include "base/log.h"
#include "bson/builder.h"
#include "sharding/handover.h"
#include "sharding/limits.h"
#include "sharding/placement_records.h"
#include "sharding/session_history.h"

namespace tessera::sharding {
namespace {

using Section = ShardingState::Section;

const Namespace coordinators = config_ns("system.sharding_ddl_coordinators");
constexpr std::string_view operation_type = "movePrimary";

bson::Document id_of(const std::string& db) {
    return bson::make("namespace", db, "operationType", operation_type);
}

bson::Document decision(const char* command, const DatabaseMove& move) {
    bson::Builder body;
    body.append(command, move.db).append("from", move.from).append("to", move.to);
    move.version.append_to(body, "version");
    body.append("$db", "admin");
    return std::move(body).finish();
}

Result<bool> has_copied(bson::View status) {
    const bson::Value state = status["state"];
    if (!state.is_string()) return Error(ErrorCode::internal_error, "a state was expected");
    if (state.as_string() == "done") return true;
    if (state.as_string() == "clone") return false;
    const auto code = static_cast<ErrorCode>(status["failedWith"].to_int64());
    const bson::Value text = status["reason"];
    return Error(code == ErrorCode::ok ? ErrorCode::operation_failed : code,
                 text.is_string() && !text.as_string().empty() ? std::string(text.as_string())
                                                               : "the recipient gave up");
}

}  // namespace

Result<DatabaseMove> DatabaseMove::parse(bson::View document) {
    DatabaseMove move;
    TRY(move.id, bson::uuid_in(document["id"]));
    if (!document["db"].is_string() || !document["from"].is_string() ||
        !document["to"].is_string() || !document["collections"].is_array())
        return Error(ErrorCode::no_such_key, "a movePrimary document lacks its fields");
    move.db = document["db"].as_string();
    move.from = document["from"].as_string();
    move.to = document["to"].as_string();
    TRY(move.version, routing::DatabaseVersion::parse(document["version"]));
    for (const bson::Element& each : document["collections"].as_view()) {
        if (!each.value.is_object()) continue;
        const bson::View fields = each.value.as_view();
        Collection collection;
        if (!fields["name"].is_string())
            return Error(ErrorCode::no_such_key, "a movePrimary document lacks its fields");
        collection.name = fields["name"].as_string();
        TRY(collection.uuid, bson::uuid_in(fields["uuid"]));
        collection.is_sharded = fields["isSharded"].is_truthy();
        move.collections.push_back(std::move(collection));
    }
    return move;
}

bson::Document DatabaseMove::to_document() const {
    bson::Builder document;
    document.append("_id", id_of(db)).append("id", id).append("db", db);
    document.append("from", from).append("to", to);
    version.append_to(document, "version");
    {
        auto list = document.array("collections");
        for (const Collection& each : collections)
            list.append(
                bson::make("name", each.name, "uuid", each.uuid, "isSharded", each.is_sharded));
    }
    return std::move(document).finish();
}

// The move that runs here.
struct DatabaseMoveSource::Active {
    DatabaseMove move;
    std::mutex mutex;  // Guards what follows.
    SessionHistory sessions;
    std::set<std::string> namespaces;
};

bool DatabaseMoveSource::is_moving(const std::string& db) const {
    const std::lock_guard lock(mutex_);
    return (active_ && active_->move.db == db) ||
           std::find(not_cleaned_up_.begin(), not_cleaned_up_.end(), db) != not_cleaned_up_.end();
}

void DatabaseMoveSource::forget_active() {
    const std::lock_guard lock(mutex_);
    active_.reset();
}

Result<bson::Document> DatabaseMoveSource::next_session_changes(const bson::Uuid& id) {
    std::shared_ptr<Active> running;
    {
        const std::lock_guard lock(mutex_);
        if (active_ && active_->move.id == id) running = active_;
    }
    if (!running) return Error(ErrorCode::no_such_key, "no such move runs here");
    const std::lock_guard lock(running->mutex);
    const SessionHistory::Covers covers = [&](std::string_view ns) {
        return running->namespaces.contains(std::string(ns));
    };
    TRY(const auto entries,
        running->sessions.next(
            environment_.store, environment_.sessions, covers, limits::migration_batch_bytes));
    bson::Builder reply;
    {
        auto oplog = reply.array("oplog");
        for (const bson::Document& each : entries)
            oplog.append(each);
    }
    return std::move(reply).finish();
}

// Checks what the config servers say and takes the one place for a move; writes are blocked from
// here on. No move: `to` is the primary shard already.
async::Task<Result<std::shared_ptr<DatabaseMoveSource::Active>>> DatabaseMoveSource::begin(
    std::string db, ShardName to, bson::Uuid id, Instant deadline) {
    ShardingState& state = environment_.state;
    const std::string any = db + ".$cmd";
    CO_TRY_OK(co_await state.refresh(any, deadline));
    const auto entry = state.known_database(db);
    const auto identity = state.identity();
    if (!entry || !identity)
        co_return Error(ErrorCode::namespace_not_found, "database " + db + " not found");
    if (entry->primary == to) co_return std::shared_ptr<Active>();
    if (entry->primary != identity->name)
        co_return Error(ErrorCode::conflicting_operation_in_progress,
                        "the primary shard of " + db + " is " + entry->primary + " by now");
    auto running = std::make_shared<Active>();
    running->move.id = id;
    running->move.db = db;
    running->move.from = identity->name;
    running->move.to = to;
    running->move.version = entry->version;
    const std::lock_guard lock(mutex_);
    if (active_ || !not_cleaned_up_.empty())
        co_return Error(ErrorCode::conflicting_operation_in_progress,
                        "another movePrimary of this shard is in progress");
    if (auto status = state.begin_database_section(db); !status)
        co_return std::move(status).error();
    active_ = running;
    co_return running;
}

// What is here and what the config servers know as sharded; nothing can change it any more.
async::Task<Status> DatabaseMoveSource::list_collections(std::shared_ptr<Active> running,
                                                         Instant deadline) {
    DatabaseMove& move = running->move;
    // What has been sharded before the section began must be among it, whoever became primary there
    // in between: a majority read may show less.
    const bson::Document latest = bson::make("level", "linearizable");
    bson::Document find = bson::make("find", "collections", "readConcern", latest, "$db", "config");
    CallOptions options;
    options.deadline = std::min(deadline, environment_.clock.now() + limits::config_read);
    CO_TRY(const auto known,
           co_await environment_.registry.find_all(config_shard, std::move(find), options));
    std::set<std::string> sharded;
    for (const bson::Document& each : known)
        if (each["_id"].is_string()) sharded.insert(std::string(each["_id"].as_string()));
    const std::lock_guard lock(running->mutex);
    for (const auto& [ns, uuid] : environment_.data.collections(move.db)) {
        DatabaseMove::Collection collection;
        collection.name = ns.collection;
        collection.uuid = uuid;
        collection.is_sharded = sharded.contains(ns.to_string());
        if (!collection.is_sharded) running->namespaces.insert(ns.to_string());
        move.collections.push_back(std::move(collection));
    }
    co_return Status();
}

async::Task<Status> DatabaseMoveSource::transfer(std::shared_ptr<Active> running,
                                                 Instant deadline) {
    const DatabaseMove& move = running->move;
    const Instant drained = environment_.clock.now() + limits::critical_section;
    CO_TRY_OK(co_await environment_.state.drain_database(
        move.db, ShardingState::Access::write, drained));
    CO_TRY_OK(co_await list_collections(running, deadline));
    CO_TRY_OK(co_await environment_.store.put(coordinators, move.to_document()));
    CallOptions options;
    options.deadline = std::min(deadline, environment_.clock.now() + limits::ddl_step);
    bson::Document start = bson::make("_recvDatabaseStart", move.to_document(), "$db", "admin");
    CO_TRY([[maybe_unused]] const auto started,
           co_await environment_.registry.call_settled(move.to, std::move(start), options));
    RecipientWatch watch;
    watch.shard = move.to;
    watch.ask = bson::make("_recvDatabaseStatus", move.id, "$db", "admin");
    watch.judge = has_copied;
    watch.until = deadline;
    co_return co_await await_recipient(environment_, std::move(watch));
}

async::Task<Status> DatabaseMoveSource::commit(std::shared_ptr<Active> running) {
    const DatabaseMove& move = running->move;
    environment_.state.enter_database_section(move.db, Section::reads_too);
    CO_TRY_OK(co_await environment_.records.mark_database(move.db));
    CallOptions options;
    options.is_retryable = true;
    options.deadline = environment_.clock.now() + limits::critical_section;
    CO_TRY([[maybe_unused]] const auto decided,
           co_await environment_.registry.call_settled(
               config_shard, decision("_configsvrCommitMovePrimary", move), options));
    co_return Status();
}

// Asks until the config servers have said whether it happened; afterwards it cannot change.
async::Task<Result<bool>> DatabaseMoveSource::resolve(DatabaseMove move) {
    bson::Document ask = decision("_configsvrResolveMovePrimary", move);
    CO_TRY(const auto reply,
           co_await ask_until_answered(environment_, config_shard, std::move(ask)));
    co_return reply["isCommitted"].is_truthy();
}

// Within the section, the outcome known: what this shard goes by from now on.
async::Task<void> DatabaseMoveSource::settle_records(DatabaseMove move, bool is_committed) {
    const ShardingState& state = environment_.state;
    const auto is_shown = [&state, move, is_committed] {
        const auto entry = state.known_database(move.db);
        return !is_committed || !entry || move.version.is_older_than(entry->version);
    };
    std::function<bool()> shown = is_shown;
    auto status = co_await refresh_until(environment_, move.db + ".$cmd", std::move(shown));
    if (status) status = co_await environment_.records.save_database(move.db);
    if (!status) environment_.state.forget_database(move.db);  // Asked again by the next request.
}

// Both sides clean up; until the recipient has answered, the document stays.
async::Task<Status> DatabaseMoveSource::finish(DatabaseMove move, bool is_committed) {
    if (is_committed) {
        const Instant patience = environment_.clock.now() + limits::reads_of_moved_database;
        [[maybe_unused]] const auto drained = co_await environment_.state.drain_database(
            move.db, ShardingState::Access::read, patience);
        async::resume_on hop(environment_.workers);
        co_await hop;
        OpTime last;
        for (const DatabaseMove::Collection& each : move.collections) {
            if (each.is_sharded) continue;
            CO_TRY(const OpTime at, environment_.data.drop({move.db, each.name}, each.uuid));
            if (last < at) last = at;
        }
        CO_TRY_OK(environment_.data.reload_views(move.db));
        const Instant until = environment_.clock.now() + limits::majority_wait;
        if (!last.is_null()) CO_TRY_OK(co_await environment_.store.await_majority(last, until));
    }
    const bson::Document known = move.to_document();
    bson::Document release =
        bson::make("_recvDatabaseRelease", known, "isCommitted", is_committed, "$db", "admin");
    const auto released = co_await ask_until_answered(environment_, move.to, std::move(release));
    if (!released && released.error().code() != ErrorCode::shard_not_found)
        co_return released.error();
    co_return co_await environment_.store.remove(coordinators,
                                                 bson::make("_id", id_of(move.db)));
}

async::Task<Status> DatabaseMoveSource::move(std::string db,
                                             ShardName to,
                                             bson::Uuid id,
                                             Instant deadline) {
    CO_TRY(const auto running, co_await begin(db, std::move(to), id, deadline));
    if (!running) co_return Status();
    const Instant until = std::min(deadline, environment_.clock.now() + limits::database_copy);
    Status status = co_await transfer(running, until);
    if (status) status = co_await commit(running);
    bool is_committed = status.has_value();
    bool is_resolved = is_committed;
    const DatabaseMove move = running->move;
    if (!is_committed) {
        auto outcome = co_await resolve(move);
        is_resolved = outcome.has_value();
        is_committed = outcome && *outcome;
    }
    if (!is_resolved) {  // Not primary any more: the next one resolves it.
        forget_active();
        co_return status;
    }
    co_await settle_records(move, is_committed);
    // What clients write here directly until it is dropped would be lost.
    environment_.state.enter_database_section(move.db, Section::direct_writes);
    const auto finished = co_await finish(move, is_committed);
    environment_.state.leave_database_section(move.db);
    forget_active();
    if (!finished)
        log::warning(log::Component::sharding,
                     9000460,
                     "Cleaning up after a movePrimary is left to the next primary",
                     {{"db", move.db}, {"error", finished.error()}});
    if (!is_committed) co_return status;
    log::info(log::Component::sharding,
              9000461,
              "Moved the unsharded collections of a database",
              {{"db", move.db}, {"to", move.to}, {"collections", move.collections.size()}});
    co_return Status();
}

Result<std::vector<DatabaseMove>> DatabaseMoveSource::inherited() {
    TRY(const auto documents,
        environment_.store.find(coordinators,
                                bson::make("_id.operationType", operation_type)));
    std::vector<DatabaseMove> result;
    const std::lock_guard lock(mutex_);
    active_.reset();
    not_cleaned_up_.clear();
    for (const bson::Document& each : documents) {
        TRY(auto move, DatabaseMove::parse(each));
        environment_.state.enter_database_section(move.db, Section::reads_too);
        not_cleaned_up_.push_back(move.db);
        result.push_back(std::move(move));
    }
    return result;
}

async::Task<void> DatabaseMoveSource::resolve_inherited(std::vector<DatabaseMove> moves) {
    for (const DatabaseMove& each : moves) {
        const auto outcome = co_await resolve(each);
        if (!outcome) co_return;  // Not primary any more.
        co_await settle_records(each, *outcome);
        environment_.state.enter_database_section(each.db, Section::direct_writes);
        const auto status = co_await finish(each, *outcome);
        if (!status) co_return;
        environment_.state.leave_database_section(each.db);
        const std::lock_guard lock(mutex_);
        std::erase(not_cleaned_up_, each.db);
    }
}

}  // namespace tessera::sharding
