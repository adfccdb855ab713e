// SPDX-License-Identifier: Apache-2.0
//
// Stages that read the record table: the whole of it, or one record found by its _id.
#include <fmt/format.h>

#include "query/plan/residual.h"
#include "query/plan/stage.h"

namespace tessera::query {

namespace {

class EofStage final : public PlanStage {
public:
    using PlanStage::PlanStage;

protected:
    Result<StepResult> work(Row& /*row*/) override { return StepResult::eof; }
};

class CollectionScan final : public PlanStage {
public:
    CollectionScan(ExecutionContext& context, const PlanNode& node)
        : PlanStage(context, node), residual_(context.request->filter, node.filter) {}

protected:
    Result<StepResult> work(Row& row) override {
        if (!has_begun_) {
            // The reference spends a step on opening.
            has_begun_ = true;
            return StepResult::need_time;
        }
        if (is_done_) return StepResult::eof;
        TRY(const bool has_entry, move());
        if (!has_entry || is_past(bson::record_id_of(cursor_->key()))) {
            // A tailable scan may find more later, after what it saw last.
            if (context_.request->is_tailable) {
                cursor_.reset();
            } else {
                is_done_ = true;
            }
            return StepResult::eof;
        }
        ++stats_.docs_examined;
        row = {};
        row.id = bson::record_id_of(cursor_->key());
        last_ = row.id;
        row.document = bson::View(cursor_->value().data());
        row.has_document = true;
        TRY(const bool is_match, residual_.matches(row.document, context_.match));
        return is_match ? StepResult::advanced : StepResult::need_time;
    }

    void save_own() override {
        if (cursor_) cursor_->save();
    }
    Status restore_own() override {
        TRY_OK(check_position());
        return cursor_ ? cursor_->restore(*context_.transaction) : ok();
    }

private:
    /// What falls off a capped collection's end may not be skipped over unseen.
    Status check_position() {
        const bool is_capped = context_.source->is_capped() || context_.source->is_oplog();
        if (!is_capped || !node_.is_forward || !last_ || is_done_) return ok();
        TRY(const auto found,
            context_.transaction->get(context_.source->records(), bson::record_key(*last_)));
        if (found) return ok();
        return Error(ErrorCode::capped_position_lost,
                     fmt::format("CollectionScan died due to position in capped collection being "
                                 "deleted. Last seen record id: RecordId({})",
                                 last_->value));
    }

    Result<bool> move() {
        if (cursor_) return cursor_->next();
        const auto direction =
            node_.is_forward ? storage::Direction::forward : storage::Direction::backward;
        cursor_ = context_.transaction->open_cursor(context_.source->records(), direction);
        if (last_) return cursor_->seek_after(bson::record_key(*last_));
        if (node_.is_forward && node_.first_record > 0) {
            return cursor_->seek(bson::record_key({node_.first_record}));
        }
        if (!node_.is_forward && node_.last_record != INT64_MAX) {
            return cursor_->seek(bson::record_key({node_.last_record}));
        }
        return cursor_->rewind();
    }
    bool is_past(bson::RecordId id) const {
        return node_.is_forward ? id.value > node_.last_record : id.value < node_.first_record;
    }

    Residual residual_;
    std::unique_ptr<storage::Cursor> cursor_;
    std::optional<bson::RecordId> last_;
    bool has_begun_ = false;
    bool is_done_ = false;
};

/// The record whose _id has one value, by the _id index.
class IdLookup final : public PlanStage {
public:
    using PlanStage::PlanStage;

protected:
    Result<StepResult> work(Row& row) override {
        if (is_done_) return StepResult::eof;
        is_done_ = true;
        row = {};
        TRY(const bool is_there, find(row.id));
        if (!is_there) return StepResult::eof;
        ++stats_.keys_examined;
        TRY(const bool has_document, fetch_document(row));
        return has_document ? StepResult::advanced : StepResult::eof;
    }

private:
    Result<bool> find(bson::RecordId& id) {
        const IndexInfo& index = *node_.index;
        bson::KeyBuilder builder(index.ordering);
        builder.append(node_.id);
        builder.finish();
        if (index.format == EntryFormat::id_in_value) {
            TRY(const auto value, context_.transaction->get(*index.table, builder.key()));
            if (!value) return false;
            id = IndexEntry::read(index.format, builder.key(), *value).id;
            return true;
        }
        const auto cursor = context_.transaction->open_cursor(*index.table);
        TRY(const bool has_entry, cursor->seek(builder.key()));
        if (!has_entry || !cursor->key().starts_with(builder.key())) return false;
        id = bson::record_id_at_end(cursor->key());
        return true;
    }

    bool is_done_ = false;
};

}  // namespace

PlanStagePtr make_scan_stage(ExecutionContext& context, const PlanNode& node) {
    switch (node.kind) {
        case PlanNode::Kind::eof:
            return std::make_unique<EofStage>(context, node);
        case PlanNode::Kind::collection_scan:
            return std::make_unique<CollectionScan>(context, node);
        case PlanNode::Kind::id_lookup:
            return std::make_unique<IdLookup>(context, node);
        default:
            return nullptr;
    }
}

}  // namespace tessera::query
