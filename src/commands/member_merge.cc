// SPDX-License-Identifier: Apache-2.0
//
// $merge's writes on a member: each is one upsert or update in a write unit of its own.
#include "commands/member_pipeline.h"
#include "commands/update_pipeline_compiler.h"
#include "query/plan/executor.h"
#include "query/update/diff.h"
#include "replication/ddl.h"
#include "replication/write_unit.h"

namespace tessera::commands {
namespace {

struct Merge {
    Member& member;
    const Namespace& ns;
    const query::ExpressionContext& expressions;
    OpTime last_write;
};

Status create_target(Merge& merge) {
    if (merge.member.catalog->find(merge.ns)) return {};
    const catalog::CollectionLock lock = merge.member.catalog->lock_exclusive(merge.ns);
    if (lock) return {};
    TRY(auto unit, replication::WriteUnit::begin(*merge.member.replication, *merge.member.engine,
                                                 merge.member.clock));
    TRY_OK(unit.reserve(1));
    TRY(merge.last_write,
        replication::create_collection(unit, *merge.member.catalog, merge.ns, {}));
    return {};
}

Result<bson::Document> merged(Merge& merge, const query::MergeWrite& write, bson::View before) {
    if (write.kind == query::MergeWrite::Kind::replace) {
        bson::Builder document;
        document.append("_id", before["_id"]);
        for (const bson::Element& field : write.document.view())
            if (field.name != "_id") document.append(field);
        return std::move(document).finish();
    }
    query::ExpressionContext context = merge.expressions;
    context.let = write.variables;
    const UpdatePipelines pipelines(context);
    bson::ArrayBuilder stages;
    for (const bson::Document& stage : write.pipeline) stages.append(stage);
    const bson::Document array = std::move(stages).finish();
    TRY(const auto transform, pipelines.compile(array, bson::Value()));
    return transform->apply(before);
}

Result<std::int64_t> write_once(Merge& merge, const query::MergeWrite& write) {
    using Kind = query::MergeWrite::Kind;
    TRY_OK(create_target(merge));
    const catalog::CollectionLock lock = merge.member.catalog->lock_shared(merge.ns);
    if (!lock) return storage::write_conflict();
    TRY(auto unit, replication::WriteUnit::begin(*merge.member.replication, *merge.member.engine,
                                                 merge.member.clock));
    std::optional<bson::Document> before;
    bson::RecordId record;
    if (write.kind != Kind::insert) {
        query::ReadRequest request;
        TRY(request.filter, query::Filter::parse(write.query, {}));
        request.limit = 1;
        query::Executor executor(lock->source(), std::move(request));
        TRY_OK(executor.start(unit.transaction()));
        TRY(const bool is_there, executor.next());
        if (is_there) {
            before = bson::Document(executor.document());
            record = executor.record_id();
        }
        executor.save_state();
    }
    if (!before) {
        if (write.kind != Kind::insert && !write.is_upsert) return 0;
        TRY(const auto fixed,
            catalog::fix_document(write.document, merge.member.make_object_id()));
        TRY_OK(unit.insert(*lock, fixed, replication::no_statement));
    } else if (write.kind == Kind::keep_existing) {
        return 1;
    } else {
        TRY(const bson::Document after, merged(merge, write, *before));
        if (after.bytes() == before->bytes()) return 1;
        const auto diff = query::compute_diff(*before, after);
        const bson::Document change =
            diff.diff ? bson::make("$v", 2, "diff", *diff.diff) : after;
        TRY_OK(unit.update(*lock, {record, *before, after, change}));
    }
    TRY(merge.last_write, unit.commit());
    return 1;
}

}  // namespace

Result<std::vector<std::int64_t>> MemberPipelineServices::merge(
    const query::PipelineNamespace& target, const std::vector<query::MergeWrite>& writes) {
    const Namespace ns{target.db, target.collection};
    TRY_OK(check_namespace(ns));
    TRY_OK(member_.replication->check_writable(ns));
    Merge merge{member_, ns, expressions_, last_write_};
    std::vector<std::int64_t> matched;
    for (const query::MergeWrite& write : writes) {
        while (true) {
            TRY_OK(check_interrupt());
            const auto count = write_once(merge, write);
            if (count) {
                matched.push_back(*count);
                break;
            }
            if (count.error().code() != ErrorCode::write_conflict) return count.error();
        }
    }
    last_write_ = merge.last_write;
    return matched;
}

}  // namespace tessera::commands
