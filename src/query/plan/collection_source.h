// SPDX-License-Identifier: Apache-2.0
//
// What a collection offers to the planner: its record table, its indexes as tables, and facts about
// both. The catalog implements it; planning and execution know nothing else of a collection.
//
// Records: key = bson::record_key(id), value = the document. In an oplog the RecordId is the
// entry's packed timestamp.
// Index entries, in one of two formats:
//   id_in_key    key = fields, exact ending, RecordId;  value = type bits
//   id_in_value  key = fields, exact ending;            value = RecordId, type bits
// fields as bson::KeyBuilder writes them for the values KeyGenerator (key_generator.h) gives.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/namespace.h"
#include "bson/key.h"
#include "bson/view.h"
#include "query/match/filter.h"
#include "query/match/path.h"
#include "storage/engine.h"

namespace tessera::query {

enum class EntryFormat : std::uint8_t { id_in_key, id_in_value };

/// For each field of an index, bit c set when the path's component c was an array in some document
/// since the index was made: for "a.b", bit 0 stands for a, bit 1 for a.b. Components past the 31st
/// count as the 31st.
using MultikeyPaths = std::vector<std::uint32_t>;

/// What does not change about an index while the collection's metadata stays.
struct IndexInfo {
    std::string name;
    bson::Document key_pattern;  // {a: 1, b: -1}, {a: "hashed"}
    std::vector<Path> paths;     // Of key_pattern's fields, in order.
    bson::Ordering ordering;
    std::uint32_t hashed_fields = 0;  // Bit i: field i holds bson::shard_hash() of the value.
    bool is_unique = false;
    bool is_sparse = false;
    bool is_hidden = false;
    Timestamp ready_at = {};  // Reads at earlier timestamps must not use it. Null: good for all.
    std::int32_t version = 2;
    std::shared_ptr<const Filter> partial_filter;  // Null: every document. Shared with the catalog.
    storage::TablePtr table;
    EntryFormat format = EntryFormat::id_in_key;
    std::shared_ptr<std::atomic<std::int64_t>> accesses;  // For $indexStats; shared, may be null.

    bool is_id() const { return name == "_id_"; }
    /// Whether a read at `read_at` (null: of the latest data) finds in it all that it looks for.
    bool is_ready(Timestamp read_at) const { return read_at.is_null() || ready_at <= read_at; }
    bool is_hashed(std::size_t field) const { return (hashed_fields >> field & 1U) != 0; }
};

/// Lives as long as whatever plans or executes over it; the caller sees to that.
class CollectionSource {
public:
    virtual ~CollectionSource() = default;

    virtual const Namespace& ns() const = 0;
    virtual storage::Table& records() = 0;
    /// The indexes ready for reading, _id_ first where there is one. The vector and its addresses
    /// stay for the life of this object.
    virtual const std::vector<IndexInfo>& indexes() const = 0;
    /// The multikey paths of indexes()[index], as they are now; empty or all zero: not multikey.
    virtual MultikeyPaths multikey_paths(std::size_t index) const = 0;
    /// How many documents there are, about.
    virtual std::int64_t count() const = 0;
    virtual bool is_capped() const { return false; }
    /// Whether RecordIds are the packed timestamps of the field "ts".
    virtual bool is_oplog() const { return false; }
};

/// Reads an index entry's parts in either format.
struct IndexEntry {
    std::string_view fields;  // With the ending.
    std::string_view type_bits;
    bson::RecordId id;

    static IndexEntry read(EntryFormat format, std::string_view key, std::string_view value);
};

}  // namespace tessera::query
