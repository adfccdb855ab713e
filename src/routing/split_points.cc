// SPDX-License-Identifier: Apache-2.0
#include "routing/split_points.h"

namespace tessera::routing {

SplitPointPicker::SplitPointPicker(ShardKeyPattern pattern,
                                   std::int64_t chunk_bytes,
                                   std::size_t points_max)
    : pattern_(std::move(pattern)), chunk_bytes_(chunk_bytes), points_max_(points_max) {}

bool SplitPointPicker::observe(bson::View key, std::int64_t bytes) {
    auto encoded = pattern_.encode_bound(key);
    if (!encoded) return true;
    const bool is_new = last_ && *last_ < *encoded;
    if (is_new && bytes_ >= chunk_bytes_) {
        if (points_.size() == points_max_) return false;
        points_.emplace_back(key);
        bytes_ = 0;
    }
    bytes_ += bytes;
    last_ = std::move(encoded).value();
    return true;
}

std::vector<bson::Document> SplitPointPicker::finish() && {
    if (!points_.empty() && bytes_ < chunk_bytes_ / 4) points_.pop_back();
    return std::move(points_);
}

RangeEndPicker::RangeEndPicker(ShardKeyPattern pattern, std::int64_t bytes_max)
    : pattern_(std::move(pattern)), bytes_max_(bytes_max) {}

bool RangeEndPicker::observe(bson::View key, std::int64_t bytes) {
    if (end_) return false;
    auto encoded = pattern_.encode_bound(key);
    if (!encoded) return true;
    const bool is_new = last_ && *last_ < *encoded;
    if (is_new && bytes_ + bytes > bytes_max_) {
        end_.emplace(key);
        return false;
    }
    bytes_ += bytes;
    last_ = std::move(encoded).value();
    return true;
}

}  // namespace tessera::routing
