// SPDX-License-Identifier: Apache-2.0
//
// Renames in the config servers' catalogue. A rename's document goes from "begun" to "committed" in
// one unit with what it changes; one that has begun is given up by removing it.
#include "bson/builder.h"
#include "sharding/config_catalog.h"

namespace tessera::sharding {
namespace {

const std::string coordinators = ddl_coordinators_ns().collection;

Error given_up(const CollectionRename& rename) {
    return {ErrorCode::conflicting_operation_in_progress,
            "the rename of " + rename.from + " has been given up"};
}

}  // namespace

Result<std::vector<CollectionRename>> ConfigCatalog::renames() const {
    TRY(const auto documents,
        store_.find(ddl_coordinators_ns(),
                    bson::make("_id.operationType", CollectionRename::operation_type)));
    std::vector<CollectionRename> result;
    for (const bson::Document& each : documents) {
        TRY(auto rename, CollectionRename::parse(each));
        result.push_back(std::move(rename));
    }
    return result;
}

Result<std::optional<CollectionRename>> ConfigCatalog::rename_of(const std::string& from) const {
    const bson::Document id = bson::make("_id", CollectionRename::id_of(from));
    TRY(const auto found, store_.find_one(ddl_coordinators_ns(), id));
    if (!found) return std::optional<CollectionRename>();
    TRY(auto rename, CollectionRename::parse(*found));
    return std::optional(std::move(rename));
}

async::Task<Status> ConfigCatalog::begin_rename(CollectionRename rename) {
    const auto permit = co_await changes_.acquire();
    CO_TRY(const auto others, renames());
    for (const CollectionRename& each : others)
        for (const std::string& ns : {rename.from, rename.to})
            if (ns == each.from || ns == each.to)
                co_return Error(ErrorCode::conflicting_operation_in_progress,
                                "another rename of " + ns + " has not ended on all shards");
    co_return co_await store_.put(ddl_coordinators_ns(), rename.to_document());
}

Status ConfigCatalog::move_zones(const std::string& from,
                                 const std::string& to,
                                 std::vector<DocumentWrite>& writes) const {
    TRY(const auto tags, store_.find(config_ns("tags"), bson::make("ns", from)));
    for (const bson::Document& each : tags) {
        bson::Builder moved;
        for (const bson::Element& field : each.view()) {
            if (field.name == "_id")
                moved.append("_id", bson::make("ns", to, "min", each["min"]));
            else if (field.name == "ns")
                moved.append("ns", to);
            else
                moved.append(field);
        }
        writes.push_back(config_removal("tags", bson::make("_id", each["_id"])));
        writes.push_back(config_put("tags", std::move(moved).finish()));
    }
    return {};
}

async::Task<Status> ConfigCatalog::commit_rename(CollectionRename rename) {
    const auto permit = co_await changes_.acquire();
    CO_TRY(const auto known, rename_of(rename.from));
    if (!known || known->id != rename.id) co_return given_up(rename);
    if (known->is_committed) co_return co_await confirm();
    CO_TRY(auto entry, collection(rename.from));
    if (entry && entry->uuid != rename.uuid) co_return given_up(rename);
    std::vector<DocumentWrite> writes;
    CO_TRY_OK(remove_collection(rename.to, writes));
    CO_TRY_OK(move_zones(rename.from, rename.to, writes));
    if (entry) {
        writes.push_back(config_removal("collections", bson::make("_id", rename.from)));
        entry->ns = rename.to;
        entry->generation = new_generation();
        entry->last_modified = store_.wall_time();
        writes.push_back(config_put("collections", entry->to_document()));
    }
    rename.is_committed = true;
    writes.push_back(config_put(coordinators, rename.to_document()));
    co_return co_await store_.apply(std::move(writes));
}

async::Task<Result<CollectionRename>> ConfigCatalog::resolve_rename(CollectionRename rename) {
    const auto permit = co_await changes_.acquire();
    CO_TRY(const auto known, rename_of(rename.from));
    const bool is_this = known && known->id == rename.id;
    if (is_this && known->is_committed) {
        CO_TRY_OK(co_await confirm());
        co_return *known;
    }
    // A commit that is still on its way finds nothing to commit.
    if (is_this)
        CO_TRY_OK(co_await store_.remove(ddl_coordinators_ns(), rename.document_id()));
    else
        CO_TRY_OK(co_await confirm());
    rename.is_committed = false;
    co_return rename;
}

async::Task<Status> ConfigCatalog::end_rename(CollectionRename rename) {
    const auto permit = co_await changes_.acquire();
    CO_TRY(const auto known, rename_of(rename.from));
    if (!known || known->id != rename.id) co_return Status();
    co_return co_await store_.remove(ddl_coordinators_ns(), rename.document_id());
}

}  // namespace tessera::sharding
