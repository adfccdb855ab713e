// SPDX-License-Identifier: Apache-2.0
//
// LocalData: a shard's own documents as migrations and range deletion use them. Everything here
// blocks: call it on a worker.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "async/clock.h"
#include "catalog/catalog.h"
#include "replication/replication.h"
#include "routing/shard_key.h"
#include "storage/engine.h"

namespace tessera::sharding {

/// A range of keys of one collection, with its bounds encoded.
struct KeySpan {
    routing::ShardKeyPattern key;
    routing::Range range;
    routing::Key low;
    routing::Key high;
    static Result<KeySpan> make(routing::ShardKeyPattern key, routing::Range range);
    /// Whether the document's shard key lies in it; false without a valid key.
    bool contains(bson::View document) const;
};

/// Where a document is in key order.
struct Located {
    routing::Key key;
    bson::Document id;  // {_id: value}
    std::int64_t bytes = 0;
};

/// A collection that is meant and no other: one dropped, renamed or made anew under this name since
/// has another UUID.
struct CollectionIdentity {
    Namespace ns;
    bson::Uuid uuid;
};

class LocalData {
public:
    LocalData(replication::Replication& replication,
              catalog::Catalog& catalog,
              storage::Engine& engine,
              async::Clock& clock)
        : replication_(replication), catalog_(catalog), engine_(engine), clock_(clock) {}

    /// The documents of a range, by key; none when the collection is gone.
    Result<std::vector<Located>> list(const CollectionIdentity& collection,
                                      const KeySpan& span) const;
    /// One document, copied; nothing when it or the collection is gone.
    Result<std::optional<bson::Document>> find(const CollectionIdentity& collection,
                                               bson::View id) const;
    /// Inserts or replaces documents of the range and removes ids, all marked fromMigrate. A stored
    /// document that lies outside the range is another one: removing leaves it, replacing it fails
    /// with DuplicateKey. NamespaceNotFound when the collection is gone, which each document finds
    /// out for itself. Returns the last position; null when nothing changed.
    Result<OpTime> apply(const CollectionIdentity& collection,
                         const KeySpan& span,
                         const std::vector<bson::Document>& put,
                         const std::vector<bson::Document>& removed);
    /// Inserts documents of a collection that is being copied whole, marked fromMigrate.
    Result<OpTime> insert(const CollectionIdentity& collection,
                          const std::vector<bson::Document>& documents);
    /// Drops the collection if it has this UUID; null when there is none such.
    Result<OpTime> drop(const Namespace& ns, const bson::Uuid& uuid);
    /// Renames the collection with this UUID, dropping what has the other name; where there is none
    /// here, the other is dropped all the same. Null when it is so already. `is_part`: another
    /// shard's oplog tells of it.
    Result<OpTime> rename(const Namespace& from,
                          const Namespace& to,
                          const bson::Uuid& uuid,
                          bool is_part);
    /// The UUID of a collection here.
    std::optional<bson::Uuid> uuid_of(const Namespace& ns) const;
    /// The collections of a database, without those each shard has for itself.
    std::vector<std::pair<Namespace, bson::Uuid>> collections(const std::string& db) const;
    Status reload_views(const std::string& db) { return catalog_.reload_views(db); }
    catalog::Catalog& catalog() const { return catalog_; }

private:
    /// False when it is gone.
    catalog::CollectionLock lock_shared(const CollectionIdentity& collection) const;
    Result<OpTime> insert_batch(const CollectionIdentity& collection,
                                const std::vector<bson::Document>& documents,
                                std::size_t first,
                                std::size_t count);
    Result<OpTime> apply_one(const CollectionIdentity& collection,
                             const KeySpan& span,
                             bson::View document,
                             bool is_removal);

    replication::Replication& replication_;
    catalog::Catalog& catalog_;
    storage::Engine& engine_;
    async::Clock& clock_;
};

}  // namespace tessera::sharding
