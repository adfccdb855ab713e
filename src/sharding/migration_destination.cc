// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/log.h"
#include "bson/builder.h"
#include "sharding/limits.h"
#include "sharding/migration.h"
#include "sharding/session_history.h"

namespace tessera::sharding {
namespace {

const Namespace recipients = config_ns("migrationRecipients");
const Namespace deletions = config_ns("rangeDeletions");

// How long the recipient waits between two looks for changes once it has caught up.
constexpr Duration steady_pause = 20ms;
// A recipient that nobody asks any more gives up.
constexpr Duration steady_max = std::chrono::minutes(10);

std::vector<bson::Document> documents_in(const bson::Value& array) {
    std::vector<bson::Document> result;
    if (!array.is_array()) return result;
    for (const bson::Element& each : array.as_view())
        if (each.value.is_object()) result.emplace_back(each.value.as_view());
    return result;
}

Error aborted() {
    return {ErrorCode::operation_failed, "the migration was aborted"};
}

}  // namespace

// The range that is being received.
struct MigrationDestination::Active {
    MigrationDocument migration;
    KeySpan span;
    async::Notification changed;

    std::mutex mutex;             // Guards what follows.
    std::string state = "ready";  // "clone", "catchup", "steady", "commitStart", "done", "fail"
    std::string error;
    bool is_commit_asked = false;
    bool is_aborted = false;
    OpTime last;

    void set(std::string to) {
        {
            const std::lock_guard lock(mutex);
            state = std::move(to);
        }
        changed.notify();
    }
    bool is_ended() {
        const std::lock_guard lock(mutex);
        return state == "done" || state == "fail";
    }
    bool is_given_up() {
        const std::lock_guard lock(mutex);
        return is_aborted;
    }
};

std::shared_ptr<MigrationDestination::Active> MigrationDestination::active(
    const bson::Uuid& id) const {
    const std::lock_guard lock(mutex_);
    return active_ && active_->migration.id == id ? active_ : nullptr;
}

bool MigrationDestination::is_receiving(const std::string& ns) const {
    const std::lock_guard lock(mutex_);
    return active_ && active_->migration.ns == ns && !active_->is_ended();
}

Status MigrationDestination::start(const MigrationDocument& migration) {
    auto running = std::make_shared<Active>();
    running->migration = migration;
    TRY(auto key, routing::ShardKeyPattern::parse(migration.key));
    TRY(running->span, KeySpan::make(std::move(key), migration.range));
    const std::lock_guard lock(mutex_);
    if (active_ && !active_->is_ended())
        return Error(ErrorCode::conflicting_operation_in_progress,
                     "this shard is currently receiving another range of " + active_->migration.ns);
    active_ = std::move(running);
    // What blocks the collection looks for active_ after it has: one of the two sees the other.
    if (!environment_.state.is_in_critical_section(migration.ns)) return {};
    active_.reset();
    return Error(ErrorCode::conflicting_operation_in_progress,
                 "another change of the placement of " + migration.ns + " is in progress");
}

bson::Document MigrationDestination::status(const bson::Uuid& id) const {
    const auto running = active(id);
    if (!running) return bson::make("state", "none");
    const std::lock_guard lock(running->mutex);
    return bson::make("state", running->state, "errmsg", running->error);
}

// Waits for leftovers of the range to be gone, notes what is about to come, makes the collection.
async::Task<Status> MigrationDestination::prepare(std::shared_ptr<Active> running,
                                                  EnsureLike ensure_like,
                                                  void* context) {
    const MigrationDocument& migration = running->migration;
    const Instant until = environment_.clock.now() + limits::ddl_step;
    for (;;) {
        CO_TRY(const auto tasks,
               environment_.store.find(deletions, bson::make("collectionUuid", migration.uuid)));
        bool overlaps = false;
        for (const bson::Document& each : tasks) {
            const bson::Value bounds = each["range"];
            if (!bounds.is_object()) continue;
            const bson::View range = bounds.as_view();
            CO_TRY(const auto low, running->span.key.encode_bound(range["min"].as_view()));
            CO_TRY(const auto high, running->span.key.encode_bound(range["max"].as_view()));
            overlaps |= low < running->span.high && running->span.low < high;
        }
        if (!overlaps) break;
        if (running->is_given_up()) co_return aborted();
        if (environment_.clock.now() >= until)
            co_return Error(ErrorCode::exceeded_time_limit,
                            "an earlier move's leftovers in this range are not deleted yet "
                            "(orphanCleanupDelaySecs)");
        async::sleep_until wait(environment_.clock, environment_.clock.now() + 50ms);
        co_await wait;
    }
    std::vector<DocumentWrite> writes(2);
    writes[0].ns = recipients;
    writes[0].document = migration.to_document();
    writes[1].ns = deletions;
    writes[1].document = migration.range_deletion(std::nullopt);
    CO_TRY_OK(co_await environment_.store.apply(std::move(writes)));
    CallOptions options;
    options.deadline = until;
    options.is_retryable = true;
    bson::Document describe = bson::make("_shardsvrDescribe", migration.ns, "$db", "admin");
    CO_TRY(const auto like,
           co_await environment_.registry.call_ok(migration.from, std::move(describe), options));
    async::resume_on hop(environment_.workers);
    co_await hop;
    const Namespace ns = Namespace::split(migration.ns);
    CO_TRY([[maybe_unused]] const OpTime made, ensure_like(context, ns, like));
    // Nothing of the range is known to be here; what is, nobody owns.
    CO_TRY(const auto leftovers, environment_.data.list(migration.collection(), running->span));
    std::vector<bson::Document> ids;
    for (const Located& each : leftovers)
        ids.push_back(each.id);
    CO_TRY([[maybe_unused]] const OpTime removed,
           environment_.data.apply(migration.collection(), running->span, {}, ids));
    co_return Status();
}

// One batch of documents or of changes; returns how many more there may be (0: none).
async::Task<Result<std::size_t>> MigrationDestination::take_batch(std::shared_ptr<Active> running,
                                                                  const char* command) {
    const MigrationDocument& migration = running->migration;
    CallOptions options;
    options.deadline = environment_.clock.now() + limits::ddl_step;
    // Not to be repeated: what an answer held is not sent again.
    bson::Document ask = bson::make(command, migration.id, "$db", "admin");
    CO_TRY(const auto batch,
           co_await environment_.registry.call_ok(migration.from, std::move(ask), options));
    async::resume_on hop(environment_.workers);
    co_await hop;
    std::vector<bson::Document> put = documents_in(batch["objects"]);
    for (bson::Document& each : documents_in(batch["reload"]))
        put.push_back(std::move(each));
    const std::vector<bson::Document> removed = documents_in(batch["deleted"]);
    CO_TRY(const OpTime at,
           environment_.data.apply(migration.collection(), running->span, put, removed));
    {
        const std::lock_guard lock(running->mutex);
        if (running->last < at) running->last = at;
    }
    if (batch["isDone"].is_boolean())
        co_return batch["isDone"].is_truthy() ? std::size_t{0} : std::size_t{1};
    co_return static_cast<std::size_t>(batch["size"].to_int64());
}

// What sessions did there with documents of the range, so that nobody does it here again.
async::Task<Status> MigrationDestination::take_sessions(std::shared_ptr<Active> running) {
    const MigrationDocument& migration = running->migration;
    for (;;) {
        CallOptions options;
        options.deadline = environment_.clock.now() + limits::ddl_step;
        bson::Document ask = bson::make("_getNextSessionMods", migration.id, "$db", "admin");
        CO_TRY(const auto batch,
               co_await environment_.registry.call_ok(migration.from, std::move(ask), options));
        CO_TRY(const auto taken, co_await remember_batch(environment_, batch["oplog"]));
        if (taken.entries == 0) co_return Status();
        const std::lock_guard lock(running->mutex);
        if (running->last < taken.last) running->last = taken.last;
    }
}

async::Task<Status> MigrationDestination::run(std::shared_ptr<Active> running,
                                              EnsureLike ensure_like,
                                              void* context) {
    CO_TRY_OK(co_await prepare(running, ensure_like, context));
    running->set("clone");
    for (;;) {
        if (running->is_given_up()) co_return aborted();
        CO_TRY(const std::size_t left, co_await take_batch(running, "_migrateClone"));
        if (left == 0) break;
    }
    running->set("catchup");
    bool is_steady = false;
    const Instant give_up = environment_.clock.now() + steady_max;
    for (;;) {
        if (running->is_given_up()) co_return aborted();
        const auto ticket = running->changed.ticket();
        bool is_last = false;
        {
            const std::lock_guard lock(running->mutex);
            is_last = running->is_commit_asked;
        }
        CO_TRY(const std::size_t taken, co_await take_batch(running, "_transferMods"));
        if (taken > 0) continue;
        // Asked to commit before this last look: writes are blocked there, so nothing is left.
        if (is_last) break;
        if (!is_steady) {
            CO_TRY_OK(co_await take_sessions(running));
            // What has come so far is with a majority before the donor blocks anybody.
            OpTime at;
            {
                const std::lock_guard lock(running->mutex);
                at = running->last;
            }
            const Instant until = environment_.clock.now() + limits::majority_wait;
            if (!at.is_null()) CO_TRY_OK(co_await environment_.store.await_majority(at, until));
            is_steady = true;
            running->set("steady");
        }
        if (environment_.clock.now() >= give_up)
            co_return Error(ErrorCode::exceeded_time_limit, "the donor did not commit");
        co_await running->changed.wait(
            environment_.clock, environment_.clock.now() + steady_pause, ticket);
    }
    CO_TRY_OK(co_await take_sessions(running));
    OpTime at;
    {
        const std::lock_guard lock(running->mutex);
        at = running->last;
    }
    const Instant until = environment_.clock.now() + limits::majority_wait;
    if (!at.is_null()) CO_TRY_OK(co_await environment_.store.await_majority(at, until));
    if (running->is_given_up()) co_return aborted();
    co_return Status();
}

async::Task<void> MigrationDestination::pull(MigrationDocument migration,
                                             EnsureLike ensure_like,
                                             void* context) {
    const auto running = active(migration.id);
    if (!running) co_return;
    const auto status = co_await run(running, ensure_like, context);
    if (!status) {
        log::info(log::Component::sharding,
                  9000440,
                  "Receiving a range failed",
                  {{"ns", migration.ns}, {"error", status.error()}});
        const std::lock_guard lock(running->mutex);
        running->error = status.error().reason();
    }
    running->set(status ? "done" : "fail");
    if (status) co_return;
    // It cannot be committed any more, and its donor may know nothing of it: one that was thawed
    // after the next primary had given the move up still asked for it.
    const auto released = co_await release(std::move(migration), false);
    if (!released)
        log::warning(log::Component::sharding,
                     9000442,
                     "What came of a range that was not received is not given up for deletion",
                     {{"ns", running->migration.ns}, {"error", released.error()}});
}

async::Task<Status> MigrationDestination::commit(bson::Uuid id, Instant deadline) {
    const auto running = active(id);
    if (!running) co_return Error(ErrorCode::no_such_key, "no such migration runs here");
    {
        const std::lock_guard lock(running->mutex);
        running->is_commit_asked = true;
    }
    running->changed.notify();
    const Instant until = std::min(deadline, environment_.clock.now() + limits::critical_section);
    for (;;) {
        const auto ticket = running->changed.ticket();
        {
            const std::lock_guard lock(running->mutex);
            if (running->state == "done") co_return Status();
            if (running->state == "fail")
                co_return Error(ErrorCode::operation_failed, running->error);
        }
        const auto outcome = co_await running->changed.wait(environment_.clock, until, ticket);
        if (outcome != async::Notification::Outcome::notified)
            co_return Error(ErrorCode::exceeded_time_limit,
                            "the recipient did not take what was left in time");
    }
}

void MigrationDestination::abort(const bson::Uuid& id) {
    const auto running = active(id);
    if (!running) return;
    {
        const std::lock_guard lock(running->mutex);
        running->is_aborted = true;
    }
    running->changed.notify();
}

void MigrationDestination::on_step_down() {
    std::shared_ptr<Active> running;
    {
        const std::lock_guard lock(mutex_);
        running = active_;
    }
    if (running) abort(running->migration.id);
}

async::Task<Status> MigrationDestination::release(MigrationDocument migration, bool is_committed) {
    if (!is_committed) {
        abort(migration.id);
        // The pull ends before its documents are given up for deletion.
        const auto running = active(migration.id);
        while (running && !running->is_ended()) {
            async::sleep_until wait(environment_.clock, environment_.clock.now() + 10ms);
            co_await wait;
        }
    }
    std::vector<DocumentWrite> writes(2);
    writes[0].ns = recipients;
    writes[0].kind = DocumentWrite::Kind::remove;
    writes[0].document = bson::make("_id", migration.id);
    writes[1].ns = deletions;
    // Twice is as once: a deletion that has been told to begin may be over before it is told again,
    // and its range on its way here once more.
    const auto permit = co_await releases_.acquire();
    CO_TRY(const auto noted,
           environment_.store.find_one(deletions, bson::make("_id", migration.id)));
    if (is_committed) {
        writes[1].kind = DocumentWrite::Kind::remove;
        writes[1].document = bson::make("_id", migration.id);
    } else if (noted && !noted->view().has("whenToClean")) {
        writes[1].document = migration.range_deletion(environment_.clock.wall_now());
    } else {
        writes.pop_back();
    }
    CO_TRY_OK(co_await environment_.store.apply(std::move(writes)));
    // The next request with the new version asks anyway; so it finds the answer here.
    environment_.state.forget(migration.ns);
    co_return Status();
}

}  // namespace tessera::sharding
