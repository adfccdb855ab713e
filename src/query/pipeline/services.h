// SPDX-License-Identifier: Apache-2.0
//
// What a pipeline needs from outside itself: documents of other collections, writes, and what only
// the server knows ($currentOp ...). `commands` implements it. Pipelines run on worker threads, so
// every call here may block; none is made while a batch of storage is open in this module.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "bson/view.h"
#include "query/pipeline/batch.h"

namespace tessera::query {

/// A source of documents that is pulled. Destroying it closes it.
class DocumentCursor {
public:
    virtual ~DocumentCursor() = default;
    /// Returns the next documents; a batch may be empty without being the last.
    virtual Result<Batch> next() = 0;
};

struct PipelineNamespace {
    std::string db;
    std::string collection;  // Empty for {aggregate: 1}.
    bool operator==(const PipelineNamespace&) const = default;
    std::string to_string() const { return collection.empty() ? db : db + "." + collection; }
};

/// One write of $merge.
struct MergeWrite {
    enum class Kind {
        insert,         // As is; a duplicate key is an error.
        replace,        // Replace the match by `document`.
        pipeline,       // Update the match by `pipeline` with `variables`.
        keep_existing,  // Leave a match alone.
    };
    Kind kind = Kind::insert;
    bson::Document query;     // Equality on the "on" fields.
    bson::Document document;  // The new document; what an upsert inserts.
    std::vector<bson::Document> pipeline;
    bson::Document variables;
    bool is_upsert = false;  // Insert `document` when nothing matches.
};

/// Where $out puts documents; destroying it unfinished leaves the target as it was.
class OutputWriter {
public:
    virtual ~OutputWriter() = default;
    virtual Status write(const Batch& batch) = 0;
    /// Puts the written documents in place of the target collection's, atomically.
    virtual Status finish() = 0;
};

class PipelineServices {
public:
    virtual ~PipelineServices() = default;

    /// Runs a pipeline on a collection or view (all shards of it, on a router). `let` are values.
    /// A namespace that does not exist is empty.
    virtual Result<std::unique_ptr<DocumentCursor>> open(const PipelineNamespace& ns,
                                                         const std::vector<bson::Document>& stages,
                                                         bson::View let) = 0;
    /// Opens a first stage only the server knows: "$collStats", "$currentOp", "$indexStats",
    /// "$shardedDataDistribution", "$listSessions", "$listLocalSessions", "$listClusterCatalog",
    /// "$changeStream", "$mergeCursors", "$planCacheStats". `spec` is the stage's argument. Fails
    /// with 40324 for those it does not have.
    virtual Result<std::unique_ptr<DocumentCursor>> open_source(const PipelineNamespace& ns,
                                                                std::string_view stage,
                                                                const bson::Value& spec) = 0;
    virtual Result<std::unique_ptr<OutputWriter>> open_out(const PipelineNamespace& target) = 0;
    /// Does the writes in order; returns for each how many documents it matched or inserted.
    virtual Result<std::vector<std::int64_t>> merge(const PipelineNamespace& target,
                                                    const std::vector<MergeWrite>& writes) = 0;
    /// The fields $merge identifies documents by when "on" is not given: _id, and the shard key's.
    virtual Result<std::vector<std::string>> merge_key(const PipelineNamespace& target) = 0;
    /// Whether `fields` is the key of a unique index of the target ($merge requires one).
    virtual Result<bool> has_unique_index(const PipelineNamespace& target,
                                          const std::vector<std::string>& fields) = 0;
    /// Fails when the operation was killed or its time is over. Called for each batch.
    virtual Status check_interrupt() = 0;
};

}  // namespace tessera::query
