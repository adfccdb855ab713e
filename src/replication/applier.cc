// SPDX-License-Identifier: Apache-2.0
#include "replication/applier.h"

#include "base/log.h"
#include "query/update/diff.h"
#include "replication/limits.h"
#include "replication/session_catalog.h"

namespace tessera::replication {

/// One storage transaction and what it holds on to.
struct Applier::Group {
    std::map<Namespace, catalog::CollectionLock> locks;  // Outlive the transaction.
    std::unique_ptr<storage::Transaction> transaction;
    std::set<catalog::Collection*> capped;
    std::set<std::string> databases_with_new_views;
};

namespace {

bool is_command(const ParsedEntry& entry) {
    return entry.kind == OpKind::command && !entry.object.is_empty() && !entry.is_apply_ops();
}

bson::Document copy_of(bson::View view) {
    return bson::Document(view);
}

}  // namespace

Status Applier::apply(std::span<const bson::Document> entries, ApplyMode mode, Oplog* oplog) {
    std::vector<ParsedEntry> parsed;
    parsed.reserve(entries.size());
    for (const bson::Document& entry : entries) {
        TRY(ParsedEntry each, ParsedEntry::parse(entry));
        parsed.push_back(std::move(each));
    }
    std::size_t at = 0;
    while (at < parsed.size()) {
        if (is_command(parsed[at])) {
            TRY_OK(apply_command(parsed[at], mode, oplog));
            commands_.fetch_add(1, std::memory_order_relaxed);
            last_wall_.store(parsed[at].wall);
            if (oplog != nullptr) oplog->set_visible(parsed[at].optime);
            ++at;
            continue;
        }
        std::size_t end = at;
        std::size_t bytes = 0;
        while (end < parsed.size() && end - at < limits::apply_group_entries &&
               bytes < limits::apply_group_bytes && !is_command(parsed[end]))
            bytes += parsed[end++].whole.size();
        TRY_OK(apply_group(Entries(parsed).subspan(at, end - at), mode, oplog));
        last_wall_.store(parsed[end - 1].wall);
        if (oplog != nullptr) oplog->set_visible(parsed[end - 1].optime);
        at = end;
    }
    return {};
}

AppliedCounts Applier::counts() const {
    return {inserts_.load(std::memory_order_relaxed),
            updates_.load(std::memory_order_relaxed),
            removes_.load(std::memory_order_relaxed),
            commands_.load(std::memory_order_relaxed)};
}

Status Applier::apply_group(Entries entries, ApplyMode mode, Oplog* oplog) {
    for (int attempt = 1;; ++attempt) {
        auto status = try_group(entries, mode, oplog);
        if (status || status.error().code() != ErrorCode::write_conflict ||
            attempt == limits::apply_attempts_max)
            return status;
    }
}

Status Applier::try_group(Entries entries, ApplyMode mode, Oplog* oplog) {
    Group group;
    TRY(group.transaction, engine_.begin());
    for (const ParsedEntry& entry : entries) {
        TRY_OK(group.transaction->set_timestamp(entry.optime.timestamp));
        if (oplog != nullptr)
            TRY_OK(oplog->write(*group.transaction, entry.optime, entry.whole.bytes()));
        TRY_OK(apply_one(group, entry, mode));
    }
    for (catalog::Collection* const collection : group.capped) {
        TRY(const auto excess, collection->capped_excess(*group.transaction));
        for (const bson::RecordId id : excess) {
            TRY(const auto before, collection->find_record(*group.transaction, id));
            if (!before) continue;
            const bson::Document copy = copy_of(*before);
            TRY_OK(collection->remove(*group.transaction, id, copy));
        }
    }
    TRY_OK(group.transaction->commit());
    group.transaction.reset();
    group.capped.clear();
    group.locks.clear();
    for (const std::string& db : group.databases_with_new_views)
        TRY_OK(catalog_.reload_views(db));
    return {};
}

Status Applier::apply_one(Group& group, const ParsedEntry& entry, ApplyMode mode) {
    switch (entry.kind) {
        case OpKind::no_op:
            break;
        case OpKind::command:
            TRY_OK(apply_nested(group, entry, mode));
            break;
        case OpKind::insert:
        case OpKind::update:
        case OpKind::remove:
            TRY_OK(apply_crud(group, entry, mode));
            break;
    }
    if (!entry.session) return {};
    return keep_session(group, entry);
}

catalog::Collection* Applier::collection_of(Group& group, const ParsedEntry& entry) {
    Namespace ns = entry.ns;
    if (entry.uuid) {
        const auto collection = catalog_.find(*entry.uuid);
        if (collection == nullptr) return nullptr;
        ns = collection->ns();
    }
    auto found = group.locks.find(ns);
    if (found == group.locks.end()) found = group.locks.emplace(ns, catalog_.lock_shared(ns)).first;
    return found->second.collection();
}

Status Applier::apply_crud(Group& group, const ParsedEntry& entry, ApplyMode mode) {
    catalog::Collection* const collection = collection_of(group, entry);
    if (collection == nullptr) {
        if (mode == ApplyMode::exact)
            log::warning(log::Component::replication,
                         9000201,
                         "An oplog entry names a collection that is not here",
                         {{"ns", entry.ns.to_string()}, {"at", entry.optime.to_string()}});
        return {};
    }
    if (collection->ns().collection == "system.views")
        group.databases_with_new_views.insert(collection->ns().db);
    switch (entry.kind) {
        case OpKind::insert:
            if (collection->options().is_capped) group.capped.insert(collection);
            inserts_.fetch_add(1, std::memory_order_relaxed);
            return apply_insert(group, *collection, entry.object);
        case OpKind::update:
            updates_.fetch_add(1, std::memory_order_relaxed);
            return apply_update(group, *collection, entry, mode);
        default:
            removes_.fetch_add(1, std::memory_order_relaxed);
            return apply_remove(group, *collection, entry);
    }
}

Status Applier::apply_insert(Group& group, catalog::Collection& collection, bson::View document) {
    TRY(const auto found, collection.find_by_id(*group.transaction, document["_id"]));
    if (!found) {
        TRY([[maybe_unused]] const auto id,
            collection.insert(*group.transaction, document, catalog::unchecked));
        return {};
    }
    const bson::RecordId id = found->id;
    const bson::Document before = copy_of(found->document);
    return collection.update(*group.transaction, id, before, document, catalog::unchecked);
}

Status Applier::apply_update(Group& group,
                             catalog::Collection& collection,
                             const ParsedEntry& entry,
                             ApplyMode mode) {
    const bson::View key = entry.object2 ? *entry.object2 : entry.object;
    TRY(const auto found, collection.find_by_id(*group.transaction, key["_id"]));
    if (!found) {
        // A whole document is as good as an insert; a difference needs what it differs from.
        if (!entry.object.has("$v")) return apply_insert(group, collection, entry.object);
        if (mode == ApplyMode::exact)
            log::warning(log::Component::replication,
                         9000202,
                         "An update's document is not here",
                         {{"ns", entry.ns.to_string()}, {"at", entry.optime.to_string()}});
        return {};
    }
    const bson::RecordId id = found->id;
    const bson::Document before = copy_of(found->document);
    TRY(const bson::Document after, query::apply_oplog_update(before, entry.object));
    TRY_OK(collection.update(*group.transaction, id, before, after, catalog::unchecked));
    if (!entry.session || entry.session->needs_retry_image.empty()) return {};
    const bool is_post = entry.session->needs_retry_image == "postImage";
    return keep_image(group, entry, is_post, is_post ? after.view() : before.view());
}

Status Applier::apply_remove(Group& group,
                             catalog::Collection& collection,
                             const ParsedEntry& entry) {
    TRY(const auto found, collection.find_by_id(*group.transaction, entry.object["_id"]));
    if (!found) return {};
    const bson::RecordId id = found->id;
    const bson::Document before = copy_of(found->document);
    TRY_OK(collection.remove(*group.transaction, id, before));
    if (!entry.session || entry.session->needs_retry_image.empty()) return {};
    return keep_image(group, entry, false, before);
}

Status Applier::apply_nested(Group& group, const ParsedEntry& entry, ApplyMode mode) {
    for (const char* part : {"partialTxn", "prepare", "count"})
        if (entry.object.has(part))
            return Error(ErrorCode::oplog_operation_unsupported,
                         "applyOps with " + std::string(part) + " is not supported");
    TRY(const auto operations, entry.operations());
    for (const ParsedEntry& each : operations) {
        if (each.kind == OpKind::command)
            return Error(ErrorCode::oplog_operation_unsupported,
                         "a command within applyOps is not supported");
        if (each.kind != OpKind::no_op) TRY_OK(apply_crud(group, each, mode));
    }
    return {};
}

Status Applier::keep_session(Group& group, const ParsedEntry& entry) {
    auto found = group.locks.find(transactions_ns);
    if (found == group.locks.end())
        found = group.locks.emplace(transactions_ns, catalog_.lock_shared(transactions_ns)).first;
    if (found->second.collection() == nullptr) return {};  // Dropped by hand.
    const SessionRecord record{entry.session->txn_number, entry.optime, entry.wall};
    TRY([[maybe_unused]] const auto id,
        write_session_record(*group.transaction, *found->second, entry.session->id, record, {}));
    return {};
}

Status Applier::keep_image(Group& group, const ParsedEntry& entry, bool is_post, bson::View image) {
    auto found = group.locks.find(images_ns);
    if (found == group.locks.end())
        found = group.locks.emplace(images_ns, catalog_.lock_shared(images_ns)).first;
    if (found->second.collection() == nullptr) return {};
    return write_image(*group.transaction,
                       *found->second,
                       entry.session->id,
                       {entry.session->txn_number, entry.optime.timestamp, is_post, image});
}

}  // namespace tessera::replication
