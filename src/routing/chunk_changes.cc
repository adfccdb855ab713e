// SPDX-License-Identifier: Apache-2.0
#include "routing/chunk_changes.h"

#include <algorithm>

#include "bson/json.h"
#include "routing/limits.h"

namespace tessera::routing {
namespace {

std::string text_of(bson::View document) {
    return bson::to_json(document, bson::JsonMode::message);
}

Error no_such_chunk(const ChunkMap& map, const Range& range) {
    return {ErrorCode::conflicting_operation_in_progress,
            "The collection " + map.collection().ns + " has no chunk " + to_string(range) +
                " at version " + map.version().to_string()};
}

/// A part of a chunk: what is the same in all its parts is kept, what speaks of size is not.
Result<Chunk> piece_of(const ShardKeyPattern& pattern, const Chunk& whole, Range range) {
    TRY(Chunk piece, Chunk::make(pattern, std::move(range)));
    piece.id = whole.id;
    piece.shard = whole.shard;
    piece.on_shard_since = whole.on_shard_since;
    piece.history = whole.history;
    return piece;
}

/// One chunk in place of neighbours [first, last) of one shard. Its history can only say what is
/// true of all of it: since when the shard has the part that came last.
Result<Chunk> merged_of(const ChunkMap& map, std::size_t first, std::size_t last) {
    const auto& chunks = map.chunks();
    Range range{chunks[first]->range.min, chunks[last - 1]->range.max};
    TRY(Chunk merged, Chunk::make(map.key(), std::move(range)));
    merged.id = chunks[first]->id;
    merged.shard = chunks[first]->shard;
    for (std::size_t i = first; i < last; ++i) {
        merged.on_shard_since = std::max(merged.on_shard_since, chunks[i]->on_shard_since);
    }
    merged.history = {{merged.on_shard_since, merged.shard}};
    return merged;
}

void add_merge(
    const ChunkMap& map, std::size_t first, std::size_t last, Chunk merged, ChunkChanges& changes) {
    ++changes.placement.minor;
    merged.placement = changes.placement;
    changes.put.push_back(std::move(merged));
    for (std::size_t i = first + 1; i < last; ++i)
        changes.removed.push_back(map.chunks()[i]->id);
}

/// The donor's other chunk that carries the new major when nothing of the moved one stays.
const Chunk* control_chunk(const ChunkMap& map, const Chunk& moved) {
    for (const auto& chunk : map.chunks()) {
        if (chunk->shard == moved.shard && chunk.get() != &moved) return chunk.get();
    }
    return nullptr;
}

}  // namespace

Result<ChunkChanges> split_chunk(const ChunkMap& map,
                                 const Range& range,
                                 const std::vector<bson::Document>& points,
                                 IdContext context) {
    const Chunk* chunk = map.chunk_with(range);
    if (chunk == nullptr) return no_such_chunk(map, range);
    if (points.empty()) return Error(ErrorCode::bad_value, "need to specify the split points");
    if (points.size() > limits::split_points) {
        return Error(ErrorCode::bad_value,
                     "too many split points: " + std::to_string(points.size()) + ", at most " +
                         std::to_string(limits::split_points));
    }
    std::map<Key, const bson::Document*> sorted;
    for (const bson::Document& point : points) {
        TRY(Key key, map.key().encode_bound(point));
        if (key == chunk->min_key || key == chunk->max_key) {
            return Error(ErrorCode::cannot_split,
                         "new split key " + text_of(point) +
                             " is a boundary key of existing chunk " + to_string(range));
        }
        if (!chunk->contains(key)) {
            return Error(
                ErrorCode::bad_value,
                "split key " + text_of(point) + " is outside the chunk " + to_string(range));
        }
        sorted.emplace(std::move(key), &point);
    }
    ChunkChanges changes;
    changes.placement = map.version().placement;
    const bson::Document* min = &chunk->range.min;
    const auto add = [&](const bson::Document& max) -> Status {
        TRY(Chunk piece, piece_of(map.key(), *chunk, {*min, max}));
        if (!changes.put.empty()) piece.id = context.ids.next(context.now);
        ++changes.placement.minor;
        piece.placement = changes.placement;
        changes.put.push_back(std::move(piece));
        min = &max;
        return ok();
    };
    for (const auto& [key, point] : sorted)
        TRY_OK(add(*point));
    TRY_OK(add(chunk->range.max));
    return changes;
}

Result<ChunkChanges> merge_chunks(const ChunkMap& map, const Range& range) {
    TRY(const Key min_key, map.key().encode_bound(range.min));
    TRY(const Key max_key, map.key().encode_bound(range.max));
    if (min_key >= max_key) {
        return Error(ErrorCode::bad_value, "The range " + to_string(range) + " is empty");
    }
    const auto [first, last] = map.chunks_overlapping({min_key, max_key});
    const auto& chunks = map.chunks();
    if (chunks[first]->min_key != min_key || chunks[last - 1]->max_key != max_key) {
        return Error(ErrorCode::bad_value,
                     "The range " + to_string(range) + " does not start and end with chunks of " +
                         map.collection().ns);
    }
    for (std::size_t i = first; i < last; ++i) {
        if (chunks[i]->shard != chunks[first]->shard) {
            return Error(ErrorCode::bad_value,
                         "Cannot merge chunks in the range " + to_string(range) +
                             ": they are on different shards");
        }
    }
    ChunkChanges changes;
    changes.placement = map.version().placement;
    if (last - first < 2) return changes;
    TRY(Chunk merged, merged_of(map, first, last));
    add_merge(map, first, last, std::move(merged), changes);
    return changes;
}

Result<ChunkChanges> merge_all_on_shard(const ChunkMap& map,
                                        const ShardName& shard,
                                        Timestamp settled_before,
                                        std::size_t limit,
                                        const std::vector<Key>& boundaries) {
    const auto& chunks = map.chunks();
    const auto is_mergeable = [&](const Chunk& chunk) {
        return chunk.shard == shard && !chunk.is_jumbo && chunk.on_shard_since < settled_before;
    };
    ChunkChanges changes;
    changes.placement = map.version().placement;
    std::size_t first = 0;
    while (first < chunks.size() && changes.put.size() < limit) {
        std::size_t last = first;
        while (last < chunks.size() && is_mergeable(*chunks[last])) {
            const bool at_boundary =
                last > first &&
                std::binary_search(boundaries.begin(), boundaries.end(), chunks[last]->min_key);
            if (at_boundary) break;
            ++last;
        }
        if (last - first >= 2) {
            TRY(Chunk merged, merged_of(map, first, last));
            add_merge(map, first, last, std::move(merged), changes);
        }
        first = std::max(last, first + 1);
    }
    return changes;
}

Result<ChunkChanges> move_range(const ChunkMap& map,
                                const MoveRequest& request,
                                IdContext context) {
    if (request.from == request.to) {
        return Error(ErrorCode::bad_value, "cannot move a range to the shard that owns it");
    }
    TRY(Chunk moved, Chunk::make(map.key(), request.range));
    const Chunk& whole = map.chunk_of(moved.min_key);
    if (whole.shard != request.from || moved.max_key > whole.max_key) {
        return Error(ErrorCode::conflicting_operation_in_progress,
                     "The range " + to_string(request.range) +
                         " is not within one chunk of shard " + request.from + " at version " +
                         map.version().to_string());
    }
    ChunkChanges changes;
    changes.placement = {map.version().placement.major + 1, 0};
    // The moved piece keeps the chunk's id, the others get new ones.
    moved.id = whole.id;
    moved.shard = request.to;
    moved.placement = changes.placement;
    moved.on_shard_since = request.valid_after;
    moved.history = whole.history;
    // An entry is of no use when the one after it was already valid at oldest_history.
    while (!moved.history.empty()) {
        const std::size_t count = moved.history.size();
        const bool is_old =
            count >= 2 && moved.history[count - 2].valid_after <= request.oldest_history;
        if (!is_old && count < limits::chunk_history) break;
        moved.history.pop_back();
    }
    moved.history.insert(moved.history.begin(), {request.valid_after, request.to});
    const Range moved_range = moved.range;
    const bool has_left = whole.min_key < moved.min_key;
    const bool has_right = moved.max_key < whole.max_key;
    changes.put.push_back(std::move(moved));
    const auto add_rest = [&](Range range) -> Status {
        TRY(Chunk rest, piece_of(map.key(), whole, std::move(range)));
        rest.id = context.ids.next(context.now);
        ++changes.placement.minor;
        rest.placement = changes.placement;
        changes.put.push_back(std::move(rest));
        return ok();
    };
    if (has_left) TRY_OK(add_rest({whole.range.min, moved_range.min}));
    if (has_right) TRY_OK(add_rest({moved_range.max, whole.range.max}));
    if (!has_left && !has_right) {
        if (const Chunk* control = control_chunk(map, whole)) {
            ++changes.placement.minor;
            changes.put.push_back(*control);
            changes.put.back().placement = changes.placement;
        }
    }
    return changes;
}

Result<ChunkMap::Pointer> applied(const ChunkMap& map, const ChunkChanges& changes) {
    if (changes.is_empty()) return map.updated(map.collection(), std::vector<Chunk>{});
    return map.updated(map.collection(), changes.put);
}

}  // namespace tessera::routing
