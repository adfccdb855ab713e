// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/log.h"
#include "bson/builder.h"
#include "sharding/database_move.h"
#include "sharding/limits.h"
#include "sharding/session_history.h"

namespace tessera::sharding {

// The database that is being received.
struct DatabaseMoveDestination::Active {
    DatabaseMove move;
    std::mutex mutex;             // Guards what follows.
    std::string state = "clone";  // "done", "fail", "clean": dropping what was received.
    bool is_pulling = false;
    std::optional<Error> error;
    bool is_aborted = false;
    OpTime last;

    bool is_ended() {
        const std::lock_guard lock(mutex);
        return !is_pulling && (state == "done" || state == "fail");
    }
    void end(std::string to) {
        const std::lock_guard lock(mutex);
        is_pulling = false;
        state = std::move(to);
    }
    Status check() {
        const std::lock_guard lock(mutex);
        if (is_aborted) return Error(ErrorCode::operation_failed, "the move was aborted");
        return {};
    }
    void wrote(OpTime at) {
        const std::lock_guard lock(mutex);
        if (last < at) last = at;
    }
};

bson::Document DatabaseMoveDestination::status(const bson::Uuid& id) const {
    std::shared_ptr<Active> running;
    {
        const std::lock_guard lock(mutex_);
        if (active_ && active_->move.id == id) running = active_;
    }
    if (!running) return bson::make("state", "none");
    const std::lock_guard lock(running->mutex);
    if (!running->error) return bson::make("state", running->state);
    return bson::make("state",
                      running->state,
                      "failedWith",
                      static_cast<std::int32_t>(running->error->code()),
                      "reason",
                      running->error->reason());
}

void DatabaseMoveDestination::on_step_down() {
    const std::lock_guard lock(mutex_);
    if (!active_) return;
    const std::lock_guard inner(active_->mutex);
    active_->is_aborted = true;
}

async::Task<Result<bool>> DatabaseMoveDestination::is_primary_shard(DatabaseMove move,
                                                                    Instant deadline) {
    RemoteConfigReader reader(environment_.registry);
    CO_TRY(const auto entry, co_await reader.database(move.db, deadline));
    co_return entry && entry->primary == move.to;
}

async::Task<Status> DatabaseMoveDestination::start(DatabaseMove move, Instant deadline) {
    auto running = std::make_shared<Active>();
    running->move = move;
    {
        const std::lock_guard lock(mutex_);
        if (active_ && !active_->is_ended())
            co_return Error(ErrorCode::conflicting_operation_in_progress,
                            "this shard is currently receiving database " + active_->move.db);
        active_ = running;
    }
    // A message that comes late, after its move was given up, is not to harm the next one's data.
    RemoteConfigReader reader(environment_.registry);
    const Instant until = std::min(deadline, environment_.clock.now() + limits::config_read);
    const auto entry = co_await reader.database(move.db, until);
    const bool is_current = entry && *entry && (*entry)->primary == move.from &&
                            (*entry)->version == move.version;
    const std::lock_guard lock(running->mutex);
    if (is_current) {
        running->is_pulling = true;
        co_return Status();
    }
    running->state = "fail";
    if (!entry) co_return entry.error();
    co_return Error(ErrorCode::conflicting_operation_in_progress,
                    "database " + move.db + " has changed since the move began");
}

// Reads one collection from the donor, batch by batch. Writes are blocked there.
async::Task<Status> DatabaseMoveDestination::clone(std::shared_ptr<Active> running,
                                                   CollectionIdentity collection) {
    const Namespace& ns = collection.ns;
    HostAndPort host;
    CallOptions options;
    options.answered_by = &host;
    options.deadline = environment_.clock.now() + limits::ddl_step;
    bson::Document find = bson::make("find",
                                     ns.collection,
                                     "batchSize",
                                     limits::copy_batch,
                                     "noCursorTimeout",
                                     true,
                                     "$db",
                                     ns.db);
    CO_TRY(bson::Document reply,
           co_await environment_.registry.call_ok(running->move.from, std::move(find), options));
    for (;;) {
        CO_TRY_OK(running->check());
        const bson::Value cursor = reply["cursor"];
        if (!cursor.is_object())
            co_return Error(ErrorCode::internal_error, "a cursor reply without a cursor");
        std::vector<bson::Document> documents;
        for (const std::string_view batch : {"firstBatch", "nextBatch"}) {
            const bson::Value list = cursor.as_view()[batch];
            if (!list.is_array()) continue;
            for (const bson::Element& each : list.as_view())
                documents.emplace_back(each.value.as_view());
        }
        async::resume_on hop(environment_.workers);
        co_await hop;
        CO_TRY(const OpTime at, environment_.data.insert(collection, documents));
        running->wrote(at);
        const std::int64_t id = cursor.as_view()["id"].to_int64();
        if (id == 0) co_return Status();
        bson::Document more = bson::make("getMore",
                                         id,
                                         "collection",
                                         ns.collection,
                                         "batchSize",
                                         limits::copy_batch,
                                         "$db",
                                         ns.db);
        options.deadline = environment_.clock.now() + limits::ddl_step;
        auto next = co_await environment_.registry.call_host(host, std::move(more), options);
        CO_TRY(reply, checked(std::move(next)));
    }
}

async::Task<Status> DatabaseMoveDestination::take_sessions(std::shared_ptr<Active> running) {
    for (;;) {
        CO_TRY_OK(running->check());
        CallOptions options;
        options.deadline = environment_.clock.now() + limits::ddl_step;
        bson::Document ask = bson::make("_getNextDatabaseSessionMods",
                                        running->move.id,
                                        "$db",
                                        "admin");
        CO_TRY(const auto batch,
               co_await environment_.registry.call_ok(
                   running->move.from, std::move(ask), options));
        CO_TRY(const auto taken, co_await remember_batch(environment_, batch["oplog"]));
        running->wrote(taken.last);
        if (taken.entries == 0) co_return Status();
    }
}

async::Task<Status> DatabaseMoveDestination::run(std::shared_ptr<Active> running,
                                                 EnsureLike ensure_like,
                                                 void* context) {
    const DatabaseMove& move = running->move;
    for (const DatabaseMove::Collection& each : move.collections) {
        CO_TRY_OK(running->check());
        const Namespace ns{move.db, each.name};
        if (!each.is_sharded) {
            // What an earlier attempt left behind is dropped; anything else is somebody's.
            CO_TRY(const OpTime dropped, environment_.data.drop(ns, each.uuid));
            running->wrote(dropped);
            if (environment_.data.uuid_of(ns))
                co_return Error(ErrorCode::namespace_exists,
                                "the recipient already has a collection " + ns.to_string());
        }
        CallOptions options;
        options.deadline = environment_.clock.now() + limits::ddl_step;
        options.is_retryable = true;
        bson::Document describe = bson::make("_shardsvrDescribe", ns.to_string(), "$db", "admin");
        CO_TRY(const auto like,
               co_await environment_.registry.call_ok(move.from, std::move(describe), options));
        async::resume_on hop(environment_.workers);
        co_await hop;
        CO_TRY(const OpTime made, ensure_like(context, ns, like));
        running->wrote(made);
        if (each.is_sharded) continue;
        CollectionIdentity collection{ns, each.uuid};
        CO_TRY_OK(co_await clone(running, std::move(collection)));
    }
    CO_TRY_OK(environment_.data.reload_views(move.db));
    CO_TRY_OK(co_await take_sessions(running));
    CO_TRY_OK(running->check());
    OpTime at;
    {
        const std::lock_guard lock(running->mutex);
        at = running->last;
    }
    const Instant until = environment_.clock.now() + limits::majority_wait;
    if (!at.is_null()) CO_TRY_OK(co_await environment_.store.await_majority(at, until));
    co_return running->check();
}

async::Task<void> DatabaseMoveDestination::pull(DatabaseMove move,
                                                EnsureLike ensure_like,
                                                void* context) {
    std::shared_ptr<Active> running;
    {
        const std::lock_guard lock(mutex_);
        if (active_ && active_->move.id == move.id) running = active_;
    }
    if (!running) co_return;
    async::resume_on hop(environment_.workers);
    co_await hop;
    const auto status = co_await run(running, ensure_like, context);
    if (!status)
        log::info(log::Component::sharding,
                  9000462,
                  "Receiving a database failed",
                  {{"db", move.db}, {"error", status.error()}});
    {
        const std::lock_guard lock(running->mutex);
        if (!status) running->error = status.error();
    }
    running->end(status ? "done" : "fail");
}

// Drops what was received, unless the database has come to this shard by a later move.
async::Task<Status> DatabaseMoveDestination::drop_received(DatabaseMove move, Instant deadline) {
    CO_TRY(const bool is_ours, co_await is_primary_shard(move, deadline));
    if (is_ours) co_return Status();
    async::resume_on hop(environment_.workers);
    co_await hop;
    OpTime last;
    for (const DatabaseMove::Collection& each : move.collections) {
        if (each.is_sharded) continue;
        CO_TRY(const OpTime at, environment_.data.drop({move.db, each.name}, each.uuid));
        if (last < at) last = at;
    }
    CO_TRY_OK(environment_.data.reload_views(move.db));
    if (!last.is_null()) CO_TRY_OK(co_await environment_.store.await_majority(last, deadline));
    co_return Status();
}

async::Task<Status> DatabaseMoveDestination::release(DatabaseMove move,
                                                     bool is_committed,
                                                     Instant deadline) {
    std::shared_ptr<Active> running;
    {
        const std::lock_guard lock(mutex_);
        if (active_ && active_->move.id != move.id && !active_->is_ended())
            co_return Error(ErrorCode::conflicting_operation_in_progress,
                            "another move of " + active_->move.db + " is under way");
        if (!active_ || active_->move.id != move.id) {
            // Keeps another move from beginning while this one is cleaned up after.
            active_ = std::make_shared<Active>();
            active_->move = move;
        }
        running = active_;
    }
    if (is_committed) {
        environment_.state.forget_database(move.db);
        running->end("done");
        co_return Status();
    }
    const Instant until = std::min(deadline, environment_.clock.now() + limits::ddl_step);
    for (;;) {
        {
            const std::lock_guard lock(running->mutex);
            running->is_aborted = true;
            running->state = "clean";
            if (!running->is_pulling) break;
        }
        async::sleep_until wait(environment_.clock, environment_.clock.now() + 10ms);
        co_await wait;
    }
    auto status = co_await drop_received(std::move(move), until);
    running->end("fail");
    co_return status;
}

}  // namespace tessera::sharding
