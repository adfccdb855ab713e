// SPDX-License-Identifier: Apache-2.0
#include "replication/local_state.h"

#include "bson/builder.h"
#include "replication/config_documents.h"

namespace tessera::replication {
namespace {

constexpr std::string_view config_name = "system.replset";
constexpr std::string_view ballot_name = "replset.election";
constexpr std::string_view rollback_name = "system.rollback.id";
constexpr std::string_view progress_name = "replset.minvalid";
constexpr std::string_view sync_id_name = "replset.initialSyncId";
constexpr std::string_view syncing_field = "doingInitialSync";

Namespace local(std::string_view collection) {
    return {"local", std::string(collection)};
}

}  // namespace

Status LocalState::ensure(const Namespace& ns, bson::View options) {
    if (catalog_.find(ns) != nullptr) return {};
    const catalog::CollectionLock lock = catalog_.lock_exclusive(ns);
    if (lock) return {};
    TRY(const auto transaction, engine_.begin());
    catalog::CreateOptions create;
    create.uuid = bson::make_uuid(random_);
    create.options = bson::Document(options);
    TRY(auto change, catalog_.create(*transaction, ns, create));
    TRY_OK(transaction->commit());
    change.published();
    return {};
}

Result<std::optional<bson::Document>> LocalState::read(std::string_view collection) const {
    const catalog::CollectionLock lock = catalog_.lock_shared(local(collection));
    if (!lock) return std::optional<bson::Document>();
    TRY(const auto transaction, engine_.begin());
    const auto cursor = transaction->open_cursor(*lock->record_table());
    TRY(const bool found, cursor->rewind());
    if (!found) return std::optional<bson::Document>();
    return std::optional(bson::Document::adopt(std::string(cursor->value())));
}

Status LocalState::write(std::string_view collection, bson::View document) {
    const Namespace ns = local(collection);
    TRY_OK(ensure(ns, {}));
    const catalog::CollectionLock lock = catalog_.lock_shared(ns);
    ENSURE(lock.collection() != nullptr);
    TRY(const auto transaction, engine_.begin());
    std::vector<std::pair<bson::RecordId, bson::Document>> before;
    {
        const auto cursor = transaction->open_cursor(*lock->record_table());
        TRY(bool found, cursor->rewind());
        while (found) {
            before.emplace_back(bson::record_id_of(cursor->key()),
                                bson::Document::adopt(std::string(cursor->value())));
            TRY(found, cursor->next());
        }
    }
    for (const auto& [id, old] : before)
        TRY_OK(lock->remove(*transaction, id, old));
    TRY([[maybe_unused]] const auto id, lock->insert(*transaction, document, {.validates = false}));
    return transaction->commit();
}

Result<std::optional<consensus::ReplicaSetConfig>> LocalState::config() const {
    TRY(const auto document, read(config_name));
    if (!document) return std::optional<consensus::ReplicaSetConfig>();
    TRY(auto config, parse_config(*document));
    return std::optional(std::move(config));
}

Status LocalState::save_config(const consensus::ReplicaSetConfig& config) {
    return write(config_name, config_to_bson(config));
}

Result<consensus::Ballot> LocalState::ballot() const {
    consensus::Ballot ballot;
    TRY(const auto document, read(ballot_name));
    if (!document) return ballot;
    ballot.term = (*document)["term"].to_int64();
    ballot.candidate_index = static_cast<std::int32_t>((*document)["candidateIndex"].to_int64());
    if (const bson::Value id = (*document)["candidateId"]; id.is_number())
        ballot.candidate_id = static_cast<consensus::MemberId>(id.to_int64());
    return ballot;
}

Status LocalState::save_ballot(const consensus::Ballot& ballot, WallTime now) {
    return write(ballot_name,
                 bson::make("_id",
                            object_ids_.next(now),
                            "term",
                            ballot.term,
                            "candidateIndex",
                            std::int64_t{ballot.candidate_index},
                            "candidateId",
                            ballot.candidate_id));
}

Result<std::int32_t> LocalState::rollback_id() const {
    TRY(const auto document, read(rollback_name));
    if (!document) return 1;
    return static_cast<std::int32_t>((*document)["rollbackId"].to_int64());
}

Status LocalState::save_rollback_id(std::int32_t id) {
    return write(rollback_name, bson::make("_id", "rollbackId", "rollbackId", id));
}

Result<bool> LocalState::is_syncing() const {
    TRY(const auto document, read(progress_name));
    return document && (*document)[syncing_field].is_truthy();
}

Status LocalState::save_syncing(bool is_syncing, WallTime now) {
    bson::Builder progress;
    progress.append("_id", object_ids_.next(now)).append("t", std::int64_t{-1});
    progress.append("ts", Timestamp{});
    if (is_syncing) progress.append(syncing_field, true);
    TRY_OK(write(progress_name, std::move(progress).finish()));
    if (is_syncing) return {};
    return write(sync_id_name, bson::make("_id", bson::make_uuid(random_), "wallTime", now));
}

Result<std::shared_ptr<catalog::Collection>> LocalState::open_oplog(std::int64_t bytes_max) {
    TRY_OK(ensure(oplog_ns, bson::make("capped", true, "size", bytes_max, "autoIndexId", false)));
    auto collection = catalog_.find(oplog_ns);
    ENSURE(collection != nullptr);
    return collection;
}

}  // namespace tessera::replication
