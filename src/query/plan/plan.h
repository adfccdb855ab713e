// SPDX-License-Identifier: Apache-2.0
//
// ReadRequest: what is to be read of one collection. PlanNode: a way to read it, as data; explain
// shows it and the executor makes stages of it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bson/view.h"
#include "query/match/filter.h"
#include "query/plan/collection_source.h"
#include "query/plan/interval.h"
#include "query/plan/limits.h"

namespace tessera::query {

/// Which documents of a shard are its own; asked of every document before sort, skip and limit.
class OwnershipFilter {
public:
    virtual ~OwnershipFilter() = default;
    virtual bool owns(bson::View document) const = 0;
};

/// What the caller's projection reads, so that an index may cover it. The executor does not
/// project: the document it gives holds at least `paths`.
struct ProjectionNeeds {
    /// Paths read, "_id" too unless excluded; not set: the whole document.
    std::optional<std::vector<std::string>> paths;
    bson::Document transform_by;  // As explain shows it; empty: no projection.
    bool is_simple = false;       // Inclusion or exclusion of top-level fields alone.
};

/// By name or by key pattern; {$natural: 1} is a pattern.
struct Hint {
    std::string name;
    bson::Document pattern;
    bool is_given() const { return !name.empty() || !pattern.is_empty(); }
};

enum class ReadPurpose : std::uint8_t { documents, count, distinct };

struct ReadRequest {
    Filter filter;
    bson::Document sort;  // As the client gave it, checked; {$natural: -1} too.
    std::int64_t skip = 0;
    std::int64_t limit = 0;  // 0: none.
    Hint hint;
    bson::Document min;  // Bounds on the hinted index's keys; empty: none.
    bson::Document max;
    ProjectionNeeds projection;
    const OwnershipFilter* ownership = nullptr;  // Outlives the executor.
    bool is_tailable = false;
    Timestamp read_at = {};  // What the caller's transactions read at; null: the latest data.
    ReadPurpose purpose = ReadPurpose::documents;
    std::string distinct_path;
    std::size_t sort_bytes_max = sort_memory_max;
};

struct PlanNode {
    enum class Kind : std::uint8_t {
        eof,
        collection_scan,
        id_lookup,
        index_scan,
        count_scan,
        distinct_scan,
        fetch,
        disjunction,
        merge_sort,
        ownership,
        sort,
        skip,
        limit,
        projection,
    };

    explicit PlanNode(Kind node_kind) : kind(node_kind) {}
    PlanNode(Kind node_kind, std::unique_ptr<PlanNode> child) : kind(node_kind) {
        children.push_back(std::move(child));
    }

    Kind kind;
    std::vector<std::unique_ptr<PlanNode>> children;
    std::vector<const Node*> filter;  // Scans and fetch: all of these are demanded.
    bool is_forward = true;

    // Index scans.
    const IndexInfo* index = nullptr;
    MultikeyPaths multikey;
    std::vector<Intervals> bounds;    // One a field, in BSON order.
    std::optional<std::string> low;   // Instead of bounds: min and max as key bytes.
    std::optional<std::string> high;  // Not itself in the range.
    std::size_t distinct_fields = 0;  // distinct_scan: one key for each value of so many.

    bson::Value id;                        // id_lookup.
    std::int64_t first_record = 0;         // collection_scan: RecordIds from here ...
    std::int64_t last_record = INT64_MAX;  // ... to here.
    bson::Document pattern;                // sort, merge_sort; projection: what explain shows.
    std::int64_t amount = 0;               // skip, limit; sort: how many are wanted, 0 all.
    bool is_covered = false;               // projection: documents are made from index keys.
    bool is_simple = false;                // projection.

    bool is_multikey() const {
        for (const std::uint32_t bits : multikey) {
            if (bits != 0) return true;
        }
        return false;
    }
};
using PlanNodePtr = std::unique_ptr<PlanNode>;

}  // namespace tessera::query
