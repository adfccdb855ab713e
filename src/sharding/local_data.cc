// SPDX-License-Identifier: Apache-2.0
#include "sharding/local_data.h"

#include <algorithm>

#include "bson/builder.h"
#include "catalog/index.h"
#include "query/plan/executor.h"
#include "replication/ddl.h"
#include "replication/write_unit.h"
#include "sharding/limits.h"

namespace tessera::sharding {

Result<KeySpan> KeySpan::make(routing::ShardKeyPattern key, routing::Range range) {
    KeySpan span;
    TRY(span.low, key.encode_bound(range.min));
    TRY(span.high, key.encode_bound(range.max));
    span.key = std::move(key);
    span.range = std::move(range);
    return span;
}

bool KeySpan::contains(bson::View document) const {
    const auto found = key.key_of(document);
    if (!found || *found < low) return false;
    // {a: MaxKey} itself belongs to the last chunk.
    return *found < high || key.is_max_bound(range.max);
}

namespace {

// Whether the index holds every document of the collection in the order of the shard key.
bool is_shard_key_index(const catalog::Index& index, bson::View key) {
    const bson::View spec = index.spec();
    if (index.is_hidden() || index.is_multikey() || spec["sparse"].is_truthy() ||
        spec.has("partialFilterExpression") || !spec["key"].is_object())
        return false;
    auto field = spec["key"].as_view().begin();
    const auto end = spec["key"].as_view().end();
    for (const bson::Element& wanted : key) {
        if (field == end || field->name != wanted.name) return false;
        const bool is_same = wanted.value.is_string()
                                 ? field->value.is_string() &&
                                       field->value.as_string() == wanted.value.as_string()
                                 : field->value.is_number() && field->value.to_double() > 0;
        if (!is_same) return false;
        ++field;
    }
    return true;
}

// The range as bounds of an index, whose fields may go on behind the shard key's. Without a lower
// or an upper bound where the range has none.
void bound_by_index(const catalog::Index& index, const KeySpan& span, query::ReadRequest& request) {
    const std::size_t fields = span.key.document().view().count();
    const auto complete = [&](bson::View bound) {
        bson::Builder whole;
        std::size_t at = 0;
        for (const bson::Element& each : index.spec()["key"].as_view()) {
            const bool is_descending = each.value.is_number() && each.value.to_double() < 0;
            if (at++ < fields)
                whole.append(each.name, bound[each.name]);
            else if (is_descending)
                whole.append_max_key(each.name);
            else
                whole.append_min_key(each.name);
        }
        return std::move(whole).finish();
    };
    request.hint.name = index.name();
    request.min = complete(span.range.min.view());
    if (!span.key.is_max_bound(span.range.max)) request.max = complete(span.range.max.view());
}

}  // namespace

Result<std::vector<Located>> LocalData::list(const Namespace& ns, const KeySpan& span) const {
    std::vector<Located> result;
    const catalog::CollectionLock lock = catalog_.lock_shared(ns);
    if (!lock) return result;
    TRY(const auto transaction, engine_.begin());
    query::ReadRequest request;
    for (const auto& each : lock->indexes()) {
        if (!is_shard_key_index(*each, span.key.document())) continue;
        bound_by_index(*each, span, request);
        break;
    }
    query::Executor executor(lock->source(), std::move(request));
    TRY_OK(executor.start(*transaction));
    for (;;) {
        TRY(const bool has_document, executor.next());
        if (!has_document) break;
        const bson::View document = executor.document();
        if (!span.contains(document)) continue;
        TRY(auto key, span.key.key_of(document));
        result.push_back({std::move(key),
                          bson::make("_id", document["_id"]),
                          static_cast<std::int64_t>(document.size())});
    }
    executor.save_state();
    std::sort(result.begin(), result.end(), [](const Located& one, const Located& two) {
        return one.key < two.key;
    });
    return result;
}

Result<std::optional<bson::Document>> LocalData::find(const Namespace& ns, bson::View id) const {
    const catalog::CollectionLock lock = catalog_.lock_shared(ns);
    if (!lock) return std::optional<bson::Document>();
    TRY(const auto transaction, engine_.begin());
    TRY(const auto found, lock->find_by_id(*transaction, id["_id"]));
    if (!found) return std::optional<bson::Document>();
    return std::optional<bson::Document>(bson::Document(found->document));
}

Result<OpTime> LocalData::apply_one(const Namespace& ns,
                                    const KeySpan& span,
                                    bson::View document,
                                    bool is_removal) {
    TRY_OK(replication_.check_writable(ns));
    const catalog::CollectionLock lock = catalog_.lock_shared(ns);
    if (!lock) {
        if (is_removal) return OpTime();
        return Error(ErrorCode::namespace_not_found, ns.to_string() + " is gone");
    }
    replication::WriteOrigin origin;
    origin.from_migrate = true;
    origin.shard_key = span.key.document().view();
    TRY(auto unit, replication::WriteUnit::begin(replication_, engine_, clock_, origin));
    TRY(const auto found, lock->find_by_id(unit.transaction(), document["_id"]));
    if (!found) {
        if (is_removal) return OpTime();
        TRY_OK(unit.insert(*lock, document, replication::no_statement, false));
        return unit.commit();
    }
    const bson::Document before(found->document);
    const bool is_in_range = span.contains(before);
    if (is_removal) {
        if (!is_in_range) return OpTime();
        TRY_OK(unit.remove(*lock, found->id, before, replication::no_statement));
        return unit.commit();
    }
    if (!is_in_range)
        return Error(ErrorCode::duplicate_key,
                     "a document with the _id of one that is being moved is on this shard already, "
                     "under another shard key");
    if (before.view() == document) return OpTime();
    TRY_OK(unit.update(
        *lock, found->id, before, document, document, replication::no_statement, false));
    return unit.commit();
}

Result<OpTime> LocalData::insert_batch(const Namespace& ns,
                                       const std::vector<bson::Document>& documents,
                                       std::size_t first,
                                       std::size_t count) {
    TRY_OK(replication_.check_writable(ns));
    const catalog::CollectionLock lock = catalog_.lock_shared(ns);
    if (!lock) return Error(ErrorCode::namespace_not_found, ns.to_string() + " is gone");
    replication::WriteOrigin origin;
    origin.from_migrate = true;
    TRY(auto unit, replication::WriteUnit::begin(replication_, engine_, clock_, origin));
    TRY_OK(unit.reserve(static_cast<std::uint32_t>(count)));
    for (std::size_t i = first; i < first + count; ++i)
        TRY_OK(unit.insert(*lock, documents[i], replication::no_statement, false));
    return unit.commit();
}

Result<OpTime> LocalData::insert(const Namespace& ns,
                                 const std::vector<bson::Document>& documents) {
    OpTime last;
    for (std::size_t first = 0; first < documents.size();) {
        const std::size_t count = std::min(limits::copy_unit, documents.size() - first);
        const auto done = insert_batch(ns, documents, first, count);
        if (!done && done.error().code() == ErrorCode::write_conflict) continue;
        if (!done) return done.error();
        last = *done;
        first += count;
    }
    return last;
}

Result<OpTime> LocalData::drop(const Namespace& ns, const bson::Uuid& uuid) {
    for (;;) {
        TRY_OK(replication_.check_writable(ns));
        const catalog::CollectionLock lock = catalog_.lock_exclusive(ns);
        if (!lock || lock->uuid() != uuid) return OpTime();
        replication::WriteOrigin origin;
        origin.from_migrate = true;
        TRY(auto unit, replication::WriteUnit::begin(replication_, engine_, clock_, origin));
        TRY_OK(unit.reserve(1));
        const auto done = replication::drop_collection(unit, catalog_, ns);
        if (done || done.error().code() != ErrorCode::write_conflict) return done;
    }
}

std::optional<bson::Uuid> LocalData::uuid_of(const Namespace& ns) const {
    const auto collection = catalog_.find(ns);
    if (!collection) return std::nullopt;
    return collection->uuid();
}

std::vector<std::pair<Namespace, bson::Uuid>> LocalData::collections(const std::string& db) const {
    std::vector<std::pair<Namespace, bson::Uuid>> result;
    for (const auto& each : catalog_.collections(db))
        if (each->ns().collection != "system.profile")
            result.emplace_back(each->ns(), each->uuid());
    return result;
}

Result<OpTime> LocalData::apply(const Namespace& ns,
                                const KeySpan& span,
                                const std::vector<bson::Document>& put,
                                const std::vector<bson::Document>& removed) {
    OpTime last;
    const auto run = [&](const bson::Document& each, bool is_removal) -> Status {
        for (;;) {
            const auto done = apply_one(ns, span, each, is_removal);
            if (done) {
                if (last < *done) last = *done;
                return {};
            }
            if (done.error().code() != ErrorCode::write_conflict) return done.error();
        }
    };
    for (const bson::Document& each : removed)
        TRY_OK(run(each, true));
    for (const bson::Document& each : put)
        TRY_OK(run(each, false));
    return last;
}

}  // namespace tessera::sharding
