// SPDX-License-Identifier: Apache-2.0
//
// $out and $merge of a pipeline that runs on a router: their writes go through the router like any
// client's.
#include "async/block_on.h"
#include "commands/router_pipeline.h"
#include "commands/router_writes.h"
#include "routing/write_batch.h"

namespace tessera::commands {
namespace {

Namespace to_namespace(const query::PipelineNamespace& ns) {
    return {ns.db, ns.collection};
}

// The error of a write that must not have any.
Status check_result(const routing::WriteBatchResult& result) {
    if (result.errors.empty()) return {};
    return sharding::error_of(result.errors.front().error);
}

}  // namespace

// $out: a temporary collection beside the target takes the documents, and its place at the end.
class RouterOutput : public query::OutputWriter {
public:
    RouterOutput(RouterPipelineServices& services, Namespace target, routing::ShardName shard)
        : services_(services),
          target_(std::move(target)),
          temporary_{target_.db, "tmp.agg_out." + services.router().make_uuid().to_string()},
          shard_(std::move(shard)) {}

    ~RouterOutput() override {
        if (is_finished_) return;
        // What was written so far goes; should that fail, its name tells what it was.
        [[maybe_unused]] const auto dropped = services_.call_one(
            shard_, bson::make("drop", temporary_.collection, "$db", temporary_.db), true);
    }

    Status begin() {
        const bson::Document filter = bson::make("name", target_.collection);
        TRY(const bson::Document listed,
            services_.call_one(
                shard_,
                bson::make("listCollections", 1, "filter", filter, "$db", target_.db),
                true));
        bson::View options;
        for (const bson::Element& each : listed["cursor"].as_view()["firstBatch"].as_view()) {
            const bson::View entry = each.value.as_view();
            if (entry["type"].is_string() && entry["type"].as_string() == "view")
                return Error(ErrorCode::command_not_supported_on_view,
                             "Namespace " + target_.to_string() + " is a view, not a collection");
            if (const bson::Value given = entry["options"]; given.is_object())
                options = given.as_view();
        }
        if (options["capped"].is_truthy())
            return Error(
                location(17152),
                "namespace '" + target_.to_string() + "' is capped so it can't be used for $out");
        bson::Builder create;
        create.append("create", temporary_.collection);
        create.append_all(options);
        create.append("$db", temporary_.db);
        TRY_OK(run(std::move(create).finish()));
        return copy_indexes();
    }

    Status write(const query::Batch& batch) override {
        if (batch.is_empty()) return {};
        bson::Builder insert;
        insert.append("insert", temporary_.collection);
        {
            auto documents = insert.array("documents");
            for (std::size_t i = 0; i < batch.size(); ++i)
                documents.append(batch[i]);
        }
        insert.append("$db", temporary_.db);
        TRY(const bson::Document reply,
            services_.call_one(shard_, std::move(insert).finish(), false));
        const bson::Value errors = reply["writeErrors"];
        if (errors.is_array() && !errors.as_view().is_empty())
            return sharding::error_of(errors.as_view().front().value.as_view());
        return {};
    }

    Status finish() override {
        bson::Builder rename;
        rename.append("renameCollection", temporary_.to_string());
        rename.append("to", target_.to_string()).append("dropTarget", true);
        rename.append("writeConcern", bson::make("w", "majority")).append("$db", "admin");
        TRY_OK(run(std::move(rename).finish()));
        is_finished_ = true;
        return {};
    }

private:
    Status run(bson::Document command) {
        const auto reply = services_.call_one(shard_, std::move(command), false);
        if (!reply) return reply.error();
        return {};
    }
    Status copy_indexes() {
        auto listed = services_.call_one(
            shard_, bson::make("listIndexes", target_.collection, "$db", target_.db), true);
        if (!listed && listed.error().code() == ErrorCode::namespace_not_found) return {};
        if (!listed) return listed.error();
        bson::Builder create;
        create.append("createIndexes", temporary_.collection);
        {
            auto indexes = create.array("indexes");
            for (const bson::Element& each : (*listed)["cursor"].as_view()["firstBatch"].as_view())
                if (each.value.as_view()["name"].as_string() != "_id_")
                    indexes.append(each.value.as_view());
            if (indexes.count() == 0) return {};
        }
        create.append("$db", temporary_.db);
        return run(std::move(create).finish());
    }

    RouterPipelineServices& services_;
    const Namespace target_;
    const Namespace temporary_;
    const routing::ShardName shard_;
    bool is_finished_ = false;
};

Result<std::unique_ptr<query::OutputWriter>> RouterPipelineServices::open_out(
    const query::PipelineNamespace& target) {
    const Namespace ns = to_namespace(target);
    TRY_OK(check_namespace(ns));
    TRY_OK(async::block_on(router_.control, ensure_database(router_, call_->invocation(), ns.db)));
    TRY(const auto info, routing_of(ns));
    if (info.is_sharded())
        return Error(location(28769),
                     "namespace '" + ns.to_string() + "' is sharded so it can't be used for $out'");
    auto output = std::make_unique<RouterOutput>(*this, ns, info.database.primary);
    TRY_OK(output->begin());
    return std::unique_ptr<query::OutputWriter>(std::move(output));
}

Result<std::vector<std::string>> RouterPipelineServices::merge_key(
    const query::PipelineNamespace& target) {
    std::vector<std::string> fields = {"_id"};
    const auto info = routing_of(to_namespace(target));
    if (!info && info.error().code() == ErrorCode::namespace_not_found) return fields;
    if (!info) return info.error();
    if (!info->is_sharded()) return fields;
    for (const auto& field : info->chunks->key().fields())
        if (field.path != "_id") fields.push_back(field.path);
    return fields;
}

Result<bool> RouterPipelineServices::has_unique_index(const query::PipelineNamespace& target,
                                                      const std::vector<std::string>& fields) {
    const Namespace ns = to_namespace(target);
    const auto info = routing_of(ns);
    if (!info && info.error().code() == ErrorCode::namespace_not_found)
        return fields.size() == 1 && fields.front() == "_id";
    if (!info) return info.error();
    TRY(const auto defaults, merge_key(target));
    bool is_default = fields.size() == defaults.size();
    for (const std::string& field : defaults)
        is_default = is_default && std::find(fields.begin(), fields.end(), field) != fields.end();
    if (is_default) return true;
    const routing::ShardName shard =
        info->is_sharded() ? routing::target_all(*info).front().shard : info->database.primary;
    auto listed = call_one(shard, bson::make("listIndexes", ns.collection, "$db", ns.db), true);
    if (!listed && listed.error().code() == ErrorCode::namespace_not_found)
        return fields.size() == 1 && fields.front() == "_id";
    if (!listed) return listed.error();
    for (const bson::Element& each : (*listed)["cursor"].as_view()["firstBatch"].as_view()) {
        const bson::View index = each.value.as_view();
        const bool is_id = index["name"].is_string() && index["name"].as_string() == "_id_";
        if ((!index["unique"].is_truthy() && !is_id) || index.has("partialFilterExpression"))
            continue;
        const bson::View key = index["key"].as_view();
        bool is_same = key.count() == fields.size();
        for (const std::string& field : fields)
            is_same = is_same && key.has(field);
        if (is_same) return true;
    }
    return false;
}

Result<std::int64_t> RouterPipelineServices::write_once(const Namespace& ns,
                                                        const query::MergeWrite& write) {
    using Kind = query::MergeWrite::Kind;
    RouterWrite request;
    request.ns = ns;
    bson::Document statement;
    if (write.kind == Kind::insert) {
        request.kind = RouterWrite::Kind::insert;
        statement = write.document;
        if (!statement.view().has("_id")) {
            bson::Builder fixed;
            fixed.append("_id", router_.make_object_id());
            fixed.append_all(write.document);
            statement = std::move(fixed).finish();
        }
    } else {
        request.kind = RouterWrite::Kind::update;
        bson::Builder update;
        update.append("q", write.query);
        if (write.kind == Kind::replace) {
            update.append("u", write.document);
        } else if (write.kind == Kind::keep_existing) {
            update.append("u", bson::make("$setOnInsert", write.document));
        } else {
            auto stages = update.array("u");
            for (const bson::Document& stage : write.pipeline)
                stages.append(stage);
            stages.done();
            update.append("c", write.variables);
        }
        // A pipeline's upsert inserts `document`, not what the pipeline makes of nothing.
        update.append("upsert", write.is_upsert && write.kind != Kind::pipeline);
        statement = std::move(update).finish();
    }
    request.statements.push_back(statement);
    TRY(const auto result,
        async::block_on(router_.control, run_write(router_, call_->invocation(), request)));
    TRY_OK(check_result(result));
    if (result.n == 0 && write.kind == Kind::pipeline && write.is_upsert) {
        query::MergeWrite insert;
        insert.document = write.document;
        return write_once(ns, insert);
    }
    return result.n;
}

Result<std::vector<std::int64_t>> RouterPipelineServices::merge(
    const query::PipelineNamespace& target, const std::vector<query::MergeWrite>& writes) {
    const Namespace ns = to_namespace(target);
    TRY_OK(check_namespace(ns));
    TRY_OK(async::block_on(router_.control, ensure_database(router_, call_->invocation(), ns.db)));
    std::vector<std::int64_t> counts;
    for (const query::MergeWrite& write : writes) {
        TRY_OK(check_interrupt());
        TRY(const std::int64_t count, write_once(ns, write));
        counts.push_back(count);
    }
    return counts;
}

}  // namespace tessera::commands
