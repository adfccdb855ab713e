// SPDX-License-Identifier: Apache-2.0
//
// Initial sync: a member without data copies a source's, then applies what was written meanwhile
// (reference/protocol.md 1.14). The clone is no state that ever was; applying the log from its
// beginning to its end makes it the state at the end. Any failure begins anew; a durable flag makes
// a restarted process begin anew too.
#include <map>

#include "base/log.h"
#include "bson/ids.h"
#include "catalog/index.h"
#include "replication/driver.h"
#include "replication/limits.h"

namespace tessera::replication {


namespace {

OpTime optime_in(bson::View entry) {
    OpTime at;
    if (entry["ts"].type() == bson::Type::timestamp) at.timestamp = entry["ts"].as_timestamp();
    if (entry["t"].is_number()) at.term = entry["t"].to_int64();
    return at;
}

bson::View batch_in(bson::View reply) {
    if (!reply["cursor"].is_object()) return {};
    const bson::View cursor = reply["cursor"].as_view();
    const bson::Value batch = cursor.has("firstBatch") ? cursor["firstBatch"] : cursor["nextBatch"];
    return batch.is_array() ? batch.as_view() : bson::View();
}

std::int64_t cursor_in(bson::View reply) {
    return reply["cursor"].is_object() ? reply["cursor"].as_view()["id"].to_int64() : 0;
}

std::optional<bson::Uuid> uuid_in(bson::View info) {
    if (!info["info"].is_object()) return std::nullopt;
    return bson::uuid_of(info["info"].as_view()["uuid"]);
}

constexpr Duration clone_timeout = 60s;

}  // namespace

async::Task<void> Replication::Driver::synchronize() {
    if (std::exchange(is_sync_running_, true)) co_return;
    pull_changed_.notify();
    while (fetching_ && !is_stopping_) {  // The fetcher lets go first.
        fetching_->cancel();
        const auto ticket = pull_changed_.ticket();
        if (!fetching_) break;
        co_await pull_changed_.wait(env_.clock, async::no_deadline, ticket, stopping_);
    }
    for (int attempt = 1; !is_stopping_; ++attempt) {
        log::info(log::Component::initial_sync,
                  21164,
                  "Starting initial sync attempt",
                  {{"initialSyncAttempt", attempt}});
        fetching_.emplace();
        const auto status = co_await attempt_sync();
        fetching_.reset();
        if (is_stopping_) break;
        if (status) break;
        log::warning(log::Component::initial_sync,
                     21165,
                     "Initial sync attempt failed",
                     {{"error", status.error()}});
        core_->set_sync_source({}, now());
        pump();
        const auto ticket = stop_.ticket();
        const Duration rest = attempt % limits::initial_sync_attempts == 0
                                  ? limits::initial_sync_rest * 10
                                  : limits::initial_sync_rest;
        co_await stop_.wait(env_.clock, now() + rest, ticket, stopping_);
    }
    is_sync_running_ = false;
    if (is_stopping_) co_return;
    tasks_.spawn(resume_builds());
    set_mode_by_data();
    pump();
    pull_changed_.notify();
}

async::Task<Status> Replication::Driver::attempt_sync() {
    auto source = co_await open_source(true);
    if (!source) co_return Error(ErrorCode::invalid_sync_source, "no sync source");
    auto status = co_await copy_from(*source);
    // Another one next time, where there is one.
    if (!status && !is_stopping_)
        core_->denylist_sync_source(source->host, now() + limits::initial_sync_rest * 2);
    co_return status;
}

async::Task<Status> Replication::Driver::copy_from(Source& source) {
    CO_TRY_OK(local_.save_syncing(true, wall()));
    CO_TRY_OK(drop_all_data());
    CO_TRY_OK(clear_oplog());
    CO_TRY_OK(co_await flushed());
    // Everything from here on is applied over what is cloned after it.
    CO_TRY(const bson::Document first, co_await newest_of(source));
    const auto tail = std::make_shared<LogTail>();  // Shared with the task that fills it.
    tail->begin = optime_in(first);
    tail->source.host = source.host;
    auto stream =
        co_await env_.transport.open(source.host, now() + limits::probe_timeout, *fetching_);
    if (!stream) co_return stream.error();
    tail->source.stream = std::move(*stream);
    tasks_.spawn(keep_log(tail));
    auto status = co_await clone(source);
    if (status) {
        auto last = co_await newest_of(source);
        status = last ? Status() : Status(last.error());
        if (last) tail->upto = optime_in(*last);
    }
    if (!status) fetching_->cancel();  // The other conversation has no use any more.
    while (!tail->is_done) {
        const auto ticket = tail->moved.ticket();
        if (tail->is_done) break;
        co_await tail->moved.wait(env_.clock, async::no_deadline, ticket, stopping_);
        if (is_stopping_) break;
    }
    if (is_stopping_) co_return Error(ErrorCode::interrupted_at_shutdown, "shutting down");
    CO_TRY_OK(status);
    CO_TRY_OK(tail->status);
    co_return co_await catch_up(source, tail->begin, tail->stored);
}

// Applies the log that was kept, from the clone's beginning to `top`.
async::Task<Status> Replication::Driver::catch_up(Source& source, OpTime begin, OpTime top) {
    async::resume_on there(env_.workers);
    co_await there;
    auto applied =
        replay(Timestamp::unpack(begin.timestamp.packed() - 1), top, ApplyMode::over_clone);
    async::resume_on back(env_.control);
    co_await back;
    if (!applied) co_return applied;
    (void)env_.logical_clock.advance(top.timestamp, wall());
    bson::Document command = bson::make("replSetGetRBID", 1, "$db", "admin");
    CO_TRY(const bson::Document probe,
           co_await ask(source, std::move(command), limits::probe_timeout));
    if (probe["rbid"].to_int64() != source.rollback_id)
        co_return Error(ErrorCode::initial_sync_failure, "the source rolled back meanwhile");
    const WallTime written = applier_.last_wall();
    oplog_->set_visible(top);
    async::resume_on again(env_.workers);
    co_await again;
    auto finished = finish_sync(top, written);
    async::resume_on home(env_.control);
    co_await home;
    if (!finished) co_return finished;
    CO_TRY_OK(co_await flushed());
    const consensus::OpTimeAndWall end{top, written};
    core_->reset_log(end, now());
    log::info(log::Component::initial_sync,
              21163,
              "Initial sync done",
              {{"lastApplied", top.to_string()}});
    co_return Status();
}

// The data are whole: a checkpoint holds them, and from now on the log is their journal.
Status Replication::Driver::finish_sync(OpTime top, WallTime at) {
    env_.engine.set_stable(top.timestamp);
    env_.engine.set_oldest(top.timestamp);
    TRY_OK(env_.engine.checkpoint());
    return local_.save_syncing(false, at);
}

Status Replication::Driver::drop_all_data() {
    for (const std::string& db : env_.catalog.databases()) {
        if (db == "local") continue;
        for (const auto& collection : env_.catalog.collections(db)) {
            const Namespace ns = collection->ns();
            const catalog::CollectionLock lock = env_.catalog.lock_exclusive(ns);
            if (!lock) continue;
            TRY(const auto transaction, env_.engine.begin());
            TRY(auto change, env_.catalog.drop(*transaction, ns, {}));
            TRY_OK(transaction->commit());
            change.published();
        }
        TRY_OK(env_.catalog.reload_views(db));
    }
    for (RoleObserver* const observer : observers)
        observer->on_rollback();
    return {};
}

Status Replication::Driver::clear_oplog() {
    oplog_->set_visible({});
    TRY(const auto transaction, env_.engine.begin());
    TRY_OK(transaction->truncate(oplog_->table(), {}, {}));
    const auto& tally = oplog_collection_->tally();
    transaction->add(tally, -tally->count.load(), -tally->bytes.load());
    return transaction->commit();
}

async::Task<Result<bson::Document>> Replication::Driver::newest_of(Source& source) {
    const bson::Document order = bson::make("$natural", -1);
    bson::Document command =
        bson::make("find", "oplog.rs", "limit", 1, "sort", order.view(), "$db", "local");
    CO_TRY(const bson::Document reply,
           co_await ask(source, std::move(command), limits::probe_timeout));
    const bson::View batch = batch_in(reply);
    if (batch.is_empty())
        co_return Error(ErrorCode::initial_sync_failure, "the source's oplog is empty");
    co_return bson::Document(batch.front().value.as_view());
}

// ---- Cloning ----------------------------------------------------------------------------------

async::Task<Status> Replication::Driver::clone(Source& source) {
    bson::Document command = bson::make("listDatabases", 1, "nameOnly", true, "$db", "admin");
    CO_TRY(const bson::Document reply, co_await ask(source, std::move(command), clone_timeout));
    if (!reply["databases"].is_array())
        co_return Error(ErrorCode::initial_sync_failure, "listDatabases answered no list");
    for (const bson::Element& each : reply["databases"].as_view()) {
        std::string db(each.value.as_view()["name"].as_string());
        if (db == "local") continue;
        CO_TRY_OK(co_await clone_database(source, std::move(db)));
    }
    co_return Status();
}

async::Task<Status> Replication::Driver::clone_database(Source& source, std::string db) {
    bson::Document command = bson::make("listCollections", 1, "$db", db);
    std::vector<bson::Document> infos;
    while (true) {
        CO_TRY(const bson::Document reply, co_await ask(source, std::move(command), clone_timeout));
        for (const bson::Element& each : batch_in(reply))
            infos.emplace_back(each.value.as_view());
        const std::int64_t cursor = cursor_in(reply);
        if (cursor == 0) break;
        command = bson::make("getMore", cursor, "collection", "$cmd.listCollections", "$db", db);
    }
    for (bson::Document& info : infos) {
        if (info["type"].is_string() && info["type"].as_string() == "view") continue;
        if (info["name"].as_string() == "system.profile") continue;
        CO_TRY_OK(co_await clone_collection(source, db, std::move(info)));
    }
    co_return env_.catalog.reload_views(db);
}

async::Task<Status> Replication::Driver::clone_collection(Source& source,
                                                          std::string db,
                                                          bson::Document info) {
    const Namespace ns{db, std::string(info["name"].as_string())};
    catalog::CreateOptions options;
    const auto uuid = uuid_in(info);
    if (!uuid) co_return Error(ErrorCode::initial_sync_failure, ns.to_string() + " has no UUID");
    options.uuid = *uuid;
    if (info["options"].is_object()) options.options = bson::Document(info["options"].as_view());
    {
        const catalog::CollectionLock lock = env_.catalog.lock_exclusive(ns);
        CO_TRY(const auto transaction, env_.engine.begin());
        CO_TRY(auto change, env_.catalog.create(*transaction, ns, options));
        CO_TRY_OK(transaction->commit());
        change.published();
    }
    const bson::Document order = bson::make("$natural", 1);
    bson::Document command =
        bson::make("find", ns.collection, "hint", order.view(), "noCursorTimeout", true, "$db", db);
    while (true) {
        auto reply = co_await ask(source, std::move(command), clone_timeout);
        if (!reply) co_return reply.error();
        async::resume_on there(env_.workers);
        co_await there;
        auto stored = store_cloned(ns, batch_in(*reply));
        async::resume_on back(env_.control);
        co_await back;
        if (!stored) co_return stored;
        if (is_stopping_) co_return Error(ErrorCode::interrupted_at_shutdown, "shutting down");
        const std::int64_t cursor = cursor_in(*reply);
        if (cursor == 0) break;
        command = bson::make("getMore", cursor, "collection", ns.collection, "$db", db);
    }
    bson::Document list =
        bson::make("listIndexes", ns.collection, "includeBuildUUIDs", true, "$db", db);
    auto indexes = co_await ask(source, std::move(list), clone_timeout);
    // Dropped meanwhile: the log says so too.
    if (!indexes && indexes.error().code() == ErrorCode::namespace_not_found) co_return Status();
    if (!indexes) co_return indexes.error();
    async::resume_on there(env_.workers);
    co_await there;
    auto built = build_indexes(ns, batch_in(*indexes));
    async::resume_on back(env_.control);
    co_await back;
    co_return built;
}

Status Replication::Driver::store_cloned(const Namespace& ns, bson::View batch) {
    const catalog::CollectionLock lock = env_.catalog.lock_shared(ns);
    ENSURE(lock.collection() != nullptr);
    auto at = batch.begin();
    while (at != batch.end()) {
        TRY(const auto transaction, env_.engine.begin());
        for (; at != batch.end() && transaction->bytes_written() < limits::clone_bytes; ++at) {
            const bson::View document = at->value.as_view();
            TRY(const auto found, lock->find_by_id(*transaction, document["_id"]));
            // A document that grew may be met twice in a scan.
            if (found) continue;
            TRY([[maybe_unused]] const auto id,
                lock->insert(*transaction, document, catalog::unchecked));
        }
        TRY_OK(transaction->commit());
    }
    return {};
}

Status Replication::Driver::build_indexes(const Namespace& ns, bson::View specs) {
    std::map<bson::Uuid, catalog::NotedBuild> unfinished;
    for (const bson::Element& each : specs) {
        if (const auto id = bson::uuid_of(each.value.as_view()["buildUUID"])) {
            catalog::NotedBuild& build = unfinished[*id];
            build.id = *id;
            build.specs.emplace_back(each.value.as_view()["spec"].as_view());
            continue;
        }
        const catalog::CollectionLock lock = env_.catalog.lock_exclusive(ns);
        ENSURE(lock.collection() != nullptr);
        TRY(const auto checked, env_.catalog.check_index(*lock, each.value.as_view()));
        if (checked.exists_already) continue;
        TRY(const auto transaction, env_.engine.begin());
        TRY(auto change, env_.catalog.create_index(*transaction, *lock, checked.spec, {}));
        TRY_OK(transaction->commit());
        change.published();
    }
    // Begun when the sync is done, unless the log ends them first.
    for (const auto& [id, build] : unfinished) {
        const catalog::CollectionLock lock = env_.catalog.lock_exclusive(ns);
        ENSURE(lock.collection() != nullptr);
        TRY(const auto transaction, env_.engine.begin());
        TRY(auto change, env_.catalog.note_build(*transaction, *lock, build));
        TRY_OK(transaction->commit());
        change.published();
    }
    return {};
}

// ---- The log meanwhile ------------------------------------------------------------------------

async::Task<void> Replication::Driver::keep_log(std::shared_ptr<LogTail> tail) {
    tail->status = co_await keep_log_from(*tail);
    // Without the log the clone is worth nothing: no need to finish it.
    if (!tail->status && fetching_) fetching_->cancel();
    tail->is_done = true;
    tail->moved.notify();
}

async::Task<Status> Replication::Driver::keep_log_from(LogTail& tail) {
    bson::Document command = find_command(tail.begin.timestamp);
    bool is_first = true;
    while (!tail.upto || tail.stored < *tail.upto) {
        CO_TRY(const bson::Document reply,
               co_await ask(tail.source, std::move(command), clone_timeout));
        const bson::View batch = batch_in(reply);
        if (is_first &&
            (batch.is_empty() || optime_in(batch.front().value.as_view()) != tail.begin))
            co_return Error(ErrorCode::oplog_start_missing,
                            "the source's oplog no longer holds the clone's beginning");
        is_first = false;
        if (!batch.is_empty()) {
            async::resume_on there(env_.workers);
            co_await there;
            auto stored = store_log(tail, batch);
            async::resume_on back(env_.control);
            co_await back;
            if (!stored) co_return stored;
        }
        if (is_stopping_) co_return Error(ErrorCode::interrupted_at_shutdown, "shutting down");
        const std::int64_t cursor = cursor_in(reply);
        if (cursor == 0)
            co_return Error(ErrorCode::initial_sync_failure, "the source's oplog ended");
        bson::Builder more;
        more.append("getMore", cursor).append("collection", "oplog.rs");
        more.append("maxTimeMS", to_milliseconds(limits::clone_log_await));
        more.append("term", core_->term());
        more.append("lastKnownCommittedOpTime", core_->commit_point().optime);
        more.append("$db", "local");
        command = std::move(more).finish();
    }
    co_return Status();
}

// Writes entries to our oplog without applying them: nobody sees them until the sync is done.
Status Replication::Driver::store_log(LogTail& tail, bson::View batch) {
    auto at = batch.begin();
    while (at != batch.end()) {
        TRY(const auto transaction, env_.engine.begin());
        OpTime last = tail.stored;
        for (; at != batch.end() && transaction->bytes_written() < limits::clone_bytes; ++at) {
            if (!at->value.is_object())
                return Error(ErrorCode::initial_sync_failure, "malformed oplog entry");
            const bson::View entry = at->value.as_view();
            const OpTime position = optime_in(entry);
            if (position.timestamp <= last.timestamp)
                return Error(ErrorCode::initial_sync_failure, "the oplog is out of order");
            TRY_OK(oplog_->write(*transaction, position, entry.bytes()));
            last = position;
        }
        TRY_OK(transaction->commit());
        tail.stored = last;
    }
    return {};
}

}  // namespace tessera::replication
