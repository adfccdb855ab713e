// SPDX-License-Identifier: Apache-2.0
//
// Seeing two-phase index builds to their end. Each build in progress has one task on every member:
//   1. It fills the indexes, beside whoever writes.
//   2. A secondary then tells the primary, in each term anew (voteCommitIndexBuild). The primary
//      notes it in the build's record.
//   3. The primary, once it is done itself and its commitQuorum of members is, finishes the build
//      in one unit; the others do when they apply its entry (applier_builds.cc).
// A build outlives its primary: the next one finds it on record, the votes with it. It outlives a
// restart: what is on record is begun anew. It ends early only by its primary: when the documents
// refuse the index (a duplicate key), when createIndexes is killed or its time is over, and by
// dropIndexes. A secondary whose fill fails begins again; the primary will fail too, or what stood
// in the way is gone by then.
#include "base/log.h"
#include "catalog/index_build.h"
#include "replication/driver.h"
#include "replication/index_builds.h"
#include "replication/limits.h"
#include "replication/write_unit.h"

namespace tessera::replication {

namespace {

constexpr int slices_between_checks = 64;

bool is_about_the_role(const Error& error) {
    return has_class(error.code(),
                     error_class::not_primary | error_class::recovering |
                         error_class::shutting_down) ||
           error.code() == ErrorCode::write_conflict;
}

}  // namespace

struct Replication::Driver::DrivenBuild {
    catalog::IndexBuildPtr build;
    int slices = 0;
    bool is_filled = false;
    bool must_begin_again = false;
};

// Any thread.
void Replication::Driver::drive_soon(const catalog::IndexBuildPtr& build) {
    env_.control.post([mailbox = mailbox_, build] {
        if (mailbox->driver != nullptr) mailbox->driver->drive(build);
    });
}

void Replication::Driver::drive(const catalog::IndexBuildPtr& build) {
    if (!is_stopping_) tasks_.spawn(drive_build(build));
}

// While the catalog is read anew nobody may begin a build that it would not know of.
void Replication::Driver::pause_builds(bool pauses) {
    const std::lock_guard turn(builds_mutex_);
    are_builds_paused_ = pauses;
}

void Replication::Driver::end_builds(const Error& why) {
    env_.catalog.abort_builds([](const catalog::IndexBuild&) { return true; }, why);
    builds_changed.notify();
}

async::Task<void> Replication::Driver::drive_build(catalog::IndexBuildPtr build) {
    DrivenBuild driven{std::move(build)};
    Term voted = term_uninitialized;
    while (!is_stopping_ && !driven.build->has_ended()) {
        const auto ticket = builds_changed.ticket();
        async::resume_on there(env_.workers);
        co_await there;
        Status status = fill_more(driven);
        if (status && driven.is_filled && owner_.is_writable_primary()) status = lead_build(driven);
        if (!status) fail_build(driven, status.error());
        async::resume_on back(env_.control);
        co_await back;
        if (is_stopping_ || driven.build->has_ended()) break;
        if (status && !driven.is_filled) continue;
        const Term term = core_->term();
        if (status && voted != term && !core_->is_primary() &&
            co_await vote_for_build(driven.build->id()))
            voted = term;
        const Duration pause = driven.must_begin_again ? limits::build_again_interval
                                                       : limits::build_look_interval;
        co_await builds_changed.wait(env_.clock, now() + pause, ticket, stopping_);
    }
    builds_changed.notify();
    if (is_stopping_ || !owner_.is_writable_primary()) co_return;
    // A build that went with its collection leaves a record behind.
    async::resume_on there(env_.workers);
    co_await there;
    (void)remove_orphaned_records(owner_, env_.engine, env_.clock);
    async::resume_on back(env_.control);
    co_await back;
}

// One slice, and after the last what writers left to be checked. On a worker.
Status Replication::Driver::fill_more(DrivenBuild& driven) {
    if (driven.must_begin_again) {
        const Error why(ErrorCode::index_build_aborted, "begun again");
        env_.catalog.abort_build(*driven.build, why);
        for (const auto& [collection, noted] : env_.catalog.noted_builds()) {
            if (noted.id != driven.build->id()) continue;
            TRY(const auto again, begin_noted(*collection, noted));
            // Else the entry that ends it was quicker.
            if (again) driven = DrivenBuild{again};
            break;
        }
        if (driven.build->has_ended()) return {};
    }
    if (build_check && owner_.is_writable_primary() &&
        ++driven.slices % slices_between_checks == 0)
        TRY_OK(build_check());
    TRY(driven.is_filled, env_.catalog.fill_step(*driven.build));
    return {};
}

// As primary, with everything in the indexes: finishes the build if enough members are done too.
// On a worker.
Status Replication::Driver::lead_build(DrivenBuild& driven) {
    const catalog::IndexBuildPtr build = driven.build;
    const MemberView now_known = view();
    const auto* const me =
        now_known.config ? now_known.config->find(now_known.self) : nullptr;
    if (me == nullptr) return {};
    TRY_OK(add_ready_member(owner_, env_.engine, env_.clock, build->id(), me->host));
    TRY(const auto record, read_build_record(env_.catalog, env_.engine, build->id()));
    const bool is_met =
        !record || record->quorum.is_met(*now_known.config, record->ready);
    return is_met ? commit_build(build) : ok();
}

Status Replication::Driver::commit_build(const catalog::IndexBuildPtr& build) {
    const catalog::CollectionLock lock = env_.catalog.lock_exclusive(build->ns());
    TRY_OK(build->check());
    if (build->has_ended()) return {};
    ENSURE(lock && lock->uuid() == build->collection());
    TRY(auto unit, WriteUnit::begin(owner_, env_.engine, env_.clock));
    TRY([[maybe_unused]] const OpTime at, commit_index_build(unit, env_.engine, *lock, build));
    log::info(log::Component::index,
              20663,
              "Index build: completed successfully",
              {{"buildUUID", build->id().to_string()}, {"namespace", build->ns().to_string()}});
    return {};
}

// The primary gives the build up; any other member begins again. On a worker.
void Replication::Driver::fail_build(DrivenBuild& driven, const Error& cause) {
    if (driven.build->has_ended() || is_about_the_role(cause)) return;
    log::info(log::Component::index,
              20649,
              "Index build: failed",
              {{"buildUUID", driven.build->id().to_string()},
               {"namespace", driven.build->ns().to_string()},
               {"error", cause}});
    if (abort_build(*driven.build, cause)) return;
    driven.is_filled = false;
    driven.must_begin_again = true;
}

Status Replication::Driver::abort_build(const catalog::IndexBuild& build, const Error& cause) {
    while (true) {
        const catalog::CollectionLock lock = env_.catalog.lock_exclusive(build.ns());
        if (build.has_ended()) return {};
        if (!owner_.is_writable_primary())
            return Error(ErrorCode::not_writable_primary, "not primary");
        ENSURE(lock && lock->uuid() == build.collection());
        TRY(auto unit, WriteUnit::begin(owner_, env_.engine, env_.clock));
        const auto done = abort_index_build(unit, env_.engine, *lock, build, cause);
        if (!done && done.error().code() == ErrorCode::write_conflict) continue;
        builds_changed.notify();
        return done ? ok() : Status(done.error());
    }
}

// ---- Votes --------------------------------------------------------------------------------------

// Returns whether the primary has heard us.
async::Task<bool> Replication::Driver::vote_for_build(bson::Uuid id) {
    const auto primary = core_->primary_host();
    const auto* const me = config() != nullptr && core_->self() ? config()->find(*core_->self())
                                                                : nullptr;
    if (!primary || me == nullptr) co_return false;
    bson::Document command = bson::make(
        "voteCommitIndexBuild", id, "hostAndPort", me->host.to_string(), "$db", "admin");
    const auto reply = co_await call(*primary, std::move(command), limits::build_vote_timeout);
    co_return reply && status_of_reply(*reply);
}

async::Task<Result<bson::Document>> Replication::Driver::take_build_vote(bson::Uuid id,
                                                                         HostAndPort from) {
    if (!owner_.is_writable_primary())
        co_return Error(ErrorCode::not_writable_primary, "not primary");
    async::resume_on there(env_.workers);
    co_await there;
    const Status added = add_ready_member(owner_, env_.engine, env_.clock, id, from);
    async::resume_on back(env_.control);
    co_await back;
    if (!added) co_return added.error();
    builds_changed.notify();
    co_return bson::Document();
}

// ---- Builds on record ---------------------------------------------------------------------------

// Begins what is on record and not in progress: after a start, a rollback, an initial sync, and
// for safety's sake when this member becomes primary.
async::Task<void> Replication::Driver::resume_builds() {
    if (is_stopping_) co_return;
    async::resume_on there(env_.workers);
    co_await there;
    const std::vector<catalog::IndexBuildPtr> begun = begin_noted_builds();
    if (owner_.is_writable_primary())
        (void)remove_orphaned_records(owner_, env_.engine, env_.clock);
    async::resume_on back(env_.control);
    co_await back;
    for (const catalog::IndexBuildPtr& build : begun)
        drive(build);
}

std::vector<catalog::IndexBuildPtr> Replication::Driver::begin_noted_builds() {
    std::vector<catalog::IndexBuildPtr> begun;
    for (const auto& [collection, noted] : env_.catalog.noted_builds()) {
        const auto build = begin_noted(*collection, noted);
        if (!build)
            log::error(log::Component::index,
                       9000227,
                       "An index build cannot be continued here; it will be done when the primary "
                       "finishes it",
                       {{"buildUUID", noted.id.to_string()},
                        {"namespace", collection->ns().to_string()},
                        {"error", build.error()}});
        if (build && *build) begun.push_back(*build);
    }
    return begun;
}

// Null when it is in progress, has ended meanwhile, or is no matter while the data go back.
Result<catalog::IndexBuildPtr> Replication::Driver::begin_noted(
    const catalog::Collection& collection, const catalog::NotedBuild& noted) {
    const catalog::CollectionLock lock = env_.catalog.lock_exclusive(collection.ns());
    const std::lock_guard turn(builds_mutex_);
    if (are_builds_paused_) return catalog::IndexBuildPtr();
    bool is_on_record = false;
    for (const auto& [present, each] : env_.catalog.noted_builds())
        is_on_record |= each.id == noted.id && lock && present->uuid() == lock->uuid();
    if (!is_on_record) return catalog::IndexBuildPtr();
    for (const auto& build : env_.catalog.builds())
        if (build->id() == noted.id) return catalog::IndexBuildPtr();
    log::info(log::Component::index,
              20660,
              "Index build: resuming",
              {{"buildUUID", noted.id.to_string()}, {"namespace", collection.ns().to_string()}});
    return env_.catalog.begin_build(*lock, noted.id, noted.specs);
}

}  // namespace tessera::replication
