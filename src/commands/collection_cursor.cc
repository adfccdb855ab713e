// SPDX-License-Identifier: Apache-2.0
//
// Reads in slices: a slice holds the collection's lock and a storage transaction and never suspends;
// between slices both are let go. Short reads run where they came in, on the network thread; what
// turns out to be long goes on on a worker.
#include "commands/collection_cursor.h"

#include "query/expression/sort_pattern.h"
#include "query/plan/executor.h"

namespace tessera::commands {
namespace {

// Documents of one slice on a network thread, and on a worker.
constexpr int inline_documents_max = 256;
constexpr int worker_documents_max = 4096;
// A scan or sort of a collection larger than this does not start on a network thread.
constexpr std::int64_t inline_scan_max = 256;

class OperationInterrupt : public query::InterruptCheck {
public:
    explicit OperationInterrupt(const async::Clock& clock) : clock_(clock) {}
    void set_operation(Operation* operation) { operation_ = operation; }
    Status check() override {
        return operation_ != nullptr ? operation_->check(clock_) : Status();
    }

private:
    const async::Clock& clock_;
    Operation* operation_ = nullptr;
};

class CollectionCursor : public CursorSource {
public:
    CollectionCursor(Member& member, Namespace ns, CompiledFind find, Placement placement,
                     Timestamp read_at)
        : member_(member),
          ns_(std::move(ns)),
          find_(std::move(find)),
          placement_(std::move(placement)),
          read_at_(read_at),
          interrupt_(member.clock) {}

    Status open() {
        collection_ = member_.catalog->find(ns_);
        if (collection_) uuid_ = collection_->uuid();
        if (find_.request.is_tailable && collection_ && !collection_->options().is_capped)
            return Error(ErrorCode::bad_value,
                         "error processing query: ns=" + ns_.to_string() +
                             " planner returned error :: caused by :: tailable cursor requested "
                             "on non capped collection");
        find_.request.ownership = placement_.filter.get();
        needs_record_id_ = find_.shows_record_id ||
                           (find_.projection && find_.projection->needs_record_id());
        if (find_.wants_sort_key || (find_.projection && find_.projection->needs_sort_key())) {
            TRY(sort_pattern_, query::SortPattern::parse(find_.request.sort));
            sort_values_.resize(sort_pattern_->size());
        }
        if (!collection_) {
            executor_ = std::make_unique<query::Executor>(ns_, std::move(find_.request));
            return {};
        }
        executor_ = std::make_unique<query::Executor>(collection_->source(),
                                                      std::move(find_.request), &interrupt_);
        return {};
    }

    async::Task<Result<bool>> fill(BatchWriter& batch, Operation& operation) override {
        interrupt_.set_operation(&operation);
        bool is_on_worker = async::Executor::current() == &member_.workers;
        if (!is_on_worker && is_long()) {
            async::resume_on hop(member_.workers);
            co_await hop;
            is_on_worker = true;
        }
        while (true) {
            auto slice = run_slice(batch, is_on_worker ? worker_documents_max
                                                       : inline_documents_max);
            if (!slice) co_return std::move(slice).error();
            if (*slice == Slice::exhausted) co_return !is_tailing();
            if (*slice == Slice::full) co_return false;
            if (is_on_worker) continue;
            async::resume_on hop(member_.workers);
            co_await hop;
            is_on_worker = true;
        }
    }

    void save() override { interrupt_.set_operation(nullptr); }
    std::string plan_summary() const override {
        return is_started_ ? executor_->plan_summary() : std::string();
    }

private:
    enum class Slice { full, exhausted, unfinished };

    bool is_tailing() const { return executor_->request().is_tailable && collection_; }

    // A guess before planning: with neither an equality on _id nor a small collection.
    bool is_long() const {
        if (!collection_ || is_started_) return false;
        return collection_->count() > inline_scan_max &&
               (executor_->request().filter.is_empty() || !has_usable_index());
    }
    bool has_usable_index() const {
        const query::Filter& filter = executor_->request().filter;
        if (filter.exact_id()) return true;
        return collection_->indexes().size() > 1 && executor_->request().sort.is_empty();
    }

    Result<Slice> run_slice(BatchWriter& batch, int documents_max) {
        const catalog::CollectionLock lock = member_.catalog->lock_shared(ns_);
        if (collection_ && (!lock || lock->uuid() != uuid_))
            return Error(ErrorCode::query_plan_killed,
                         "collection dropped or renamed while the query was running");
        if (collection_ && lock.collection() != collection_.get() && is_started_)
            return Error(ErrorCode::query_plan_killed,
                         "the collection's indexes changed while the query was running");
        storage::TransactionOptions options;
        options.read_at = read_at_;
        TRY(const auto transaction, member_.engine->begin(options));
        if (is_started_) TRY_OK(executor_->restore_state(*transaction));
        else TRY_OK(executor_->start(*transaction));
        is_started_ = true;
        auto slice = fill_slice(batch, documents_max);
        executor_->save_state();
        return slice;
    }

    Result<Slice> fill_slice(BatchWriter& batch, int documents_max) {
        if (!pending_.empty()) {
            if (!batch.has_room(pending_.size())) return Slice::full;
            batch.append(bson::View(pending_.data()));
            pending_.clear();
        }
        for (int documents = 0; documents < documents_max; ++documents) {
            if (batch.is_full()) return executor_->is_eof() ? Slice::exhausted : Slice::full;
            TRY(const bool has_document, executor_->next());
            if (!has_document) return Slice::exhausted;
            TRY_OK(add(batch));
            if (!pending_.empty()) return Slice::full;
        }
        return Slice::unfinished;
    }

    // Appends the present document as the client asked for it; keeps it for the next batch when it
    // does not fit.
    Status add(BatchWriter& batch) {
        const bson::View document = executor_->document();
        const bool is_plain = !find_.projection && !find_.returns_key && !find_.wants_sort_key &&
                              !needs_record_id_;
        if (is_plain) {
            if (batch.has_room(document.size())) batch.append(document);
            else pending_.assign(document.bytes());
            return {};
        }
        scratch_.clear();
        TRY_OK(write_transformed(document));
        const bson::View transformed(scratch_.data());
        if (batch.has_room(transformed.size())) batch.append(transformed);
        else pending_.assign(transformed.bytes());
        return {};
    }

    Status write_transformed(bson::View document) {
        arena_.clear();
        if (find_.returns_key) {
            TRY(const bson::Document key, executor_->index_key());
            scratch_.append(key.bytes());
            return {};
        }
        query::ProjectionInput input;
        if (sort_pattern_) {
            TRY(input.sort_key, sort_key(document));
        }
        if (needs_record_id_) input.record_id = arena_.make(executor_->record_id().value);
        if (find_.positional) {
            TRY([[maybe_unused]] const bool matches,
                find_.positional->matches(document, projection_context_.match));
            input.matched_index = projection_context_.match.matched_index;
        }
        std::string projected;
        if (find_.projection) {
            TRY_OK(find_.projection->apply(document, input, projection_context_, projected));
        } else {
            projected = document.bytes();
        }
        bson::Builder out(scratch_);
        out.append_all(bson::View(projected.data()));
        if (find_.shows_record_id) out.append("$recordId", input.record_id);
        if (find_.wants_sort_key) out.append("$sortKey", input.sort_key);
        return {};
    }

    Result<bson::Value> sort_key(bson::View document) {
        TRY_OK(sort_pattern_->make_key(document, sort_values_.data()));
        bson::ArrayBuilder values;
        for (const bson::Value& value : sort_values_) {
            if (value.is_missing()) values.append_null();
            else values.append(value);
        }
        const bson::Document array = std::move(values).finish();
        return arena_.make_array(array);
    }

    Member& member_;
    const Namespace ns_;
    CompiledFind find_;
    const Placement placement_;
    const Timestamp read_at_;
    OperationInterrupt interrupt_;
    std::shared_ptr<catalog::Collection> collection_;  // Also owned by the catalog until DDL.
    bson::Uuid uuid_;
    std::unique_ptr<query::Executor> executor_;
    bool is_started_ = false;
    bool needs_record_id_ = false;
    std::optional<query::SortPattern> sort_pattern_;
    std::vector<bson::Value> sort_values_;
    query::ProjectionContext projection_context_;
    bson::Arena arena_;
    std::string scratch_;
    std::string pending_;  // A document that did not fit into the batch before.
};

}  // namespace

Result<std::unique_ptr<CursorSource>> make_collection_cursor(Member& member,
                                                             Namespace ns,
                                                             CompiledFind find,
                                                             Placement placement,
                                                             Timestamp read_at) {
    auto cursor = std::make_unique<CollectionCursor>(member, std::move(ns), std::move(find),
                                                     std::move(placement), read_at);
    TRY_OK(cursor->open());
    return std::unique_ptr<CursorSource>(std::move(cursor));
}

}  // namespace tessera::commands
