// SPDX-License-Identifier: Apache-2.0
//
// Command entries: DDL repeated through the catalog, with what may be tolerated of each
// (reference/protocol.md 2.3).
#include <algorithm>

#include "base/log.h"
#include "bson/ids.h"
#include "replication/applier.h"
#include "replication/limits.h"

namespace tessera::replication {
namespace {

// The elements of `object` but its first, and but `without`.
bson::Document rest_of(bson::View object, std::string_view without = {}) {
    bson::Builder out;
    bool is_first = true;
    for (const bson::Element& each : object) {
        if (!is_first && each.name != without) out.append(each);
        is_first = false;
    }
    return std::move(out).finish();
}

bool is_tolerated(std::string_view command, ErrorCode code) {
    if (code == ErrorCode::namespace_not_found) return command != "create";
    if (code == ErrorCode::index_not_found) return command == "dropIndexes" || command == "collMod";
    if (code == ErrorCode::index_already_exists)
        return command == "createIndexes" || command == "commitIndexBuild";
    if (code == ErrorCode::namespace_exists) return command == "renameCollection";
    return false;
}

Error gone(const ParsedEntry& entry) {
    return {ErrorCode::namespace_not_found, "ns not found: " + entry.ns.to_string()};
}

std::string text_of(const bson::Value& value) {
    return value.is_string() ? std::string(value.as_string()) : std::string();
}

}  // namespace

Status Applier::apply_command(const ParsedEntry& entry, ApplyMode mode, Oplog* oplog) {
    const std::string_view name = entry.object.front().name;
    for (int attempt = 1;; ++attempt) {
        auto status = try_command(entry, mode, oplog);
        if (status) return status;
        const ErrorCode code = status.error().code();
        if (code == ErrorCode::write_conflict && attempt < limits::apply_attempts_max) continue;
        if (!is_tolerated(name, code)) return status;
        log::debug(log::Component::replication,
                   9000203,
                   "A command entry had nothing to do",
                   {{"command", name}, {"error", status.error()}});
        return only_log(entry, oplog);
    }
}

Status Applier::try_command(const ParsedEntry& entry, ApplyMode mode, Oplog* oplog) {
    const std::string_view name = entry.object.front().name;
    if (name == "create") return run_create(entry, mode, oplog);
    if (name == "drop") return run_drop(entry, oplog);
    if (name == "dropDatabase") return only_log(entry, oplog);  // Its drops are entries before it.
    if (name == "renameCollection") return run_rename(entry, mode, oplog);
    if (name == "createIndexes") return run_create_index(entry, oplog);
    if (name == "startIndexBuild") return run_start_build(entry, mode, oplog);
    if (name == "commitIndexBuild") return run_commit_build(entry, oplog);
    if (name == "abortIndexBuild") return run_abort_build(entry, oplog);
    if (name == "dropIndexes") return run_drop_index(entry, oplog);
    if (name == "collMod") return run_coll_mod(entry, oplog);
    return Error(ErrorCode::oplog_operation_unsupported,
                 "the oplog command '" + std::string(name) + "' is not supported");
}

Result<std::unique_ptr<storage::Transaction>> Applier::begin(const ParsedEntry& entry,
                                                             Oplog* oplog) {
    TRY(auto transaction, engine_.begin());
    TRY_OK(transaction->set_timestamp(entry.optime.timestamp));
    if (oplog != nullptr) TRY_OK(oplog->write(*transaction, entry.optime, entry.whole.bytes()));
    return transaction;
}

Status Applier::only_log(const ParsedEntry& entry, Oplog* oplog) {
    if (oplog == nullptr) return {};
    TRY(const auto transaction, begin(entry, oplog));
    return transaction->commit();
}

Status Applier::run_create(const ParsedEntry& entry, ApplyMode mode, Oplog* oplog) {
    const Namespace ns{entry.ns.db, text_of(entry.object.front().value)};
    if (!entry.uuid) return Error(ErrorCode::oplog_operation_unsupported, "create without a UUID");
    if (catalog_.find(*entry.uuid) != nullptr) return only_log(entry, oplog);
    const catalog::CollectionLock lock = catalog_.lock_exclusive(ns);
    catalog::CatalogChange drop;
    TRY(const auto transaction, begin(entry, oplog));
    if (lock && mode == ApplyMode::over_clone) {
        // Cloned under a name it had later: that later entry makes it anew, and the clone of what
        // followed would be lost with it. The sync is to be done again.
        return Error(ErrorCode::initial_sync_failure,
                     ns.to_string() + " was replaced while it was cloned");
    }
    catalog::CreateOptions options;
    options.uuid = *entry.uuid;
    options.options = rest_of(entry.object, "idIndex");
    if (const bson::Value index = entry.object["idIndex"]; index.is_object())
        options.id_index = bson::Document(index.as_view());
    TRY(auto change, catalog_.create(*transaction, ns, options));
    TRY_OK(transaction->commit());
    change.published();
    return {};
}

Status Applier::run_drop(const ParsedEntry& entry, Oplog* oplog) {
    Namespace ns{entry.ns.db, text_of(entry.object.front().value)};
    if (entry.uuid) {
        const auto collection = catalog_.find(*entry.uuid);
        if (collection == nullptr) return gone(entry);
        ns = collection->ns();
    }
    const catalog::CollectionLock lock = catalog_.lock_exclusive(ns);
    if (!lock) return gone(entry);
    TRY(const auto transaction, begin(entry, oplog));
    TRY(auto change, catalog_.drop(*transaction, ns, entry.optime.timestamp));
    TRY_OK(transaction->commit());
    change.published();
    return ns.collection == "system.views" ? catalog_.reload_views(ns.db) : ok();
}

Status Applier::run_rename(const ParsedEntry& entry, ApplyMode mode, Oplog* oplog) {
    Namespace from = Namespace::split(text_of(entry.object.front().value));
    const Namespace to = Namespace::split(text_of(entry.object["to"]));
    if (entry.uuid) {
        const auto source = catalog_.find(*entry.uuid);
        // A clone by name may have missed the collection while it changed its name.
        if (source == nullptr && mode == ApplyMode::over_clone)
            return Error(ErrorCode::initial_sync_failure,
                         from.to_string() + " was renamed while it was cloned");
        if (source == nullptr) return gone(entry);
        from = source->ns();
    }
    if (from == to) return only_log(entry, oplog);
    const catalog::CollectionLock one = catalog_.lock_exclusive(std::min(from, to));
    const catalog::CollectionLock two = catalog_.lock_exclusive(std::max(from, to));
    TRY(const auto transaction, begin(entry, oplog));
    catalog::RenameOptions options;
    const bson::Value target = entry.object["dropTarget"];
    options.drop_target = bson::uuid_of(target).has_value() || target.is_truthy();
    TRY(auto change, catalog_.rename(*transaction, from, to, options, entry.optime.timestamp));
    TRY_OK(transaction->commit());
    change.published();
    return {};
}

Status Applier::run_create_index(const ParsedEntry& entry, Oplog* oplog) {
    const bson::Document given = rest_of(entry.object);
    const auto known =
        entry.uuid ? catalog_.find(*entry.uuid)
                   : catalog_.find(Namespace{entry.ns.db, text_of(entry.object.front().value)});
    if (known == nullptr) return gone(entry);
    const catalog::CollectionLock lock = catalog_.lock_exclusive(known->ns());
    if (!lock) return gone(entry);
    TRY(const auto checked, catalog_.check_index(*lock, given));
    if (checked.exists_already) return only_log(entry, oplog);
    TRY(const auto transaction, begin(entry, oplog));
    TRY(auto change,
        catalog_.create_index(*transaction, *lock, checked.spec, entry.optime.timestamp));
    TRY_OK(transaction->commit());
    change.published();
    return {};
}

Status Applier::run_drop_index(const ParsedEntry& entry, Oplog* oplog) {
    const auto known =
        entry.uuid ? catalog_.find(*entry.uuid)
                   : catalog_.find(Namespace{entry.ns.db, text_of(entry.object.front().value)});
    if (known == nullptr) return gone(entry);
    const catalog::CollectionLock lock = catalog_.lock_exclusive(known->ns());
    if (!lock) return gone(entry);
    TRY(const auto transaction, begin(entry, oplog));
    const std::string index = text_of(entry.object["index"]);
    TRY(auto change, catalog_.drop_index(*transaction, *lock, index, entry.optime.timestamp));
    TRY_OK(transaction->commit());
    change.published();
    return {};
}

Status Applier::run_coll_mod(const ParsedEntry& entry, Oplog* oplog) {
    const auto known =
        entry.uuid ? catalog_.find(*entry.uuid)
                   : catalog_.find(Namespace{entry.ns.db, text_of(entry.object.front().value)});
    if (known == nullptr) return gone(entry);
    const catalog::CollectionLock lock = catalog_.lock_exclusive(known->ns());
    if (!lock) return gone(entry);
    TRY(const auto transaction, begin(entry, oplog));
    TRY(auto result, catalog_.coll_mod(*transaction, *lock, entry.object));
    TRY_OK(transaction->commit());
    result.change.published();
    return {};
}

}  // namespace tessera::replication
