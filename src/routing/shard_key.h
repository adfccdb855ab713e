// SPDX-License-Identifier: Apache-2.0
//
// The shard key of a collection: which fields of a document decide the chunk it belongs to, each
// taken as it is or hashed. Chunk lookup never compares documents: a key is order-preserving bytes
// (bson/key.h), so that finding a chunk is a binary search with memcmp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "bson/key.h"
#include "bson/view.h"

namespace tessera::routing {

/// A full shard key as order-preserving bytes: memcmp order is the order of the values.
using Key = std::string;

class ShardKeyPattern {
public:
    struct Field {
        std::string path;                // "a.b"
        std::vector<std::string> parts;  // "a", "b"
        bool is_hashed = false;
    };

    /// Fails with BadValue (2) on an empty pattern, a direction other than 1 or "hashed", more than
    /// one hashed field, or paths that are empty, start with $, or contain one another.
    static Result<ShardKeyPattern> parse(bson::View pattern);

    const bson::Document& document() const { return document_; }
    const std::vector<Field>& fields() const { return fields_; }
    bool has_hashed() const { return hashed_ != no_field; }
    /// Whether the first field is the hashed one: {a: "hashed", ...}.
    bool is_hashed_first() const { return hashed_ == 0; }
    bool operator==(const ShardKeyPattern& other) const {
        return document_.bytes() == other.document_.bytes();
    }

    /// Appends the key of a document to an empty `builder` and finishes it. A missing field counts
    /// as null. Fails with ShardKeyNotFound (61) where an array stands on a path.
    Status append_key_of(bson::View document, bson::KeyBuilder& builder) const;
    Result<Key> key_of(bson::View document) const;
    /// The shard key of a document under the pattern's field names: {"a.b": 5, h: <hash>}.
    Result<bson::Document> key_document_of(bson::View document) const;

    /// Encodes a bound: a document with exactly the pattern's fields, in order, whose hashed field
    /// already holds the hash (or MinKey, MaxKey). Fails with BadValue on anything else.
    Result<Key> encode_bound(bson::View bound) const;
    /// Extends a prefix of the key to a full bound with MinKey (or MaxKey) for the rest. Fails with
    /// BadValue when `prefix` is no prefix.
    Result<bson::Document> extend_bound(bson::View prefix, bool with_max = false) const;
    /// {a: MinKey, b: MinKey} and {a: MaxKey, b: MaxKey}.
    bson::Document min_bound() const;
    bson::Document max_bound() const;
    bool is_min_bound(bson::View bound) const;
    bool is_max_bound(bson::View bound) const;

    /// Whether an index with this key pattern starts with the shard key (hashed stays hashed), so
    /// that it can serve range scans by shard key.
    bool is_prefix_of(bson::View index_key) const;
    /// Whether a unique index with this key pattern can be enforced by each shard alone: the shard
    /// key's fields are a prefix of it, hashed or not.
    bool can_guarantee_unique(bson::View index_key) const;
    /// Whether changing the field at `path` may change the key: it is a key field, or above or
    /// below one.
    bool touches(std::string_view path) const;

private:
    static constexpr std::size_t no_field = SIZE_MAX;

    bson::Document document_;
    std::vector<Field> fields_;
    std::size_t hashed_ = no_field;
};

/// [min, max) of shard key bounds, as config documents and commands write them.
struct Range {
    bson::Document min;
    bson::Document max;
};

/// "[{ a: 1 }, { a: 5 })".
std::string to_string(const Range& range);

}  // namespace tessera::routing
