// SPDX-License-Identifier: Apache-2.0
//
// One collection of this member: its record table, its indexes and how a document's change becomes
// a change of each. Metadata is immutable: DDL makes a new Collection state that readers see once
// the DDL's transaction has committed; counts and multikey flags alone change in place.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/namespace.h"
#include "base/result.h"
#include "bson/key.h"
#include "bson/view.h"
#include "catalog/collection_options.h"
#include "storage/engine.h"

namespace tessera::query {
class CollectionSource;
}

namespace tessera::catalog {

class Index;
class IndexBuild;
/// Owned by the build's driver and by the states of its collection.
using IndexBuildPtr = std::shared_ptr<IndexBuild>;
using IndexBuilds = std::vector<IndexBuildPtr>;

/// A document as found in a table; the view is valid until the transaction's next operation.
struct Found {
    bson::RecordId id;
    bson::View document;
};

/// What a write of a document is checked for.
struct WriteChecks {
    bool validates = true;
    /// False for a secondary or an initial sync, whose unique indexes may be violated for a while
    /// (_id_ never is).
    bool enforces_unique = true;
};
inline constexpr WriteChecks unchecked{.validates = false, .enforces_unique = false};

class Collection {
public:
    virtual ~Collection() = default;

    virtual const Namespace& ns() const = 0;
    virtual const bson::Uuid& uuid() const = 0;
    virtual const CollectionOptions& options() const = 0;
    /// In the order they were made; _id_ first. Empty for an oplog. Valid while this state lives.
    virtual const std::vector<std::shared_ptr<Index>>& indexes() const = 0;
    /// What the planner reads through.
    virtual query::CollectionSource& source() = 0;

    // ---- Documents, inside a transaction and under a shared CollectionLock ---------------------
    /// Inserts a document that has its _id first (see fix_document). Checks the validator unless
    /// told otherwise. Fails with DuplicateKey (details: keyPattern, keyValue),
    /// DocumentValidationFailure (details: errInfo), CannotIndexParallelArrays (171),
    /// WriteConflict, ... After any error but DocumentValidationFailure the transaction is to be
    /// rolled back. Into an oplog: at the entry's "ts".
    virtual Result<bson::RecordId> insert(storage::Transaction& transaction,
                                          bson::View document,
                                          WriteChecks checks = {}) = 0;
    /// `before` must be what is stored, and may be a view into the engine's page.
    virtual Status update(storage::Transaction& transaction,
                          bson::RecordId id,
                          bson::View before,
                          bson::View after,
                          WriteChecks checks = {}) = 0;
    virtual Status remove(storage::Transaction& transaction,
                          bson::RecordId id,
                          bson::View before) = 0;
    virtual Result<std::optional<Found>> find_by_id(storage::Transaction& transaction,
                                                    const bson::Value& id) = 0;
    virtual Result<std::optional<bson::View>> find_record(storage::Transaction& transaction,
                                                          bson::RecordId id) = 0;
    /// For a capped collection over its limit: the oldest documents to remove now, so that each
    /// removal gets its own oplog entry.
    virtual Result<std::vector<bson::RecordId>> capped_excess(
        storage::Transaction& transaction) = 0;

    /// Whether a reader that began in this state may go on while `now` is the present one: it is
    /// the same collection, and has every index that this state has.
    virtual bool may_be_read_beside(const Collection& now) const = 0;

    // ---- Numbers ------------------------------------------------------------------------------
    virtual std::int64_t count() const = 0;
    virtual std::int64_t data_size() const = 0;
    /// What count() and data_size() show; for writers that bypass insert() (the oplog's).
    virtual const storage::TallyPtr& tally() const = 0;
    virtual const storage::TablePtr& record_table() const = 0;
    /// Bytes on disk of the record table and, with names, of each index.
    virtual std::uint64_t storage_size() = 0;
    virtual std::vector<std::pair<std::string, std::uint64_t>> index_sizes() = 0;
};

/// Puts _id first, adding a fresh ObjectId where there is none; refuses what no collection stores:
/// an _id that is an array, undefined or a regex (InvalidIdField 53), a document past 16 MiB
/// (BadValue 2, as observed), a top-level field name that starts with '$' where the protocol
/// refuses. Returns the document to store.
Result<bson::Document> fix_document(bson::View document, const bson::ObjectId& fresh_id);

/// As fix_document(), without a copy of what needs no mending: whether the document may be stored
/// as it is.
Result<bool> is_storable(bson::View document);

}  // namespace tessera::catalog
