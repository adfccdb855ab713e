// SPDX-License-Identifier: Apache-2.0
#include "commands/placement_gate.h"

#include "routing/ownership.h"
#include "sharding/limits.h"

namespace tessera::commands {
namespace {

// What one read goes by: keeps the map and the count of its users alive, hides orphans, and on a
// secondary holds each snapshot against the records in it.
//
// A read at a cluster time is filtered by who owned what then, and what a shard held at a time
// stays as it was. All it needs is a map that knows of every move up to that time. A secondary
// whose data is of that time has applied what the donor of such a move marked before (refreshing),
// so its newest record tells; the record in the snapshot would be an old one.
class ReadGuard final : public query::OwnershipFilter, public PlacementFence {
public:
    ReadGuard(const Member& member,
              const sharding::CollectionPlacement& placement,
              sharding::PlacementClaim claim,
              std::optional<routing::OwnershipFilter> filter,
              bool is_at_time)
        : member_(member),
          in_use_(placement.in_use),
          claim_(std::move(claim)),
          is_at_time_(is_at_time),
          filter_(std::move(filter)) {}
    bool owns(bson::View document) const override { return !filter_ || filter_->owns(document); }
    Status check(storage::Transaction& transaction, bool is_begun) const override {
        // A primary's requests are counted, and what they use is neither moved nor deleted.
        if (member_.replication->is_writable_primary()) return {};
        if (!is_at_time_)
            return sharding::check_claim(*member_.catalog, transaction, claim_, is_begun);
        if (is_begun) return {};
        TRY(const auto newest, member_.engine->begin());
        return sharding::check_claim(*member_.catalog, *newest, claim_, false);
    }

private:
    const Member& member_;
    std::shared_ptr<void> in_use_;
    const sharding::PlacementClaim claim_;
    const bool is_at_time_;
    mutable std::optional<routing::OwnershipFilter> filter_;  // Reuses a buffer; one request's.
};

// `at` null: as things are now.
Result<routing::OwnershipFilter> filter_at(const sharding::CollectionPlacement& placement,
                                           const routing::ShardName& shard,
                                           Timestamp at) {
    if (!at.is_null()) return routing::OwnershipFilter::at(placement.chunks, shard, at);
    if (placement.owned) return routing::OwnershipFilter(placement.chunks, placement.owned);
    return routing::OwnershipFilter(placement.chunks, shard);
}

}  // namespace

Result<Placement> ShardPlacementGate::check(const Request& request,
                                            const Namespace& ns,
                                            bool is_write) {
    using Access = sharding::ShardingState::Access;
    if (ns.db == "local" || ns.db == "config" || ns.db == "admin") return Placement();
    sharding::ReceivedVersions received;
    received.is_internal = request.is_internal;
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
    if (found.chunks) placement.shard_key = found.chunks->key().document();
    // "available" asks for speed rather than for the truth.
    const bool is_available = !is_write && request.read_concern &&
                              request.read_concern->level == replication::ReadLevel::available;
    const bool is_filtered = found.is_filtered && found.chunks;
    const bool needs_fence = !is_write && !received.is_empty() &&
                             (is_filtered || !sharding_.member.replication->is_writable_primary());
    const auto identity = sharding_.state.identity();
    if (is_available || !identity || !(is_filtered || needs_fence)) return placement;
    sharding::PlacementClaim claim;
    claim.ns = ns.to_string();
    claim.received = received;
    if (is_filtered) claim.chunks = found.chunks;
    claim.shard = identity->name;
    const Timestamp at =
        request.read_concern ? request.read_concern->at_cluster_time : Timestamp();
    std::optional<routing::OwnershipFilter> filter;
    if (is_filtered) {
        TRY(filter, filter_at(found, identity->name, at));
    }
    const auto guard = std::make_shared<ReadGuard>(
        sharding_.member, found, std::move(claim), std::move(filter), !at.is_null());
    if (is_filtered) placement.filter = guard;
    if (needs_fence) placement.fence = guard;
    return placement;
}

// On a secondary: has the primary write down what it knows, and waits until that is here.
async::Task<Status> ShardPlacementGate::ask_primary(std::string ns, Instant deadline) {
    const auto identity = sharding_.state.identity();
    if (!identity) co_return Status();
    sharding::CallOptions options;
    options.is_retryable = true;
    options.deadline =
        std::min(deadline, sharding_.member.clock.now() + sharding::limits::config_read);
    bson::Document flush = bson::make("_flushRoutingTableCacheUpdates", ns, "$db", "admin");
    CO_TRY(const auto reply,
           co_await sharding_.registry.call_ok(identity->name, std::move(flush), options));
    const bson::Value at = reply["appliedAt"];
    if (at.type() != bson::Type::timestamp) co_return Status();
    replication::ReadConcern concern;
    concern.level = replication::ReadLevel::majority;
    concern.after_cluster_time = at.as_timestamp();
    CO_TRY([[maybe_unused]] const Timestamp reached,
           co_await sharding_.member.replication->await_read_concern(
               concern, options.deadline, async::Cancellation::none()));
    co_return Status();
}

async::Task<void> ShardPlacementGate::recover(Namespace ns, Error error, Instant deadline) {
    const std::string name = ns.to_string();
    const bool is_router_behind = sharding::is_sender_behind(error);
    co_await sharding_.state.recover(name, error, deadline);
    if (is_router_behind || sharding_.member.replication->is_writable_primary()) co_return;
    // What fails here shows in the router's next attempt.
    [[maybe_unused]] const Status status = co_await ask_primary(name, deadline);
}

void ShardPlacementGate::on_write(const Namespace& ns, bson::View key, bson::View, bool) {
    sharding_.source.on_write(ns.to_string(), key);
}

}  // namespace tessera::commands
