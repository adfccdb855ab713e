// SPDX-License-Identifier: Apache-2.0
//
// DocumentStore: documents of this member's own admin and config databases, read and written in
// whole units: the config primary's catalogue, and what a shard must remember of itself and of its
// migrations. A change resumes its caller when a majority has it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "async/clock.h"
#include "async/task.h"
#include "bson/ids.h"
#include "replication/replication.h"
#include "storage/engine.h"

namespace tessera::sharding {

struct DocumentWrite {
    enum class Kind { put, remove };
    Namespace ns;
    Kind kind = Kind::put;
    bson::Document document;  // Whole, or {_id} to remove. put inserts or replaces by _id.
};
inline Namespace config_ns(std::string collection) {
    return {"config", std::move(collection)};
}

inline DocumentWrite config_put(std::string collection, bson::Document document) {
    return {config_ns(std::move(collection)), DocumentWrite::Kind::put, std::move(document)};
}
inline DocumentWrite config_removal(std::string collection, bson::Document id) {
    return {config_ns(std::move(collection)), DocumentWrite::Kind::remove, std::move(id)};
}

class DocumentStore {
public:
    DocumentStore(replication::Replication& replication,
                  catalog::Catalog& catalog,
                  storage::Engine& engine,
                  async::Clock& clock)
        : replication_(replication), catalog_(catalog), engine_(engine), clock_(clock) {}

    /// The latest committed here; what apply() answered for is among it.
    Result<std::optional<bson::Document>> find_one(const Namespace& ns, bson::View filter) const;
    Result<std::vector<bson::Document>> find(const Namespace& ns, bson::View filter) const;
    /// All or nothing; resumes when a majority has it. Fails with NotWritablePrimary and with what
    /// ends the wait for the majority: the outcome is then open.
    async::Task<Status> apply(std::vector<DocumentWrite> writes);
    /// One write of apply().
    async::Task<Status> put(Namespace ns, bson::Document document);
    async::Task<Status> remove(Namespace ns, bson::Document id);
    /// Creates the collection where it is missing.
    Status ensure_collection(const Namespace& ns);
    async::Task<Status> await_majority(OpTime at, Instant deadline);

    /// When a wait for a majority that begins now is given up.
    Instant majority_deadline() const;
    OpTime last_applied() const { return replication_.last_applied(); }
    /// A new cluster time, after all that this process has made or heard of. As primary.
    Timestamp new_cluster_time() { return replication_.logical_clock().make(1, wall_time()); }
    WallTime wall_time() const { return clock_.wall_now(); }

private:
    Result<OpTime> write(const std::vector<DocumentWrite>& writes);

    replication::Replication& replication_;
    catalog::Catalog& catalog_;
    storage::Engine& engine_;
    async::Clock& clock_;
};

}  // namespace tessera::sharding
