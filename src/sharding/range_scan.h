// SPDX-License-Identifier: Apache-2.0
//
// Reading the documents of a range: in the order of the shard key where an index has it.
#pragma once

#include <optional>

#include "catalog/catalog.h"
#include "query/plan/executor.h"
#include "sharding/local_data.h"

namespace tessera::sharding {

/// Reads what a range holds, and more where no index has the order of its key.
query::ReadRequest range_scan(catalog::Collection& collection, const KeySpan& span);

/// The shard key in the middle of the range: of a sample of the first limits::median_documents
/// there. Unset where nothing lies behind the first key. Suspends nowhere; on a worker.
Result<std::optional<bson::Document>> middle_of_range(catalog::Collection& collection,
                                                      storage::Transaction& transaction,
                                                      const KeySpan& span);

}  // namespace tessera::sharding
