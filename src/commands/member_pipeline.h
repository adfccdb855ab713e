// SPDX-License-Identifier: Apache-2.0
//
// Pipelines on a member: their source of documents and the services their stages need, over this
// member's own collections. Runs on a worker thread; blocks where it must.
#pragma once

#include <memory>
#include <vector>

#include "commands/command.h"
#include "commands/placement.h"
#include "query/pipeline/pipeline.h"
#include "query/pipeline/services.h"

namespace tessera::commands {

/// A view taken apart: the collection below it and the stages that come first.
struct ResolvedNamespace {
    Namespace ns;
    std::vector<bson::Document> stages;
};
/// Follows views down to a collection. Fails with ViewDepthLimitExceeded (165).
Result<ResolvedNamespace> resolve_view(Member& member, const Namespace& ns);

class MemberPipelineServices : public query::PipelineServices {
public:
    MemberPipelineServices(Member& member,
                           std::shared_ptr<Operation> operation,
                           query::ExpressionContext expressions,
                           Timestamp read_at)
        : member_(member),
          operation_(std::move(operation)),
          expressions_(std::move(expressions)),
          read_at_(read_at) {}

    Result<std::unique_ptr<query::DocumentCursor>> open(const query::PipelineNamespace& ns,
                                                        const std::vector<bson::Document>& stages,
                                                        bson::View let) override;
    Result<std::unique_ptr<query::DocumentCursor>> open_source(const query::PipelineNamespace& ns,
                                                               std::string_view stage,
                                                               const bson::Value& spec) override;
    Result<std::unique_ptr<query::OutputWriter>> open_out(
        const query::PipelineNamespace& target) override;
    Result<std::vector<std::int64_t>> merge(const query::PipelineNamespace& target,
                                            const std::vector<query::MergeWrite>& writes) override;
    Result<std::vector<std::string>> merge_key(const query::PipelineNamespace& target) override;
    Result<bool> has_unique_index(const query::PipelineNamespace& target,
                                  const std::vector<std::string>& fields) override;
    Status check_interrupt() override { return operation_->check(member_.clock); }

    /// Where the pipeline's own documents come from, after its leading part was taken.
    std::unique_ptr<query::DocumentCursor> open_collection(const Namespace& ns,
                                                           const query::LeadingPart& leading,
                                                           const query::Hint& hint,
                                                           Placement placement,
                                                           Status& status);
    /// The operation whose interruption stops the pipeline; a getMore brings its own.
    void set_operation(std::shared_ptr<Operation> operation) { operation_ = std::move(operation); }
    /// The command came through a router, which knows where every collection it read the pipeline
    /// of lives, but not what a view brings in: reading what is sharded then fails with
    /// StaleConfig, and the router does it itself.
    void set_from_router(bool is_from_router) { is_from_router_ = is_from_router; }
    /// The newest position written by $out and $merge; null when they wrote nothing.
    OpTime last_write() const { return last_write_; }
    std::string plan_summary() const { return plan_summary_; }

private:
    friend class MemberOutput;

    Member& member_;
    std::shared_ptr<Operation> operation_;  // Also owned by the registry while it runs.
    const query::ExpressionContext expressions_;
    const Timestamp read_at_;
    OpTime last_write_;
    std::string plan_summary_;
    bool is_from_router_ = false;
};

}  // namespace tessera::commands
