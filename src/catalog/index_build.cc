// SPDX-License-Identifier: Apache-2.0
#include "catalog/index_build.h"

#include <algorithm>

#include "catalog/limits.h"
#include "catalog/member_catalog.h"

namespace tessera::catalog {
namespace {

StoredCollection& stored(Collection& collection) {
    return static_cast<StoredCollection&>(collection);
}

}  // namespace

bool IndexBuild::has_index(std::string_view name) const {
    return std::ranges::any_of(indexes_, [name](const auto& it) { return it->name() == name; });
}

void IndexBuild::abort(Error why) {
    std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::move(why);
}

Status IndexBuild::check() const {
    std::lock_guard lock(mutex_);
    if (failure_) return *failure_;
    return ok();
}

void IndexBuild::keys_of(const StoredIndex& index,
                         bson::View document,
                         bson::RecordId id,
                         query::KeySet& out) {
    if (index.keys_of(document, out)) return;
    out.clear();
    suspect(id);
}

void IndexBuild::wrote(const StoredIndex& index, bson::RecordId id) {
    if (index.is_unique()) suspect(id);
}

void IndexBuild::suspect(bson::RecordId id) {
    std::lock_guard lock(mutex_);
    if (!suspects_.empty() && suspects_.back() == id) return;
    if (suspects_.size() < limits::build_suspects_max) {
        suspects_.push_back(id);
        return;
    }
    if (!failure_) {
        failure_ = Error(ErrorCode::exceeded_memory_limit,
                         "Too many documents were written during the index build to check them "
                         "for duplicates: build the index when there are fewer writes");
    }
}

std::vector<bson::RecordId> IndexBuild::take_suspects() {
    std::lock_guard lock(mutex_);
    std::vector<bson::RecordId> taken;
    taken.swap(suspects_);
    std::ranges::sort(taken);
    // clang 14 cannot compile std::ranges::unique.
    taken.erase(std::unique(taken.begin(), taken.end()), taken.end());
    return taken;
}

std::size_t IndexBuild::suspects() const {
    std::lock_guard lock(mutex_);
    return suspects_.size();
}

// ---- What the catalog does with it --------------------------------------------------------------

Result<IndexBuildPtr> MemberCatalog::begin_build(Collection& base,
                                                 const bson::Uuid& id,
                                                 const std::vector<bson::Document>& specs) {
    StoredCollection& collection = stored(base);
    std::vector<IndexMetadata> metadata;
    std::vector<std::shared_ptr<StoredIndex>> indexes;
    std::vector<std::string> idents;
    for (const bson::Document& spec : specs) {
        metadata.push_back({spec, make_ident("index"), {}});
        idents.push_back(metadata.back().ident);
    }
    CatalogChange undo({}, [this, idents] {
        for (const std::string& ident : idents)
            engine_.drop_table(ident, {});
    });
    for (const IndexMetadata& index : metadata) {
        TRY(const IndexParts parts, make_index(collection.ns(), index));
        TRY(auto made, StoredIndex::make_building(engine_, collection.ns(), index, parts));
        indexes.push_back(std::move(made));
    }
    auto build = std::make_shared<IndexBuild>(
        IndexBuild::Identity{id, collection.uuid(), collection.ns()}, metadata, indexes);
    build->total_ = collection.count();
    change_builds(collection.uuid(), [&](auto& builds) { builds.push_back(build); });
    undo.published();
    return build;
}

// The collection's state with other builds, everything else as it was.
void MemberCatalog::change_builds(const bson::Uuid& uuid,
                                  const std::function<void(IndexBuilds&)>& change) {
    publish_state([&](State& next) {
        const auto found = next.by_uuid.find(uuid);
        if (found == next.by_uuid.end()) return;
        const StoredPtr old = found->second;
        IndexBuilds builds = old->builds();
        change(builds);
        auto made = StoredCollection::make({engine_, old->mutex()},
                                           old->metadata(),
                                           old->parts(),
                                           old->index_parts(),
                                           std::move(builds));
        ASSERT(made.has_value());  // Everything in it has been made before.
        next.by_namespace[old->ns()] = *made;
        found->second = *made;
    });
}

Result<bool> MemberCatalog::fill_step(IndexBuild& build) {
    std::lock_guard step(build.step_mutex_);
    if (build.slice_ == 0) build.slice_ = limits::build_slice_documents;
    for (int attempt = 1;; ++attempt) {
        TRY_OK(build.check());
        if (build.suspects() >= limits::build_suspects_batch || build.is_filled_) {
            TRY_OK(check_suspects(build));
        }
        if (build.is_filled_) return true;
        // Documents that are written all the time get a moment of quiet.
        const bool is_alone = attempt > limits::build_attempts_shared;
        const CollectionLock lock =
            is_alone ? lock_exclusive(build.ns()) : lock_shared(build.ns());
        TRY_OK(build.check());
        ENSURE(lock && lock->uuid() == build.collection());
        const Status filled = fill_slice(build, stored(*lock));
        if (filled) return false;
        if (filled.error().code() != ErrorCode::write_conflict) {
            return build_error(build.id(), *lock, filled.error());
        }
        build.slice_ = std::max(1, build.slice_ / 2);
    }
}

Status MemberCatalog::fill_slice(IndexBuild& build, StoredCollection& collection) {
    TRY(const auto transaction, engine_.begin());
    const auto documents = transaction->open_cursor(*collection.record_table());
    auto position = build.position_;
    bool is_there = false;
    if (position) {
        TRY(is_there, documents->seek_after(bson::record_key(*position)));
    } else {
        TRY(is_there, documents->rewind());
    }
    query::KeySet keys;
    std::int64_t done = 0;
    std::size_t bytes = 0;
    while (is_there && done < build.slice_ && bytes < limits::build_slice_bytes) {
        const bson::RecordId id = bson::record_id_of(documents->key());
        bytes += documents->value().size();
        for (const auto& index : build.indexes()) {
            TRY_OK(index->keys_of(bson::View(documents->value().data()), keys));
            TRY_OK(index->fill(*transaction, keys, id));
        }
        position = id;
        ++done;
        TRY(is_there, documents->next());
    }
    TRY_OK(transaction->commit());
    build.position_ = position;
    build.is_filled_ = !is_there;
    build.done_ += done;
    build.slice_ = std::min(limits::build_slice_documents, build.slice_ * 2);
    return ok();
}

// Looks at the suspects of writers that have all committed, or rolled back. Requires: the step
// mutex; no lock of the collection.
Status MemberCatalog::check_suspects(IndexBuild& build) {
    if (build.suspects() == 0) return ok();
    std::vector<bson::RecordId> taken;
    {
        // For an instant there is no writer, so that none of these is still to be committed.
        const CollectionLock lock = lock_exclusive(build.ns());
        taken = build.take_suspects();
    }
    const CollectionLock lock = lock_shared(build.ns());
    TRY_OK(build.check());
    ENSURE(lock && lock->uuid() == build.collection());
    return check_records(build, stored(*lock), taken);
}

Status MemberCatalog::check_records(IndexBuild& build,
                                    StoredCollection& collection,
                                    const std::vector<bson::RecordId>& records) {
    TRY(const auto transaction, engine_.begin());
    query::KeySet keys;
    for (const bson::RecordId id : records) {
        for (const auto& index : build.indexes()) {
            TRY(const auto found, collection.find_record(*transaction, id));
            if (!found) break;
            Status status = index->keys_of(*found, keys);
            if (status) status = index->check_duplicates(*transaction, keys, id);
            if (!status) return build_error(build.id(), collection, status.error());
        }
    }
    return ok();
}

Result<CatalogChange> MemberCatalog::finish_build(storage::Transaction& transaction,
                                                  Collection& base,
                                                  const IndexBuildPtr& build,
                                                  Timestamp when) {
    StoredCollection& collection = stored(base);
    TRY_OK(build->check());
    ENSURE(collection.uuid() == build->collection());
    TRY_OK(check_records(*build, collection, build->take_suspects()));
    TRY(auto metadata, read_metadata(transaction, collection));
    std::map<std::string, IndexParts> added;
    for (std::size_t i = 0; i < build->metadata().size(); ++i) {
        IndexMetadata index = build->metadata()[i];
        if (!is_logged(collection.ns())) index.ready_at = when;
        added.emplace(index.ident, build->indexes()[i]->parts());
        metadata.indexes.push_back(std::move(index));
    }
    std::erase_if(metadata.builds, [&](const auto& noted) { return noted.id == build->id(); });
    TRY_OK(write_metadata(transaction, metadata));
    // Undone, the build goes on to exist until abort_build(), and so do its tables.
    return CatalogChange(
        [this, metadata = std::move(metadata), added = std::move(added), build] {
            replace_state(metadata, added, build.get());
            build->has_ended_ = true;
        },
        {});
}

void MemberCatalog::abort_build(IndexBuild& build, Error why) {
    build.abort(std::move(why));
    const CollectionLock lock = lock_exclusive(build.ns());
    if (build.has_ended_.exchange(true)) return;
    take_away(build);
}

// Requires: the exclusive lock, or nobody else who could use the collection.
void MemberCatalog::take_away(IndexBuild& build) {
    change_builds(build.collection(), [&](IndexBuilds& builds) {
        std::erase_if(builds, [&](const auto& each) { return each.get() == &build; });
    });
    for (const IndexMetadata& index : build.metadata())
        engine_.drop_table(index.ident, {});
}

// The collection's state is on its way out, with the builds it knows.
void MemberCatalog::end_builds(const StoredCollection& collection, const Error& why) {
    for (const IndexBuildPtr& build : collection.builds()) {
        build->abort(why);
        build->has_ended_ = true;
    }
}

IndexBuilds MemberCatalog::builds() const {
    IndexBuilds result;
    const auto now = state();
    for (const auto& [ns, collection] : now->by_namespace)
        result.insert(result.end(), collection->builds().begin(), collection->builds().end());
    return result;
}

Result<CatalogChange> MemberCatalog::note_build(storage::Transaction& transaction,
                                                Collection& collection,
                                                const NotedBuild& build) {
    TRY(auto metadata, read_metadata(transaction, stored(collection)));
    for (const NotedBuild& noted : metadata.builds)
        if (noted.id == build.id) return CatalogChange();
    metadata.builds.push_back(build);
    TRY_OK(write_metadata(transaction, metadata));
    return replace(std::move(metadata), {}, {}, {});
}

Result<CatalogChange> MemberCatalog::forget_build(storage::Transaction& transaction,
                                                  Collection& collection,
                                                  const bson::Uuid& id,
                                                  const Error& why) {
    TRY(auto metadata, read_metadata(transaction, stored(collection)));
    const auto is_meant = [&](const auto& noted) { return noted.id == id; };
    if (std::erase_if(metadata.builds, is_meant) > 0)
        TRY_OK(write_metadata(transaction, metadata));
    return CatalogChange(
        [this, metadata = std::move(metadata), id, why] {
            replace_state(metadata, {}, nullptr);
            for (const IndexBuildPtr& build : builds()) {
                if (build->id() != id) continue;
                build->abort(why);
                if (!build->has_ended_.exchange(true)) take_away(*build);
            }
        },
        {});
}

std::vector<std::pair<std::shared_ptr<Collection>, NotedBuild>> MemberCatalog::noted_builds()
    const {
    std::vector<std::pair<std::shared_ptr<Collection>, NotedBuild>> result;
    const auto now = state();
    for (const auto& [ns, collection] : now->by_namespace)
        for (const NotedBuild& build : collection->metadata().builds)
            result.emplace_back(collection, build);
    return result;
}

void MemberCatalog::abort_builds(const std::function<bool(const IndexBuild&)>& choose,
                                 const Error& why) {
    for (const IndexBuildPtr& build : builds())
        if (choose(*build)) abort_build(*build, why);
}

Error MemberCatalog::build_error(const bson::Uuid& id,
                                 const Collection& collection,
                                 const Error& cause) const {
    if (cause.code() != ErrorCode::duplicate_key) return cause;
    return cause.with_prefix("Index build failed: " + id.to_string() + ": Collection " +
                             collection.ns().to_string() + " ( " + collection.uuid().to_string() +
                             " ) :: caused by :: ");
}

}  // namespace tessera::catalog
