// SPDX-License-Identifier: Apache-2.0
//
// Two-phase index builds as entries. {startIndexBuild} begins the build, which is filled beside the
// entries that follow (driver_builds.cc); {commitIndexBuild} does what is left, and all of it where
// no such build is under way: during a recovery or an initial sync, which only put it on record, or
// when the fill met duplicates that were gone again by then. {abortIndexBuild} ends it.
#include "base/log.h"
#include "bson/ids.h"
#include "catalog/index_build.h"
#include "replication/applier.h"

namespace tessera::replication {
namespace {

Error gone(const ParsedEntry& entry) {
    return {ErrorCode::namespace_not_found, "ns not found: " + entry.ns.to_string()};
}

std::optional<bson::Uuid> build_id(const ParsedEntry& entry) {
    return bson::uuid_of(entry.object["indexBuildUUID"]);
}

std::shared_ptr<catalog::Collection> named_by(catalog::Catalog& catalog,
                                              const ParsedEntry& entry) {
    return entry.uuid ? catalog.find(*entry.uuid) : nullptr;
}

catalog::IndexBuildPtr build_in_progress(catalog::Catalog& catalog, const ParsedEntry& entry) {
    const auto id = build_id(entry);
    for (const catalog::IndexBuildPtr& build : catalog.builds())
        if (id && build->id() == *id) return build;
    return nullptr;
}

std::vector<bson::View> specs_of(const ParsedEntry& entry) {
    std::vector<bson::View> specs;
    const bson::Value list = entry.object["indexes"];
    if (!list.is_array()) return specs;
    for (const bson::Element& each : list.as_view())
        if (each.value.is_object()) specs.push_back(each.value.as_view());
    return specs;
}

}  // namespace

Status Applier::note_build(const ParsedEntry& entry,
                           const catalog::NotedBuild& what,
                           Oplog* oplog) {
    const auto known = named_by(catalog_, entry);
    if (known == nullptr) return gone(entry);
    const catalog::CollectionLock lock = catalog_.lock_exclusive(known->ns());
    if (!lock) return gone(entry);
    TRY(const auto transaction, begin(entry, oplog));
    TRY(auto change, catalog_.note_build(*transaction, *lock, what));
    TRY_OK(transaction->commit());
    change.published();
    return {};
}

Status Applier::run_start_build(const ParsedEntry& entry, ApplyMode mode, Oplog* oplog) {
    const auto id = build_id(entry);
    const auto known = named_by(catalog_, entry);
    if (!id || !known) return only_log(entry, oplog);
    catalog::NotedBuild noted{*id, {}};
    for (const bson::View spec : specs_of(entry))
        noted.specs.emplace_back(spec);
    // Recovery and initial sync are soon at the entry that commits it; else it is resumed then.
    if (oplog == nullptr || mode != ApplyMode::exact) return note_build(entry, noted, oplog);
    catalog::IndexBuildPtr build;
    const auto start = [&]() -> Status {
        const catalog::CollectionLock lock = catalog_.lock_exclusive(known->ns());
        if (!lock) return gone(entry);
        TRY(build, catalog_.begin_build(*lock, *id, noted.specs));
        TRY(const auto transaction, begin(entry, oplog));
        TRY(auto change, catalog_.note_build(*transaction, *lock, noted));
        TRY_OK(transaction->commit());
        change.published();
        return ok();
    };
    Status started = start();
    if (started) {
        drive_build_(build);
    } else if (build) {
        catalog_.abort_build(*build, started.error());
    }
    return started;
}

Status Applier::run_commit_build(const ParsedEntry& entry, Oplog* oplog) {
    const auto known = named_by(catalog_, entry);
    if (known == nullptr) return gone(entry);
    TRY(const bool is_done, commit_present_build(entry, known->ns(), oplog));
    return is_done ? ok() : build_anew(entry, known->ns(), oplog);
}

// Returns whether there was a build that could be committed.
Result<bool> Applier::commit_present_build(const ParsedEntry& entry,
                                           const Namespace& ns,
                                           Oplog* oplog) {
    const catalog::IndexBuildPtr build = build_in_progress(catalog_, entry);
    if (build == nullptr) return false;
    const auto finish = [&]() -> Status {
        // The background may be at it too; whoever comes first takes the next slice.
        while (true) {
            TRY(const bool is_filled, catalog_.fill_step(*build));
            if (is_filled) break;
        }
        const catalog::CollectionLock lock = catalog_.lock_exclusive(ns);
        if (!lock) return gone(entry);
        TRY(const auto transaction, begin(entry, oplog));
        TRY(auto change,
            catalog_.finish_build(*transaction, *lock, build, entry.optime.timestamp));
        TRY_OK(transaction->commit());
        change.published();
        return ok();
    };
    const Status finished = finish();
    if (finished) return true;
    if (finished.error().code() == ErrorCode::write_conflict)
        return finished.error();  // To be tried again as it is.
    catalog_.abort_build(*build, finished.error());
    // Ours to give up, and nothing to do twice, when the process is to end.
    if (has_class(finished.error().code(), error_class::shutting_down)) return finished.error();
    log::info(log::Component::index,
              9000219,
              "An index build that was begun here is done anew",
              {{"ns", ns.to_string()}, {"error", finished.error()}});
    return false;
}

Status Applier::build_anew(const ParsedEntry& entry, const Namespace& ns, Oplog* oplog) {
    const catalog::CollectionLock lock = catalog_.lock_exclusive(ns);
    if (!lock) return gone(entry);
    TRY(const auto transaction, begin(entry, oplog));
    std::vector<catalog::CatalogChange> changes;
    if (const auto id = build_id(entry)) {
        const Error why(ErrorCode::index_build_aborted, "done anew");
        TRY(auto change, catalog_.forget_build(*transaction, *lock, *id, why));
        changes.push_back(std::move(change));
    }
    for (const bson::View spec : specs_of(entry)) {
        // Nothing where it was cloned.
        TRY(auto change,
            catalog_.create_index(*transaction, *lock, spec, entry.optime.timestamp));
        changes.push_back(std::move(change));
    }
    TRY_OK(transaction->commit());
    for (auto& change : changes)
        change.published();
    return {};
}

Status Applier::run_abort_build(const ParsedEntry& entry, Oplog* oplog) {
    const auto id = build_id(entry);
    const auto known = named_by(catalog_, entry);
    if (!id || known == nullptr) return only_log(entry, oplog);
    const catalog::CollectionLock lock = catalog_.lock_exclusive(known->ns());
    if (!lock) return gone(entry);
    TRY(const auto transaction, begin(entry, oplog));
    const Error why(ErrorCode::index_build_aborted, "aborted by the primary");
    TRY(auto change, catalog_.forget_build(*transaction, *lock, *id, why));
    TRY_OK(transaction->commit());
    change.published();
    return {};
}

}  // namespace tessera::replication
