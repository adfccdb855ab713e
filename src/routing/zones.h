// SPDX-License-Identifier: Apache-2.0
//
// Zones: key ranges of a collection that must live on shards of a named zone (config.tags).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "routing/chunk.h"

namespace tessera::routing {

struct ZoneRange {
    Range range;
    std::string zone;
    Key min_key;
    Key max_key;
};

/// The zone ranges of one collection. Invariant: sorted and disjoint.
class Zones {
public:
    Zones() = default;
    /// Parses config.tags documents of one collection: {_id: {ns, min}, ns, min, max, tag}.
    static Result<Zones> parse(const ShardKeyPattern& pattern,
                               const std::vector<bson::Document>& tags);

    /// Returns the zones with one range more; the same range for the same zone again is no change.
    /// Bounds that are prefixes of the key are extended with MinKey. Fails with
    /// RangeOverlapConflict (178) and with BadValue on bounds that do not fit the key.
    Result<Zones> with(const ShardKeyPattern& pattern,
                       const Range& range,
                       std::string_view zone) const;
    /// Returns the zones without exactly this range; no change when there is no such range.
    Result<Zones> without(const ShardKeyPattern& pattern, const Range& range) const;

    /// The zone that holds all of the chunk; empty when none does, or several share it.
    std::string_view zone_of(const Chunk& chunk) const;
    /// The zone a key belongs to; empty when none.
    std::string_view zone_of(std::string_view key) const;
    /// Where a chunk must be split so that each piece is in one zone, or in none.
    std::vector<bson::Document> split_points(const Chunk& chunk) const;
    bool uses(std::string_view zone) const;
    const std::vector<ZoneRange>& ranges() const { return ranges_; }
    bool is_empty() const { return ranges_.empty(); }

private:
    std::vector<ZoneRange> ranges_;
};

/// The config.tags document of a range.
bson::Document zone_document(std::string_view ns, const ZoneRange& range);

}  // namespace tessera::routing
