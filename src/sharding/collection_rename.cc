// SPDX-License-Identifier: Apache-2.0
#include "sharding/collection_rename.h"

#include <algorithm>

#include "base/log.h"
#include "bson/builder.h"
#include "catalog/index_build.h"
#include "sharding/limits.h"

namespace tessera::sharding {
namespace {

using Section = ShardingState::Section;

const Namespace deletions = config_ns("rangeDeletions");

Error in_progress(const std::string& ns, std::string_view what) {
    return {ErrorCode::conflicting_operation_in_progress,
            std::string(what) + " of " + ns + " is in progress"};
}

bson::Document with_namespace(bson::View document, const std::string& ns) {
    bson::Builder result;
    for (const bson::Element& each : document) {
        if (each.name == "nss")
            result.append("nss", ns);
        else
            result.append(each);
    }
    return std::move(result).finish();
}

}  // namespace

Result<CollectionRename> CollectionRename::parse(bson::View document) {
    CollectionRename rename;
    TRY(rename.id, bson::uuid_in(document["id"]));
    if (!document["from"].is_string() || !document["to"].is_string())
        return Error(ErrorCode::no_such_key, "a rename's document lacks its fields");
    rename.from = document["from"].as_string();
    rename.to = document["to"].as_string();
    if (document.has("uuid")) {
        TRY(rename.uuid, bson::uuid_in(document["uuid"]));
    }
    rename.is_committed = document["isCommitted"].is_truthy();
    return rename;
}

bson::Document CollectionRename::id_of(const std::string& from) {
    return bson::make("namespace", from, "operationType", operation_type);
}

bson::Document CollectionRename::document_id() const {
    return bson::make("_id", id_of(from));
}

bson::Document CollectionRename::to_document() const {
    return bson::make("_id",
                      id_of(from),
                      "id",
                      id,
                      "from",
                      from,
                      "to",
                      to,
                      "uuid",
                      uuid,
                      "isCommitted",
                      is_committed);
}

Result<RenameOutcome> RenameOutcome::parse(bson::View document) {
    RenameOutcome outcome;
    if (!document["isCommitted"].is_boolean() || !document["primary"].is_string())
        return Error(ErrorCode::no_such_key, "a rename's outcome lacks its fields");
    outcome.is_committed = document["isCommitted"].is_truthy();
    TRY(outcome.uuid, bson::uuid_in(document["uuid"]));
    outcome.primary = document["primary"].as_string();
    return outcome;
}

void RenameOutcome::append_to(bson::Builder& document) const {
    document.append("isCommitted", is_committed).append("uuid", uuid).append("primary", primary);
}

bool RenameParticipant::is_known(const bson::Uuid& id) const {
    const std::lock_guard lock(mutex_);
    return std::any_of(
        known_.begin(), known_.end(), [&](const auto& each) { return each.rename.id == id; });
}

bool RenameParticipant::is_doubted(const bson::Uuid& id) const {
    const std::lock_guard lock(mutex_);
    return std::any_of(known_.begin(), known_.end(), [&](const auto& each) {
        return each.rename.id == id && each.is_doubted;
    });
}

// The config servers let one rename of a name begin when the one before has ended. What a primary
// of theirs asked for late, thawed after the next had given it up, is not waited for any longer.
void RenameParticipant::doubt_others(const CollectionRename& rename) {
    const auto concerns = [&](const CollectionRename& other, const std::string& ns) {
        return other.from == ns || other.to == ns;
    };
    {
        const std::lock_guard lock(mutex_);
        for (Known& each : known_)
            each.is_doubted |=
                concerns(each.rename, rename.from) || concerns(each.rename, rename.to);
    }
    ended_.notify();
}

bool RenameParticipant::is_renaming(const std::string& db) const {
    const std::lock_guard lock(mutex_);
    return std::any_of(known_.begin(), known_.end(), [&](const auto& each) {
        return Namespace::split(each.rename.from).db == db;
    });
}

void RenameParticipant::unblock(const CollectionRename& rename) {
    ShardingState& state = environment_.state;
    for (const std::string& ns : {rename.from, rename.to}) {
        state.forget(ns);
        state.leave_critical_section(ns);
    }
}

// What a rename would pull the ground from under: a range that moves, or whose move has not been
// cleaned up after on both sides, and an index that is built.
Status RenameParticipant::check_quiet(const CollectionRename& rename) const {
    for (const std::string& ns : {rename.from, rename.to}) {
        if (source_.is_moving(ns) || destination_.is_receiving(ns))
            return in_progress(ns, "a move of a range");
        for (const char* where : {"migrationCoordinators", "migrationRecipients"}) {
            TRY(const auto left, environment_.store.find(config_ns(where), bson::make("nss", ns)));
            if (!left.empty()) return in_progress(ns, "a move of a range");
        }
        const auto uuid = environment_.data.uuid_of(Namespace::split(ns));
        for (const auto& build : environment_.data.catalog().builds())
            if (uuid && build->collection() == *uuid)
                return Error(ErrorCode::background_operation_in_progress_for_namespace,
                             "cannot perform operation: an index build is currently running for "
                             "collection '" +
                                 ns + "'");
    }
    return {};
}

// Up to the moment when it is written down.
async::Task<Status> RenameParticipant::block(CollectionRename rename,
                                             std::optional<routing::DatabaseVersion> expected,
                                             Instant deadline) {
    ShardingState& state = environment_.state;
    for (const std::string& ns : {rename.from, rename.to})
        CO_TRY_OK(co_await state.drain_writes(ns, deadline));
    CO_TRY_OK(check_quiet(rename));
    if (expected)
        CO_TRY_OK(co_await state.await_primary_shard(rename.from, *expected, deadline));
    // Secondaries ask from here on, so none serves the one name by the placement of the other.
    CO_TRY_OK(co_await environment_.records.mark_collection(rename.from));
    CO_TRY_OK(co_await environment_.records.mark_collection(rename.to));
    const std::lock_guard lock(mutex_);
    known_.push_back({std::move(rename)});
    co_return Status();
}

std::uint64_t RenameParticipant::step_ups() const {
    const std::lock_guard lock(mutex_);
    return step_ups_;
}

async::Task<Status> RenameParticipant::begin(CollectionRename rename,
                                             std::optional<routing::DatabaseVersion> expected,
                                             Instant deadline) {
    const auto permit = co_await turn_.acquire();
    if (is_known(rename.id)) co_return Status();
    doubt_others(rename);
    ShardingState& state = environment_.state;
    const std::uint64_t since = step_ups();
    if (state.is_recovering()) co_return in_progress(rename.from, "a change by a former primary");
    CO_TRY_OK(check_quiet(rename));
    CO_TRY_OK(state.begin_change(rename.from, Section::reads_too, async::no_deadline));
    if (auto status = state.begin_change(rename.to, Section::reads_too, async::no_deadline);
        !status) {
        state.leave_critical_section(rename.from);
        co_return std::move(status).error();
    }
    auto status = co_await block(rename, expected, deadline);
    if (!status) {
        unblock(rename);
        co_return std::move(status).error();
    }
    // Whether it is there is open when this fails: it is as if it were, and has to be resolved.
    status = co_await environment_.store.put(ddl_coordinators_ns(), rename.to_document());
    // A term between has let go of what was blocked.
    if (status && since != step_ups())
        status = in_progress(rename.from, "a change by a former primary");
    spawn_(watch(rename, status ? limits::rename_patience : Duration()));
    co_return status;
}

// A range deletion goes on under the new name; those of the collection that made way are void.
async::Task<Status> RenameParticipant::move_range_deletions(CollectionRename rename,
                                                            bson::Uuid uuid) {
    std::vector<DocumentWrite> writes;
    CO_TRY(const auto tasks, environment_.store.find(deletions, {}));
    for (const bson::Document& task : tasks) {
        const bson::Value ns = task["nss"];
        if (!ns.is_string() || (ns.as_string() != rename.from && ns.as_string() != rename.to))
            continue;
        CO_TRY(const bson::Uuid of, bson::uuid_in(task["collectionUuid"]));
        DocumentWrite write;
        write.ns = deletions;
        if (of == uuid) {
            write.document = with_namespace(task, rename.to);
        } else {
            write.kind = DocumentWrite::Kind::remove;
            write.document = bson::make("_id", task["_id"]);
        }
        writes.push_back(std::move(write));
    }
    co_return co_await environment_.store.apply(std::move(writes));
}

async::Task<Status> RenameParticipant::rename_here(CollectionRename rename,
                                                   RenameOutcome outcome) {
    const auto identity = environment_.state.identity();
    const bool is_part = !identity || identity->name != outcome.primary;
    async::resume_on hop(environment_.workers);
    co_await hop;
    const Namespace from = Namespace::split(rename.from);
    const Namespace to = Namespace::split(rename.to);
    CO_TRY(const OpTime at, environment_.data.rename(from, to, outcome.uuid, is_part));
    CO_TRY_OK(co_await move_range_deletions(rename, outcome.uuid));
    const OpTime wanted = at.is_null() ? environment_.store.last_applied() : at;
    co_return co_await environment_.store.await_majority(wanted,
                                                         environment_.store.majority_deadline());
}

async::Task<Status> RenameParticipant::end(CollectionRename rename, RenameOutcome outcome) {
    const auto permit = co_await turn_.acquire();
    if (!is_known(rename.id)) co_return Status();
    if (outcome.is_committed) CO_TRY_OK(co_await rename_here(rename, outcome));
    CO_TRY_OK(co_await environment_.store.remove(ddl_coordinators_ns(), rename.document_id()));
    {
        const std::lock_guard lock(mutex_);
        std::erase_if(known_, [&](const auto& each) { return each.rename.id == rename.id; });
    }
    unblock(rename);
    ended_.notify();
    co_return Status();
}

async::Task<void> RenameParticipant::watch(CollectionRename rename, Duration patience) {
    const Instant until = environment_.clock.now() + patience;
    for (;;) {
        const auto ticket = ended_.ticket();
        if (!is_known(rename.id) || environment_.registry.is_shut_down()) co_return;
        if (is_doubted(rename.id)) break;
        const auto outcome = co_await ended_.wait(environment_.clock, until, ticket);
        if (outcome != async::Notification::Outcome::notified) break;
    }
    Duration pause = limits::migration_poll_min;
    while (is_known(rename.id) && !environment_.registry.is_shut_down() &&
           environment_.replication.check_writable(ddl_coordinators_ns())) {
        CallOptions options;
        options.deadline = environment_.clock.now() + limits::critical_section;
        options.is_retryable = true;
        bson::Document ask =
            bson::make("_configsvrResolveRename", rename.from, "id", rename.id, "$db", "admin");
        const auto reply =
            co_await environment_.registry.call_settled(config_shard, std::move(ask), options);
        Status status;
        if (!reply) {
            status = reply.error();
        } else {
            auto outcome = RenameOutcome::parse(*reply);
            if (outcome)
                status = co_await end(rename, std::move(*outcome));
            else
                status = std::move(outcome).error();
        }
        if (status) co_return;
        log::warning(log::Component::sharding,
                     9000470,
                     "A rename waits for its outcome",
                     {{"from", rename.from}, {"to", rename.to}, {"error", status.error()}});
        async::sleep_until wait(environment_.clock, environment_.clock.now() + pause);
        co_await wait;
        pause = std::min(pause * 2, limits::migration_poll_max);
    }
}

Result<std::vector<CollectionRename>> RenameParticipant::inherited() {
    TRY(const auto documents,
        environment_.store.find(
            ddl_coordinators_ns(),
            bson::make("_id.operationType", CollectionRename::operation_type)));
    std::vector<CollectionRename> result;
    const std::lock_guard lock(mutex_);
    ++step_ups_;
    known_.clear();
    for (const bson::Document& each : documents) {
        TRY(auto rename, CollectionRename::parse(each));
        for (const std::string& ns : {rename.from, rename.to})
            environment_.state.enter_critical_section(ns, Section::reads_too, async::no_deadline);
        known_.push_back({rename});
        result.push_back(std::move(rename));
    }
    return result;
}

}  // namespace tessera::sharding
