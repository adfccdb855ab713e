// SPDX-License-Identifier: Apache-2.0
#include "routing/balancer.h"

#include <algorithm>

namespace tessera::routing {
namespace {

std::string bytes_text(std::int64_t bytes) {
    constexpr std::int64_t kilo = 1024;
    if (bytes < kilo) return std::to_string(bytes) + " bytes";
    if (bytes < kilo * kilo) return std::to_string(bytes / kilo) + " KB";
    return std::to_string(bytes / (kilo * kilo)) + " MB";
}

/// What one collection looks like to the round.
class View {
public:
    View(const BalancerInput& input, const BalancerCollection& collection)
        : input_(input), collection_(collection) {
        for (const auto& chunk : collection.chunks->chunks()) {
            auto points = collection.zones.split_points(*chunk);
            if (!points.empty()) {
                splits_.push_back({ns(), chunk->range, std::move(points)});
                continue;  // It moves when it is split.
            }
            if (input.failed.contains({ns(), chunk->min_key})) continue;
            const std::string zone(collection.zones.zone_of(*chunk));
            zones_.insert(zone);
            movable_[chunk->shard][zone].push_back(chunk.get());
        }
    }

    const std::string& ns() const { return collection_.chunks->collection().ns; }
    const ChunkMap& map() const { return *collection_.chunks; }
    std::vector<ZoneSplit>& splits() { return splits_; }
    /// Zones that movable chunks belong to; "" is the rest.
    const std::set<std::string>& zones() const { return zones_; }
    std::int64_t chunk_bytes_max() const {
        return map().collection().chunk_bytes_max.value_or(input_.chunk_bytes_max);
    }
    std::int64_t bytes(const ShardName& shard) const {
        const auto found = collection_.bytes.find(shard);
        return found == collection_.bytes.end() ? 0 : found->second;
    }
    /// The chunk a shard should give away first: one with data, if sizes are known; jumbo ones only
    /// if asked for.
    const Chunk* pick(const ShardName& shard, const std::string& zone, bool with_jumbo) const {
        const auto by_zone = movable_.find(shard);
        if (by_zone == movable_.end()) return nullptr;
        const auto chunks = by_zone->second.find(zone);
        if (chunks == by_zone->second.end()) return nullptr;
        const Chunk* fallback = nullptr;
        for (const Chunk* chunk : chunks->second) {
            if (chunk->is_jumbo && !with_jumbo) continue;
            const auto known = collection_.chunk_bytes.find(chunk->min_key);
            if (known == collection_.chunk_bytes.end() || known->second > 0) return chunk;
            if (fallback == nullptr) fallback = chunk;
        }
        return fallback;
    }

private:
    const BalancerInput& input_;
    const BalancerCollection& collection_;
    std::vector<ZoneSplit> splits_;
    std::set<std::string> zones_;
    std::map<ShardName, std::map<std::string, std::vector<const Chunk*>>> movable_;
};

bool may_hold(const BalancerShard& shard, const std::string& zone) {
    return zone.empty() || shard.zones.contains(zone);
}

class Round {
public:
    explicit Round(const BalancerInput& input) : input_(input), busy_(input.busy) {
        for (const BalancerShard& shard : input.shards) {
            if (!shard.is_available) busy_.insert(shard.name);
        }
    }

    BalancerPlan run() {
        std::vector<View> views;
        for (const BalancerCollection& collection : input_.collections) {
            const CollectionEntry& entry = collection.chunks->collection();
            if (entry.no_balance || !entry.allow_migrations) {
                plan_.idle[entry.ns] = entry.no_balance ? "balancing is off for this collection"
                                                        : "migrations are not allowed now";
                continue;
            }
            View& view = views.emplace_back(input_, collection);
            for (ZoneSplit& split : view.splits())
                plan_.splits.push_back(std::move(split));
        }
        for (const View& view : views)
            drain(view);
        for (const View& view : views)
            mend_zones(view);
        for (const View& view : views)
            even_out(view);
        for (const Migration& migration : plan_.migrations)
            plan_.idle.erase(migration.ns);
        return std::move(plan_);
    }

private:
    bool is_full() const { return plan_.migrations.size() >= input_.migrations_max; }

    /// The shard with the least data, then the fewest chunks, that may take a chunk of the zone.
    /// `has_any`: some shard could, were it not busy.
    const BalancerShard* receiver(const View& view,
                                  const std::string& zone,
                                  const ShardName& from,
                                  bool& has_any) const {
        const BalancerShard* best = nullptr;
        const auto load = [&](const BalancerShard& shard) {
            const auto found = view.map().shards().find(shard.name);
            const std::size_t chunks =
                found == view.map().shards().end() ? 0 : found->second.chunks;
            return std::pair(view.bytes(shard.name), chunks);
        };
        has_any = false;
        for (const BalancerShard& shard : input_.shards) {
            if (shard.is_draining || shard.name == from || !may_hold(shard, zone)) continue;
            has_any = true;
            if (busy_.contains(shard.name)) continue;
            if (best == nullptr || load(shard) < load(*best)) best = &shard;
        }
        return best;
    }

    void add(const View& view,
             const Chunk& chunk,
             const BalancerShard& to,
             MoveReason reason,
             std::string why) {
        Migration migration;
        migration.ns = view.ns();
        migration.uuid = view.map().collection().uuid;
        migration.from = chunk.shard;
        migration.to = to.name;
        migration.chunk = chunk.range;
        migration.version = view.map().version();
        migration.bytes_max = view.chunk_bytes_max();
        migration.force_jumbo = chunk.is_jumbo;
        migration.reason = reason;
        migration.why = std::move(why);
        busy_.insert(chunk.shard);
        busy_.insert(to.name);
        plan_.migrations.push_back(std::move(migration));
    }

    /// Moves one chunk off `from`, of any of the zones, jumbo ones last. Returns whether it did.
    bool move_off(const View& view,
                  const BalancerShard& from,
                  const std::set<std::string>& zones,
                  MoveReason reason) {
        for (const bool with_jumbo : {false, true}) {
            for (const std::string& zone : zones) {
                const Chunk* chunk = view.pick(from.name, zone, with_jumbo);
                if (chunk == nullptr) continue;
                bool has_any = false;
                const BalancerShard* to = receiver(view, zone, from.name, has_any);
                if (to == nullptr) {
                    plan_.idle[view.ns()] =
                        has_any ? "every shard that could receive a chunk is busy"
                                : "no shard may receive chunks" +
                                      (zone.empty() ? std::string() : " of zone " + zone);
                    continue;
                }
                add(view,
                    *chunk,
                    *to,
                    reason,
                    reason == MoveReason::draining
                        ? from.name + " is draining"
                        : "the chunk belongs to zone " + zone + ", " + from.name + " does not");
                return true;
            }
        }
        return false;
    }

    void drain(const View& view) {
        for (const BalancerShard& shard : input_.shards) {
            if (is_full()) return;
            if (!shard.is_draining || busy_.contains(shard.name)) continue;
            move_off(view, shard, view.zones(), MoveReason::draining);
        }
    }

    void mend_zones(const View& view) {
        for (const BalancerShard& shard : input_.shards) {
            if (is_full()) return;
            if (shard.is_draining || busy_.contains(shard.name)) continue;
            std::set<std::string> wrong;
            for (const std::string& zone : view.zones()) {
                if (!may_hold(shard, zone)) wrong.insert(zone);
            }
            move_off(view, shard, wrong, MoveReason::zone_violation);
        }
    }

    void even_out(const View& view) {
        for (const std::string& zone : view.zones()) {
            while (!is_full() && even_out_once(view, zone)) {
            }
        }
    }

    bool even_out_once(const View& view, const std::string& zone) {
        const BalancerShard* fullest = nullptr;
        for (const BalancerShard& shard : input_.shards) {
            if (shard.is_draining || busy_.contains(shard.name)) continue;
            if (view.pick(shard.name, zone, false) == nullptr) continue;
            if (fullest == nullptr || view.bytes(shard.name) > view.bytes(fullest->name)) {
                fullest = &shard;
            }
        }
        if (fullest == nullptr) return false;
        bool has_any = false;
        const BalancerShard* to = receiver(view, zone, fullest->name, has_any);
        if (to == nullptr) return false;
        const std::int64_t difference = view.bytes(fullest->name) - view.bytes(to->name);
        const std::int64_t threshold = limits::imbalance_chunks * view.chunk_bytes_max();
        const std::string numbers =
            fullest->name + " has " + bytes_text(view.bytes(fullest->name)) + ", " + to->name +
            " " + bytes_text(view.bytes(to->name)) + ": they differ by " + bytes_text(difference);
        if (difference < threshold) {
            plan_.idle[view.ns()] = numbers + ", under the threshold of " + bytes_text(threshold);
            return false;
        }
        add(view,
            *view.pick(fullest->name, zone, false),
            *to,
            MoveReason::data_imbalance,
            numbers + ", the threshold is " + bytes_text(threshold));
        return true;
    }

    const BalancerInput& input_;
    std::set<ShardName> busy_;
    BalancerPlan plan_;
};

}  // namespace

std::string_view to_string(MoveReason reason) {
    switch (reason) {
        case MoveReason::draining:
            return "draining";
        case MoveReason::zone_violation:
            return "zoneViolation";
        case MoveReason::data_imbalance:
            return "chunksImbalance";
    }
    return "";
}

BalancerPlan plan_round(const BalancerInput& input) {
    return Round(input).run();
}

std::string first_compliance_violation(const BalancerInput& input,
                                       const BalancerCollection& collection) {
    BalancerInput alone = input;
    alone.collections = {collection};
    alone.busy.clear();
    alone.failed.clear();
    alone.migrations_max = 1;
    const BalancerPlan plan = plan_round(alone);
    if (!plan.migrations.empty() && plan.migrations.front().reason == MoveReason::draining) {
        return std::string(to_string(MoveReason::draining));
    }
    if (!plan.splits.empty()) return std::string(to_string(MoveReason::zone_violation));
    if (plan.migrations.empty()) return {};
    return std::string(to_string(plan.migrations.front().reason));
}

}  // namespace tessera::routing
