// SPDX-License-Identifier: Apache-2.0
//
// Retryable writes are executed once, also when the document has moved to another shard between two
// attempts: what sessions executed on the donor goes along with the range.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "replication/session_catalog.h"
#include "sharding/document_store.h"

namespace tessera::sharding {

/// The donor's side: entries of the newest retryable write of each session, those on one
/// collection.
class SessionHistory {
public:
    /// What has come since the last call, at most `bytes_max`; nothing: there is no more now.
    Result<std::vector<bson::Document>> next(const DocumentStore& store,
                                             const replication::SessionCatalog& sessions,
                                             const Namespace& ns,
                                             std::size_t bytes_max);

private:
    Status collect(const replication::SessionCatalog& sessions,
                   const Namespace& ns,
                   OpTime last,
                   std::int64_t txn_number);

    std::map<std::string, OpTime> seen_;  // By the bytes of the session's id.
    std::deque<bson::Document> waiting_;
};

/// The recipient's side: remembers an entry's statements as executed. A session that has gone on to
/// a newer number has no use for it. Returns the position; null when there was nothing to do.
async::Task<Result<OpTime>> remember_entry(replication::Replication& replication,
                                           replication::SessionCatalog& sessions,
                                           storage::Engine& engine,
                                           async::Clock& clock,
                                           bson::Document entry);

}  // namespace tessera::sharding
