// SPDX-License-Identifier: Apache-2.0
//
// Stages that pass rows on: fetch, ownership, skip, limit, projection, and the union of branches.
#include <unordered_set>

#include "query/plan/key_document.h"
#include "query/plan/residual.h"
#include "query/plan/stage.h"

namespace tessera::query {

namespace {

class Fetch final : public PlanStage {
public:
    Fetch(ExecutionContext& context, const PlanNode& node)
        : PlanStage(context, node), residual_(context.request->filter, node.filter) {}

protected:
    Result<StepResult> work(Row& row) override {
        TRY(const StepResult step, child().step(row));
        if (step != StepResult::advanced) return step;
        if (row.has_document) {
            ++stats_.already_has_document;
        } else {
            TRY(const bool is_there, fetch_document(row));
            if (!is_there) return StepResult::need_time;
        }
        TRY(const bool is_match, residual_.matches(row.document, context_.match));
        return is_match ? StepResult::advanced : StepResult::need_time;
    }

private:
    Residual residual_;
};

class Ownership final : public PlanStage {
public:
    using PlanStage::PlanStage;

protected:
    Result<StepResult> work(Row& row) override {
        TRY(const StepResult step, child().step(row));
        if (step != StepResult::advanced) return step;
        if (!row.has_document) {
            TRY(const bool is_there, fetch_document(row));
            if (!is_there) return StepResult::need_time;
        }
        return context_.request->ownership->owns(row.document) ? StepResult::advanced
                                                               : StepResult::need_time;
    }
};

class Skip final : public PlanStage {
public:
    Skip(ExecutionContext& context, const PlanNode& node)
        : PlanStage(context, node), left_(node.amount) {}

protected:
    Result<StepResult> work(Row& row) override {
        TRY(const StepResult step, child().step(row));
        if (step != StepResult::advanced || left_ == 0) return step;
        --left_;
        return StepResult::need_time;
    }

private:
    std::int64_t left_;
};

class Limit final : public PlanStage {
public:
    Limit(ExecutionContext& context, const PlanNode& node)
        : PlanStage(context, node), left_(node.amount) {}

protected:
    Result<StepResult> work(Row& row) override {
        if (left_ == 0) return StepResult::eof;
        TRY(const StepResult step, child().step(row));
        if (step == StepResult::advanced) --left_;
        return step;
    }

private:
    std::int64_t left_;
};

/// Passes documents on for the caller to project; a covered one makes them from index keys.
class ProjectionStage final : public PlanStage {
public:
    using PlanStage::PlanStage;

protected:
    Result<StepResult> work(Row& row) override {
        TRY(const StepResult step, child().step(row));
        if (step != StepResult::advanced || !node_.is_covered || row.has_document) return step;
        if (!key_document_) key_document_.emplace(*row.index, paths());
        TRY(row.document, key_document_->make(row));
        row.has_document = true;
        if (!key_document_->has_null()) return step;
        // In the index null also stands for absent; only the document tells.
        TRY(const bool is_there, fetch_document(row));
        return is_there ? StepResult::advanced : StepResult::need_time;
    }

private:
    const std::vector<std::string>& paths() {
        if (context_.request->purpose == ReadPurpose::distinct) {
            paths_ = {context_.request->distinct_path};
        } else {
            paths_ = *context_.request->projection.paths;
        }
        return paths_;
    }

    std::vector<std::string> paths_;
    std::optional<KeyDocument> key_document_;
};

/// The rows of all children, one child after the other, each RecordId once.
class Disjunction final : public PlanStage {
public:
    using PlanStage::PlanStage;

protected:
    Result<StepResult> work(Row& row) override {
        if (at_ == children_.size()) return StepResult::eof;
        TRY(const StepResult step, children_[at_]->step(row));
        if (step == StepResult::eof) {
            ++at_;
            return at_ == children_.size() ? StepResult::eof : StepResult::need_time;
        }
        if (step != StepResult::advanced) return step;
        ++stats_.dups_tested;
        if (!seen_.insert(row.id.value).second) {
            ++stats_.dups_dropped;
            return StepResult::need_time;
        }
        if (seen_.size() > record_ids_max) {
            return Error(ErrorCode::exceeded_memory_limit,
                         "too many documents to drop duplicates of $or");
        }
        return step;
    }

private:
    std::size_t at_ = 0;
    std::unordered_set<std::int64_t> seen_;
};

}  // namespace

PlanStagePtr make_flow_stage(ExecutionContext& context, const PlanNode& node) {
    switch (node.kind) {
        case PlanNode::Kind::fetch:
            return std::make_unique<Fetch>(context, node);
        case PlanNode::Kind::ownership:
            return std::make_unique<Ownership>(context, node);
        case PlanNode::Kind::skip:
            return std::make_unique<Skip>(context, node);
        case PlanNode::Kind::limit:
            return std::make_unique<Limit>(context, node);
        case PlanNode::Kind::projection:
            return std::make_unique<ProjectionStage>(context, node);
        case PlanNode::Kind::disjunction:
            return std::make_unique<Disjunction>(context, node);
        default:
            ASSERT(false);
            return nullptr;
    }
}

}  // namespace tessera::query
