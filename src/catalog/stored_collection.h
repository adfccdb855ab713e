// SPDX-License-Identifier: Apache-2.0
//
// A collection over engine tables. One object is one state of its metadata, immutable; what lives
// on across states (counts, the next RecordId, multikey paths) is in CollectionParts.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "catalog/collection.h"
#include "catalog/collection_mutex.h"
#include "catalog/stored_index.h"
#include "query/plan/collection_source.h"

namespace tessera::catalog {

/// Shared by the successive states of one collection.
struct CollectionParts {
    storage::TablePtr records;
    storage::TablePtr catalog_table;  // Where its metadata is.
    storage::TallyPtr tally = std::make_shared<storage::Tally>();
    std::atomic<std::int64_t> next_record{1};
    std::atomic<std::int64_t> saved_count{-1};  // The count last written to the catalog table.
    std::atomic<bool> is_guess{false};          // The tally began with a saved count.
};

class StoredCollection final : public Collection {
public:
    struct Environment {
        storage::Engine& engine;
        std::shared_ptr<CollectionMutex> mutex;  // Of the namespace; owned with the catalog.
    };
    /// `index_parts`: by ident, one for each of the metadata's indexes. `builds`: whose indexes
    /// every write keeps up to date too.
    static Result<std::shared_ptr<StoredCollection>> make(
        const Environment& environment,
        CollectionMetadata metadata,
        std::shared_ptr<CollectionParts> parts,
        const std::map<std::string, IndexParts>& index_parts,
        IndexBuilds builds = {});

    const Namespace& ns() const override { return metadata_.ns; }
    const bson::Uuid& uuid() const override { return metadata_.uuid; }
    const CollectionOptions& options() const override { return options_; }
    const std::vector<std::shared_ptr<Index>>& indexes() const override { return shown_indexes_; }
    query::CollectionSource& source() override { return source_; }

    Result<bson::RecordId> insert(storage::Transaction& transaction,
                                  bson::View document,
                                  WriteChecks checks) override;
    Status update(storage::Transaction& transaction,
                  bson::RecordId id,
                  bson::View before,
                  bson::View after,
                  WriteChecks checks) override;
    Status remove(storage::Transaction& transaction, bson::RecordId id, bson::View before) override;
    Result<std::optional<Found>> find_by_id(storage::Transaction& transaction,
                                            const bson::Value& id) override;
    Result<std::optional<bson::View>> find_record(storage::Transaction& transaction,
                                                  bson::RecordId id) override;
    Result<std::vector<bson::RecordId>> capped_excess(storage::Transaction& transaction) override;
    bool may_be_read_beside(const Collection& now) const override;
    std::int64_t count() const override;
    std::int64_t data_size() const override;
    const storage::TallyPtr& tally() const override { return parts_->tally; }
    const storage::TablePtr& record_table() const override { return parts_->records; }
    std::uint64_t storage_size() override;
    std::vector<std::pair<std::string, std::uint64_t>> index_sizes() override;

    const CollectionMetadata& metadata() const { return metadata_; }
    const std::shared_ptr<CollectionParts>& parts() const { return parts_; }
    const std::vector<std::shared_ptr<StoredIndex>>& stored_indexes() const { return indexes_; }
    const std::shared_ptr<CollectionMutex>& mutex() const { return environment_.mutex; }
    std::map<std::string, IndexParts> index_parts() const;
    const IndexBuilds& builds() const { return builds_; }

private:
    // The planner's view of this state.
    class Source final : public query::CollectionSource {
    public:
        explicit Source(StoredCollection& owner) : owner_(owner) {}
        const Namespace& ns() const override { return owner_.ns(); }
        storage::Table& records() override { return *owner_.parts_->records; }
        const std::vector<query::IndexInfo>& indexes() const override { return infos; }
        query::MultikeyPaths multikey_paths(std::size_t index) const override {
            return owner_.indexes_[index]->multikey_paths();
        }
        std::int64_t count() const override { return owner_.count(); }
        bool is_capped() const override { return owner_.options_.is_capped; }
        bool is_oplog() const override { return owner_.ns().is_oplog(); }

        std::vector<query::IndexInfo> infos;

    private:
        StoredCollection& owner_;
    };

    StoredCollection(const Environment& environment,
                     CollectionMetadata metadata,
                     std::shared_ptr<CollectionParts> parts);

    Status insert_into_builds(storage::Transaction& transaction,
                              bson::View document,
                              bson::RecordId id);

    const Environment environment_;
    const CollectionMetadata metadata_;
    const std::shared_ptr<CollectionParts> parts_;  // Shared with other states and transactions.
    CollectionOptions options_;
    std::vector<std::shared_ptr<StoredIndex>> indexes_;
    std::vector<std::shared_ptr<Index>> shown_indexes_;  // The same objects.
    IndexBuilds builds_;
    Source source_;
};

}  // namespace tessera::catalog
