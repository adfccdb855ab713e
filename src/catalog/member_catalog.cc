// SPDX-License-Identifier: Apache-2.0
//
// Looking up, locking, and reading the whole catalog; DDL is in ddl.cc.
#include "catalog/member_catalog.h"

#include <algorithm>
#include <set>

#include "base/log.h"
#include "bson/builder.h"
#include "catalog/limits.h"

namespace tessera::catalog {
namespace {

template <class Lock>
void wait_for(Lock& lock, std::atomic<std::int64_t>& waiting) {
    waiting.fetch_add(1, std::memory_order_relaxed);
    lock.lock();
    waiting.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace

MemberCatalog::MemberCatalog(storage::Engine& engine, bool logs_tables, Random& random)
    : engine_(engine),
      logs_tables_(logs_tables),
      state_(std::make_shared<const State>()),
      random_(random.split()) {}

std::shared_ptr<Collection> MemberCatalog::find(const Namespace& ns) const {
    const auto now = state();
    const auto found = now->by_namespace.find(ns);
    return found == now->by_namespace.end() ? nullptr : found->second;
}

std::shared_ptr<Collection> MemberCatalog::find(const bson::Uuid& uuid) const {
    const auto now = state();
    const auto found = now->by_uuid.find(uuid);
    return found == now->by_uuid.end() ? nullptr : found->second;
}

std::shared_ptr<const ViewDefinition> MemberCatalog::find_view(const Namespace& ns) const {
    const auto now = state();
    const auto found = now->views.find(ns);
    return found == now->views.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<Collection>> MemberCatalog::collections(std::string_view db) const {
    const auto now = state();
    std::vector<std::shared_ptr<Collection>> result;
    for (auto at = now->by_namespace.lower_bound({std::string(db), {}});
         at != now->by_namespace.end() && at->first.db == db;
         ++at) {
        result.push_back(at->second);
    }
    return result;
}

std::vector<std::shared_ptr<const ViewDefinition>> MemberCatalog::views(std::string_view db) const {
    const auto now = state();
    std::vector<std::shared_ptr<const ViewDefinition>> result;
    for (auto at = now->views.lower_bound({std::string(db), {}});
         at != now->views.end() && at->first.db == db;
         ++at) {
        result.push_back(at->second);
    }
    return result;
}

std::vector<std::string> MemberCatalog::databases() const {
    const auto now = state();
    std::set<std::string> names;
    for (const auto& [ns, collection] : now->by_namespace)
        names.insert(ns.db);
    for (const auto& [ns, view] : now->views)
        names.insert(ns.db);
    return {names.begin(), names.end()};
}

std::shared_ptr<CollectionMutex> MemberCatalog::mutex_of(const Namespace& ns) {
    std::lock_guard lock(mutex_);
    if (mutexes_.size() > limits::idle_locks_max) {
        std::erase_if(mutexes_, [](const auto& entry) { return entry.second.use_count() == 1; });
    }
    auto& mutex = mutexes_[ns];
    if (mutex == nullptr) mutex = std::make_shared<CollectionMutex>();
    return mutex;
}

CollectionLock MemberCatalog::lock(const Namespace& ns, bool is_exclusive) {
    while (true) {
        const auto look = [&]() -> StoredPtr {
            const auto now = state();
            const auto found = now->by_namespace.find(ns);
            return found == now->by_namespace.end() ? nullptr : found->second;
        };
        CollectionLock result;
        const StoredPtr before = look();
        result.mutex_ = before ? before->mutex() : mutex_of(ns);
        if (is_exclusive) {
            result.exclusive_ = std::unique_lock(*result.mutex_, std::try_to_lock);
            if (!result.exclusive_) wait_for(result.exclusive_, waiting_exclusive_);
        } else {
            result.shared_ = std::shared_lock(*result.mutex_, std::try_to_lock);
            if (!result.shared_) wait_for(result.shared_, waiting_shared_);
        }
        // A DDL may have been published while we waited; its state is the one to use.
        StoredPtr after = look();
        if (after && after->mutex() != result.mutex_) continue;
        result.collection_ = std::move(after);
        return result;
    }
}

Result<storage::TablePtr> MemberCatalog::open_or_create(std::string_view ident,
                                                        storage::TableOptions options) {
    if (auto table = engine_.open_table(ident)) {
        if ((*table)->options().is_logged == options.is_logged) return table;
        TRY_OK(engine_.set_logged(ident, options.is_logged));
        return engine_.open_table(ident);
    }
    return engine_.create_table(ident, options);
}

Status MemberCatalog::open_tables() {
    TRY(replicated_table_, open_or_create(catalog_ident, {.is_logged = logs_tables_}));
    TRY(local_table_, open_or_create(local_catalog_ident, {.is_logged = true}));
    return ok();
}

Status MemberCatalog::start() {
    const auto existing = engine_.open_table(catalog_ident);
    const bool converts = existing && (*existing)->options().is_logged != logs_tables_;
    TRY_OK(open_tables());
    if (converts) {
        // The tables it names follow; then a checkpoint, since what only the journal held until now
        // would not be recovered into a table that is not logged any more.
        State found;
        TRY_OK(load_collections(found, replicated_table_));
        TRY([[maybe_unused]] const bool has_changed, adopt_logging(found));
        log::info(log::Component::storage,
                  9'001'010,
                  "Converted the data directory between standalone and replica set use",
                  {{"tablesAreLogged", logs_tables_}});
    }
    TRY_OK(reload());
    if (converts) TRY_OK(engine_.checkpoint());
    return ok();
}

Result<bool> MemberCatalog::adopt_logging(const State& found) {
    bool has_changed = false;
    for (const auto& [ns, collection] : found.by_namespace) {
        std::vector<std::string> idents{collection->metadata().ident};
        for (const auto& index : collection->metadata().indexes)
            idents.push_back(index.ident);
        for (const std::string& ident : idents) {
            TRY(const auto table, engine_.open_table(ident));
            if (table->options().is_logged == is_logged(ns)) continue;
            TRY_OK(engine_.set_logged(ident, is_logged(ns)));
            has_changed = true;
        }
    }
    return has_changed;
}

Status MemberCatalog::reload() {
    auto fresh = std::make_shared<State>();
    TRY_OK(load_collections(*fresh, replicated_table_));
    TRY_OK(load_collections(*fresh, local_table_));
    std::set<std::string> databases;
    for (const auto& [ns, collection] : fresh->by_namespace)
        databases.insert(ns.db);
    for (const std::string& db : databases)
        TRY_OK(load_views(*fresh, db));
    const Error why(ErrorCode::interrupted_due_to_repl_state_change,
                    "the data went back in time during the index build");
    for (const auto& [ns, collection] : state()->by_namespace)
        end_builds(*collection, why);
    drop_orphans(*fresh);
    std::lock_guard lock(publish_mutex_);
    state_.store(std::move(fresh), std::memory_order_release);
    return ok();
}

void MemberCatalog::drop_orphans(const State& found) {
    std::set<std::string, std::less<>> known{std::string(catalog_ident),
                                             std::string(local_catalog_ident)};
    for (const auto& [ns, collection] : found.by_namespace) {
        known.insert(collection->metadata().ident);
        for (const auto& index : collection->metadata().indexes)
            known.insert(index.ident);
    }
    for (const std::string& ident : engine_.idents()) {
        // Other modules' tables start with '_', as ours do.
        if (known.contains(ident) || ident.starts_with('_')) continue;
        log::info(log::Component::storage,
                  9'001'011,
                  "Dropping a table no collection owns",
                  {{"ident", ident}});
        engine_.drop_table(ident, {});
    }
}

Status MemberCatalog::load_collections(State& fresh, const storage::TablePtr& table) {
    TRY(const auto transaction, engine_.begin());
    const auto cursor = transaction->open_cursor(*table);
    TRY(bool is_there, cursor->seek("c"));
    while (is_there && cursor->key().starts_with('c')) {
        TRY(auto metadata, CollectionMetadata::parse(bson::View(cursor->value().data())));
        TRY_OK(load_collection(fresh, *transaction, table, std::move(metadata)));
        TRY(is_there, cursor->next());
    }
    return ok();
}

IndexParts MemberCatalog::index_parts(const Namespace& ns,
                                      const IndexMetadata& index,
                                      storage::TablePtr table,
                                      query::MultikeyPaths saved) const {
    IndexParts parts;
    parts.table = std::move(table);
    parts.multikey =
        std::make_shared<MultikeyState>(catalog_table(ns), index.ident, std::move(saved));
    parts.accesses = std::make_shared<std::atomic<std::int64_t>>(0);
    return parts;
}

Status MemberCatalog::load_collection(State& fresh,
                                      storage::Transaction& transaction,
                                      const storage::TablePtr& table,
                                      CollectionMetadata metadata) {
    const auto damaged = [&](const Error& error) {
        return error.with_prefix("The collection " + metadata.ns.to_string() +
                                 " cannot be opened; its files are incomplete: ");
    };
    auto parts = std::make_shared<CollectionParts>();
    parts->catalog_table = table;
    auto records = engine_.open_table(metadata.ident);
    if (!records) return damaged(records.error());
    parts->records = *records;
    std::map<std::string, IndexParts> indexes;
    for (const IndexMetadata& index : metadata.indexes) {
        auto index_table = engine_.open_table(index.ident);
        if (!index_table) return damaged(index_table.error());
        const std::size_t fields = index.spec["key"].as_view().count();
        query::MultikeyPaths saved(fields, 0);
        TRY(const auto bytes, transaction.get(*table, multikey_key(index.ident)));
        if (bytes) saved = MultikeyState::decode(*bytes, fields);
        indexes.emplace(index.ident, index_parts(metadata.ns, index, *index_table, saved));
    }
    const Namespace ns = metadata.ns;
    // A replica set's to continue, not ours while its member runs alone.
    if (logs_tables_) metadata.builds.clear();
    TRY(auto collection,
        StoredCollection::make(environment(ns), std::move(metadata), std::move(parts), indexes));
    TRY_OK(load_counts(transaction, *collection));
    fresh.by_uuid[collection->uuid()] = collection;
    fresh.by_namespace[ns] = std::move(collection);
    return ok();
}

Status MemberCatalog::load_counts(storage::Transaction& transaction, StoredCollection& collection) {
    CollectionParts& parts = *collection.parts();
    const auto newest = transaction.open_cursor(*parts.records, storage::Direction::backward);
    TRY(const bool has_any, newest->next());
    if (has_any) parts.next_record = bson::record_id_of(newest->key()).value + 1;
    TRY(const auto saved, transaction.get(*parts.catalog_table, count_key(collection.uuid())));
    if (saved) {
        const bson::View document(saved->data());
        parts.tally->count = document["count"].to_int64();
        parts.tally->bytes = document["bytes"].to_int64();
        parts.saved_count = parts.tally->count.load();
        parts.is_guess = parts.tally->count > limits::recount_max;
        if (parts.is_guess) return ok();
    }
    std::int64_t count = 0;
    std::int64_t bytes = 0;
    const auto cursor = transaction.open_cursor(*parts.records);
    while (true) {
        TRY(const bool is_there, cursor->next());
        if (!is_there) break;
        ++count;
        bytes += static_cast<std::int64_t>(cursor->value().size());
    }
    parts.tally->count = count;
    parts.tally->bytes = bytes;
    return ok();
}

Status MemberCatalog::recount(const std::function<Status()>& check) {
    const auto now = state();
    for (const auto& [ns, collection] : now->by_namespace)
        if (collection->parts()->is_guess) TRY_OK(recount_one(ns, check));
    return ok();
}

Status MemberCatalog::recount_one(const Namespace& ns, const std::function<Status()>& check) {
    TRY_OK(check());
    storage::TransactionOptions options;
    options.is_read_once = true;
    std::unique_ptr<storage::Transaction> transaction;
    StoredPtr collection;
    std::int64_t count = 0;
    std::int64_t bytes = 0;
    {
        // For an instant nobody writes: the tally is what the snapshot is compared with, and what
        // is written from then on is a difference to both.
        const CollectionLock lock = lock_exclusive(ns);
        if (!lock) return ok();
        collection = std::static_pointer_cast<StoredCollection>(find(ns));
        TRY(transaction, engine_.begin(options));
        TRY([[maybe_unused]] const auto first,
            transaction->get(*collection->parts()->records, bson::record_key({})));
        count = -collection->parts()->tally->count;
        bytes = -collection->parts()->tally->bytes;
    }
    const auto cursor = transaction->open_cursor(*collection->parts()->records);
    for (std::int64_t seen = 1;; ++seen) {
        TRY(const bool is_there, cursor->next());
        if (!is_there) break;
        ++count;
        bytes += static_cast<std::int64_t>(cursor->value().size());
        if (seen % limits::recount_slice == 0) TRY_OK(check());
    }
    CollectionParts& parts = *collection->parts();
    parts.tally->count += count;
    parts.tally->bytes += bytes;
    parts.is_guess = false;
    if (count != 0 || bytes != 0) {
        log::info(log::Component::storage,
                  9'001'013,
                  "Corrected a collection's count",
                  {{"ns", ns.to_string()}, {"countBy", count}, {"bytesBy", bytes}});
    }
    return ok();
}

Status MemberCatalog::load_views(State& fresh, std::string_view db) {
    std::erase_if(fresh.views, [db](const auto& entry) { return entry.first.db == db; });
    const auto found = fresh.by_namespace.find({std::string(db), "system.views"});
    if (found == fresh.by_namespace.end()) return ok();
    TRY(const auto transaction, engine_.begin());
    const auto cursor = transaction->open_cursor(*found->second->record_table());
    while (true) {
        TRY(const bool is_there, cursor->next());
        if (!is_there) break;
        const bson::View document(cursor->value().data());
        const bson::Value id = document["_id"];
        const bson::Value on = document["viewOn"];
        const bson::Value pipeline = document["pipeline"];
        if (!id.is_string() || !on.is_string() || !pipeline.is_array()) {
            log::warning(
                log::Component::storage, 9'001'012, "Not a view in system.views", {{"db", db}});
            continue;
        }
        auto view = std::make_shared<ViewDefinition>();
        view->ns = Namespace::split(id.as_string());
        view->on = on.as_string();
        for (const bson::Element& stage : pipeline.as_view()) {
            if (stage.value.is_object()) {
                view->pipeline.emplace_back(stage.value.as_view());
            }
        }
        bson::Builder options;
        for (const bson::Element& field : document) {
            if (field.name != "_id") options.append(field);
        }
        view->options = std::move(options).finish();
        Namespace ns = view->ns;
        fresh.views[std::move(ns)] = std::move(view);
    }
    return ok();
}

Status MemberCatalog::reload_views(std::string_view db) {
    std::lock_guard lock(publish_mutex_);
    auto fresh = std::make_shared<State>(*state());
    TRY_OK(load_views(*fresh, db));
    state_.store(std::move(fresh), std::memory_order_release);
    return ok();
}

Status MemberCatalog::save_counts() {
    const auto now = state();
    for (const auto& table : {replicated_table_, local_table_}) {
        TRY(const auto transaction, engine_.begin());
        std::vector<std::pair<CollectionParts*, std::int64_t>> written;
        for (const auto& [ns, collection] : now->by_namespace) {
            CollectionParts& parts = *collection->parts();
            if (parts.catalog_table != table) continue;
            const std::int64_t count = collection->count();
            if (parts.saved_count == count) continue;
            const bson::Document document =
                bson::make("count", count, "bytes", collection->data_size());
            TRY_OK(transaction->put(*table, count_key(collection->uuid()), document.bytes()));
            written.emplace_back(&parts, count);
        }
        if (written.empty()) continue;
        TRY_OK(transaction->commit());
        for (const auto& [parts, count] : written)
            parts->saved_count = count;
    }
    return ok();
}

}  // namespace tessera::catalog
