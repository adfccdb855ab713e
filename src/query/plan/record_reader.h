// SPDX-License-Identifier: Apache-2.0
//
// Finds records by their RecordIds. Indexes often follow the order of insertion (times, counters),
// so that their RecordIds come one after the other: such a run is read by a cursor that walks the
// record table, at a fraction of a lookup's cost; everything else is looked up.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "bson/key.h"
#include "storage/engine.h"

namespace tessera::query {

class RecordReader {
public:
    /// Returns the record's bytes, valid until the next read or write of the transaction; nothing
    /// when there is no such record.
    Result<std::optional<std::string_view>> read(storage::Transaction& transaction,
                                                 storage::Table& records,
                                                 bson::RecordId id);
    /// Lets go of the cursor. To be called before the transaction ends.
    void save();

private:
    /// Consecutive ids seen before walking begins, so that single lookups open no cursor.
    static constexpr int walks_after = 3;

    Result<bool> walk_to(storage::Transaction& transaction,
                         storage::Table& records,
                         bson::RecordId id);

    std::unique_ptr<storage::Cursor> cursor_;  // Stands at last_ while there is one.
    bson::RecordId last_;
    int run_ = 0;
};

}  // namespace tessera::query
