// SPDX-License-Identifier: Apache-2.0
//
// One createIndexes in progress on a collection that has documents. Nobody is kept out meanwhile:
//   1. Under the exclusive lock, for an instant: the indexes' tables are made and the collection
//      gets a state that knows the build. Every writer from then on keeps those indexes up to date.
//   2. fill_step() goes over the records in slices and adds the entries of documents that nobody
//      wrote meanwhile, each slice in one transaction under a shared lock.
//   3. Under the exclusive lock, for an instant: what remains to be checked is, and the indexes
//      join the collection's metadata (Catalog::finish_build).
//
// Why no entry goes wrong: a slice and a writer of one of its documents conflict. A writer that
// takes a key away puts and removes the entry, so it leaves a trace even where the fill has not
// been; the fill only inserts what is not there. So whichever of the two commits second and did
// not see the other fails with WriteConflict and looks again.
//
// Unique indexes: writers are never refused on behalf of an unfinished build. The records they
// write are suspects, checked in between and at the end, as are records without keys (parallel
// arrays): what still violates the index then makes the build fail.
//
// What is on disk of a build are tables no metadata names: a restart drops them. In a replica set
// the collection's metadata also say that there is such a build (Catalog::note_build), so that a
// restarted member makes its part of it anew.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "catalog/stored_index.h"

namespace tessera::catalog {

/// Owned by whoever drives it and by the collection's states while it runs. Thread-safe.
class IndexBuild {
public:
    struct Identity {
        bson::Uuid id;
        bson::Uuid collection;
        Namespace ns;  // A collection that builds is not renamed.
    };
    IndexBuild(Identity identity,
               std::vector<IndexMetadata> metadata,
               std::vector<std::shared_ptr<StoredIndex>> indexes)
        : identity_(std::move(identity)),
          metadata_(std::move(metadata)),
          indexes_(std::move(indexes)) {}

    const bson::Uuid& id() const { return identity_.id; }
    const bson::Uuid& collection() const { return identity_.collection; }
    const Namespace& ns() const { return identity_.ns; }
    const std::vector<IndexMetadata>& metadata() const { return metadata_; }
    const std::vector<std::shared_ptr<StoredIndex>>& indexes() const { return indexes_; }
    bool has_index(std::string_view name) const;

    /// Documents looked at so far, and how many there were at the start.
    std::int64_t done() const { return done_.load(std::memory_order_relaxed); }
    std::int64_t total() const { return total_.load(std::memory_order_relaxed); }

    /// Makes the build end with `why`, unless it has ended already. Whoever drives it sees that at
    /// its next step.
    void abort(Error why);
    /// Fails with what abort() was given.
    Status check() const;
    /// Has been finished or taken away: there is nothing left to wait for.
    bool has_ended() const { return has_ended_.load(); }

    // ---- For writers of the collection, under its shared lock -----------------------------------
    /// The keys the index wants for a document; none where it cannot have any, which is looked at
    /// again before the end.
    void keys_of(const StoredIndex& index,
                 bson::View document,
                 bson::RecordId id,
                 query::KeySet& out);
    /// A document got keys in `index`.
    void wrote(const StoredIndex& index, bson::RecordId id);

private:
    friend class MemberCatalog;
    void suspect(bson::RecordId id);
    std::vector<bson::RecordId> take_suspects();
    std::size_t suspects() const;

    const Identity identity_;
    const std::vector<IndexMetadata> metadata_;
    const std::vector<std::shared_ptr<StoredIndex>> indexes_;
    std::atomic<std::int64_t> done_{0};
    std::atomic<std::int64_t> total_{0};
    std::atomic<bool> has_ended_{false};

    std::mutex step_mutex_;                  // One step at a time; guards the next three.
    std::optional<bson::RecordId> position_;  // The last record looked at.
    bool is_filled_ = false;
    int slice_ = 0;                          // Documents of a slice; 0: not begun.

    mutable std::mutex mutex_;  // Guards what follows.
    std::optional<Error> failure_;
    std::vector<bson::RecordId> suspects_;
};

}  // namespace tessera::catalog
