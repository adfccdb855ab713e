// SPDX-License-Identifier: Apache-2.0
#include "commands/diagnostic_sources.h"

#include <set>

#include "catalog/index.h"
#include "catalog/index_build.h"
#include "commands/sharding_member.h"
#include "commands/support.h"

namespace tessera::commands {
namespace {

void append_client(const Node& node, const ClientInfo& client, bool is_active,
                   bson::Builder& entry) {
    entry.append("type", "op").append("host", node.process.host.to_string());
    entry.append("desc", "conn" + std::to_string(client.connection_id));
    entry.append("connectionId", static_cast<std::int32_t>(client.connection_id));
    entry.append("client", client.remote);
    if (const std::string name = client.app_name(); !name.empty()) entry.append("appName", name);
    if (const bson::Document metadata = client.metadata(); !metadata.is_empty())
        entry.append("clientMetadata", metadata);
    entry.append("active", is_active).append("currentOpTime", node.clock.wall_now());
    entry.append("threaded", true);
}

// With the digest of its user, as the server knows a session: nobody's without authentication.
void append_lsid(bson::View lsid, bson::Builder& entry) {
    const bson::Value given = lsid["uid"];
    const bool has_user =
        given.type() == bson::Type::binary && !given.as_binary().bytes.empty();
    const std::string nobody = complete(replication::SessionId()).uid;
    bson::Builder whole = entry.object("lsid");
    whole.append("id", lsid["id"]);
    whole.append("uid",
                 bson::Binary{bson::BinarySubtype::generic,
                              has_user ? given.as_binary().bytes : std::string_view(nobody)});
}

void append_operation(const Node& node, const Operation& operation,
                      const Operation::Description& description, bson::Builder& entry) {
    const Duration running = node.clock.now() - operation.started;
    append_client(node, *operation.client, true, entry);
    append_count(entry, "opid", operation.id);
    if (!description.lsid.is_empty()) append_lsid(description.lsid, entry);
    entry.append("secs_running", to_milliseconds(running) / 1000);
    entry.append("microsecs_running", to_microseconds(running));
    entry.append("op", description.kind).append("ns", description.ns);
    entry.append("command", description.command);
    if (!description.plan_summary.empty()) entry.append("planSummary", description.plan_summary);
    if (const auto& progress = description.progress; !progress.message.empty()) {
        const std::int64_t total = std::max(progress.total, progress.done);
        const std::string text =
            progress.message + ": " + std::to_string(progress.done) + "/" + std::to_string(total) +
            " " + std::to_string(total == 0 ? 100 : progress.done * 100 / total) + "%";
        entry.append("msg", progress.message + " " + text);
        bson::Builder numbers = entry.object("progress");
        append_count(numbers, "done", progress.done);
        append_count(numbers, "total", total);
    }
    if (operation.is_killed()) entry.append("killPending", true);
    entry.append("numYields", 0);
    entry.object("locks");
    entry.append("waitingForLock", false);
    entry.object("lockStats");
    entry.append("waitingForFlowControl", false);
    entry.object("flowControlStats");
}

bson::Document describe(const Node& node, const CursorRegistry::Info& info) {
    bson::Builder entry;
    entry.append("type", "idleCursor").append("host", node.process.host.to_string());
    entry.append("ns", info.options.ns.to_string());
    if (info.options.session) append_lsid(info.options.session->to_bson(), entry);
    if (!info.plan_summary.empty()) entry.append("planSummary", info.plan_summary);
    bson::Builder cursor = entry.object("cursor");
    cursor.append("cursorId", info.id).append("createdDate", info.created);
    cursor.append("lastAccessDate", info.last_used);
    cursor.append("nDocsReturned", info.documents_returned);
    cursor.append("nBatchesReturned", info.batches_returned);
    cursor.append("noCursorTimeout", info.options.never_times_out);
    cursor.append("tailable", info.options.is_tailable);
    cursor.append("awaitData", info.options.awaits_data);
    cursor.append("originatingCommand", info.options.command);
    cursor.done();
    return std::move(entry).finish();
}

bson::Document coll_stats_stage(Member& member, const Namespace& ns, bson::View spec) {
    bson::Builder entry;
    entry.append("ns", ns.to_string()).append("host", member.process.host.to_string());
    entry.append("localTime", member.clock.wall_now());
    if (spec.has("latencyStats")) {
        const bson::Value wanted = spec["latencyStats"];
        const bool with_bins =
            wanted.is_object() && wanted.as_view()["histograms"].is_truthy();
        bson::Builder latency = entry.object("latencyStats");
        member.metrics.append_latency(ns, with_bins, latency);
    }
    if (const bson::Value storage = spec["storageStats"]; storage.is_object()) {
        const bson::Value scale = storage.as_view()["scale"];
        entry.append("storageStats",
                     storage_stats(member, ns, scale.is_number() ? scale.to_int64() : 1));
    }
    if (spec.has("count")) {
        const auto collection = member.catalog->find(ns);
        append_count(entry, "count", collection ? collection->count() : 0);
    }
    return std::move(entry).finish();
}

std::vector<bson::Document> index_stats(Member& member, const Namespace& ns) {
    std::vector<bson::Document> documents;
    const auto collection = member.catalog->find(ns);
    if (!collection) return documents;
    for (const auto& index : collection->indexes()) {
        bson::Builder entry;
        entry.append("name", index->name()).append("key", index->spec()["key"]);
        entry.append("host", member.process.host.to_string());
        {
            bson::Builder accesses = entry.object("accesses");
            accesses.append("ops", index->accesses());
            accesses.append("since", member.process.started_wall);
        }
        entry.append("spec", index->spec());
        documents.push_back(std::move(entry).finish());
    }
    return documents;
}

std::vector<bson::Document> list_catalog(Member& member, const Namespace& ns) {
    std::vector<bson::Document> documents;
    const auto names = ns.collection.empty() && ns.db == "admin"
                           ? member.catalog->databases()
                           : std::vector<std::string>{ns.db};
    for (const std::string& db : names) {
        for (const auto& collection : member.catalog->collections(db)) {
            bson::Builder entry;
            entry.append("ns", collection->ns().to_string()).append("db", db);
            entry.append("type", "collection").append("sharded", false);
            documents.push_back(std::move(entry).finish());
        }
        for (const auto& view : member.catalog->views(db)) {
            bson::Builder entry;
            entry.append("ns", view->ns.to_string()).append("db", db);
            entry.append("type", "view").append("sharded", false);
            documents.push_back(std::move(entry).finish());
        }
    }
    return documents;
}

}  // namespace

CurrentOpOptions CurrentOpOptions::parse(bson::View spec) {
    return {spec["idleCursors"].is_truthy(), spec["idleConnections"].is_truthy()};
}

std::vector<bson::Document> current_operations(Node& node, const CurrentOpOptions& options) {
    std::vector<bson::Document> documents;
    std::set<const ClientInfo*> busy;
    node.operations.for_each(
        [&](const Operation& operation, const Operation::Description& description) {
            busy.insert(operation.client.get());
            if (description.is_hidden) return;
            bson::Builder entry;
            append_operation(node, operation, description, entry);
            documents.push_back(std::move(entry).finish());
        });
    if (options.idle_connections) {
        for (const auto& client : node.operations.clients()) {
            if (busy.contains(client.get())) continue;
            bson::Builder entry;
            append_client(node, *client, false, entry);
            documents.push_back(std::move(entry).finish());
        }
    }
    if (!options.idle_cursors) return documents;
    for (const auto& info : node.cursors.idle_cursors()) documents.push_back(describe(node, info));
    return documents;
}

namespace {

// What range deletions are about to remove, as counted when the ranges were given away.
std::int64_t orphans_of(Member& member, const catalog::Collection& collection) {
    if (!member.sharding) return 0;
    const auto tasks = member.sharding->store.find(
        sharding::config_ns("rangeDeletions"),
        bson::make("collectionUuid", collection.uuid()));
    std::int64_t orphans = 0;
    if (tasks)
        for (const bson::Document& each : *tasks) orphans += each["numOrphanDocs"].to_int64();
    return orphans;
}

}  // namespace

bson::Document storage_stats(Member& member, const Namespace& ns, std::int64_t scale) {
    scale = std::max<std::int64_t>(scale, 1);
    bson::Builder stats;
    const auto collection = member.catalog->find(ns);
    if (!collection) {
        for (const std::string_view field :
             {"size", "count", "numOrphanDocs", "storageSize", "totalSize", "nindexes",
              "totalIndexSize"})
            stats.append(field, 0);
        stats.object("indexDetails");
        stats.object("indexSizes");
        append_count(stats, "scaleFactor", scale);
        return std::move(stats).finish();
    }
    const std::int64_t count = collection->count();
    const std::int64_t size = collection->data_size();
    append_count(stats, "size", size / scale);
    append_count(stats, "count", count);
    if (count > 0) append_count(stats, "avgObjSize", size / count);
    append_count(stats, "numOrphanDocs", std::min(count, orphans_of(member, *collection)));
    const auto storage = static_cast<std::int64_t>(collection->storage_size());
    append_count(stats, "storageSize", storage / scale);
    append_count(stats, "freeStorageSize", 0);
    stats.append("capped", collection->options().is_capped);
    if (collection->options().is_capped) {
        append_count(stats, "max", collection->options().capped_documents_max);
        append_count(stats, "maxSize", collection->options().capped_bytes_max / scale);
    }
    append_count(stats, "nindexes", static_cast<std::int64_t>(collection->indexes().size()));
    stats.object("indexDetails");
    {
        auto names = stats.array("indexBuilds");
        for (const auto& build : member.catalog->builds()) {
            if (build->collection() != collection->uuid()) continue;
            for (const auto& index : build->indexes()) names.append(index->name());
        }
    }
    const auto sizes = collection->index_sizes();
    std::int64_t total_index = 0;
    for (const auto& [name, bytes] : sizes) total_index += static_cast<std::int64_t>(bytes);
    append_count(stats, "totalIndexSize", total_index / scale);
    append_count(stats, "totalSize", (storage + total_index) / scale);
    {
        bson::Builder list = stats.object("indexSizes");
        for (const auto& [name, bytes] : sizes)
            append_count(list, name, static_cast<std::int64_t>(bytes) / scale);
    }
    append_count(stats, "scaleFactor", scale);
    return std::move(stats).finish();
}

Result<std::vector<bson::Document>> diagnostic_documents(Member& member,
                                                         const Operation&,
                                                         const Namespace& ns,
                                                         std::string_view stage,
                                                         const bson::Value& spec) {
    const bson::View options = spec.is_object() ? spec.as_view() : bson::View();
    std::vector<bson::Document> documents;
    if (stage == "$collStats") {
        if (!member.catalog->find(ns) && options.has("count") && !ns.is_oplog())
            return Error(ErrorCode::namespace_not_found,
                         "Collection [" + ns.to_string() + "] not found.");
        documents.push_back(coll_stats_stage(member, ns, options));
        return documents;
    }
    if (stage == "$currentOp")
        return current_operations(member, CurrentOpOptions::parse(options));
    if (stage == "$indexStats") return index_stats(member, ns);
    if (stage == "$planCacheStats") return documents;  // Plans are not cached.
    if (stage == "$listClusterCatalog") return list_catalog(member, ns);
    if (stage == "$listLocalSessions" || stage == "$listSessions") {
        member.operations.for_each(
            [&](const Operation& operation, const Operation::Description& description) {
                if (description.lsid.is_empty()) return;
                bson::Builder entry;
                entry.append("_id", description.lsid)
                    .append("lastUse", operation.started_wall(member.clock));
                documents.push_back(std::move(entry).finish());
            });
        return documents;
    }
    return Error(location(40324),
                 "Unrecognized pipeline stage name: '" + std::string(stage) + "'");
}

}  // namespace tessera::commands
