// SPDX-License-Identifier: Apache-2.0
#include "routing/targeting.h"

#include "bson/json.h"

namespace tessera::routing {
namespace {

std::vector<ShardTarget> targets_of(const RoutingInfo& routing,
                                    const std::vector<ShardName>& shards) {
    std::vector<ShardTarget> targets;
    targets.reserve(shards.size());
    for (const ShardName& shard : shards)
        targets.push_back(target_of(routing, shard));
    return targets;
}

WriteTarget one_shard(ShardTarget target) {
    WriteTarget result;
    result.shards.push_back(std::move(target));
    return result;
}

}  // namespace

void ShardTarget::append_versions(bson::Builder& command) const {
    shard_version.append_to(command, "shardVersion");
    if (database_version) database_version->append_to(command, "databaseVersion");
}

ShardTarget target_of(const RoutingInfo& routing, const ShardName& shard) {
    if (!routing.is_sharded()) return target_primary(routing);
    return {shard, routing.chunks->version_of(shard), std::nullopt};
}

ShardTarget target_primary(const RoutingInfo& routing) {
    return {routing.database.primary, ShardVersion::unsharded(), routing.database.version};
}

std::vector<ShardTarget> target_all(const RoutingInfo& routing) {
    if (!routing.is_sharded()) return {target_primary(routing)};
    std::vector<ShardTarget> targets;
    for (const auto& [shard, summary] : routing.chunks->shards()) {
        targets.push_back(target_of(routing, shard));
    }
    return targets;
}

std::vector<ShardTarget> target_ranges(const RoutingInfo& routing, const KeyRanges& ranges) {
    if (!routing.is_sharded()) return {target_primary(routing)};
    // Nothing can match: some shard must still say so, with the right kind of reply.
    if (ranges.empty()) return {target_of(routing, routing.chunks->chunks().front()->shard)};
    return targets_of(routing, routing.chunks->shards_of(ranges));
}

std::vector<ShardTarget> target_query(const RoutingInfo& routing,
                                      bson::View filter,
                                      const FilterOptions& options) {
    if (!routing.is_sharded()) return {target_primary(routing)};
    if (const auto key = exact_key_of(routing.chunks->key(), filter, options))
        return {target_of(routing, routing.chunks->chunk_of(*key).shard)};
    return target_ranges(routing, bounds_of(routing.chunks->key(), filter, options).ranges);
}

Result<std::vector<ShardTarget>> target_query_at(const RoutingInfo& routing,
                                                 bson::View filter,
                                                 Timestamp at,
                                                 const FilterOptions& options) {
    if (!routing.is_sharded() && at < routing.database.moved_at)
        return Error(ErrorCode::snapshot_unavailable,
                     "database " + routing.database.name + " was moved to another shard after " +
                         at.to_string());
    if (!routing.is_sharded()) return std::vector{target_primary(routing)};
    KeyRanges ranges = bounds_of(routing.chunks->key(), filter, options).ranges;
    if (ranges.empty()) ranges = everything();
    TRY(const auto shards, routing.chunks->shards_of(ranges, at));
    return targets_of(routing, shards);
}

Result<ShardTarget> target_insert(const RoutingInfo& routing, bson::View document) {
    if (!routing.is_sharded()) return target_primary(routing);
    TRY(const Key key, routing.chunks->key().key_of(document));
    return target_of(routing, routing.chunks->chunk_of(key).shard);
}

Result<WriteTarget> target_write(const RoutingInfo& routing, const WriteStatement& statement) {
    if (statement.is_multi && statement.kind == WriteStatement::Kind::replacement) {
        return Error(ErrorCode::failed_to_parse,
                     "multi update is not supported for replacement-style update");
    }
    if (!routing.is_sharded()) return one_shard(target_primary(routing));
    const ChunkMap& map = *routing.chunks;
    const FilterBounds bounds = bounds_of(map.key(), statement.filter, statement.options);
    if (bounds.key) {
        return one_shard(target_of(routing, map.chunk_of(*bounds.key).shard));
    }
    // A replacement's own key is not looked at: the document it replaces may have another one.
    WriteTarget result;
    result.is_upsert = statement.is_upsert;
    if (statement.is_multi && !statement.is_upsert) {
        result.shards = target_ranges(routing, bounds.ranges);
        if (result.shards.size() == 1) return result;
        result.kind = WriteKind::multi;
        // A stale shard must not make half of the statement be repeated (protocol.md 4.4); inside
        // a transaction all of it is undone, so there versions are checked.
        if (!statement.is_in_transaction) {
            for (auto& target : result.shards)
                target.shard_version = ShardVersion::ignored();
        }
        return result;
    }
    if (statement.is_multi) {
        // An upsert inserts on the shard its own document belongs to, so that shard must be known.
        return Error(ErrorCode::shard_key_not_found,
                     "An upsert with multi on the sharded collection " + map.collection().ns +
                         " must have the full shard key in its query " +
                         bson::to_json(statement.filter, bson::JsonMode::message));
    }
    result.shards = target_ranges(routing, bounds.ranges);
    if (result.shards.size() == 1 && !statement.is_upsert) return result;
    const bool has_id = !exact_id_of(statement.filter, statement.options).is_missing();
    if (has_id && !statement.is_upsert) {
        result.kind = WriteKind::by_id;
        return result;
    }
    result.kind = WriteKind::two_phase;
    return result;
}

}  // namespace tessera::routing
