// SPDX-License-Identifier: Apache-2.0
//
// Stages: a plan in motion. A stage is asked for one step at a time, as MongoDB counts "works": a
// step gives a row, or is spent without one, or says there are no more. Rows are views: valid until
// the next step of any stage in the tree, so whoever keeps one copies it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "bson/builder.h"
#include "query/plan/plan.h"
#include "query/plan/record_reader.h"
#include "storage/engine.h"

namespace tessera::query {

/// What all stages of one execution share.
struct ExecutionContext {
    CollectionSource* source = nullptr;
    const ReadRequest* request = nullptr;
    storage::Transaction* transaction = nullptr;  // Null while saved.
    RecordReader records;
    MatchContext match;
};

struct Row {
    bson::RecordId id;
    bson::View document;
    bool has_document = false;
    const IndexInfo* index = nullptr;  // Where the key is from; null: there is none.
    std::string_view key;              // An index entry's fields and type bits.
    std::string_view type_bits;
};

enum class StepResult : std::uint8_t { advanced, need_time, eof };

struct StageStats {
    std::uint64_t works = 0;
    std::uint64_t advanced = 0;
    std::uint64_t need_time = 0;
    std::uint64_t saves = 0;
    std::uint64_t restores = 0;
    bool is_eof = false;
    std::uint64_t keys_examined = 0;
    std::uint64_t docs_examined = 0;
    std::uint64_t seeks = 0;
    std::uint64_t dups_tested = 0;
    std::uint64_t dups_dropped = 0;
    std::uint64_t already_has_document = 0;
    std::uint64_t bytes_sorted = 0;
    std::uint64_t memory_bytes = 0;
};

class PlanStage {
public:
    PlanStage(ExecutionContext& context, const PlanNode& node) : context_(context), node_(node) {}
    virtual ~PlanStage() = default;
    PlanStage(const PlanStage&) = delete;
    PlanStage& operator=(const PlanStage&) = delete;

    /// One step; counts it.
    Result<StepResult> step(Row& row) {
        ++stats_.works;
        auto result = work(row);
        if (!result) return result;
        switch (*result) {
            case StepResult::advanced:
                ++stats_.advanced;
                break;
            case StepResult::need_time:
                ++stats_.need_time;
                break;
            case StepResult::eof:
                stats_.is_eof = true;
                break;
        }
        return result;
    }
    void save();
    Status restore();

    const PlanNode& node() const { return node_; }
    const StageStats& stats() const { return stats_; }
    const std::vector<std::unique_ptr<PlanStage>>& children() const { return children_; }
    void add_child(std::unique_ptr<PlanStage> child) { children_.push_back(std::move(child)); }

protected:
    virtual Result<StepResult> work(Row& row) = 0;
    virtual void save_own() {}
    virtual Status restore_own() { return ok(); }
    PlanStage& child() { return *children_[0]; }
    /// Makes the row's document there, by its RecordId; false when there is none any more.
    Result<bool> fetch_document(Row& row);

    ExecutionContext& context_;
    const PlanNode& node_;
    StageStats stats_;
    std::vector<std::unique_ptr<PlanStage>> children_;
};
using PlanStagePtr = std::unique_ptr<PlanStage>;

/// Makes the stages of a plan, which must outlive them.
PlanStagePtr make_stage(ExecutionContext& context, const PlanNode& node);

// Each file of stages makes its own; null for kinds it has not.
PlanStagePtr make_scan_stage(ExecutionContext& context, const PlanNode& node);
PlanStagePtr make_index_stage(ExecutionContext& context, const PlanNode& node);
PlanStagePtr make_flow_stage(ExecutionContext& context, const PlanNode& node);
PlanStagePtr make_sort_stage(ExecutionContext& context, const PlanNode& node);

}  // namespace tessera::query
