// SPDX-License-Identifier: Apache-2.0
#include "commands/placement_gate.h"

#include "routing/ownership.h"

namespace tessera::commands {
namespace {

// One request's filter; keeps the map and the count of its users alive.
class Filter final : public query::OwnershipFilter {
public:
    Filter(const sharding::CollectionPlacement& placement, const sharding::ShardName& shard)
        : in_use_(placement.in_use), filter_(placement.chunks, shard) {}
    bool owns(bson::View document) const override { return filter_.owns(document); }

private:
    std::shared_ptr<void> in_use_;
    mutable routing::OwnershipFilter filter_;  // Reuses a buffer; one request's only.
};

}  // namespace

Result<Placement> ShardPlacementGate::check(const Request& request,
                                            const Namespace& ns,
                                            bool is_write) {
    using Access = sharding::ShardingState::Access;
    if (ns.db == "local" || ns.db == "config" || ns.db == "admin") return Placement();
    sharding::ReceivedVersions received;
    if (!request.shard_version.is_empty()) {
        TRY(received.shard, routing::ShardVersion::parse(request.shard_version.as_object_value()));
    }
    if (!request.database_version.is_empty()) {
        TRY(received.database,
            routing::DatabaseVersion::parse(request.database_version.as_object_value()));
    }
    if (!received.is_empty()) sharding_.load_identity();
    TRY(const auto found,
        sharding_.state.check(ns.to_string(), received, is_write ? Access::write : Access::read));
    Placement placement;
    placement.in_use = found.in_use;
    if (!found.chunks) return placement;
    placement.shard_key = found.chunks->key().document();
    const auto identity = sharding_.state.identity();
    // "available" asks for speed rather than for the truth.
    const bool is_available =
        request.read_concern && request.read_concern->level == replication::ReadLevel::available;
    if (found.is_filtered && identity && !(is_available && !is_write))
        placement.filter = std::make_shared<Filter>(found, identity->name);
    return placement;
}

async::Task<void> ShardPlacementGate::recover(Namespace ns, Error error, Instant deadline) {
    co_await sharding_.state.recover(ns.to_string(), std::move(error), deadline);
}

void ShardPlacementGate::on_write(const Namespace& ns, bson::View key, bson::View, bool) {
    sharding_.source.on_write(ns.to_string(), key);
}

}  // namespace tessera::commands
