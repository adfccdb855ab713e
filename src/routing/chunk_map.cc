// SPDX-License-Identifier: Apache-2.0
#include "routing/chunk_map.h"

#include <algorithm>
#include <set>

namespace tessera::routing {
namespace {

Error inconsistent(const CollectionEntry& collection, std::string_view why) {
    return {ErrorCode::conflicting_operation_in_progress,
            "The chunks of " + collection.ns + " (" + collection.uuid.to_string() +
                ") are inconsistent: " + std::string(why)};
}

Result<std::vector<Chunk>> parse_all(const CollectionEntry& collection,
                                     const std::vector<bson::Document>& documents) {
    std::vector<Chunk> chunks;
    chunks.reserve(documents.size());
    for (const bson::Document& document : documents) {
        TRY(Chunk chunk, Chunk::parse(collection.key, document));
        const bson::Value uuid = document["uuid"];
        const bool is_same =
            uuid.type() == bson::Type::binary && uuid.as_binary().bytes == collection.uuid.view();
        if (!is_same) return inconsistent(collection, "a chunk is of another collection");
        chunks.push_back(std::move(chunk));
    }
    return chunks;
}

/// Keeps of chunks that overlap the newer ones, as they were read while being changed; by min key.
ChunkMap::Chunks newest_only(std::vector<Chunk> changed) {
    std::sort(changed.begin(), changed.end(), [](const Chunk& one, const Chunk& two) {
        return one.placement < two.placement;
    });
    std::map<Key, std::shared_ptr<const Chunk>> by_min;
    for (Chunk& chunk : changed) {
        auto at = by_min.lower_bound(chunk.min_key);
        if (at != by_min.begin() && std::prev(at)->second->max_key > chunk.min_key) --at;
        while (at != by_min.end() && at->first < chunk.max_key)
            at = by_min.erase(at);
        Key min_key = chunk.min_key;
        by_min.emplace(std::move(min_key), std::make_shared<const Chunk>(std::move(chunk)));
    }
    ChunkMap::Chunks result;
    result.reserve(by_min.size());
    for (auto& [min_key, chunk] : by_min)
        result.push_back(std::move(chunk));
    return result;
}

}  // namespace

Result<ChunkMap::Pointer> ChunkMap::make(CollectionEntry collection,
                                         const std::vector<bson::Document>& chunks) {
    TRY(auto parsed, parse_all(collection, chunks));
    return make(std::move(collection), std::move(parsed));
}

Result<ChunkMap::Pointer> ChunkMap::make(CollectionEntry collection, std::vector<Chunk> chunks) {
    return build(std::move(collection), {}, std::move(chunks));
}

Result<ChunkMap::Pointer> ChunkMap::updated(CollectionEntry collection,
                                            const std::vector<bson::Document>& changed) const {
    TRY(auto parsed, parse_all(collection, changed));
    return updated(std::move(collection), std::move(parsed));
}

Result<ChunkMap::Pointer> ChunkMap::updated(CollectionEntry collection,
                                            std::vector<Chunk> changed) const {
    if (collection.generation != collection_.generation || collection.uuid != collection_.uuid ||
        !(collection.key == collection_.key)) {
        return inconsistent(collection, "they are of another generation than the cached ones");
    }
    return build(std::move(collection), chunks_, std::move(changed));
}

Result<ChunkMap::Pointer> ChunkMap::build(CollectionEntry collection,
                                          const Chunks& base,
                                          std::vector<Chunk> changed) {
    const Chunks newer = newest_only(std::move(changed));
    std::shared_ptr<ChunkMap> map(new ChunkMap(std::move(collection)));
    map->chunks_.reserve(base.size() + newer.size());
    // Both lists are sorted: take from base what no newer chunk overlaps.
    auto next = newer.begin();
    for (const auto& old : base) {
        while (next != newer.end() && (*next)->max_key <= old->min_key) {
            map->chunks_.push_back(*next++);
        }
        const bool is_replaced = next != newer.end() && (*next)->min_key < old->max_key;
        if (!is_replaced) map->chunks_.push_back(old);
    }
    map->chunks_.insert(map->chunks_.end(), next, newer.end());
    TRY_OK(map->check_and_summarize());
    return Pointer(std::move(map));
}

Status ChunkMap::check_and_summarize() {
    if (chunks_.empty()) return inconsistent(collection_, "there are none");
    // Invariant: chunks-cover-once.
    if (!key().is_min_bound(chunks_.front()->range.min)) {
        return inconsistent(collection_, "the first does not start at MinKey");
    }
    if (!key().is_max_bound(chunks_.back()->range.max)) {
        return inconsistent(collection_, "the last does not end at MaxKey");
    }
    const Chunk* last = nullptr;
    for (const auto& chunk : chunks_) {
        if (last != nullptr && last->max_key != chunk->min_key) {
            const bool is_gap = last->max_key < chunk->min_key;
            return inconsistent(collection_,
                                std::string(is_gap ? "a gap" : "an overlap") + " between " +
                                    to_string(last->range) + " and " + to_string(chunk->range));
        }
        last = chunk.get();
        ShardSummary& summary = shards_[chunk->shard];
        ++summary.chunks;
        summary.placement_max = std::max(summary.placement_max, chunk->placement);
        placement_max_ = std::max(placement_max_, chunk->placement);
    }
    return ok();
}

ChunkVersion ChunkMap::version_of(const ShardName& shard) const {
    const auto found = shards_.find(shard);
    return {collection_.generation,
            found == shards_.end() ? Placement{} : found->second.placement_max};
}

const Chunk& ChunkMap::chunk_of(std::string_view key) const {
    const auto found = std::upper_bound(
        chunks_.begin(), chunks_.end(), key, [](std::string_view one, const auto& chunk) {
            return one < chunk->max_key;
        });
    // Only {field: MaxKey} itself, which the last chunk takes as well, lies behind the end.
    return found == chunks_.end() ? *chunks_.back() : **found;
}

const Chunk* ChunkMap::chunk_with(const Range& range) const {
    const auto min_key = key().encode_bound(range.min);
    const auto max_key = key().encode_bound(range.max);
    if (!min_key || !max_key) return nullptr;
    const Chunk& chunk = chunk_of(*min_key);
    return chunk.min_key == *min_key && chunk.max_key == *max_key ? &chunk : nullptr;
}

std::pair<std::size_t, std::size_t> ChunkMap::chunks_overlapping(const KeyRange& range) const {
    const auto first = std::upper_bound(
        chunks_.begin(), chunks_.end(), range.low, [](const std::string& low, const auto& chunk) {
            return low < chunk->max_key;
        });
    const auto last = std::lower_bound(
        first, chunks_.end(), range.high, [](const auto& chunk, const std::string& high) {
            return chunk->min_key < high;
        });
    const auto index = [&](auto at) { return static_cast<std::size_t>(at - chunks_.begin()); };
    // Keys with MaxKey in every field belong to the last chunk.
    if (first == chunks_.end() && range.low < range.high)
        return {chunks_.size() - 1, chunks_.size()};
    return {index(first), index(last)};
}

std::vector<ShardName> ChunkMap::shards_of(const KeyRanges& ranges) const {
    std::set<ShardName> found;
    for (const KeyRange& range : ranges) {
        const auto [first, last] = chunks_overlapping(range);
        for (std::size_t i = first; i < last; ++i) {
            found.insert(chunks_[i]->shard);
            if (found.size() == shards_.size()) break;
        }
        if (found.size() == shards_.size()) break;
    }
    return std::vector<ShardName>(found.begin(), found.end());
}

Result<std::vector<ShardName>> ChunkMap::shards_of(const KeyRanges& ranges, Timestamp at) const {
    std::set<ShardName> found;
    for (const KeyRange& range : ranges) {
        const auto [first, last] = chunks_overlapping(range);
        for (std::size_t i = first; i < last; ++i) {
            TRY(ShardName shard, chunks_[i]->shard_at(at));
            found.insert(std::move(shard));
        }
    }
    return std::vector<ShardName>(found.begin(), found.end());
}

bool ChunkMap::owns_range(const ShardName& shard, const Range& range) const {
    const auto min_key = key().encode_bound(range.min);
    const auto max_key = key().encode_bound(range.max);
    if (!min_key || !max_key || *min_key >= *max_key) return false;
    const auto [first, last] = chunks_overlapping({*min_key, *max_key});
    for (std::size_t i = first; i < last; ++i) {
        if (chunks_[i]->shard != shard) return false;
    }
    return true;
}

KeyRanges ChunkMap::ranges_of(const ShardName& shard) const {
    KeyRanges ranges;
    if (!owns_any(shard)) return ranges;
    for (const auto& chunk : chunks_)
        if (chunk->shard == shard) add_range(*chunk, ranges);
    return ranges;
}

void ChunkMap::add_range(const Chunk& chunk, KeyRanges& ranges) const {
    std::string high = chunk.max_key;
    // {a: MaxKey} itself is the last chunk's.
    if (key().is_max_bound(chunk.range.max)) high = everything().front().high;
    if (!ranges.empty() && ranges.back().high == chunk.min_key)
        ranges.back().high = std::move(high);
    else
        ranges.push_back({chunk.min_key, std::move(high)});
}

}  // namespace tessera::routing
