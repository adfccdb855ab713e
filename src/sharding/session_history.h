// SPDX-License-Identifier: Apache-2.0
//
// Retryable writes are executed once, also when the document has moved to another shard between two
// attempts: what sessions executed on the donor goes along with the range.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "replication/session_catalog.h"
#include "sharding/document_store.h"

namespace tessera::sharding {
struct MigrationEnvironment;
}

namespace tessera::sharding {

/// The donor's side: entries of the newest retryable write of each session, those on some
/// collections, each {entry, image?}: the image is what a retried findAndModify answers.
class SessionHistory {
public:
    using Covers = std::function<bool(std::string_view ns)>;
    /// What has come since the last call, at most `bytes_max`; nothing: there is no more now.
    Result<std::vector<bson::Document>> next(const DocumentStore& store,
                                             const replication::SessionCatalog& sessions,
                                             const Covers& covers,
                                             std::size_t bytes_max);

private:
    Status collect(const DocumentStore& store,
                   const replication::SessionCatalog& sessions,
                   const Covers& covers,
                   OpTime last,
                   std::int64_t txn_number);

    std::map<std::string, OpTime> seen_;  // By the bytes of the session's id.
    std::deque<bson::Document> waiting_;
};

/// The recipient's side of one answer ("oplog"): remembers the statements as executed, with their
/// images. A session that has gone on to a newer number has no use for them.
struct RememberedBatch {
    std::size_t entries = 0;
    OpTime last;  // Null: there was nothing to do.
};
async::Task<Result<RememberedBatch>> remember_batch(const MigrationEnvironment& environment,
                                                    bson::Value entries);

}  // namespace tessera::sharding
