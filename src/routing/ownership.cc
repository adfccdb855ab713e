// SPDX-License-Identifier: Apache-2.0
#include "routing/ownership.h"

#include <algorithm>

namespace tessera::routing {

OwnershipFilter::OwnershipFilter(ChunkMap::Pointer map, const ShardName& shard)
    : map_(std::move(map)) {
    if (!map_->owns_any(shard)) return;
    for (const auto& chunk : map_->chunks()) {
        if (chunk->shard == shard) add(*chunk);
    }
}

Result<OwnershipFilter> OwnershipFilter::at(ChunkMap::Pointer map,
                                            const ShardName& shard,
                                            Timestamp time) {
    OwnershipFilter filter(std::move(map));
    for (const auto& chunk : filter.map_->chunks()) {
        TRY(const ShardName owner, chunk->shard_at(time));
        if (owner == shard) filter.add(*chunk);
    }
    return filter;
}

void OwnershipFilter::add(const Chunk& chunk) {
    std::string high = chunk.max_key;
    // {a: MaxKey} itself is the last chunk's.
    if (map_->key().is_max_bound(chunk.range.max)) high = everything().front().high;
    if (!ranges_.empty() && ranges_.back().high == chunk.min_key) {
        ranges_.back().high = std::move(high);
    } else {
        ranges_.push_back({chunk.min_key, std::move(high)});
    }
}

bool OwnershipFilter::owns(bson::View document) {
    buffer_.clear();
    return map_->key().append_key_of(document, buffer_).has_value() && owns_key(buffer_.key());
}

bool OwnershipFilter::owns_key(std::string_view key) const {
    const auto after = std::upper_bound(
        ranges_.begin(), ranges_.end(), key, [](std::string_view one, const KeyRange& range) {
            return one < range.high;
        });
    return after != ranges_.end() && after->low <= key;
}

}  // namespace tessera::routing
