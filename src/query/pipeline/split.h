// SPDX-License-Identifier: Apache-2.0
//
// How a pipeline over a sharded collection is divided: a part every shard runs on its own documents
// and a part that runs once on what the shards send. Pure: stages in, stages out.
// Source: reference/protocol.md 4.14.
#pragma once

#include <optional>
#include <vector>

#include "base/result.h"
#include "bson/view.h"
#include "query/pipeline/pipeline.h"

namespace tessera::query {

struct SplitPipeline {
    std::vector<bson::Document> shard_part;
    std::vector<bson::Document> merge_part;
    /// The shards' streams are sorted by this pattern and must be merged by it; none: any order.
    std::optional<bson::Document> merge_sort;
    /// The merge part needs a shard to run on ($out, $merge, $lookup on an unsharded collection);
    /// otherwise the router may run it.
    bool merge_needs_shard = false;
};

/// Divides the stages. Concatenating the shards' results (merged by `merge_sort` if set) and
/// running `merge_part` on them gives what the whole pipeline gives on all documents.
SplitPipeline split(const Pipeline& pipeline);

/// Merges sorted streams of documents by a sort pattern.
std::unique_ptr<DocumentCursor> make_merging_cursor(
    std::vector<std::unique_ptr<DocumentCursor>> sources, bson::View sort_pattern);

}  // namespace tessera::query
