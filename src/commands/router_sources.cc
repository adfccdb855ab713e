// SPDX-License-Identifier: Apache-2.0
//
// First stages that tell about the cluster rather than a collection's documents: asked of every
// shard they concern, each answer marked with its shard.
#include <algorithm>

#include "async/block_on.h"
#include "commands/diagnostic_sources.h"
#include "commands/operation_commands.h"
#include "commands/router_pipeline.h"

namespace tessera::commands {
namespace {

// How far a diagnostic goes through config.* collections.
constexpr std::size_t listed_max = 100'000;

bson::Document with_shard(bson::View document, const std::string& shard) {
    bson::Builder out;
    out.append("shard", shard);
    for (const bson::Element& field : document)
        if (field.name != "shard") out.append(field);
    return std::move(out).finish();
}

}  // namespace

Result<std::vector<bson::Document>> RouterPipelineServices::documents_of(
    const Namespace& ns,
    std::string_view stage,
    const bson::Value& spec,
    const std::vector<routing::ShardTarget>& targets) {
    Invocation& invocation = call_->invocation();
    const std::vector<bson::Document> stages = {bson::make(stage, spec)};
    std::vector<bson::Document> result;
    for (const routing::ShardTarget& target : targets) {
        std::vector<ShardCommand> commands;
        const ShardPart part{ns, stages};
        commands.push_back(
            ShardCommand{target.shard, shard_command(part, bson::Document(), target)});
        OpenOptions options;
        options.call = call_options(invocation, true);
        TRY(auto cursors,
            async::block_on(
                router_.control,
                open_cursors(router_, invocation, std::move(commands), std::move(options))));
        const auto documents = make_remote_documents(router_, std::move(cursors.front()), *call_);
        while (true) {
            TRY(const query::Batch batch, documents->next());
            for (std::size_t i = 0; i < batch.size() && result.size() < listed_max; ++i)
                result.push_back(stage == "$currentOp" ? operation_of_shard(batch[i], target.shard)
                                                       : with_shard(batch[i], target.shard));
            if (batch.is_last) break;
        }
    }
    return result;
}

Result<std::vector<bson::Document>> RouterPipelineServices::current_operations_of_cluster(
    const bson::Value& spec) {
    const bson::View options = spec.is_object() ? spec.as_view() : bson::View();
    if (options["localOps"].is_truthy())
        return current_operations(router_, CurrentOpOptions::parse(options));
    TRY(const auto shards,
        async::block_on(router_.control, all_shards(router_, call_->invocation())));
    std::vector<routing::ShardTarget> targets;
    for (const routing::ShardName& shard : shards) {
        routing::ShardTarget target;
        target.shard = shard;
        target.shard_version = routing::ShardVersion::ignored();
        targets.push_back(std::move(target));
    }
    return documents_of({"admin", ""}, "$currentOp", spec, targets);
}

Result<std::vector<bson::Document>> RouterPipelineServices::find_config(
    std::string_view collection) {
    Invocation& invocation = call_->invocation();
    bson::Builder find;
    find.append("find", collection);
    find.append("readConcern", bson::make("level", "majority")).append("$db", "config");
    return async::block_on(
        router_.control,
        router_.shards.find_all(
            sharding::config_shard, std::move(find).finish(), primary_options(invocation, true)));
}

Result<std::vector<bson::Document>> RouterPipelineServices::data_distribution() {
    TRY(const auto collections, find_config("collections"));
    std::vector<bson::Document> result;
    for (const bson::Document& each : collections) {
        if (!each["_id"].is_string()) continue;
        const Namespace ns = Namespace::split(each["_id"].as_string());
        const auto info = routing_of(ns);
        if (!info || !info->is_sharded()) continue;
        const bson::Document spec = bson::make("storageStats", bson::Document());
        const bson::Value spec_value = spec.view().as_object_value();
        auto statistics = documents_of(ns, "$collStats", spec_value, routing::target_all(*info));
        if (!statistics) continue;  // Dropped or moved meanwhile.
        bson::Builder entry;
        entry.append("ns", ns.to_string());
        {
            auto shards = entry.array("shards");
            for (const bson::Document& one : *statistics) {
                const bson::Value storage = one["storageStats"];
                if (!storage.is_object()) continue;
                const bson::View stats = storage.as_view();
                const std::int64_t count = stats["count"].to_int64();
                const std::int64_t orphans = stats["numOrphanDocs"].to_int64();
                const std::int64_t average = stats["avgObjSize"].to_int64();
                bson::Builder shard = shards.object();
                shard.append("shardName", one["shard"]);
                shard.append("numOrphanedDocs", orphans);
                shard.append("numOwnedDocuments", count - orphans);
                shard.append("ownedSizeBytes", (count - orphans) * average);
                shard.append("orphanedSizeBytes", orphans * average);
            }
        }
        result.push_back(std::move(entry).finish());
    }
    return result;
}

Result<std::vector<bson::Document>> RouterPipelineServices::cluster_catalog(
    const query::PipelineNamespace& ns) {
    TRY(const auto databases, find_config("databases"));
    std::vector<bson::Document> result;
    for (const bson::Document& each : databases) {
        auto database = routing::DatabaseEntry::parse(each);
        if (!database || (ns.db != "admin" && database->name != ns.db)) continue;
        bson::Document list = bson::make("listCollections", 1, "$db", database->name);
        TRY(const bson::Document reply, call_one(database->primary, std::move(list), true));
        const bson::Value cursor = reply["cursor"];
        if (!cursor.is_object() || !cursor.as_view()["firstBatch"].is_array()) continue;
        for (const bson::Element& one : cursor.as_view()["firstBatch"].as_view()) {
            const bson::View collection = one.value.as_view();
            const Namespace named{database->name, std::string(collection["name"].as_string())};
            TRY(const auto info, routing_of(named));
            bson::Builder entry;
            entry.append("db", named.db).append("ns", named.to_string());
            for (const std::string_view field : {"type", "options", "info", "idIndex"})
                entry.append(field, collection[field]);
            entry.append("sharded", info.is_sharded());
            if (info.is_sharded()) entry.append("shardKey", info.chunks->key().document());
            {
                auto shards = entry.array("shards");
                for (const auto& target : routing::target_all(info))
                    shards.append(target.shard);
            }
            result.push_back(std::move(entry).finish());
        }
    }
    return result;
}

Result<std::unique_ptr<query::DocumentCursor>> RouterPipelineServices::open_source(
    const query::PipelineNamespace& ns, std::string_view stage, const bson::Value& spec) {
    std::vector<bson::Document> documents;
    if (stage == "$currentOp") {
        TRY(documents, current_operations_of_cluster(spec));
    } else if (stage == "$shardedDataDistribution") {
        TRY(documents, data_distribution());
    } else if (stage == "$listClusterCatalog") {
        TRY(documents, cluster_catalog(ns));
    } else if (stage == "$listLocalSessions") {
        documents.clear();  // A router keeps no sessions of its own.
    } else if (stage == "$collStats" || stage == "$indexStats" || stage == "$listSessions" ||
               stage == "$planCacheStats") {
        TRY(const auto info, routing_of({ns.db, ns.collection}));
        TRY(documents,
            documents_of({ns.db, ns.collection}, stage, spec, routing::target_all(info)));
    } else if (stage == "$changeStream") {
        return Error(ErrorCode::command_not_supported,
                     "$changeStream is not supported; docs/compatibility.md lists what is");
    } else {
        return Error(location(40324),
                     "Unrecognized pipeline stage name: '" + std::string(stage) + "'");
    }
    return query::make_vector_cursor(std::move(documents));
}

}  // namespace tessera::commands
