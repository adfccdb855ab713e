// SPDX-License-Identifier: Apache-2.0
#include "query/plan/stage.h"

namespace tessera::query {

void PlanStage::save() {
    ++stats_.saves;
    save_own();
    for (const auto& child : children_)
        child->save();
}

Status PlanStage::restore() {
    ++stats_.restores;
    for (const auto& child : children_)
        TRY_OK(child->restore());
    return restore_own();
}

Result<bool> PlanStage::fetch_document(Row& row) {
    TRY(const auto found,
        context_.records.read(*context_.transaction, context_.source->records(), row.id));
    if (!found) return false;
    row.document = bson::View(found->data());
    row.has_document = true;
    ++stats_.docs_examined;
    return true;
}

PlanStagePtr make_stage(ExecutionContext& context, const PlanNode& node) {
    PlanStagePtr stage = make_scan_stage(context, node);
    if (!stage) stage = make_index_stage(context, node);
    if (!stage) stage = make_sort_stage(context, node);
    if (!stage) stage = make_flow_stage(context, node);
    for (const PlanNodePtr& child : node.children)
        stage->add_child(make_stage(context, *child));
    return stage;
}

}  // namespace tessera::query
