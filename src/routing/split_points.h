// SPDX-License-Identifier: Apache-2.0
//
// Where to split a chunk: its keys go by in order, and a split point is set each time enough bytes
// have gone by. Equal keys are never separated.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "routing/shard_key.h"

namespace tessera::routing {

class SplitPointPicker {
public:
    /// `chunk_bytes` is what a piece should have; at most `points_max` points are set.
    SplitPointPicker(ShardKeyPattern pattern, std::int64_t chunk_bytes, std::size_t points_max);

    /// The next key of the chunk in ascending order, as a full bound, and the bytes of documents it
    /// stands for (one document, or a sample's share). Returns whether more keys are of use.
    bool observe(bson::View key, std::int64_t bytes);
    /// The points set so far. A small last piece (under a quarter of a chunk) is joined to the one
    /// before it.
    std::vector<bson::Document> finish() &&;

private:
    ShardKeyPattern pattern_;
    std::int64_t chunk_bytes_;
    std::size_t points_max_;
    std::int64_t bytes_ = 0;  // Since the last point.
    std::optional<Key> last_;
    std::vector<bson::Document> points_;
};

/// How many bytes [range.min, ...) of at most `bytes_max` reach, given the same stream of keys: the
/// bound at which a range to move should end; nothing when all of it fits.
class RangeEndPicker {
public:
    RangeEndPicker(ShardKeyPattern pattern, std::int64_t bytes_max);
    /// Returns whether more keys are of use.
    bool observe(bson::View key, std::int64_t bytes);
    const std::optional<bson::Document>& end() const { return end_; }

private:
    ShardKeyPattern pattern_;
    std::int64_t bytes_max_;
    std::int64_t bytes_ = 0;
    std::optional<Key> last_;
    std::optional<bson::Document> end_;
};

}  // namespace tessera::routing
