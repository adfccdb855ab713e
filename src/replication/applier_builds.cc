// SPDX-License-Identifier: Apache-2.0
//
// Two-phase index builds on a secondary. {startIndexBuild} begins the build, which is filled beside
// the entries that follow; {commitIndexBuild} does what is left, and all of it where there is no
// such build: after a restart, an initial sync, or when the fill met duplicates that were gone
// again by then. {abortIndexBuild} ends it, and so does an entry of a newer term: a build does not
// outlive its primary.
#include "base/log.h"
#include "catalog/index_build.h"
#include "replication/applier.h"

namespace tessera::replication {
namespace {

Error gone(const ParsedEntry& entry) {
    return {ErrorCode::namespace_not_found, "ns not found: " + entry.ns.to_string()};
}

std::optional<bson::Uuid> build_id(const ParsedEntry& entry) {
    const bson::Value value = entry.object["indexBuildUUID"];
    bson::Uuid id;
    if (value.type() != bson::Type::binary || value.as_binary().bytes.size() != id.bytes.size())
        return std::nullopt;
    std::memcpy(id.bytes.data(), value.as_binary().bytes.data(), id.bytes.size());
    return id;
}

std::shared_ptr<catalog::Collection> named_by(catalog::Catalog& catalog,
                                              const ParsedEntry& entry) {
    return entry.uuid ? catalog.find(*entry.uuid) : nullptr;
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

Status Applier::run_start_build(const ParsedEntry& entry, ApplyMode mode, Oplog* oplog) {
    const auto id = build_id(entry);
    const auto known = named_by(catalog_, entry);
    // Recovery and initial sync are soon at the entry that commits it, or it is long decided.
    const bool begins = oplog != nullptr && mode == ApplyMode::exact && id && known;
    if (!begins) return only_log(entry, oplog);
    catalog::IndexBuildPtr build;
    {
        const catalog::CollectionLock lock = catalog_.lock_exclusive(known->ns());
        std::vector<bson::Document> specs;
        bool is_possible = static_cast<bool>(lock);
        for (const bson::View spec : specs_of(entry)) {
            if (!is_possible) break;
            auto checked = catalog_.check_index(*lock, spec);
            is_possible = checked && !checked->exists_already && !checked->is_being_built;
            if (is_possible) specs.push_back(std::move(checked->spec));
        }
        if (is_possible && !specs.empty()) {
            TRY(build, catalog_.begin_build(*lock, *id, specs));
        }
    }
    const Status logged = only_log(entry, oplog);
    if (!build) return logged;
    if (!logged) {
        catalog_.abort_build(*build, logged.error());
        return logged;
    }
    std::erase_if(begun_builds_, [](const auto& each) { return each.second.build->has_ended(); });
    begun_builds_[*id] = {build, entry.optime.term};
    fill_in_background_(build);
    return {};
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
    const auto id = build_id(entry);
    const auto found = id ? begun_builds_.find(*id) : begun_builds_.end();
    if (found == begun_builds_.end()) return false;
    const catalog::IndexBuildPtr build = found->second.build;
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
    if (!finished && finished.error().code() == ErrorCode::write_conflict)
        return finished.error();  // To be tried again as it is.
    begun_builds_.erase(found);
    if (finished) return true;
    catalog_.abort_build(*build, finished.error());
    // Ours to give up, and nothing to do twice, when the process is to end.
    if (has_class(finished.error().code(), error_class::shutting_down)) return finished.error();
    log::info(log::Component::index,
              9000210,
              "An index build that was begun here is done anew",
              {{"ns", ns.to_string()}, {"error", finished.error()}});
    return false;
}

Status Applier::build_anew(const ParsedEntry& entry, const Namespace& ns, Oplog* oplog) {
    end_overtaken_builds(entry, specs_of(entry));
    const catalog::CollectionLock lock = catalog_.lock_exclusive(ns);
    if (!lock) return gone(entry);
    TRY(const auto transaction, begin(entry, oplog));
    std::vector<catalog::CatalogChange> changes;
    for (const bson::View spec : specs_of(entry)) {
        TRY(const auto checked, catalog_.check_index(*lock, spec));
        if (checked.exists_already) continue;
        TRY(auto change,
            catalog_.create_index(*transaction, *lock, checked.spec, entry.optime.timestamp));
        changes.push_back(std::move(change));
    }
    TRY_OK(transaction->commit());
    for (auto& change : changes)
        change.published();
    return {};
}

Status Applier::run_abort_build(const ParsedEntry& entry, Oplog* oplog) {
    const auto id = build_id(entry);
    const auto found = id ? begun_builds_.find(*id) : begun_builds_.end();
    if (found != begun_builds_.end()) {
        catalog_.abort_build(*found->second.build,
                             Error(ErrorCode::index_build_aborted, "aborted by the primary"));
        begun_builds_.erase(found);
    }
    return only_log(entry, oplog);
}

// A primary that makes an index has no build of the like any more, whether it could say so or not.
void Applier::end_overtaken_builds(const ParsedEntry& entry,
                                   const std::vector<bson::View>& specs) {
    const auto is_overtaken = [&](const catalog::IndexBuild& build) {
        if (!entry.uuid || build.collection() != *entry.uuid) return false;
        for (const auto& index : build.metadata())
            for (const bson::View spec : specs)
                if (index.spec["name"].bytes() == spec["name"].bytes() ||
                    index.spec["key"].bytes() == spec["key"].bytes())
                    return true;
        return false;
    };
    catalog_.abort_builds(is_overtaken,
                          Error(ErrorCode::index_build_aborted, "overtaken by another"));
}

void Applier::end_builds_before(Term term) {
    if (term <= newest_term_) return;
    newest_term_ = term;
    std::erase_if(begun_builds_, [&](const auto& each) {
        if (each.second.term >= term) return false;
        catalog_.abort_build(*each.second.build,
                             Error(ErrorCode::index_build_aborted, "its primary is gone"));
        return true;
    });
}

}  // namespace tessera::replication
