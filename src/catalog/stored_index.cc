// SPDX-License-Identifier: Apache-2.0
#include "catalog/stored_index.h"

#include <algorithm>

#include "bson/builder.h"
#include "bson/json.h"
#include "catalog/expressions.h"

namespace tessera::catalog {

namespace {

// A RecordId as index entries hold it.
std::string_view id_bytes(bson::RecordId id) {
    static thread_local bson::KeyBuilder builder;
    builder.clear();
    builder.append(id);
    return builder.key();
}

}  // namespace

MultikeyState::MultikeyState(storage::TablePtr catalog_table,
                             std::string ident,
                             query::MultikeyPaths saved)
    : catalog_table_(std::move(catalog_table)),
      ident_(std::move(ident)),
      fields_(saved.size()),
      known_(std::make_unique<std::atomic<std::uint32_t>[]>(fields_)),
      saved_(std::make_unique<std::atomic<std::uint32_t>[]>(fields_)) {
    for (std::size_t i = 0; i < fields_; ++i) {
        known_[i] = saved[i];
        saved_[i] = saved[i];
    }
}

query::MultikeyPaths MultikeyState::paths() const {
    query::MultikeyPaths result(fields_);
    for (std::size_t i = 0; i < fields_; ++i)
        result[i] = known_[i].load();
    return result;
}

bool MultikeyState::is_multikey() const {
    for (std::size_t i = 0; i < fields_; ++i) {
        if (known_[i].load() != 0) return true;
    }
    return false;
}

Status MultikeyState::add(storage::Engine& engine, const query::MultikeyPaths& needed) {
    const auto is_saved = [&] {
        for (std::size_t i = 0; i < fields_; ++i) {
            if ((needed[i] & ~saved_[i].load(std::memory_order_relaxed)) != 0) return false;
        }
        return true;
    };
    if (is_saved()) [[likely]]
        return ok();
    std::lock_guard lock(mutex_);
    if (is_saved()) return ok();
    // Readers first: whoever takes a snapshot that holds the document has the bits before him.
    for (std::size_t i = 0; i < fields_; ++i)
        known_[i].fetch_or(needed[i]);
    const query::MultikeyPaths all = paths();
    TRY(auto transaction, engine.begin());
    TRY_OK(transaction->put(*catalog_table_, multikey_key(ident_), encode(all)));
    TRY_OK(transaction->commit());
    for (std::size_t i = 0; i < fields_; ++i)
        saved_[i].store(all[i]);
    return ok();
}

std::string MultikeyState::encode(const query::MultikeyPaths& paths) {
    return {reinterpret_cast<const char*>(paths.data()), paths.size() * sizeof(paths[0])};
}

query::MultikeyPaths MultikeyState::decode(std::string_view bytes, std::size_t fields) {
    query::MultikeyPaths result(fields, 0);
    std::memcpy(result.data(), bytes.data(), std::min(bytes.size(), fields * sizeof(result[0])));
    return result;
}

StoredIndex::StoredIndex(storage::Engine& engine,
                         const Namespace& ns,
                         const IndexMetadata& metadata,
                         const IndexParts& parts)
    : engine_(engine), ns_(ns), spec_(metadata.spec), ident_(metadata.ident), parts_(parts) {}

Result<std::shared_ptr<StoredIndex>> StoredIndex::make(storage::Engine& engine,
                                                       const Namespace& ns,
                                                       const IndexMetadata& metadata,
                                                       const IndexParts& parts) {
    const std::shared_ptr<StoredIndex> index(new StoredIndex(engine, ns, metadata, parts));
    query::IndexInfo& info = index->info_;
    const bson::View spec = index->spec_;
    ENSURE(spec["key"].is_object());
    info.name = std::string(spec["name"].as_string());
    info.key_pattern = bson::Document(spec["key"].as_view());
    info.ordering = bson::Ordering::from_pattern(info.key_pattern);
    std::uint32_t field = 0;
    for (const bson::Element& element : info.key_pattern.view()) {
        info.paths.emplace_back(element.name);
        index->top_fields_.push_back(info.paths.back()[0].name);
        if (element.value.is_string()) info.hashed_fields |= 1U << field;
        ++field;
    }
    info.is_unique = spec["unique"].is_truthy() && !spec["unique"].is_missing();
    info.is_sparse = spec["sparse"].is_truthy() && !spec["sparse"].is_missing();
    info.is_hidden = spec["hidden"].is_truthy() && !spec["hidden"].is_missing();
    info.ready_at = metadata.ready_at;
    info.version = static_cast<std::int32_t>(spec["v"].to_int64());
    if (const bson::Value partial = spec["partialFilterExpression"]; partial.is_object()) {
        TRY(auto filter, parse_filter(partial.as_view()));
        info.partial_filter = std::make_shared<const query::Filter>(std::move(filter));
        std::vector<std::string> paths;
        info.partial_filter->add_dependencies(paths);
        for (const std::string& path : paths) {
            if (path.empty()) {
                index->top_fields_.clear();
                break;
            }
            index->top_fields_.push_back(path.substr(0, path.find('.')));
        }
    }
    info.table = parts.table;
    info.format = info.is_id() ? query::EntryFormat::id_in_value : query::EntryFormat::id_in_key;
    if (info.is_id()) info.is_unique = true;
    info.accesses = parts.accesses;
    std::ranges::sort(index->top_fields_);
    // clang 14 cannot compile std::ranges::unique.
    auto& fields = index->top_fields_;
    fields.erase(std::unique(fields.begin(), fields.end()), fields.end());
    return index;
}

Result<std::shared_ptr<StoredIndex>> StoredIndex::make_building(storage::Engine& engine,
                                                                const Namespace& ns,
                                                                const IndexMetadata& metadata,
                                                                const IndexParts& parts) {
    TRY(auto index, make(engine, ns, metadata, parts));
    index->is_building_ = true;
    return index;
}

std::optional<std::int64_t> StoredIndex::expire_after_seconds() const {
    const bson::Value value = spec_["expireAfterSeconds"];
    if (!value.is_number()) return std::nullopt;
    return value.to_int64();
}

Status StoredIndex::keys_of(bson::View document, query::KeySet& out) const {
    if (info_.partial_filter) {
        static thread_local query::MatchContext context;
        TRY(const bool is_match, info_.partial_filter->matches(document, context));
        if (!is_match) {
            out.keys.clear();
            out.multikey.assign(info_.paths.size(), 0);
            return ok();
        }
    }
    return query::KeyGenerator(info_).generate(document, out);
}

bool StoredIndex::has_same_keys(bson::View before, bson::View after) const {
    if (top_fields_.empty()) return false;
    for (const std::string& field : top_fields_) {
        const bson::Value one = before[field];
        const bson::Value two = after[field];
        if (one.type() != two.type() || one.bytes() != two.bytes()) return false;
    }
    return true;
}

Error StoredIndex::duplicate_key(const query::KeySet::Key& key) const {
    bson::Arena arena;
    std::vector<bson::Value> values;
    bson::Builder shown;
    if (bson::decode_key(key.fields, key.type_bits, info_.ordering, arena, values)) {
        std::size_t i = 0;
        for (const bson::Element& element : info_.key_pattern.view()) {
            if (i >= values.size()) break;
            shown.append(element.name, values[i++]);
        }
    }
    const bson::Document value = std::move(shown).finish();
    const bson::Document details = bson::make("keyPattern", info_.key_pattern, "keyValue", value);
    return {ErrorCode::duplicate_key,
            "E11000 duplicate key error collection: " + ns_.to_string() + " index: " + name() +
                " dup key: " + bson::to_json(value, bson::JsonMode::message),
            std::string(details.bytes())};
}

Status StoredIndex::check_unique(storage::Transaction& transaction,
                                 const query::KeySet::Key& key,
                                 bson::RecordId id) const {
    storage::Table& table = *info_.table;
    TRY(const bool is_free, transaction.insert(table, key.fields, ""));
    ENSURE(is_free);
    TRY([[maybe_unused]] const bool was_there, transaction.remove(table, key.fields));
    return look_for_duplicate(transaction, key, id);
}

Status StoredIndex::look_for_duplicate(storage::Transaction& transaction,
                                       const query::KeySet::Key& key,
                                       bson::RecordId id) const {
    const auto cursor = transaction.open_cursor(*info_.table);
    TRY(bool is_there, cursor->seek(key.fields));
    while (is_there && cursor->key().starts_with(key.fields)) {
        if (bson::record_id_at_end(cursor->key()) != id) return duplicate_key(key);
        TRY(is_there, cursor->next());
    }
    return ok();
}

Status StoredIndex::insert_one(storage::Transaction& transaction,
                               const query::KeySet::Key& key,
                               bson::RecordId id,
                               bool enforces_unique) const {
    if (info_.format == query::EntryFormat::id_in_value) {
        TRY(const bool is_new, transaction.insert(*info_.table, key.fields, entry_value(key, id)));
        if (!is_new) return duplicate_key(key);
        return ok();
    }
    if (info_.is_unique && enforces_unique) TRY_OK(check_unique(transaction, key, id));
    return transaction.put(*info_.table, entry_key(key, id), key.type_bits);
}

std::string StoredIndex::entry_key(const query::KeySet::Key& key, bson::RecordId id) const {
    std::string result = key.fields;
    if (info_.format == query::EntryFormat::id_in_key) result += id_bytes(id);
    return result;
}

std::string StoredIndex::entry_value(const query::KeySet::Key& key, bson::RecordId id) const {
    if (info_.format == query::EntryFormat::id_in_key) return key.type_bits;
    std::string result(id_bytes(id));
    result += key.type_bits;
    return result;
}

Status StoredIndex::remove_one(storage::Transaction& transaction,
                               const query::KeySet::Key& key,
                               bson::RecordId id) const {
    const std::string entry = entry_key(key, id);
    // Where the fill has not been there is nothing to remove, and still it must see that we were
    // here (index_build.h).
    if (is_building_) TRY_OK(transaction.put(*info_.table, entry, ""));
    TRY([[maybe_unused]] const bool was_there, transaction.remove(*info_.table, entry));
    return ok();
}

Status StoredIndex::fill(storage::Transaction& transaction,
                         const query::KeySet& keys,
                         bson::RecordId id) const {
    if (keys.is_multikey()) TRY_OK(parts_.multikey->add(engine_, keys.multikey));
    for (const auto& key : keys.keys) {
        if (info_.is_unique) TRY_OK(look_for_duplicate(transaction, key, id));
        TRY([[maybe_unused]] const bool is_new,
            transaction.insert(*info_.table, entry_key(key, id), entry_value(key, id)));
    }
    return ok();
}

Status StoredIndex::check_duplicates(storage::Transaction& transaction,
                                     const query::KeySet& keys,
                                     bson::RecordId id) const {
    if (!info_.is_unique) return ok();
    for (const auto& key : keys.keys)
        TRY_OK(look_for_duplicate(transaction, key, id));
    return ok();
}

Status StoredIndex::insert(storage::Transaction& transaction,
                           const query::KeySet& keys,
                           bson::RecordId id,
                           bool enforces_unique) const {
    if (keys.is_multikey()) TRY_OK(parts_.multikey->add(engine_, keys.multikey));
    for (const auto& key : keys.keys)
        TRY_OK(insert_one(transaction, key, id, enforces_unique));
    return ok();
}

Status StoredIndex::remove(storage::Transaction& transaction,
                           const query::KeySet& keys,
                           bson::RecordId id) const {
    for (const auto& key : keys.keys)
        TRY_OK(remove_one(transaction, key, id));
    return ok();
}

Status StoredIndex::update(storage::Transaction& transaction,
                           const query::KeySet& before,
                           const query::KeySet& after,
                           bson::RecordId id,
                           bool enforces_unique) const {
    if (after.is_multikey()) TRY_OK(parts_.multikey->add(engine_, after.multikey));
    // Both are sorted by fields: one walk.
    auto old_key = before.keys.begin();
    auto new_key = after.keys.begin();
    while (old_key != before.keys.end() || new_key != after.keys.end()) {
        int order = 0;
        if (old_key == before.keys.end()) {
            order = 1;
        } else if (new_key == after.keys.end()) {
            order = -1;
        } else {
            order = old_key->fields.compare(new_key->fields);
        }
        if (order < 0) {
            TRY_OK(remove_one(transaction, *old_key++, id));
            continue;
        }
        if (order > 0) {
            TRY_OK(insert_one(transaction, *new_key++, id, enforces_unique));
            continue;
        }
        if (old_key->type_bits != new_key->type_bits) {  // 1 became 1.0.
            TRY_OK(remove_one(transaction, *old_key, id));
            TRY_OK(insert_one(transaction, *new_key, id, enforces_unique));
        }
        ++old_key;
        ++new_key;
    }
    return ok();
}

}  // namespace tessera::catalog
