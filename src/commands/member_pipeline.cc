// SPDX-License-Identifier: Apache-2.0
#include "commands/member_pipeline.h"

#include <algorithm>

#include "base/log.h"
#include "catalog/index.h"
#include "commands/collection_reader.h"
#include "commands/diagnostic_sources.h"
#include "commands/find_command.h"
#include "commands/write_execution.h"
#include "query/update/diff.h"
#include "replication/ddl.h"
#include "replication/write_unit.h"
#include "routing/versions.h"

namespace tessera::commands {
namespace {

constexpr int view_depth_max = 20;

// A collection's documents as a pipeline's source.
class CollectionDocuments : public query::DocumentCursor {
public:
    // `operation`: whoever runs the pipeline now; the services it belongs to outlive this.
    CollectionDocuments(Member& member,
                        const std::shared_ptr<Operation>& operation,
                        Namespace ns,
                        query::ReadRequest request,
                        Placement placement,
                        Timestamp read_at)
        : member_(member),
          operation_(operation),
          reader_(member, std::move(ns), std::move(request), std::move(placement), read_at) {}

    Result<query::Batch> next() override {
        reader_.set_operation(operation_.get());
        auto batch = read();
        reader_.set_operation(nullptr);
        // The first collection's plan is the one shown.
        if (batch && !std::exchange(operation_->stats.has_told_plan, true))
            member_.operations.set_plan_summary(*operation_, plan_summary());
        return batch;
    }
    std::string plan_summary() const { return reader_.plan_summary(); }

private:
    Result<query::Batch> read() {
        return reader_.slice([&](query::Executor& executor) -> Result<query::Batch> {
            query::Batch batch;
            while (batch.size() < query::batch_documents_max &&
                   batch.bytes() < query::batch_bytes_max) {
                TRY(const bool has_document, executor.next());
                if (!has_document) {
                    batch.is_last = true;
                    break;
                }
                batch.append(executor.document());
            }
            return batch;
        });
    }

    Member& member_;
    const std::shared_ptr<Operation>& operation_;
    CollectionReader reader_;
};

// Gives another pipeline's results; owns it.
class SubPipeline : public query::DocumentCursor {
public:
    explicit SubPipeline(query::Pipeline pipeline) : pipeline_(std::move(pipeline)) {}
    Result<query::Batch> next() override { return pipeline_.next_inner(); }

private:
    query::Pipeline pipeline_;
};

Namespace to_namespace(const query::PipelineNamespace& ns) { return {ns.db, ns.collection}; }

// Fails with StaleConfig when the collection is sharded, or when this shard does not know. On a
// secondary the placement holds each snapshot that is read against the record in it.
Result<Placement> check_unsharded(Member& member, const Namespace& ns) {
    bson::Builder builder;
    routing::ShardVersion::unsharded().append_to(builder, "shardVersion");
    const bson::Document versions = std::move(builder).finish();
    Request request;
    request.shard_version = versions["shardVersion"].as_view();
    return check_placement(member, request, ns, false);
}

}  // namespace

Result<ResolvedNamespace> resolve_view(Member& member, const Namespace& ns) {
    ResolvedNamespace resolved{ns, {}};
    for (int depth = 0; depth < view_depth_max; ++depth) {
        const auto view = member.catalog->find_view(resolved.ns);
        if (!view) return resolved;
        std::vector<bson::Document> stages = view->pipeline;
        stages.insert(stages.end(), resolved.stages.begin(), resolved.stages.end());
        resolved.stages = std::move(stages);
        resolved.ns.collection = view->on;
    }
    return Error(ErrorCode::view_depth_limit_exceeded,
                 "View depth too deep or view cycle detected; maximum depth is 20");
}

std::unique_ptr<query::DocumentCursor> MemberPipelineServices::open_collection(
    const Namespace& ns,
    const query::LeadingPart& leading,
    const query::Hint& hint,
    Placement placement,
    Status& status) {
    query::ReadRequest request;
    const query::AggregationCompiler compiler(expressions_);
    query::FilterOptions options;
    options.expressions = &compiler;
    options.is_pipeline = true;
    auto filter = query::Filter::parse(leading.filter, options);
    if (!filter) {
        status = filter.error();
        return nullptr;
    }
    request.filter = std::move(*filter);
    if (leading.sort) request.sort = *leading.sort;
    request.skip = leading.skip.value_or(0);
    request.limit = leading.limit.value_or(0);
    request.hint = hint;
    if (leading.needed_fields)
        request.projection.paths =
            std::vector<std::string>(leading.needed_fields->begin(), leading.needed_fields->end());
    request.sort_bytes_max =
        static_cast<std::size_t>(member_.parameters.query_memory_bytes_max.load());
    return std::make_unique<CollectionDocuments>(
        member_, operation_, ns, std::move(request), std::move(placement), read_at_);
}

Result<std::unique_ptr<query::DocumentCursor>> MemberPipelineServices::open(
    const query::PipelineNamespace& ns,
    const std::vector<bson::Document>& stages,
    bson::View let) {
    TRY(ResolvedNamespace resolved, resolve_view(member_, to_namespace(ns)));
    Placement placement;
    if (is_from_router_) {
        TRY(placement, check_unsharded(member_, resolved.ns));
    }
    std::vector<bson::Document> all = resolved.stages;
    all.insert(all.end(), stages.begin(), stages.end());
    query::PipelineContext context;
    context.ns = {resolved.ns.db, resolved.ns.collection};
    context.expression = expressions_;
    context.expression.let = bson::Document(let);
    context.nesting = 1;
    TRY(auto pipeline, query::Pipeline::parse(all, context));
    TRY_OK(pipeline.optimize());
    std::unique_ptr<query::DocumentCursor> source;
    if (pipeline.needs_source()) {
        const auto leading = pipeline.take_leading({.with_sort = true, .with_limit = true});
        const query::AggregationCompiler compiler(context.expression);
        query::FilterOptions options;
        options.expressions = &compiler;
        options.is_pipeline = true;
        query::ReadRequest request;
        TRY(request.filter, query::Filter::parse(leading.filter, options));
        if (leading.sort) request.sort = *leading.sort;
        request.skip = leading.skip.value_or(0);
        request.limit = leading.limit.value_or(0);
        source = std::make_unique<CollectionDocuments>(
            member_,
            operation_,
            resolved.ns,
            std::move(request),
            std::move(placement),
            read_at_);
    }
    pipeline.attach(std::move(source), this);
    return std::unique_ptr<query::DocumentCursor>(
        std::make_unique<SubPipeline>(std::move(pipeline)));
}

Result<std::unique_ptr<query::DocumentCursor>> MemberPipelineServices::open_source(
    const query::PipelineNamespace& ns, std::string_view stage, const bson::Value& spec) {
    TRY(auto documents,
        diagnostic_documents(member_, *operation_, to_namespace(ns), stage, spec));
    return query::make_vector_cursor(std::move(documents));
}

// $out: a temporary collection takes the documents, and the target's place at the end.
class MemberOutput : public query::OutputWriter {
public:
    MemberOutput(MemberPipelineServices& services, Namespace target)
        : services_(services),
          member_(services.member_),
          target_(std::move(target)),
          temporary_{target_.db, "tmp.agg_out." + member_.make_uuid().to_string()} {}

    ~MemberOutput() override {
        if (is_finished_ || !member_.catalog->find(temporary_)) return;
        // The pipeline failed: what was written so far goes.
        const auto status = change([&](replication::WriteUnit& unit) {
            return replication::drop_collection(unit, *member_.catalog, temporary_);
        });
        if (!status)
            log::warning(log::Component::write, 9000130, "A temporary collection of $out remains",
                         {{"ns", temporary_.to_string()}, {"error", status.error()}});
    }

    Status begin() {
        const auto old = member_.catalog->find(target_);
        if (old && old->options().is_capped)
            return Error(location(17152), "namespace '" + target_.to_string() +
                                              "' is capped so it can't be used for $out");
        replication::NewCollection what;
        if (old) what.options = old->options().document;
        TRY_OK(change([&](replication::WriteUnit& unit) {
            return replication::create_collection(unit, *member_.catalog, temporary_, what);
        }));
        if (!old) return {};
        for (const auto& index : old->indexes()) {
            if (index->name() == "_id_") continue;
            TRY_OK(change([&](replication::WriteUnit& unit) -> Result<OpTime> {
                const auto collection = member_.catalog->find(temporary_);
                ENSURE(collection != nullptr);
                TRY(const auto checked, member_.catalog->check_index(*collection, index->spec()));
                return replication::create_index(unit, *member_.catalog, *collection,
                                                 checked.spec);
            }));
        }
        return {};
    }

    Status write(const query::Batch& batch) override {
        if (batch.is_empty()) return {};
        std::vector<bson::Document> documents;
        for (std::size_t i = 0; i < batch.size(); ++i) {
            TRY(auto fixed, catalog::fix_document(batch[i], member_.make_object_id()));
            documents.push_back(std::move(fixed));
        }
        while (true) {
            auto status = insert(documents);
            if (status || status.error().code() != ErrorCode::write_conflict) return status;
            TRY_OK(services_.check_interrupt());
        }
    }

    Status finish() override {
        catalog::RenameOptions options;
        options.drop_target = true;
        std::vector<Namespace> both = {temporary_, target_};
        std::sort(both.begin(), both.end());
        std::vector<catalog::CollectionLock> locks;
        for (const Namespace& ns : both) locks.push_back(member_.catalog->lock_exclusive(ns));
        TRY(auto unit, replication::WriteUnit::begin(*member_.replication, *member_.engine,
                                                     member_.clock));
        TRY_OK(unit.reserve(1));
        TRY(services_.last_write_,
            replication::rename_collection(unit, *member_.catalog, temporary_, target_, options));
        is_finished_ = true;
        member_.cursors.kill_namespace(target_);
        return {};
    }

private:
    Status insert(const std::vector<bson::Document>& documents) {
        const catalog::CollectionLock lock = member_.catalog->lock_shared(temporary_);
        ENSURE(lock.collection() != nullptr);
        TRY(auto unit, replication::WriteUnit::begin(*member_.replication, *member_.engine,
                                                     member_.clock));
        TRY_OK(unit.reserve(static_cast<std::uint32_t>(documents.size())));
        for (const bson::Document& document : documents)
            TRY_OK(unit.insert(*lock, document, replication::no_statement));
        TRY(services_.last_write_, unit.commit());
        return {};
    }

    template <class Body>
    Status change(const Body& body) {
        const catalog::CollectionLock lock = member_.catalog->lock_exclusive(temporary_);
        TRY(auto unit, replication::WriteUnit::begin(*member_.replication, *member_.engine,
                                                     member_.clock));
        TRY_OK(unit.reserve(1));
        TRY(services_.last_write_, body(unit));
        return {};
    }

    MemberPipelineServices& services_;
    Member& member_;
    const Namespace target_;
    const Namespace temporary_;
    bool is_finished_ = false;
};

Result<std::unique_ptr<query::OutputWriter>> MemberPipelineServices::open_out(
    const query::PipelineNamespace& target) {
    const Namespace ns = to_namespace(target);
    TRY_OK(check_namespace(ns));
    TRY_OK(member_.replication->check_writable(ns));
    if (member_.catalog->find_view(ns))
        return Error(ErrorCode::command_not_supported_on_view,
                     "Namespace " + ns.to_string() + " is a view, not a collection");
    auto output = std::make_unique<MemberOutput>(*this, ns);
    TRY_OK(output->begin());
    return std::unique_ptr<query::OutputWriter>(std::move(output));
}

Result<std::vector<std::string>> MemberPipelineServices::merge_key(
    const query::PipelineNamespace&) {
    return std::vector<std::string>{"_id"};
}

Result<bool> MemberPipelineServices::has_unique_index(const query::PipelineNamespace& target,
                                                      const std::vector<std::string>& fields) {
    if (fields.size() == 1 && fields.front() == "_id") return true;
    const auto collection = member_.catalog->find(to_namespace(target));
    if (!collection) return false;
    for (const auto& index : collection->indexes()) {
        if (!index->is_unique() || index->spec().has("partialFilterExpression")) continue;
        const bson::View key = index->spec()["key"].as_view();
        if (key.count() != fields.size()) continue;
        bool is_same = true;
        for (const std::string& field : fields) is_same = is_same && key.has(field);
        if (is_same) return true;
    }
    return false;
}

}  // namespace tessera::commands
