// SPDX-License-Identifier: Apache-2.0
//
// Stages that order rows by a pattern: the blocking sort, which holds them all (or the first so
// many), and the merge of children that each come in order. Both turn a document's sort key into
// order-preserving bytes once and compare those.
#include <algorithm>
#include <unordered_set>

#include <fmt/format.h>

#include "query/expression/sort_pattern.h"
#include "query/plan/stage.h"

namespace tessera::query {

namespace {

constexpr std::size_t row_overhead = 64;

/// Writes sort keys of documents.
class SortKeys {
public:
    Status prepare(bson::View pattern) {
        if (pattern_) return ok();
        TRY(pattern_, SortPattern::parse(pattern));
        values_.resize(pattern_->size());
        builder_ = bson::KeyBuilder(bson::Ordering::from_pattern(pattern));
        return ok();
    }
    Result<std::string> key(bson::View document) {
        TRY_OK(pattern_->make_key(document, values_.data()));
        builder_.clear();
        for (const bson::Value& value : values_)
            builder_.append(value);
        return std::string(builder_.key());
    }

private:
    std::optional<SortPattern> pattern_;
    std::vector<bson::Value> values_;
    bson::KeyBuilder builder_;
};

struct OwnedRow {
    std::string key;
    bson::RecordId id;
    bson::Document document;
    std::uint64_t number;  // Of arrival: equal keys stay in order.

    std::size_t bytes() const { return key.size() + document.size() + row_overhead; }
};

bool is_before(const OwnedRow& one, const OwnedRow& two) {
    const int order = one.key.compare(two.key);
    return order != 0 ? order < 0 : one.number < two.number;
}

void give(const OwnedRow& from, Row& row) {
    row = {};
    row.id = from.id;
    row.document = from.document;
    row.has_document = true;
}

class Sort final : public PlanStage {
public:
    using PlanStage::PlanStage;

protected:
    Result<StepResult> work(Row& row) override {
        if (!is_sorted_) {
            TRY_OK(load());
            return StepResult::need_time;
        }
        if (at_ == rows_.size()) {
            return StepResult::eof;
        }
        // What was given before is not needed any more.
        if (at_ > 0) rows_[at_ - 1] = {};
        give(rows_[at_++], row);
        return StepResult::advanced;
    }

private:
    Status load() {
        TRY_OK(keys_.prepare(node_.pattern));
        Row row;
        TRY(const StepResult step, child().step(row));
        if (step == StepResult::need_time) return ok();
        if (step == StepResult::eof) {
            std::sort(rows_.begin(), rows_.end(), is_before);
            is_sorted_ = true;
            return ok();
        }
        if (!row.has_document) {
            TRY(const bool is_there, fetch_document(row));
            if (!is_there) return ok();
        }
        return take(row);
    }

    Status take(const Row& row) {
        TRY(std::string key, keys_.key(row.document));
        stats_.bytes_sorted += row.document.size();
        const bool is_limited = node_.amount > 0;
        const auto wanted = static_cast<std::size_t>(node_.amount);
        // With a limit the rows are a heap whose top is the last of the best.
        const bool is_full = is_limited && rows_.size() >= wanted;
        if (is_full && key >= rows_.front().key) return ok();
        OwnedRow owned{std::move(key), row.id, bson::Document(row.document), arrived_++};
        stats_.memory_bytes += owned.bytes();
        rows_.push_back(std::move(owned));
        if (is_limited) std::push_heap(rows_.begin(), rows_.end(), is_before);
        if (is_full) {
            std::pop_heap(rows_.begin(), rows_.end(), is_before);
            stats_.memory_bytes -= rows_.back().bytes();
            rows_.pop_back();
        }
        if (stats_.memory_bytes <= context_.request->sort_bytes_max) return ok();
        return Error(ErrorCode::query_exceeded_memory_limit_no_disk_use_allowed,
                     fmt::format("Sort exceeded memory limit of {} bytes, but did not opt in to "
                                 "external sorting.",
                                 context_.request->sort_bytes_max));
    }

    SortKeys keys_;
    std::vector<OwnedRow> rows_;
    std::uint64_t arrived_ = 0;
    std::size_t at_ = 0;
    bool is_sorted_ = false;
};

class MergeSort final : public PlanStage {
public:
    using PlanStage::PlanStage;

protected:
    Result<StepResult> work(Row& row) override {
        TRY_OK(keys_.prepare(node_.pattern));
        if (given_) {
            needs_.push_back(*given_);
            given_.reset();
        }
        if (!has_begun_) {
            has_begun_ = true;
            heads_.resize(children_.size());
            for (std::size_t i = children_.size(); i > 0; --i)
                needs_.push_back(i - 1);
        }
        if (!needs_.empty()) {
            TRY_OK(refill());
            return StepResult::need_time;
        }
        std::optional<std::size_t> first;
        for (std::size_t i = 0; i < heads_.size(); ++i) {
            if (heads_[i] && (!first || is_before(*heads_[i], *heads_[*first]))) first = i;
        }
        if (!first) return StepResult::eof;
        current_ = *std::move(heads_[*first]);
        heads_[*first].reset();
        given_ = first;
        give(current_, row);
        return StepResult::advanced;
    }

private:
    /// One step of the child whose next row is wanted.
    Status refill() {
        const std::size_t number = needs_.back();
        Row row;
        TRY(const StepResult step, children_[number]->step(row));
        if (step == StepResult::need_time) return ok();
        if (step == StepResult::eof) {
            needs_.pop_back();
            return ok();
        }
        ++stats_.dups_tested;
        if (!seen_.insert(row.id.value).second) {
            ++stats_.dups_dropped;
            return ok();
        }
        if (seen_.size() > record_ids_max) {
            return Error(ErrorCode::exceeded_memory_limit,
                         "too many documents to drop duplicates of a merge");
        }
        if (!row.has_document) {
            TRY(const bool is_there, fetch_document(row));
            if (!is_there) return ok();
        }
        TRY(std::string key, keys_.key(row.document));
        heads_[number] = OwnedRow{std::move(key), row.id, bson::Document(row.document), number};
        needs_.pop_back();
        return ok();
    }

    SortKeys keys_;
    std::vector<std::optional<OwnedRow>> heads_;
    std::vector<std::size_t> needs_;    // Children whose next row is wanted.
    std::optional<std::size_t> given_;  // The child whose row was given last.
    OwnedRow current_;
    std::unordered_set<std::int64_t> seen_;
    bool has_begun_ = false;
};

}  // namespace

PlanStagePtr make_sort_stage(ExecutionContext& context, const PlanNode& node) {
    switch (node.kind) {
        case PlanNode::Kind::sort:
            return std::make_unique<Sort>(context, node);
        case PlanNode::Kind::merge_sort:
            return std::make_unique<MergeSort>(context, node);
        default:
            return nullptr;
    }
}

}  // namespace tessera::query
