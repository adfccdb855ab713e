// SPDX-License-Identifier: Apache-2.0
//
// An index in the engine: how a document's keys become entries. Formats are those of
// query/plan/collection_source.h: _id_ maps its key to the RecordId (one entry a key, so the engine
// itself sees duplicates); every other index has the RecordId in the key.
//
// A unique index other than _id_ keeps duplicates out like this: the writer inserts and removes an
// entry of the fields alone, which makes any two transactions that write the same key conflict, and
// then looks for an entry of another record. So duplicates can still be stored where they must be
// for a while: when a secondary applies a batch out of order, or during initial sync.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "catalog/index.h"
#include "catalog/metadata.h"
#include "query/plan/collection_source.h"
#include "query/plan/key_generator.h"
#include "storage/engine.h"

namespace tessera::catalog {

/// Which path components were arrays; grows only. Shared by the successive states of a collection.
class MultikeyState {
public:
    MultikeyState(storage::TablePtr catalog_table, std::string ident, query::MultikeyPaths saved);

    query::MultikeyPaths paths() const;
    bool is_multikey() const;
    /// Makes sure that `needed` is known to readers and on record before its document is written.
    Status add(storage::Engine& engine, const query::MultikeyPaths& needed);

    static std::string encode(const query::MultikeyPaths& paths);
    static query::MultikeyPaths decode(std::string_view bytes, std::size_t fields);

private:
    const storage::TablePtr catalog_table_;
    const std::string ident_;
    const std::size_t fields_;
    std::unique_ptr<std::atomic<std::uint32_t>[]> known_;  // What readers see.
    std::unique_ptr<std::atomic<std::uint32_t>[]>
        saved_;         // What is committed in the catalog table.
    std::mutex mutex_;  // One writer at a time.
};

/// Parts of an index that outlive a change of the collection's metadata.
struct IndexParts {
    storage::TablePtr table;
    std::shared_ptr<MultikeyState> multikey;              // Shared by states of the collection.
    std::shared_ptr<std::atomic<std::int64_t>> accesses;  // Likewise.
};

class StoredIndex final : public Index {
public:
    /// Compiles a checked spec. `engine` must outlive it.
    static Result<std::shared_ptr<StoredIndex>> make(storage::Engine& engine,
                                                     const Namespace& ns,
                                                     const IndexMetadata& metadata,
                                                     const IndexParts& parts);
    /// The same for an index that is being built (index_build.h).
    static Result<std::shared_ptr<StoredIndex>> make_building(storage::Engine& engine,
                                                              const Namespace& ns,
                                                              const IndexMetadata& metadata,
                                                              const IndexParts& parts);

    const std::string& name() const override { return info_.name; }
    bson::View spec() const override { return spec_; }
    bool is_multikey() const override { return parts_.multikey->is_multikey(); }
    bool is_unique() const override { return info_.is_unique; }
    bool is_hidden() const override { return info_.is_hidden; }
    std::optional<std::int64_t> expire_after_seconds() const override;
    std::int64_t accesses() const override { return *parts_.accesses; }
    const query::IndexInfo& info() const override { return info_; }
    const std::string& ident() const { return ident_; }
    const IndexParts& parts() const { return parts_; }
    query::MultikeyPaths multikey_paths() const { return parts_.multikey->paths(); }

    /// The keys of `document`: none when a sparse or partial index leaves it out.
    Status keys_of(bson::View document, query::KeySet& out) const;
    /// Whether `before` and `after` certainly have the same keys: no top-level field the index
    /// reads differs.
    bool has_same_keys(bson::View before, bson::View after) const;

    /// Adds an entry for each key. Fails with DuplicateKey when unique and `enforces_unique`.
    Status insert(storage::Transaction& transaction,
                  const query::KeySet& keys,
                  bson::RecordId id,
                  bool enforces_unique) const;
    Status remove(storage::Transaction& transaction,
                  const query::KeySet& keys,
                  bson::RecordId id) const;
    /// Replaces the entries of `before` by those of `after`.
    Status update(storage::Transaction& transaction,
                  const query::KeySet& before,
                  const query::KeySet& after,
                  bson::RecordId id,
                  bool enforces_unique) const;
    /// While it is built: adds what is missing of a document's entries. Fails with DuplicateKey as
    /// insert() does.
    Status fill(storage::Transaction& transaction,
                const query::KeySet& keys,
                bson::RecordId id) const;
    /// Whether another record has one of these keys in a unique index.
    Status check_duplicates(storage::Transaction& transaction,
                            const query::KeySet& keys,
                            bson::RecordId id) const;
    /// The engine key of a document's entry, and its value.
    std::string entry_key(const query::KeySet::Key& key, bson::RecordId id) const;
    std::string entry_value(const query::KeySet::Key& key, bson::RecordId id) const;
    /// The error for a key that is there already, with keyPattern and keyValue.
    Error duplicate_key(const query::KeySet::Key& key) const;

private:
    StoredIndex(storage::Engine& engine,
                const Namespace& ns,
                const IndexMetadata& metadata,
                const IndexParts& parts);
    Status insert_one(storage::Transaction& transaction,
                      const query::KeySet::Key& key,
                      bson::RecordId id,
                      bool enforces_unique) const;
    Status remove_one(storage::Transaction& transaction,
                      const query::KeySet::Key& key,
                      bson::RecordId id) const;
    Status check_unique(storage::Transaction& transaction,
                        const query::KeySet::Key& key,
                        bson::RecordId id) const;
    Status look_for_duplicate(storage::Transaction& transaction,
                              const query::KeySet::Key& key,
                              bson::RecordId id) const;

    storage::Engine& engine_;
    const Namespace ns_;
    const bson::Document spec_;
    const std::string ident_;
    const IndexParts parts_;
    bool is_building_ = false;
    query::IndexInfo info_;
    std::vector<std::string> top_fields_;  // First components of what it reads; empty: everything.
};

}  // namespace tessera::catalog
