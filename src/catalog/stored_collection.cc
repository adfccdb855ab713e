// SPDX-License-Identifier: Apache-2.0
#include "catalog/stored_collection.h"

#include <algorithm>

#include "bson/builder.h"
#include "bson/validate.h"
#include "catalog/index_build.h"
#include "catalog/limits.h"

namespace tessera::catalog {
namespace {

// A record's key, without an allocation.
class RecordKey {
public:
    explicit RecordKey(bson::RecordId id) {
        const auto number = static_cast<std::uint64_t>(id.value);
        for (int i = 0; i < 8; ++i)
            bytes_[i] = static_cast<char>(number >> (56 - 8 * i));
    }
    // NOLINTNEXTLINE(google-explicit-constructor): it is one.
    operator std::string_view() const { return {bytes_, 8}; }

private:
    char bytes_[8];
};

query::KeySet& scratch_keys() {
    static thread_local query::KeySet keys;
    return keys;
}

}  // namespace

StoredCollection::StoredCollection(const Environment& environment,
                                   CollectionMetadata metadata,
                                   std::shared_ptr<CollectionParts> parts)
    : environment_(environment),
      metadata_(std::move(metadata)),
      parts_(std::move(parts)),
      source_(*this) {}

Result<std::shared_ptr<StoredCollection>> StoredCollection::make(
    const Environment& environment,
    CollectionMetadata metadata,
    std::shared_ptr<CollectionParts> parts,
    const std::map<std::string, IndexParts>& index_parts,
    IndexBuilds builds) {
    const std::shared_ptr<StoredCollection> result(
        new StoredCollection(environment, std::move(metadata), std::move(parts)));
    const CollectionMetadata& known = result->metadata_;
    result->builds_ = std::move(builds);
    TRY(result->options_, parse_collection_options(known.ns, known.options));
    for (const IndexMetadata& index : known.indexes) {
        const auto found = index_parts.find(index.ident);
        ENSURE(found != index_parts.end());
        TRY(auto made, StoredIndex::make(environment.engine, known.ns, index, found->second));
        result->source_.infos.push_back(made->info());
        result->shown_indexes_.push_back(made);
        result->indexes_.push_back(std::move(made));
    }
    return result;
}

std::map<std::string, IndexParts> StoredCollection::index_parts() const {
    std::map<std::string, IndexParts> result;
    for (const auto& index : indexes_)
        result.emplace(index->ident(), index->parts());
    return result;
}

Result<bson::RecordId> StoredCollection::insert(storage::Transaction& transaction,
                                                bson::View document,
                                                WriteChecks checks) {
    if (checks.validates) TRY_OK(check_document(options_, ns(), document, nullptr));
    bson::RecordId id;
    if (ns().is_oplog()) [[unlikely]] {
        const bson::Value ts = document["ts"];
        if (ts.type() != bson::Type::timestamp) {
            return Error(ErrorCode::bad_value, "An oplog entry needs a timestamp in \"ts\"");
        }
        id.value = static_cast<std::int64_t>(ts.as_timestamp().packed());
    } else {
        id.value = parts_->next_record.fetch_add(1, std::memory_order_relaxed);
    }
    query::KeySet& keys = scratch_keys();
    for (const auto& index : indexes_) {
        TRY_OK(index->keys_of(document, keys));
        TRY_OK(index->insert(transaction, keys, id, checks.enforces_unique));
    }
    if (!builds_.empty()) [[unlikely]]
        TRY_OK(insert_into_builds(transaction, document, id));
    TRY_OK(transaction.put(*parts_->records, RecordKey(id), document.bytes()));
    transaction.add(parts_->tally, 1, document.size());
    return id;
}

Status StoredCollection::insert_into_builds(storage::Transaction& transaction,
                                            bson::View document,
                                            bson::RecordId id) {
    query::KeySet& keys = scratch_keys();
    for (const auto& build : builds_) {
        for (const auto& index : build->indexes()) {
            build->keys_of(*index, document, id, keys);
            TRY_OK(index->insert(transaction, keys, id, false));
            build->wrote(*index, id);
        }
    }
    return ok();
}

Status StoredCollection::update(storage::Transaction& transaction,
                                bson::RecordId id,
                                bson::View before,
                                bson::View after,
                                WriteChecks checks) {
    if (after.size() > bson::document_bytes_max) {
        return Error(location(17419),
                     "Resulting document after update is larger than " +
                         std::to_string(bson::document_bytes_max));
    }
    if (checks.validates) TRY_OK(check_document(options_, ns(), after, &before));
    // `before` may be the engine's, so all that is needed of it is taken before the first write.
    struct Change {
        const StoredIndex* index;
        query::KeySet before;
        query::KeySet after;
        bool enforces_unique;
    };
    std::vector<Change> changes;
    for (const auto& index : indexes_) {
        if (index->has_same_keys(before, after)) continue;
        Change change{index.get(), {}, {}, checks.enforces_unique};
        TRY_OK(index->keys_of(before, change.before));
        TRY_OK(index->keys_of(after, change.after));
        changes.push_back(std::move(change));
    }
    for (const auto& build : builds_) {
        for (const auto& index : build->indexes()) {
            if (index->has_same_keys(before, after)) continue;
            Change change{index.get(), {}, {}, false};
            build->keys_of(*index, before, id, change.before);
            build->keys_of(*index, after, id, change.after);
            build->wrote(*index, id);
            changes.push_back(std::move(change));
        }
    }
    const std::int64_t growth = std::int64_t{after.size()} - std::int64_t{before.size()};
    TRY_OK(transaction.put(*parts_->records, RecordKey(id), after.bytes()));
    for (const Change& change : changes) {
        TRY_OK(change.index->update(
            transaction, change.before, change.after, id, change.enforces_unique));
    }
    if (growth != 0) transaction.add(parts_->tally, 0, growth);
    return ok();
}

Status StoredCollection::remove(storage::Transaction& transaction,
                                bson::RecordId id,
                                bson::View before) {
    const std::int64_t size = before.size();
    std::vector<query::KeySet> keys(indexes_.size());
    for (std::size_t i = 0; i < indexes_.size(); ++i) {
        TRY_OK(indexes_[i]->keys_of(before, keys[i]));
    }
    std::vector<std::pair<const StoredIndex*, query::KeySet>> built;
    for (const auto& build : builds_) {
        for (const auto& index : build->indexes()) {
            built.emplace_back(index.get(), query::KeySet());
            build->keys_of(*index, before, id, built.back().second);
        }
    }
    TRY(const bool was_there, transaction.remove(*parts_->records, RecordKey(id)));
    if (!was_there) {
        return Error(ErrorCode::write_conflict, "The document to remove is gone");
    }
    for (std::size_t i = 0; i < indexes_.size(); ++i) {
        TRY_OK(indexes_[i]->remove(transaction, keys[i], id));
    }
    for (const auto& [index, their_keys] : built)
        TRY_OK(index->remove(transaction, their_keys, id));
    transaction.add(parts_->tally, -1, -size);
    return ok();
}

Result<std::optional<Found>> StoredCollection::find_by_id(storage::Transaction& transaction,
                                                          const bson::Value& id) {
    if (indexes_.empty() || !indexes_[0]->info().is_id()) {
        return Error(ErrorCode::illegal_operation, "No _id index in " + ns().to_string());
    }
    static thread_local bson::KeyBuilder key;
    key.clear();
    key.append(id);
    key.finish();
    TRY(auto entry, transaction.get(*indexes_[0]->info().table, key.key()));
    if (!entry) return std::optional<Found>();
    const bson::RecordId record = bson::take_record_id(*entry);
    TRY(const auto document, find_record(transaction, record));
    if (!document) return std::optional<Found>();
    return std::optional<Found>(Found{record, *document});
}

Result<std::optional<bson::View>> StoredCollection::find_record(storage::Transaction& transaction,
                                                                bson::RecordId id) {
    TRY(const auto bytes, transaction.get(*parts_->records, RecordKey(id)));
    if (!bytes) return std::optional<bson::View>();
    return std::optional<bson::View>(bson::View(bytes->data()));
}

Result<std::vector<bson::RecordId>> StoredCollection::capped_excess(
    storage::Transaction& transaction) {
    std::vector<bson::RecordId> result;
    if (!options_.is_capped) return result;
    const auto pending = transaction.pending(parts_->tally);
    std::int64_t documents = parts_->tally->count.load() + pending.count;
    std::int64_t bytes = parts_->tally->bytes.load() + pending.bytes;
    const auto is_over = [&] {
        const bool has_too_many =
            options_.capped_documents_max > 0 && documents > options_.capped_documents_max;
        return documents > 1 && (has_too_many || bytes > options_.capped_bytes_max);
    };
    if (!is_over()) return result;
    const auto cursor = transaction.open_cursor(*parts_->records);
    while (is_over() && result.size() < limits::capped_excess_max) {
        TRY(const bool is_there, cursor->next());
        if (!is_there) break;
        result.push_back(bson::record_id_of(cursor->key()));
        --documents;
        bytes -= static_cast<std::int64_t>(cursor->value().size());
    }
    return result;
}

bool StoredCollection::may_be_read_beside(const Collection& other) const {
    if (&other == this) return true;
    if (other.uuid() != uuid() || other.ns() != ns()) return false;
    const auto& now = static_cast<const StoredCollection&>(other).indexes_;
    return std::ranges::all_of(indexes_, [&](const auto& index) {
        return std::ranges::any_of(
            now, [&](const auto& it) { return it->ident() == index->ident(); });
    });
}

std::int64_t StoredCollection::count() const {
    return std::max<std::int64_t>(0, parts_->tally->count.load(std::memory_order_relaxed));
}
std::int64_t StoredCollection::data_size() const {
    return std::max<std::int64_t>(0, parts_->tally->bytes.load(std::memory_order_relaxed));
}

std::uint64_t StoredCollection::storage_size() {
    const auto stats = environment_.engine.table_stats(*parts_->records);
    return stats ? stats->bytes_on_disk : 0;
}

std::vector<std::pair<std::string, std::uint64_t>> StoredCollection::index_sizes() {
    std::vector<std::pair<std::string, std::uint64_t>> result;
    for (const auto& index : indexes_) {
        const auto stats = environment_.engine.table_stats(*index->info().table);
        result.emplace_back(index->name(), stats ? stats->bytes_on_disk : 0);
    }
    return result;
}

namespace {
Status check_size(std::size_t bytes) {
    if (bytes <= bson::document_bytes_max) return {};
    return Error(ErrorCode::bad_value,
                 "object to insert too large. size in bytes: " + std::to_string(bytes) +
                     ", max size: " + std::to_string(bson::document_bytes_max));
}
}  // namespace

Result<bool> is_storable(bson::View document) {
    const bson::Element first = document.front();
    const bool is_first = first.name == "_id";
    const bson::Value id = is_first ? first.value : document["_id"];
    switch (id.type()) {
        case bson::Type::array:
        case bson::Type::regex:
        case bson::Type::undefined:
            return Error(
                ErrorCode::invalid_id_field,
                "The '_id' value cannot be of type " + std::string(bson::type_name(id.type())));
        case bson::Type::object:
            for (const bson::Element& field : id.as_view()) {
                if (!field.name.starts_with('$')) continue;
                return Error(ErrorCode::dollar_prefixed_field_name,
                             "_id fields may not contain '$'-prefixed fields: " +
                                 std::string(field.name) + " is not valid for storage.");
            }
            break;
        default:
            break;
    }
    if (is_first) TRY_OK(check_size(document.size()));
    return is_first;
}

Result<bson::Document> fix_document(bson::View document, const bson::ObjectId& fresh_id) {
    TRY(const bool is_right, is_storable(document));
    if (is_right) return bson::Document(document);
    bson::Builder fixed;
    const bson::Value id = document["_id"];
    if (id.is_missing()) {
        fixed.append("_id", fresh_id);
        fixed.append_all(document);
    } else {
        fixed.append("_id", id);
        for (const bson::Element& field : document) {
            if (field.name != "_id") fixed.append(field);
        }
    }
    bson::Document result = std::move(fixed).finish();
    TRY_OK(check_size(result.size()));
    return result;
}

}  // namespace tessera::catalog
