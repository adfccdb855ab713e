// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/log.h"
#include "bson/builder.h"
#include "bson/json.h"
#include "sharding/handover.h"
#include "sharding/limits.h"
#include "sharding/migration.h"
#include "sharding/session_history.h"

namespace tessera::sharding {
namespace {

const Namespace coordinators = config_ns("migrationCoordinators");
const Namespace deletions = config_ns("rangeDeletions");

Error another_change(const std::string& ns) {
    return {ErrorCode::conflicting_operation_in_progress,
            "another change of the placement of " + ns + " is in progress"};
}

// What the config servers are asked about a migration.
bson::Document decision(const char* command, const MigrationDocument& migration) {
    return bson::make(command,
                      migration.ns,
                      "min",
                      migration.range.min,
                      "max",
                      migration.range.max,
                      "from",
                      migration.from,
                      "to",
                      migration.to,
                      "epoch",
                      migration.generation.epoch,
                      "timestamp",
                      migration.generation.timestamp,
                      "expected",
                      migration.expected.as_timestamp(),
                      "$db",
                      "admin");
}

Result<bool> has_caught_up(bson::View status) {
    const bson::Value state = status["state"];
    if (!state.is_string()) return Error(ErrorCode::internal_error, "a state was expected");
    if (state.as_string() == "steady") return true;
    if (state.as_string() != "fail" && state.as_string() != "none") return false;
    const bson::Value text = status["errmsg"];
    return Error(ErrorCode::operation_failed,
                 "Data transfer error: " + (text.is_string()
                                                ? std::string(text.as_string())
                                                : std::string("the recipient gave up")));
}

Error lacks_fields(std::string_view what) {
    return {ErrorCode::no_such_key, std::string(what) + " lacks its fields"};
}

}  // namespace

Result<MoveRangeRequest> MoveRangeRequest::parse(bson::View command) {
    MoveRangeRequest request;
    const bson::Value ns = command.front().value;
    if (!ns.is_string() || !command["fromShard"].is_string() || !command["toShard"].is_string() ||
        !command["min"].is_object())
        return lacks_fields("_shardsvrMoveRange");
    request.ns = ns.as_string();
    request.from = command["fromShard"].as_string();
    request.to = command["toShard"].as_string();
    request.min = bson::Document(command["min"].as_view());
    if (const bson::Value max = command["max"]; max.is_object())
        request.max = bson::Document(max.as_view());
    request.bytes_max = command["maxChunkSizeBytes"].to_int64();
    request.force_jumbo = command["forceJumbo"].is_truthy();
    request.wait_for_delete = command["waitForDelete"].is_truthy();
    return request;
}

Result<MigrationDocument> MigrationDocument::parse(bson::View document) {
    MigrationDocument result;
    TRY(result.id, bson::uuid_in(document["_id"]));
    TRY(result.uuid, bson::uuid_in(document["collectionUuid"]));
    const bson::Value range = document["range"];
    if (!document["nss"].is_string() || !document["donorShardId"].is_string() ||
        !document["recipientShardId"].is_string() || !range.is_object() ||
        !range.as_view()["min"].is_object() || !range.as_view()["max"].is_object() ||
        document["epoch"].type() != bson::Type::object_id ||
        document["timestamp"].type() != bson::Type::timestamp ||
        document["expected"].type() != bson::Type::timestamp || !document["key"].is_object())
        return lacks_fields("a migration's document");
    result.ns = document["nss"].as_string();
    result.from = document["donorShardId"].as_string();
    result.to = document["recipientShardId"].as_string();
    result.range = {bson::Document(range.as_view()["min"].as_view()),
                    bson::Document(range.as_view()["max"].as_view())};
    result.generation = {document["epoch"].as_object_id(), document["timestamp"].as_timestamp()};
    result.expected = routing::Placement::of(document["expected"].as_timestamp());
    result.key = bson::Document(document["key"].as_view());
    return result;
}

bson::Document MigrationDocument::to_document() const {
    const bson::Document bounds = bson::make("min", range.min, "max", range.max);
    return bson::make("_id",
                      id,
                      "nss",
                      ns,
                      "collectionUuid",
                      uuid,
                      "donorShardId",
                      from,
                      "recipientShardId",
                      to,
                      "range",
                      bounds,
                      "epoch",
                      generation.epoch,
                      "timestamp",
                      generation.timestamp,
                      "expected",
                      expected.as_timestamp(),
                      "key",
                      key);
}

bson::Document MigrationDocument::range_deletion(std::optional<WallTime> when,
                                                 std::int64_t orphans) const {
    bson::Builder document;
    document.append("_id", id).append("nss", ns).append("collectionUuid", uuid);
    document.append("donorShardId", from);
    document.append("range", bson::make("min", range.min, "max", range.max));
    document.append("keyPattern", key);
    if (when)
        document.append("whenToClean", *when);
    else
        document.append("pending", true);
    if (orphans > 0) document.append("numOrphanDocs", orphans);
    return std::move(document).finish();
}

// The migration that runs here.
struct MigrationSource::Active {
    MigrationDocument migration;
    KeySpan span;
    bool waits_for_delete = false;
    bool is_blocking = false;  // Of the running task alone.

    std::mutex mutex;  // Guards what follows.
    bool is_listed = false;
    std::vector<Located> to_clone;
    std::size_t next_clone = 0;
    std::map<std::string, bson::Document> changed;  // By the bytes of {_id}.
    std::size_t changed_bytes = 0;
    SessionHistory sessions;
    bool is_too_large = false;
};

std::shared_ptr<MigrationSource::Active> MigrationSource::active(const bson::Uuid& id) const {
    const std::lock_guard lock(mutex_);
    return active_ && active_->migration.id == id ? active_ : nullptr;
}

bool MigrationSource::is_moving(const std::string& ns) const {
    const std::lock_guard lock(mutex_);
    return active_ && active_->migration.ns == ns;
}

void MigrationSource::forget_active() {
    is_recording_ = false;
    const std::lock_guard lock(mutex_);
    active_.reset();
}

void MigrationSource::on_write(const std::string& ns, bson::View document) {
    if (!is_recording_.load(std::memory_order_acquire)) return;
    std::shared_ptr<Active> running;
    {
        const std::lock_guard lock(mutex_);
        running = active_;
    }
    if (!running || running->migration.ns != ns) return;
    bson::Document id = bson::make("_id", document["_id"]);
    const std::lock_guard lock(running->mutex);
    std::string bytes(id.bytes());
    running->changed_bytes += 2 * bytes.size();
    running->changed.emplace(std::move(bytes), std::move(id));
    if (running->changed_bytes > limits::migration_changes_bytes) running->is_too_large = true;
}

Result<bson::Document> MigrationSource::next_clone_batch(const bson::Uuid& id) {
    const auto running = active(id);
    if (!running) return Error(ErrorCode::no_such_key, "no such migration runs here");
    const CollectionIdentity collection = running->migration.collection();
    const std::lock_guard lock(running->mutex);
    if (!running->is_listed) {
        TRY(running->to_clone, environment_.data.list(collection, running->span));
        running->is_listed = true;
    }
    bson::Builder reply;
    auto objects = reply.array("objects");
    while (running->next_clone < running->to_clone.size() &&
           objects.size() < limits::migration_batch_bytes) {
        TRY(const auto found,
            environment_.data.find(collection, running->to_clone[running->next_clone++].id));
        // What is gone or elsewhere by now is among the changes.
        if (found && running->span.contains(*found)) objects.append(*found);
    }
    objects.done();
    reply.append("isDone", running->next_clone >= running->to_clone.size());
    return std::move(reply).finish();
}

Result<bson::Document> MigrationSource::next_changes(const bson::Uuid& id) {
    const auto running = active(id);
    if (!running) return Error(ErrorCode::no_such_key, "no such migration runs here");
    const CollectionIdentity collection = running->migration.collection();
    std::vector<bson::Document> ids;
    {
        const std::lock_guard lock(running->mutex);
        if (running->is_too_large)
            return Error(ErrorCode::exceeded_memory_limit,
                         "too much was written to the range while it was being moved");
        constexpr std::size_t ids_max = 1000;
        while (!running->changed.empty() && ids.size() < ids_max) {
            auto first = running->changed.extract(running->changed.begin());
            running->changed_bytes -= 2 * first.key().size();
            ids.push_back(std::move(first.mapped()));
        }
    }
    bson::Builder reply;
    std::vector<bson::Document> removed;
    {
        auto reload = reply.array("reload");
        for (bson::Document& each : ids) {
            TRY(const auto found, environment_.data.find(collection, each));
            if (found && running->span.contains(*found))
                reload.append(*found);
            else
                removed.push_back(std::move(each));
        }
    }
    {
        auto deleted = reply.array("deleted");
        for (const bson::Document& each : removed)
            deleted.append(each);
    }
    reply.append("size", static_cast<std::int64_t>(ids.size()));
    return std::move(reply).finish();
}

Result<bson::Document> MigrationSource::next_session_changes(const bson::Uuid& id) {
    const auto running = active(id);
    if (!running) return Error(ErrorCode::no_such_key, "no such migration runs here");
    const std::lock_guard lock(running->mutex);
    const SessionHistory::Covers covers = [&](std::string_view ns) {
        return ns == running->migration.ns;
    };
    TRY(const auto entries,
        running->sessions.next(
            environment_.store, environment_.sessions, covers, limits::migration_batch_bytes));
    bson::Builder reply;
    auto oplog = reply.array("oplog");
    for (const bson::Document& each : entries)
        oplog.append(each);
    oplog.done();
    return std::move(reply).finish();
}

// Checks the request against fresh placement, chooses the range and begins to record changes.
async::Task<Result<std::shared_ptr<MigrationSource::Active>>> MigrationSource::begin(
    MoveRangeRequest request, bson::Uuid id, Instant deadline) {
    CO_TRY_OK(co_await environment_.state.refresh(request.ns, deadline));
    const auto map = environment_.state.known(request.ns);
    const auto identity = environment_.state.identity();
    if (!map || !identity)
        co_return Error(ErrorCode::namespace_not_sharded,
                        "Collection " + request.ns + " is not sharded.");
    CO_TRY(const routing::Key low, map->key().encode_bound(request.min));
    const routing::Chunk& chunk = map->chunk_of(low);
    auto running = std::make_shared<Active>();
    MigrationDocument& migration = running->migration;
    migration.id = id;
    migration.ns = request.ns;
    migration.uuid = map->collection().uuid;
    migration.from = identity->name;
    migration.to = request.to;
    migration.generation = map->collection().generation;
    migration.expected = chunk.placement;
    migration.key = map->key().document();
    migration.range = {request.min, request.max ? *request.max : chunk.range.max};
    CO_TRY(running->span, KeySpan::make(map->key(), migration.range));
    if (chunk.shard != identity->name || running->span.low < chunk.min_key ||
        running->span.high > chunk.max_key)
        co_return Error(ErrorCode::conflicting_operation_in_progress,
                        "the range " + routing::to_string(migration.range) +
                            " is not within one chunk of " + identity->name);
    running->waits_for_delete = request.wait_for_delete;
    const std::int64_t bytes_max =
        request.bytes_max > 0 ? request.bytes_max : routing::limits::chunk_bytes;
    async::resume_on hop(environment_.workers);
    co_await hop;
    CO_TRY(const auto located, environment_.data.list(migration.collection(), running->span));
    std::int64_t bytes = 0;
    for (std::size_t i = 0; i < located.size(); ++i) {
        bytes += located[i].bytes;
        const bool is_new_key = i > 0 && located[i].key != located[i - 1].key;
        if (bytes <= bytes_max || !is_new_key || request.max) continue;
        // Enough for one move: it ends before this key.
        CO_TRY(const auto document,
               environment_.data.find(migration.collection(), located[i].id));
        if (!document) continue;
        CO_TRY(migration.range.max, map->key().key_document_of(*document));
        CO_TRY(running->span, KeySpan::make(map->key(), migration.range));
        break;
    }
    if (request.max && bytes > 2 * bytes_max && !request.force_jumbo)
        co_return Error(ErrorCode::chunk_too_big,
                        "Cannot move chunk: the maximum size for a chunk is " +
                            std::to_string(bytes_max) + " bytes, and it holds " +
                            std::to_string(bytes));
    {
        const std::lock_guard lock(mutex_);
        if (active_)
            co_return Error(ErrorCode::conflicting_operation_in_progress,
                            "Unable to start new migration because this shard is currently "
                            "donating another range of " +
                                active_->migration.ns);
        active_ = running;
        is_recording_ = true;
    }
    // What blocks the collection looks for active_ after it has: one of the two sees the other.
    if (environment_.state.is_in_critical_section(request.ns)) {
        forget_active();
        co_return another_change(request.ns);
    }
    co_return running;
}

// Lets the recipient clone and catch up.
async::Task<Status> MigrationSource::transfer(std::shared_ptr<Active> running, Instant deadline) {
    const MigrationDocument& migration = running->migration;
    std::vector<DocumentWrite> writes(2);
    writes[0].ns = coordinators;
    writes[0].document = migration.to_document();
    writes[1].ns = deletions;
    writes[1].document = migration.range_deletion(std::nullopt);
    CO_TRY_OK(co_await environment_.store.apply(std::move(writes)));
    CallOptions options;
    options.deadline = std::min(deadline, environment_.clock.now() + limits::ddl_step);
    bson::Document start = bson::make("_recvChunkStart", migration.to_document(), "$db", "admin");
    CO_TRY([[maybe_unused]] const auto started,
           co_await environment_.registry.call_settled(migration.to, std::move(start), options));
    RecipientWatch watch;
    watch.shard = migration.to;
    watch.ask = bson::make("_recvChunkStatus", migration.id, "$db", "admin");
    watch.judge = has_caught_up;
    watch.until = std::min(deadline, environment_.clock.now() + limits::migration_catch_up);
    co_return co_await await_recipient(environment_, std::move(watch));
}

// From the block of writes to the answer of the config servers, good or not.
async::Task<Status> MigrationSource::block_and_commit(std::shared_ptr<Active> running) {
    using Section = ShardingState::Section;
    const MigrationDocument& migration = running->migration;
    ShardingState& state = environment_.state;
    CO_TRY_OK(state.begin_change(migration.ns, Section::writes, async::no_deadline));
    running->is_blocking = true;
    const Instant until = environment_.clock.now() + limits::critical_section;
    CO_TRY_OK(co_await state.drain_writes(migration.ns, until));
    CallOptions options;
    options.deadline = until;
    bson::Document commit = bson::make("_recvChunkCommit", migration.id, "$db", "admin");
    CO_TRY([[maybe_unused]] const auto taken,
           co_await environment_.registry.call_settled(migration.to, std::move(commit), options));
    state.enter_critical_section(migration.ns, Section::reads_too, async::no_deadline);
    // Secondaries ask from here on: they must not serve by the old placement what the recipient
    // will change by the new one.
    CO_TRY_OK(co_await environment_.records.mark_collection(migration.ns));
    bson::Document decide = decision("_configsvrCommitChunkMigration", migration);
    options.is_retryable = true;
    options.deadline = environment_.clock.now() + limits::critical_section;
    CO_TRY([[maybe_unused]] const auto decided,
           co_await environment_.registry.call_settled(config_shard, std::move(decide), options));
    co_return Status();
}

// Asks until the config servers have said whether it happened; afterwards it cannot change.
async::Task<Result<bool>> MigrationSource::resolve(MigrationDocument migration) {
    bson::Document ask = decision("_configsvrResolveChunkMigration", migration);
    CO_TRY(const auto reply,
           co_await ask_until_answered(environment_, config_shard, std::move(ask)));
    co_return reply["isCommitted"].is_truthy();
}

// The outcome known: what this shard goes by from now on. What has moved is served no more,
// whatever the config servers show first.
async::Task<void> MigrationSource::settle(MigrationDocument migration,
                                          bool is_committed,
                                          bool was_blocked) {
    const ShardingState& state = environment_.state;
    const auto is_shown = [&state, migration, is_committed] {
        const auto map = state.known(migration.ns);
        if (!is_committed || !map || !(map->collection().generation == migration.generation))
            return true;
        const auto low = map->key().encode_bound(migration.range.min);
        const auto high = map->key().encode_bound(migration.range.max);
        if (!low || !high) return true;
        return !map->owns_range(migration.from, migration.range);
    };
    std::function<bool()> shown = is_shown;
    auto status = co_await refresh_until(environment_, migration.ns, std::move(shown));
    if (status && was_blocked) status = co_await environment_.records.save(migration.ns);
    if (!status) environment_.state.forget(migration.ns);
}

// Both sides forget the migration; until the recipient has answered, the document stays.
async::Task<Status> MigrationSource::finish(MigrationDocument migration, bool is_committed) {
    if (is_committed) {
        // Nobody writes them any more: the number stays true until they are deleted.
        async::resume_on hop(environment_.workers);
        co_await hop;
        CO_TRY(auto key, routing::ShardKeyPattern::parse(migration.key));
        CO_TRY(const KeySpan span, KeySpan::make(std::move(key), migration.range));
        CO_TRY(const auto left, environment_.data.list(migration.collection(), span));
        const auto orphans = static_cast<std::int64_t>(left.size());
        WallTime when = environment_.clock.wall_now();
        when.milliseconds += environment_.orphan_delay_seconds.load() * 1000;
        CO_TRY_OK(
            co_await environment_.store.put(deletions, migration.range_deletion(when, orphans)));
    } else {
        CO_TRY_OK(co_await environment_.store.remove(deletions, bson::make("_id", migration.id)));
    }
    const bson::Document known = migration.to_document();
    bson::Document release =
        bson::make("_recvChunkRelease", known, "isCommitted", is_committed, "$db", "admin");
    const auto released =
        co_await ask_until_answered(environment_, migration.to, std::move(release));
    if (!released && released.error().code() != ErrorCode::shard_not_found)
        co_return released.error();
    co_return co_await environment_.store.remove(coordinators, bson::make("_id", migration.id));
}

async::Task<Status> MigrationSource::await_deletion(MigrationDocument migration, Instant deadline) {
    for (;;) {
        CO_TRY(const auto left,
               environment_.store.find_one(deletions, bson::make("_id", migration.id)));
        if (!left) co_return Status();
        if (environment_.clock.now() >= deadline)
            co_return Error(ErrorCode::max_time_ms_expired,
                            "the moved range is still waiting to be deleted");
        async::sleep_until wait(environment_.clock, environment_.clock.now() + 50ms);
        co_await wait;
    }
}

async::Task<Status> MigrationSource::move_range(MoveRangeRequest request,
                                                bson::Uuid id,
                                                Instant deadline) {
    CO_TRY(const auto running, co_await begin(std::move(request), id, deadline));
    const MigrationDocument migration = running->migration;
    Status status = co_await transfer(running, deadline);
    if (status) status = co_await block_and_commit(running);
    bool is_committed = status.has_value();
    bool is_resolved = is_committed;
    if (!is_committed) {
        auto outcome = co_await resolve(migration);
        is_resolved = outcome.has_value();
        is_committed = outcome && *outcome;
    }
    forget_active();
    if (!is_resolved) co_return status;  // Not primary any more: the next one resolves it.
    co_await settle(migration, is_committed, running->is_blocking);
    if (running->is_blocking) environment_.state.leave_critical_section(migration.ns);
    const auto finished = co_await finish(migration, is_committed);
    if (!finished)
        log::warning(log::Component::sharding,
                     9000430,
                     "A migration is left to the next primary",
                     {{"ns", migration.ns}, {"error", finished.error()}});
    if (!is_committed) co_return status;
    log::info(log::Component::sharding,
              9000431,
              "Moved a range",
              {{"ns", migration.ns},
               {"range", routing::to_string(migration.range)},
               {"to", migration.to}});
    if (running->waits_for_delete) CO_TRY_OK(co_await await_deletion(migration, deadline));
    co_return Status();
}

Result<std::vector<MigrationDocument>> MigrationSource::inherited() {
    forget_active();
    TRY(const auto documents, environment_.store.find(coordinators, {}));
    std::vector<MigrationDocument> result;
    for (const bson::Document& each : documents) {
        TRY(auto migration, MigrationDocument::parse(each));
        environment_.state.enter_critical_section(
            migration.ns, ShardingState::Section::reads_too, async::no_deadline);
        result.push_back(std::move(migration));
    }
    return result;
}

async::Task<void> MigrationSource::resolve_inherited(std::vector<MigrationDocument> migrations) {
    for (const MigrationDocument& each : migrations) {
        const auto outcome = co_await resolve(each);
        if (!outcome) co_return;  // Not primary any more.
        co_await settle(each, *outcome, true);
        environment_.state.leave_critical_section(each.ns);
        const auto status = co_await finish(each, *outcome);
        if (!status) co_return;
    }
}

}  // namespace tessera::sharding
