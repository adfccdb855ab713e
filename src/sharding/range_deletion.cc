// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/log.h"
#include "bson/builder.h"
#include "sharding/limits.h"
#include "sharding/migration.h"

namespace tessera::sharding {
namespace {

const Namespace deletions = config_ns("rangeDeletions");

// One entry of config.rangeDeletions that is due.
struct DueDeletion {
    std::string ns;
    CollectionIdentity collection;
    KeySpan span;

    static Result<DueDeletion> parse(const bson::Document& task) {
        DueDeletion result;
        if (!task["nss"].is_string() || !task["range"].is_object() ||
            !task["keyPattern"].is_object())
            return Error(ErrorCode::no_such_key, "a range deletion lacks its fields");
        result.ns = task["nss"].as_string();
        result.collection.ns = Namespace::split(result.ns);
        TRY(result.collection.uuid, bson::uuid_in(task["collectionUuid"]));
        const bson::View bounds = task["range"].as_view();
        routing::Range range{bson::Document(bounds["min"].as_view()),
                             bson::Document(bounds["max"].as_view())};
        TRY(auto key, routing::ShardKeyPattern::parse(task["keyPattern"].as_view()));
        TRY(result.span, KeySpan::make(std::move(key), std::move(range)));
        return result;
    }
};

bool owns_part(const routing::ChunkMap& map, const KeySpan& span, const ShardName& shard) {
    const auto [first, last] = map.chunks_overlapping({span.low, span.high});
    for (std::size_t i = first; i < last; ++i)
        if (map.chunks()[i]->shard == shard) return true;
    return false;
}

// What the config servers say now decides: a range this shard owns is never deleted, and readers
// by an older map are told to stop before anything goes.
async::Task<Result<bool>> may_delete(const MigrationEnvironment& environment,
                                     const DueDeletion& due) {
    const Instant patience = environment.clock.now() + limits::config_read;
    CO_TRY_OK(co_await environment.state.refresh(due.ns, patience));
    const auto map = environment.state.known(due.ns);
    const auto identity = environment.state.identity();
    // Dropped, perhaps made anew: what the range was part of is gone.
    if (!map || !identity || map->collection().uuid != due.collection.uuid) co_return false;
    if (environment.data.uuid_of(due.collection.ns) != due.collection.uuid) co_return false;
    if (owns_part(*map, due.span, identity->name))
        co_return Error(ErrorCode::conflicting_operation_in_progress,
                        "the range " + routing::to_string(due.span.range) + " of " + due.ns +
                            " belongs to this shard and is not deleted");
    CO_TRY_OK(co_await environment.records.note_cleanup(due.ns));
    co_return true;
}

// Between two batches the collection may be dropped or get another name: that ends it.
async::Task<Result<std::size_t>> delete_range(const MigrationEnvironment& environment,
                                              const DueDeletion& due) {
    async::resume_on hop(environment.workers);
    co_await hop;
    CO_TRY(const auto located, environment.data.list(due.collection, due.span));
    std::vector<bson::Document> batch;
    for (std::size_t i = 0; i < located.size(); ++i) {
        batch.push_back(located[i].id);
        if (batch.size() < limits::range_deletion_batch && i + 1 < located.size()) continue;
        CO_TRY([[maybe_unused]] const OpTime at,
               environment.data.apply(due.collection, due.span, {}, batch));
        batch.clear();
        async::sleep_until pause(environment.clock,
                                 environment.clock.now() + limits::range_deletion_pause);
        co_await pause;
        async::resume_on again(environment.workers);
        co_await again;
    }
    co_return located.size();
}

}  // namespace

async::Task<Result<int>> delete_ranges(const MigrationEnvironment& environment) {
    int ranges = 0;
    if (!environment.replication.check_writable(deletions)) co_return ranges;
    CO_TRY(const auto tasks, environment.store.find(deletions, {}));
    const WallTime now = environment.clock.wall_now();
    std::optional<Error> failed;
    for (const bson::Document& task : tasks) {
        const bson::Value when = task["whenToClean"];
        if (when.type() != bson::Type::date || when.as_date() > now) continue;
        CO_TRY(const auto due, DueDeletion::parse(task));
        // A change of its name takes the entry along.
        if (!environment.state.is_readable(due.ns)) continue;
        if (environment.state.is_range_in_use(due.ns, due.span.range)) continue;
        const auto may = co_await may_delete(environment, due);
        if (!may) {
            failed = may.error();
            continue;
        }
        if (!environment.state.is_readable(due.ns)) continue;
        std::size_t documents = 0;
        if (*may) {
            // Requests may have begun by the old map while it was asked whether it is still right.
            if (environment.state.is_range_in_use(due.ns, due.span.range)) continue;
            const auto deleted = co_await delete_range(environment, due);
            if (!deleted) {
                // Gone meanwhile, most likely: the next look finds out what is left to do.
                failed = deleted.error();
                continue;
            }
            documents = *deleted;
        }
        CO_TRY_OK(co_await environment.store.remove(deletions, bson::make("_id", task["_id"])));
        ++ranges;
        log::info(log::Component::sharding,
                  9000441,
                  "Deleted what a migration left behind",
                  {{"ns", due.ns}, {"documents", documents}});
    }
    if (failed && ranges == 0) co_return *failed;
    co_return ranges;
}

}  // namespace tessera::sharding
