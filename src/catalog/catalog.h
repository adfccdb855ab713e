// SPDX-License-Identifier: Apache-2.0
//
// All databases, collections, views and indexes of one member, kept in the engine's catalog table.
//
// Looking up is lock-free for the caller: find() returns the present immutable state. Reading or
// writing documents needs a shared CollectionLock, DDL an exclusive one; both are held in
// synchronous code only, never over a co_await. DDL functions write in the caller's transaction,
// which also holds its oplog entry, and take effect in memory when CatalogChange::published() is
// called after the commit; a change that is destroyed unpublished undoes what it made outside the
// transaction (tables).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/namespace.h"
#include "base/random.h"
#include "base/result.h"
#include "bson/view.h"
#include "catalog/collection.h"
#include "catalog/collection_mutex.h"
#include "catalog/metadata.h"
#include "storage/engine.h"

namespace tessera::catalog {

/// A view: its pipeline runs over `on` (same database; may itself be a view).
struct ViewDefinition {
    Namespace ns;
    std::string on;
    std::vector<bson::Document> pipeline;
    bson::Document options;  // viewOn, pipeline, collation: what listCollections shows.
};

/// A DDL's effect, waiting for its transaction's commit.
class [[nodiscard]] CatalogChange {
public:
    CatalogChange() = default;
    /// `publish` runs once in published(); `undo` when that never happens.
    CatalogChange(std::function<void()> publish, std::function<void()> undo);
    CatalogChange(CatalogChange&& other) noexcept;
    CatalogChange& operator=(CatalogChange&& other) noexcept;
    ~CatalogChange();
    /// Call after the transaction has committed, still under the exclusive lock.
    void published();

private:
    std::function<void()> publish_;
    std::function<void()> undo_;
};

/// Held while documents of a collection are read or written (shared) or its metadata changes
/// (exclusive). Also keeps the collection's state alive.
class CollectionLock {
public:
    CollectionLock() = default;
    CollectionLock(CollectionLock&&) = default;
    CollectionLock& operator=(CollectionLock&&) = default;

    /// Null when the namespace holds no collection (it may be a view, or nothing).
    Collection* collection() const { return collection_.get(); }
    explicit operator bool() const { return collection_ != nullptr; }
    Collection* operator->() const { return collection_.get(); }
    Collection& operator*() const { return *collection_; }

private:
    friend class MemberCatalog;
    std::shared_ptr<Collection> collection_;    // Also owned by the catalog until dropped.
    std::shared_ptr<CollectionMutex> mutex_;  // Of the namespace; outlives its collections.
    std::shared_lock<CollectionMutex> shared_;
    std::unique_lock<CollectionMutex> exclusive_;
};

struct CreateOptions {
    bson::Uuid uuid;
    bson::Document options;                  // The create command's fields, without name/idIndex.
    std::optional<bson::Document> id_index;  // As a client or an oplog entry gives it.
};

struct RenameOptions {
    bool drop_target = false;
};

/// One index spec after checks and defaults ({v: 2, key, name, ...}).
struct CheckedIndexSpec {
    bson::Document spec;
    bool exists_already = false;  // Identical: nothing to do.
    bool is_being_built = false;  // Identical: it will be there when that build ends.
};

/// What collMod changed, for its reply and its oplog entry.
struct CollModResult {
    CatalogChange change;
    bson::Document reply;        // expireAfterSeconds_old/_new, hidden_old/_new, ...
    bson::Document old_options;  // For o2.
};

class Catalog {
public:
    /// Reads the catalog table, making it on a fresh engine. `logs_tables`: a standalone, whose
    /// tables need the journal since there is no oplog. Converts tables when that changed.
    static Result<std::unique_ptr<Catalog>> open(storage::Engine& engine,
                                                 bool logs_tables,
                                                 Random& random);
    virtual ~Catalog() = default;
    Catalog(const Catalog&) = delete;
    Catalog& operator=(const Catalog&) = delete;

    // ---- Looking up ---------------------------------------------------------------------------
    virtual std::shared_ptr<Collection> find(const Namespace& ns) const = 0;
    virtual std::shared_ptr<Collection> find(const bson::Uuid& uuid) const = 0;
    virtual std::shared_ptr<const ViewDefinition> find_view(const Namespace& ns) const = 0;
    virtual std::vector<std::shared_ptr<Collection>> collections(std::string_view db) const = 0;
    virtual std::vector<std::shared_ptr<const ViewDefinition>> views(std::string_view db) const = 0;
    /// Names of databases with a collection or a view, in order.
    virtual std::vector<std::string> databases() const = 0;

    virtual CollectionLock lock_shared(const Namespace& ns) = 0;
    virtual CollectionLock lock_exclusive(const Namespace& ns) = 0;
    /// How many wait for a lock now.
    struct LockWaiters {
        std::int64_t shared = 0;
        std::int64_t exclusive = 0;
    };
    virtual LockWaiters lock_waiters() const = 0;

    // ---- DDL: inside a transaction, under the exclusive lock of every namespace named ----------
    virtual Result<CatalogChange> create(storage::Transaction& transaction,
                                         const Namespace& ns,
                                         const CreateOptions& options) = 0;
    /// `when`: the oplog position of the drop; tables go once nothing can need them.
    virtual Result<CatalogChange> drop(storage::Transaction& transaction,
                                       const Namespace& ns,
                                       Timestamp when) = 0;
    virtual Result<CatalogChange> rename(storage::Transaction& transaction,
                                         const Namespace& from,
                                         const Namespace& to,
                                         RenameOptions options,
                                         Timestamp when) = 0;
    /// Checks a createIndexes spec against the collection: all errors of index specifications.
    virtual Result<CheckedIndexSpec> check_index(const Collection& collection,
                                                 bson::View spec) const = 0;
    /// Makes an index and fills it from the collection's documents as this transaction sees them,
    /// all under the exclusive lock: for collections nobody else uses or without documents. `when`:
    /// the oplog position.
    /// The entries are committed in transactions of their own while it runs, into a table that
    /// nobody knows until the change is published; requires that nobody else writes the collection
    /// meanwhile. Fails with DuplicateKey when unique and the documents are not.
    virtual Result<CatalogChange> create_index(storage::Transaction& transaction,
                                               Collection& collection,
                                               bson::View checked_spec,
                                               Timestamp when) = 0;

    // ---- Index builds beside writers (index_build.h) --------------------------------------------
    /// Under the exclusive lock: from now on every write keeps these indexes up to date.
    virtual Result<IndexBuildPtr> begin_build(Collection& collection,
                                              const bson::Uuid& id,
                                              const std::vector<bson::Document>& checked_specs) = 0;
    /// Without any lock, any thread, again and again until it returns true: everything is in the
    /// indexes. Short. Fails with what the build was aborted with, or with what makes the indexes
    /// impossible; abort_build() is the caller's then.
    virtual Result<bool> fill_step(IndexBuild& build) = 0;
    /// Inside a transaction, under the exclusive lock, after fill_step() said true: makes the
    /// indexes the collection's. Fails like fill_step(). `when`: as create_index.
    virtual Result<CatalogChange> finish_build(storage::Transaction& transaction,
                                               Collection& collection,
                                               const IndexBuildPtr& build,
                                               Timestamp when) = 0;
    /// Takes a build that has not been finished away. Takes the exclusive lock; does nothing when
    /// the build has ended.
    virtual void abort_build(IndexBuild& build, Error why) = 0;
    virtual void abort_builds(const std::function<bool(const IndexBuild&)>& choose,
                              const Error& why) = 0;
    /// Those in progress.
    virtual IndexBuilds builds() const = 0;
    /// Inside a transaction, under the exclusive lock: puts a build on record, for members whose
    /// builds outlive a restart. finish_build() takes it off again. Does nothing when it is there.
    virtual Result<CatalogChange> note_build(storage::Transaction& transaction,
                                             Collection& collection,
                                             const NotedBuild& build) = 0;
    /// Likewise: takes a build off the record, and away where it is in progress.
    virtual Result<CatalogChange> forget_build(storage::Transaction& transaction,
                                               Collection& collection,
                                               const bson::Uuid& id,
                                               const Error& why) = 0;
    /// Those on record, each with its collection.
    virtual std::vector<std::pair<std::shared_ptr<Collection>, NotedBuild>> noted_builds()
        const = 0;

    /// Fails with IndexNotFound or InvalidOptions (_id_).
    virtual Result<CatalogChange> drop_index(storage::Transaction& transaction,
                                             Collection& collection,
                                             std::string_view name,
                                             Timestamp when) = 0;
    virtual Result<CollModResult> coll_mod(storage::Transaction& transaction,
                                           Collection& collection,
                                           bson::View command) = 0;
    /// Views are documents of <db>.system.views; call after writing one there and committing.
    virtual Status reload_views(std::string_view db) = 0;

    // ---- The whole -----------------------------------------------------------------------------
    /// Reads everything anew, after recover_to_stable().
    virtual Status reload() = 0;
    /// Writes counts and sizes; now and then, and at shutdown.
    virtual Status save_counts() = 0;
    /// Counts the documents of collections whose saved count was believed when they were read,
    /// beside writers. Call after a start or a rollback that may have changed what was saved.
    /// `check` is asked between slices; its failure ends the count.
    virtual Status recount(const std::function<Status()>& check) = 0;

protected:
    Catalog() = default;
};

/// {md5, per-collection md5s}: MD5 over documents in _id order, for dbHash.
struct DatabaseHash {
    std::string md5;
    std::vector<std::pair<std::string, std::string>> collections;
};
Result<DatabaseHash> hash_database(Catalog& catalog,
                                   storage::Engine& engine,
                                   std::string_view db,
                                   Timestamp read_at);

/// validate: every record readable and valid, every index entry present and nothing else.
struct ValidationReport {
    std::int64_t records = 0;
    std::int64_t invalid_documents = 0;
    std::vector<std::pair<std::string, std::int64_t>> keys_per_index;
    std::vector<std::string> errors;
    std::vector<std::string> warnings;
};
Result<ValidationReport> validate_collection(Collection& collection, storage::Engine& engine);

}  // namespace tessera::catalog
