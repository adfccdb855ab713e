// SPDX-License-Identifier: Apache-2.0
//
// Changes of the catalog. Each writes metadata in the caller's transaction and returns what is left
// to do once that has committed. Tables are made before and outlive the transaction's failure only
// until the change is destroyed.
#include <algorithm>
#include <cctype>

#include "base/log.h"
#include "bson/ids.h"
#include "bson/json.h"
#include "catalog/index_build.h"
#include "catalog/index_spec.h"
#include "catalog/limits.h"
#include "catalog/member_catalog.h"

namespace tessera::catalog {
namespace {

bool is_same_but_for_case(std::string_view one, std::string_view two) {
    return std::ranges::equal(one, two, [](char a, char b) {
        return std::tolower(static_cast<unsigned char>(a)) ==
               std::tolower(static_cast<unsigned char>(b));
    });
}

StoredCollection& stored(Collection& collection) {
    return static_cast<StoredCollection&>(collection);
}

}  // namespace

template <class Change>
void MemberCatalog::publish(Change change) {
    std::lock_guard lock(publish_mutex_);
    auto fresh = std::make_shared<State>(*state());
    change(*fresh);
    state_.store(std::move(fresh), std::memory_order_release);
}

void MemberCatalog::publish_state(const std::function<void(State&)>& change) {
    publish(change);
}

std::string MemberCatalog::make_ident(std::string_view kind) {
    std::lock_guard lock(mutex_);
    while (true) {
        const std::uint64_t noise = random_.next();
        std::string ident =
            std::string(kind) + "-" + std::to_string(next_ident_++) + "-" + std::to_string(noise);
        if (!engine_.open_table(ident)) return ident;  // A repeated seed repeats its idents.
    }
}

Result<CollectionMetadata> MemberCatalog::read_metadata(storage::Transaction& transaction,
                                                        const StoredCollection& collection) const {
    TRY(const auto bytes,
        transaction.get(*collection.parts()->catalog_table, metadata_key(collection.uuid())));
    if (!bytes) {
        return Error(ErrorCode::namespace_not_found,
                     "The collection " + collection.ns().to_string() + " was dropped");
    }
    return CollectionMetadata::parse(bson::View(bytes->data()));
}

Status MemberCatalog::write_metadata(storage::Transaction& transaction,
                                     const CollectionMetadata& metadata) const {
    return transaction.put(
        *catalog_table(metadata.ns), metadata_key(metadata.uuid), metadata.to_document().bytes());
}

Status MemberCatalog::check_new_namespace(const Namespace& ns) const {
    TRY_OK(check_namespace(ns));
    const auto now = state();
    if (now->by_namespace.contains(ns)) {
        return Error(ErrorCode::namespace_exists,
                     "Collection " + ns.to_string() + " already exists.");
    }
    if (now->views.contains(ns)) {
        return Error(ErrorCode::namespace_exists, "A view already exists. NS: " + ns.to_string());
    }
    for (const auto& [other, collection] : now->by_namespace) {
        if (other.db == ns.db || !is_same_but_for_case(other.db, ns.db)) continue;
        return Error(ErrorCode::database_differ_case,
                     "db already exists with different case already have: [" + other.db +
                         "] trying to create [" + ns.db + "]");
    }
    return ok();
}

Result<IndexParts> MemberCatalog::make_index(const Namespace& ns, const IndexMetadata& index) {
    TRY(auto table,
        engine_.create_table(index.ident, {.is_logged = is_logged(ns), .has_small_values = true}));
    const std::size_t fields = index.spec["key"].as_view().count();
    return index_parts(ns, index, std::move(table), query::MultikeyPaths(fields, 0));
}

Result<CatalogChange> MemberCatalog::create(storage::Transaction& transaction,
                                            const Namespace& ns,
                                            const CreateOptions& options) {
    TRY_OK(check_new_namespace(ns));
    if (find(options.uuid) != nullptr) {
        return Error(ErrorCode::namespace_exists,
                     "A collection with the UUID " + options.uuid.to_string() + " already exists.");
    }
    TRY(const CollectionOptions checked, parse_collection_options(ns, options.options));
    CollectionMetadata metadata;
    metadata.ns = ns;
    metadata.uuid = options.uuid;
    metadata.options = checked.document;
    metadata.ident = make_ident("collection");
    // The profile's documents have no _id, as the oplog's.
    if (checked.has_id_index && !ns.is_oplog() && ns.collection != "system.profile") {
        if (options.id_index) {
            TRY([[maybe_unused]] const auto spec, normalize_index_spec(ns, *options.id_index));
        }
        metadata.indexes.push_back({id_index_spec(), make_ident("index"), {}});
    }
    auto parts = std::make_shared<CollectionParts>();
    parts->catalog_table = catalog_table(ns);
    // From here on a failure leaves tables behind; the change's undo takes them away.
    std::vector<std::string> idents{metadata.ident};
    for (const auto& index : metadata.indexes)
        idents.push_back(index.ident);
    CatalogChange undo({}, [this, idents] {
        for (const std::string& ident : idents)
            engine_.drop_table(ident, {});
    });
    TRY(parts->records,
        engine_.create_table(metadata.ident,
                             {.is_logged = is_logged(ns), .packs_large_values = ns.is_oplog()}));
    std::map<std::string, IndexParts> indexes;
    for (const auto& index : metadata.indexes) {
        TRY(auto made, make_index(ns, index));
        indexes.emplace(index.ident, std::move(made));
    }
    TRY_OK(write_metadata(transaction, metadata));
    TRY(auto collection,
        StoredCollection::make(environment(ns), std::move(metadata), std::move(parts), indexes));
    CatalogChange change(
        [this, collection] {
            publish([&](State& next) {
                next.by_namespace[collection->ns()] = collection;
                next.by_uuid[collection->uuid()] = collection;
            });
        },
        [this, idents] {
            for (const std::string& ident : idents)
                engine_.drop_table(ident, {});
        });
    undo.published();
    return change;
}

Result<CatalogChange> MemberCatalog::drop(storage::Transaction& transaction,
                                          const Namespace& ns,
                                          Timestamp when) {
    const auto now = state();
    const auto found = now->by_namespace.find(ns);
    if (found == now->by_namespace.end()) {
        return Error(ErrorCode::namespace_not_found, "ns not found");
    }
    const StoredPtr collection = found->second;
    TRY(const auto metadata, read_metadata(transaction, *collection));
    const storage::TablePtr table = collection->parts()->catalog_table;
    TRY([[maybe_unused]] const bool was_there,
        transaction.remove(*table, metadata_key(collection->uuid())));
    if (is_logged(ns)) when = {};
    return CatalogChange(
        [this, collection, metadata, when] {
            publish([&](State& next) {
                next.by_namespace.erase(collection->ns());
                next.by_uuid.erase(collection->uuid());
            });
            end_builds(*collection,
                       Error(ErrorCode::index_build_aborted, "collection dropped"));
            for (const auto& build : collection->builds())
                for (const auto& index : build->metadata())
                    engine_.drop_table(index.ident, {});
            for (const auto& index : metadata.indexes)
                engine_.drop_table(index.ident, when);
            engine_.drop_table(metadata.ident, when);
        },
        {});
}

Result<CatalogChange> MemberCatalog::rename(storage::Transaction& transaction,
                                            const Namespace& from,
                                            const Namespace& to,
                                            RenameOptions options,
                                            Timestamp when) {
    const auto now = state();
    const auto source = now->by_namespace.find(from);
    if (source == now->by_namespace.end()) {
        return Error(ErrorCode::namespace_not_found,
                     "Source collection " + from.to_string() + " does not exist");
    }
    if (from == to) {
        return Error(ErrorCode::illegal_operation, "Can't rename a collection to itself");
    }
    if (!source->second->builds().empty() || !source->second->metadata().builds.empty()) {
        return Error(ErrorCode::background_operation_in_progress_for_namespace,
                     "cannot perform operation: an index build is currently running for "
                     "collection '" + from.to_string() + "'");
    }
    if (catalog_table(from) != catalog_table(to)) {
        return Error(ErrorCode::illegal_operation,
                     "Cannot rename between replicated and unreplicated databases");
    }
    std::optional<CatalogChange> dropped;
    if (now->by_namespace.contains(to)) {
        if (!options.drop_target) {
            return Error(ErrorCode::namespace_exists, "target namespace exists");
        }
        TRY(auto change, drop(transaction, to, when));
        dropped = std::move(change);
    } else {
        TRY_OK(check_new_namespace(to));
    }
    TRY(auto metadata, read_metadata(transaction, *source->second));
    metadata.ns = to;
    TRY_OK(write_metadata(transaction, metadata));
    auto target = std::make_shared<CatalogChange>(dropped ? std::move(*dropped) : CatalogChange());
    const StoredPtr old = source->second;
    TRY(auto renamed,
        StoredCollection::make(
            environment(to), std::move(metadata), old->parts(), old->index_parts()));
    return CatalogChange(
        [this, renamed, from, target] {
            target->published();
            publish([&](State& next) {
                next.by_namespace.erase(from);
                next.by_namespace[renamed->ns()] = renamed;
                next.by_uuid[renamed->uuid()] = renamed;
            });
        },
        {});
}

void MemberCatalog::replace_state(const CollectionMetadata& metadata,
                                  const std::map<std::string, IndexParts>& added,
                                  const IndexBuild* finished) {
    publish([&](State& next) {
        const auto found = next.by_uuid.find(metadata.uuid);
        ASSERT(found != next.by_uuid.end());
        const StoredPtr old = found->second;
        auto parts = old->index_parts();
        for (const auto& [ident, part] : added)
            parts.emplace(ident, part);
        IndexBuilds builds = old->builds();
        std::erase_if(builds, [&](const auto& each) { return each.get() == finished; });
        auto changed = StoredCollection::make(
            {engine_, old->mutex()}, metadata, old->parts(), parts, std::move(builds));
        // What was checked before the commit cannot be wrong after it.
        ASSERT(changed.has_value());
        next.by_namespace[metadata.ns] = *changed;
        found->second = *changed;
    });
}

CatalogChange MemberCatalog::replace(CollectionMetadata metadata,
                                     std::map<std::string, IndexParts> added,
                                     std::vector<std::string> dropped,
                                     Timestamp when) {
    std::vector<std::string> made;
    for (const auto& [ident, parts] : added)
        made.push_back(ident);
    return CatalogChange(
        [this,
         metadata = std::move(metadata),
         added = std::move(added),
         dropped = std::move(dropped),
         when] {
            replace_state(metadata, added, nullptr);
            for (const std::string& ident : dropped)
                engine_.drop_table(ident, when);
        },
        [this, made = std::move(made)] {
            for (const std::string& ident : made)
                engine_.drop_table(ident, {});
        });
}

Result<CheckedIndexSpec> MemberCatalog::check_index(const Collection& collection,
                                                    bson::View spec) const {
    CheckedIndexSpec result;
    TRY(result.spec, normalize_index_spec(collection.ns(), spec));
    if (collection.ns().is_oplog()) {
        return Error(ErrorCode::cannot_create_index, "cannot create an index on the oplog");
    }
    std::vector<bson::View> existing;
    for (const auto& index : collection.indexes())
        existing.push_back(index->spec());
    std::vector<bson::View> building;
    const auto& state = static_cast<const StoredCollection&>(collection);
    for (const auto& build : state.builds())
        for (const auto& index : build->indexes())
            building.push_back(index->spec());
    // Those to be continued are as good as under way.
    for (const NotedBuild& build : state.metadata().builds) {
        const auto is_it = [&](const auto& each) { return each->id() == build.id; };
        if (std::ranges::any_of(state.builds(), is_it)) continue;
        building.insert(building.end(), build.specs.begin(), build.specs.end());
    }
    TRY(result.is_being_built, check_against_existing(collection.ns(), result.spec, building));
    TRY(result.exists_already, check_against_existing(collection.ns(), result.spec, existing));
    return result;
}

Result<CatalogChange> MemberCatalog::create_index(storage::Transaction& transaction,
                                                  Collection& base,
                                                  bson::View checked_spec,
                                                  Timestamp when) {
    StoredCollection& collection = stored(base);
    const Namespace& ns = collection.ns();
    TRY(auto metadata, read_metadata(transaction, collection));
    std::vector<bson::View> existing;
    for (const auto& index : metadata.indexes)
        existing.push_back(index.spec);
    TRY(const bool exists, check_against_existing(ns, checked_spec, existing));
    if (exists) return CatalogChange();
    IndexMetadata added{bson::Document(checked_spec), make_ident("index"), {}};
    if (!is_logged(ns)) added.ready_at = when;
    const std::string ident = added.ident;
    CatalogChange undo({}, [this, ident] { engine_.drop_table(ident, {}); });
    TRY(const IndexParts parts, make_index(ns, added));
    TRY(const auto index, StoredIndex::make(engine_, ns, added, parts));
    if (Status filled = fill(transaction, collection, *index); !filled) {
        if (filled.error().code() != ErrorCode::duplicate_key) return std::move(filled).error();
        bson::Uuid build = collection.uuid();
        {
            std::lock_guard lock(mutex_);
            build = bson::make_uuid(random_);
        }
        return build_error(build, collection, filled.error());
    }
    metadata.indexes.push_back(std::move(added));
    TRY_OK(write_metadata(transaction, metadata));
    std::map<std::string, IndexParts> made;
    made.emplace(ident, parts);
    CatalogChange change = replace(std::move(metadata), std::move(made), {}, {});
    undo.published();
    return change;
}

Status MemberCatalog::fill(storage::Transaction& transaction,
                           StoredCollection& collection,
                           StoredIndex& index) {
    const auto documents = transaction.open_cursor(*collection.record_table());
    bool is_done = false;
    while (!is_done)
        TRY_OK(fill_batch(*documents, index, is_done));
    return ok();
}

Status MemberCatalog::fill_batch(storage::Cursor& documents, StoredIndex& index, bool& is_done) {
    TRY(const auto writer, engine_.begin());
    query::KeySet keys;
    for (int i = 0; i < limits::build_batch; ++i) {
        TRY(const bool is_there, documents.next());
        if (!is_there) {
            is_done = true;
            break;
        }
        const bson::RecordId id = bson::record_id_of(documents.key());
        TRY_OK(index.keys_of(bson::View(documents.value().data()), keys));
        TRY_OK(index.insert(*writer, keys, id, true));
    }
    return writer->commit();
}

Result<CatalogChange> MemberCatalog::drop_index(storage::Transaction& transaction,
                                                Collection& base,
                                                std::string_view name,
                                                Timestamp when) {
    StoredCollection& collection = stored(base);
    if (name == "_id_") return Error(ErrorCode::invalid_options, "cannot drop _id index");
    TRY(auto metadata, read_metadata(transaction, collection));
    const auto found = std::ranges::find_if(metadata.indexes, [name](const IndexMetadata& index) {
        return index.spec["name"].as_string() == name;
    });
    if (found == metadata.indexes.end()) {
        return Error(ErrorCode::index_not_found,
                     "index not found with name [" + std::string(name) + "]");
    }
    std::vector<std::string> dropped{found->ident};
    metadata.indexes.erase(found);
    TRY_OK(write_metadata(transaction, metadata));
    if (is_logged(collection.ns())) when = {};
    return replace(std::move(metadata), {}, std::move(dropped), when);
}

}  // namespace tessera::catalog
