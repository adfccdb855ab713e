// SPDX-License-Identifier: Apache-2.0
//
// Stages that read an index: its entries within bounds, their number, or one entry a value.
#include <unordered_set>

#include "query/plan/index_range.h"
#include "query/plan/key_document.h"
#include "query/plan/residual.h"
#include "query/plan/stage.h"

namespace tessera::query {

namespace {

IndexRange make_range(const PlanNode& node) {
    if (node.low) return {*node.low, *node.high, node.is_forward};
    return {node.bounds, node.index->ordering, node.is_forward};
}

class IndexScan : public PlanStage {
public:
    IndexScan(ExecutionContext& context, const PlanNode& node)
        : PlanStage(context, node),
          range_(make_range(node)),
          residual_(context.request->filter, node.filter),
          drops_duplicates_(node.is_multikey()) {
        if (!residual_.is_empty()) key_document_.emplace(*node.index, no_paths());
    }

protected:
    Result<StepResult> work(Row& row) override {
        if (is_done_) return StepResult::eof;
        TRY(const bool has_entry, move());
        if (!has_entry) return end();
        const IndexEntry entry =
            IndexEntry::read(node_.index->format, cursor_->key(), cursor_->value());
        switch (range_.check(entry.fields)) {
            case IndexRange::Verdict::done:
                return end();
            case IndexRange::Verdict::seek: {
                ++stats_.keys_examined;
                const bool is_onward = node_.is_forward ? range_.target() > entry.fields
                                                        : range_.target() < entry.fields;
                ENSURE(is_onward);
                target_ = range_.target();
                return StepResult::need_time;
            }
            case IndexRange::Verdict::inside:
                break;
        }
        ++stats_.keys_examined;
        row = {};
        row.id = entry.id;
        row.index = node_.index;
        row.key = entry.fields;
        row.type_bits = entry.type_bits;
        return judge(row);
    }

    virtual Result<StepResult> judge(Row& row) {
        if (key_document_) {
            TRY(const bson::View document, key_document_->make(row));
            TRY(const bool is_match, residual_.matches(document, context_.match));
            if (!is_match) return StepResult::need_time;
        }
        if (!drops_duplicates_) return StepResult::advanced;
        ++stats_.dups_tested;
        if (seen_.insert(row.id.value).second) {
            if (seen_.size() > record_ids_max) {
                return Error(ErrorCode::exceeded_memory_limit,
                             "too many documents to drop duplicates of an index scan");
            }
            return StepResult::advanced;
        }
        ++stats_.dups_dropped;
        return StepResult::need_time;
    }

    void save_own() override {
        if (cursor_) cursor_->save();
    }
    Status restore_own() override {
        // An index that has become multikey gives documents more than once from now on.
        if (!drops_duplicates_) {
            const std::size_t number =
                static_cast<std::size_t>(node_.index - context_.source->indexes().data());
            for (const std::uint32_t bits : context_.source->multikey_paths(number)) {
                drops_duplicates_ = drops_duplicates_ || bits != 0;
            }
        }
        return cursor_ ? cursor_->restore(*context_.transaction) : ok();
    }

    /// Where to go on instead of to the next entry.
    void set_target(std::string target) { target_ = std::move(target); }

private:
    static const std::vector<std::string>& no_paths() {
        static const std::vector<std::string> none;
        return none;
    }

    Result<StepResult> end() {
        is_done_ = true;
        return StepResult::eof;
    }

    Result<bool> move() {
        if (!cursor_) {
            if (range_.is_empty()) return false;
            if (node_.index->accesses) node_.index->accesses->fetch_add(1);
            const auto direction =
                node_.is_forward ? storage::Direction::forward : storage::Direction::backward;
            cursor_ = context_.transaction->open_cursor(*node_.index->table, direction);
            ++stats_.seeks;
            return cursor_->seek(range_.start());
        }
        if (!target_) return cursor_->next();
        ++stats_.seeks;
        const std::string target = *std::move(target_);
        target_.reset();
        return cursor_->seek(target);
    }

    IndexRange range_;
    Residual residual_;
    std::optional<KeyDocument> key_document_;
    std::unique_ptr<storage::Cursor> cursor_;
    std::optional<std::string> target_;
    bool drops_duplicates_;
    std::unordered_set<std::int64_t> seen_;
    bool is_done_ = false;
};

/// One entry for each value of the first fields.
class DistinctScan final : public IndexScan {
public:
    using IndexScan::IndexScan;

protected:
    Result<StepResult> judge(Row& row) override {
        std::size_t length = 0;
        std::size_t last = 0;
        for (std::size_t i = 0; i < node_.distinct_fields; ++i) {
            last = length;
            length += bson::field_length(row.key.substr(length));
        }
        // Null stands for absent too: each such document is to be looked at.
        constexpr std::string_view nulls = "\x18\xe7";
        const char first = last < row.key.size() ? row.key[last] : '\0';
        if (nulls.find(first) == std::string_view::npos) {
            std::string target(row.key.substr(0, length));
            if (node_.is_forward) target += '\xfe';
            set_target(std::move(target));
        }
        return StepResult::advanced;
    }
};

}  // namespace

PlanStagePtr make_index_stage(ExecutionContext& context, const PlanNode& node) {
    switch (node.kind) {
        case PlanNode::Kind::index_scan:
        case PlanNode::Kind::count_scan:
            return std::make_unique<IndexScan>(context, node);
        case PlanNode::Kind::distinct_scan:
            return std::make_unique<DistinctScan>(context, node);
        default:
            return nullptr;
    }
}

}  // namespace tessera::query
