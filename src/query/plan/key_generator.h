// SPDX-License-Identifier: Apache-2.0
//
// The keys an index holds for a document, by MongoDB's rules: a field that is absent gives null; an
// array gives a key an element (an empty one undefined; an array within it is a value) and makes
// the index multikey; two different arrays under one compound index are refused. A numeric path
// component over an array names an element.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "bson/arena.h"
#include "bson/key.h"
#include "bson/view.h"
#include "query/match/path.h"
#include "query/plan/collection_source.h"

namespace tessera::query {

/// The keys of one document; reusable.
struct KeySet {
    struct Key {
        std::string fields;  // With exact ending, without RecordId.
        std::string type_bits;
        bool operator==(const Key&) const = default;
    };
    std::vector<Key> keys;   // Ascending, distinct.
    MultikeyPaths multikey;  // Components this document needs multikey.
    bool is_multikey() const;
    void clear();
};

class KeyGenerator {
public:
    /// Keys a document may have in one index; beyond it generation fails with 71
    /// CannotBuildIndexKeys' like, CannotCreateIndex.
    static constexpr std::size_t keys_max = 1'000'000;

    /// Requires: `index` outlives the generator.
    explicit KeyGenerator(const IndexInfo& index) : index_(index) {}

    /// Fills `out`. No keys at all for a document that a sparse index leaves out. The partial
    /// filter is the caller's to ask. Fails with CannotIndexParallelArrays (171), or 16766 for an
    /// array in a hashed field.
    Status generate(bson::View document, KeySet& out) const;

private:
    const IndexInfo& index_;
};

}  // namespace tessera::query
