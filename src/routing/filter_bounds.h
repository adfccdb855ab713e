// SPDX-License-Identifier: Apache-2.0
//
// Reads from a filter document what it says about the shard key and about _id, without compiling
// it: $eq, $in, $gt, $gte, $lt, $lte, implicit and explicit $and, and $or. Whatever else a filter
// says only ever narrows what matches, so it is ignored here: the result is never too small.
// Nothing is validated: the shards do that.
#pragma once

#include <optional>

#include "bson/view.h"
#include "routing/key_range.h"

namespace tessera::routing {

struct FilterOptions {
    /// Whether strings compare by their bytes. With another collation, equality and order of
    /// strings (and of objects and arrays that hold them) say nothing about the key.
    bool is_collation_simple = true;
};

struct FilterBounds {
    KeyRanges ranges;
    /// The one full shard key that equality conditions fix, when they do.
    std::optional<Key> key;
};

FilterBounds bounds_of(const ShardKeyPattern& pattern,
                       bson::View filter,
                       const FilterOptions& options = {});

/// The one full shard key a match must have, where the filter names every field of the key with the
/// value it is to be equal to: bounds_of().key for the commonest filters, without the rest.
std::optional<Key> exact_key_of(const ShardKeyPattern& pattern,
                                bson::View filter,
                                const FilterOptions& options = {});

/// The value of an equality on _id that every match must have; missing when there is none, or when
/// it is a string and the collation is not simple.
bson::Value exact_id_of(bson::View filter, const FilterOptions& options = {});

}  // namespace tessera::routing
