// SPDX-License-Identifier: Apache-2.0
#include "routing/ownership.h"

#include <algorithm>

namespace tessera::routing {

OwnershipFilter::OwnershipFilter(ChunkMap::Pointer map, const ShardName& shard)
    : map_(std::move(map)), ranges_(std::make_shared<const KeyRanges>(map_->ranges_of(shard))) {}

Result<OwnershipFilter> OwnershipFilter::at(ChunkMap::Pointer map,
                                            const ShardName& shard,
                                            Timestamp time) {
    KeyRanges ranges;
    for (const auto& chunk : map->chunks()) {
        TRY(const ShardName owner, chunk->shard_at(time));
        if (owner == shard) map->add_range(*chunk, ranges);
    }
    return OwnershipFilter(std::move(map), std::make_shared<const KeyRanges>(std::move(ranges)));
}

bool OwnershipFilter::owns(bson::View document) {
    buffer_.clear();
    return map_->key().append_key_of(document, buffer_).has_value() && owns_key(buffer_.key());
}

bool OwnershipFilter::owns_key(std::string_view key) const {
    const auto after = std::upper_bound(
        ranges_->begin(), ranges_->end(), key, [](std::string_view one, const KeyRange& range) {
            return one < range.high;
        });
    return after != ranges_->end() && after->low <= key;
}

}  // namespace tessera::routing
