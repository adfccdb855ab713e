// SPDX-License-Identifier: Apache-2.0
//
// The catalog over two engine tables (metadata.h). The present state is one immutable object behind
// an atomic pointer; a DDL's publication makes the next one from it. Writers of the catalog tables
// read the collection's metadata in their own transaction, so several changes of one collection in
// one transaction add up.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "catalog/stored_collection.h"

namespace tessera::catalog {

class MemberCatalog final : public Catalog {
public:
    MemberCatalog(storage::Engine& engine, bool logs_tables, Random& random);

    /// Makes or opens the catalog tables and reads everything.
    Status start();

    std::shared_ptr<Collection> find(const Namespace& ns) const override;
    std::shared_ptr<Collection> find(const bson::Uuid& uuid) const override;
    std::shared_ptr<const ViewDefinition> find_view(const Namespace& ns) const override;
    std::vector<std::shared_ptr<Collection>> collections(std::string_view db) const override;
    std::vector<std::shared_ptr<const ViewDefinition>> views(std::string_view db) const override;
    std::vector<std::string> databases() const override;
    CollectionLock lock_shared(const Namespace& ns) override { return lock(ns, false); }
    CollectionLock lock_exclusive(const Namespace& ns) override { return lock(ns, true); }
    LockWaiters lock_waiters() const override {
        return {waiting_shared_.load(), waiting_exclusive_.load()};
    }

    Result<CatalogChange> create(storage::Transaction& transaction,
                                 const Namespace& ns,
                                 const CreateOptions& options) override;
    Result<CatalogChange> drop(storage::Transaction& transaction,
                               const Namespace& ns,
                               Timestamp when) override;
    Result<CatalogChange> rename(storage::Transaction& transaction,
                                 const Namespace& from,
                                 const Namespace& to,
                                 RenameOptions options,
                                 Timestamp when) override;
    Result<CheckedIndexSpec> check_index(const Collection& collection,
                                         bson::View spec) const override;
    Result<CatalogChange> create_index(storage::Transaction& transaction,
                                       Collection& collection,
                                       bson::View checked_spec,
                                       Timestamp when) override;
    Result<IndexBuildPtr> begin_build(Collection& collection,
                                      const bson::Uuid& id,
                                      const std::vector<bson::Document>& checked_specs) override;
    Result<bool> fill_step(IndexBuild& build) override;
    Result<CatalogChange> finish_build(storage::Transaction& transaction,
                                       Collection& collection,
                                       const IndexBuildPtr& build,
                                       Timestamp when) override;
    void abort_build(IndexBuild& build, Error why) override;
    void abort_builds(const std::function<bool(const IndexBuild&)>& choose,
                      const Error& why) override;
    IndexBuilds builds() const override;
    Result<CatalogChange> note_build(storage::Transaction& transaction,
                                     Collection& collection,
                                     const NotedBuild& build) override;
    Result<CatalogChange> forget_build(storage::Transaction& transaction,
                                       Collection& collection,
                                       const bson::Uuid& id,
                                       const Error& why) override;
    std::vector<std::pair<std::shared_ptr<Collection>, NotedBuild>> noted_builds() const override;
    Result<CatalogChange> drop_index(storage::Transaction& transaction,
                                     Collection& collection,
                                     std::string_view name,
                                     Timestamp when) override;
    Result<CollModResult> coll_mod(storage::Transaction& transaction,
                                   Collection& collection,
                                   bson::View command) override;
    Status reload_views(std::string_view db) override;
    Status reload() override;
    Status save_counts() override;
    Status recount(const std::function<Status()>& check) override;

private:
    using StoredPtr = std::shared_ptr<StoredCollection>;
    struct State {
        std::map<Namespace, StoredPtr> by_namespace;
        std::map<bson::Uuid, StoredPtr> by_uuid;
        std::map<Namespace, std::shared_ptr<const ViewDefinition>> views;
    };

    std::shared_ptr<const State> state() const { return state_.load(std::memory_order_acquire); }
    /// Makes the next state by `change` from the present one.
    template <class Change>
    void publish(Change change);
    void publish_state(const std::function<void(State&)>& change);
    CollectionLock lock(const Namespace& ns, bool is_exclusive);
    std::shared_ptr<CollectionMutex> mutex_of(const Namespace& ns);
    StoredCollection::Environment environment(const Namespace& ns) {
        return {engine_, mutex_of(ns)};
    }

    const storage::TablePtr& catalog_table(const Namespace& ns) const {
        return ns.is_replicated() ? replicated_table_ : local_table_;
    }
    bool is_logged(const Namespace& ns) const { return logs_tables_ || !ns.is_replicated(); }
    std::string make_ident(std::string_view kind);
    /// Makes an index's table and state.
    Result<IndexParts> make_index(const Namespace& ns, const IndexMetadata& index);
    IndexParts index_parts(const Namespace& ns,
                           const IndexMetadata& index,
                           storage::TablePtr table,
                           query::MultikeyPaths saved) const;
    Status check_new_namespace(const Namespace& ns) const;
    Result<CollectionMetadata> read_metadata(storage::Transaction& transaction,
                                             const StoredCollection& collection) const;
    Status write_metadata(storage::Transaction& transaction,
                          const CollectionMetadata& metadata) const;
    Status fill(storage::Transaction& transaction,
                StoredCollection& collection,
                StoredIndex& index);
    Status fill_batch(storage::Cursor& documents, StoredIndex& index, bool& is_done);
    void change_builds(const bson::Uuid& uuid, const std::function<void(IndexBuilds&)>& change);
    Status fill_slice(IndexBuild& build, StoredCollection& collection);
    Status check_suspects(IndexBuild& build);
    Status check_records(IndexBuild& build,
                         StoredCollection& collection,
                         const std::vector<bson::RecordId>& records);
    void take_away(IndexBuild& build);
    static void end_builds(const StoredCollection& collection, const Error& why);
    /// What a failed build says of the document that made it fail.
    Error build_error(const bson::Uuid& id,
                      const Collection& collection,
                      const Error& cause) const;
    /// Publishes a collection's new metadata. `added`: the parts of indexes it did not have;
    /// `finished`: the build they come from, or null.
    void replace_state(const CollectionMetadata& metadata,
                       const std::map<std::string, IndexParts>& added,
                       const IndexBuild* finished);
    /// The change that replaces a collection's metadata with `metadata`, once committed; `added`
    /// are the parts of indexes it did not have.
    CatalogChange replace(CollectionMetadata metadata,
                          std::map<std::string, IndexParts> added,
                          std::vector<std::string> dropped,
                          Timestamp when);

    Status open_tables();
    Result<storage::TablePtr> open_or_create(std::string_view ident, storage::TableOptions options);
    Status load_collections(State& state, const storage::TablePtr& table);
    Status load_collection(State& state,
                           storage::Transaction& transaction,
                           const storage::TablePtr& table,
                           CollectionMetadata metadata);
    Status load_counts(storage::Transaction& transaction, StoredCollection& collection);
    Status recount_one(const Namespace& ns, const std::function<Status()>& check);
    Status load_views(State& state, std::string_view db);
    Result<bool> adopt_logging(const State& state);
    void drop_orphans(const State& state);

    storage::Engine& engine_;
    const bool logs_tables_;
    storage::TablePtr replicated_table_;
    storage::TablePtr local_table_;

    std::atomic<std::shared_ptr<const State>> state_;
    std::atomic<std::int64_t> waiting_shared_{0};
    std::atomic<std::int64_t> waiting_exclusive_{0};

    std::mutex publish_mutex_;  // Serializes publications.
    std::mutex mutex_;          // Guards what follows.
    std::map<Namespace, std::shared_ptr<CollectionMutex>> mutexes_;
    Random random_;
    std::uint64_t next_ident_ = 1;
};

}  // namespace tessera::catalog
