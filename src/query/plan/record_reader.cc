// SPDX-License-Identifier: Apache-2.0
#include "query/plan/record_reader.h"

namespace tessera::query {

Result<std::optional<std::string_view>> RecordReader::read(storage::Transaction& transaction,
                                                           storage::Table& records,
                                                           bson::RecordId id) {
    const bool follows = id.value == last_.value + 1;
    last_ = id;
    if (!follows) save();
    if (follows && ++run_ >= walks_after) {
        TRY(const bool is_there, walk_to(transaction, records, id));
        if (is_there) return std::optional(cursor_->value());
        save();
    }
    return transaction.get(records, bson::record_key(id));
}

Result<bool> RecordReader::walk_to(storage::Transaction& transaction,
                                   storage::Table& records,
                                   bson::RecordId id) {
    bool is_positioned = false;
    if (cursor_) {
        TRY(is_positioned, cursor_->next());
    } else {
        cursor_ = transaction.open_cursor(records, storage::Direction::forward);
        TRY(is_positioned, cursor_->seek(bson::record_key(id)));
    }
    return is_positioned && bson::record_id_of(cursor_->key()) == id;
}

void RecordReader::save() {
    cursor_.reset();
    run_ = 0;
}

}  // namespace tessera::query
