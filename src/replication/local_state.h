// SPDX-License-Identifier: Apache-2.0
//
// What a member remembers for itself, in collections of `local` as MongoDB keeps it: the
// configuration, its last vote, its rollback id, and whether an initial sync is under way. Logged
// tables; durable after the journal's next sync.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "async/clock.h"
#include "base/random.h"
#include "base/result.h"
#include "bson/ids.h"
#include "catalog/catalog.h"
#include "consensus/config.h"
#include "consensus/messages.h"
#include "storage/engine.h"

namespace tessera::replication {

inline const Namespace oplog_ns{"local", "oplog.rs"};

class LocalState {
public:
    LocalState(catalog::Catalog& catalog, storage::Engine& engine, Random random)
        : catalog_(catalog), engine_(engine), random_(random), object_ids_(random_) {}

    Result<std::optional<consensus::ReplicaSetConfig>> config() const;
    Status save_config(const consensus::ReplicaSetConfig& config);
    Result<consensus::Ballot> ballot() const;
    Status save_ballot(const consensus::Ballot& ballot, WallTime now);
    /// 1 on a member that never rolled back.
    Result<std::int32_t> rollback_id() const;
    Status save_rollback_id(std::int32_t id);
    /// Whether an initial sync was begun and has not ended.
    Result<bool> is_syncing() const;
    Status save_syncing(bool is_syncing, WallTime now);

    /// Opens the oplog, making it where it is missing.
    Result<std::shared_ptr<catalog::Collection>> open_oplog(std::int64_t bytes_max);

private:
    Result<std::optional<bson::Document>> read(std::string_view collection) const;
    /// Makes `document` the only one of local.`collection`.
    Status write(std::string_view collection, bson::View document);
    Status ensure(const Namespace& ns, bson::View options);

    catalog::Catalog& catalog_;
    storage::Engine& engine_;
    Random random_;
    bson::ObjectIdSource object_ids_;
};

}  // namespace tessera::replication
