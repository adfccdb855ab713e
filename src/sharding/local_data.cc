// SPDX-License-Identifier: Apache-2.0
#include "sharding/local_data.h"

#include <algorithm>

#include "bson/builder.h"
#include "query/plan/executor.h"
#include "replication/write_unit.h"

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

Result<std::vector<Located>> LocalData::list(const Namespace& ns, const KeySpan& span) const {
    std::vector<Located> result;
    const catalog::CollectionLock lock = catalog_.lock_shared(ns);
    if (!lock) return result;
    TRY(const auto transaction, engine_.begin());
    query::Executor executor(lock->source(), query::ReadRequest());
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
