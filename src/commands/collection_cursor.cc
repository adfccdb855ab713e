// SPDX-License-Identifier: Apache-2.0
//
// Short reads run where they came in, on the network thread; what turns out to be long goes on on a
// worker. A tailable cursor with awaitData that finds nothing waits for the next write.
#include "commands/collection_cursor.h"

#include "commands/collection_reader.h"
#include "query/expression/sort_pattern.h"
#include "replication/oplog.h"

namespace tessera::commands {
namespace {

// Documents of one slice on a network thread, and on a worker.
constexpr int inline_documents_max = 256;
constexpr int worker_documents_max = 4096;
// How often an awaitData cursor of a standalone looks for documents.
constexpr Duration standalone_looks_again = 50ms;

class CollectionCursor : public CursorSource {
public:
    CollectionCursor(Member& member, Namespace ns, CompiledFind find, Placement placement,
                     Timestamp read_at)
        : member_(member),
          find_(std::move(find)),
          reader_(member, std::move(ns), std::move(find_.request), std::move(placement), read_at) {
        needs_record_id_ = find_.shows_record_id ||
                           (find_.projection && find_.projection->needs_record_id());
    }

    Status open(const Namespace& ns) {
        const query::ReadRequest& request = reader_.request();
        if (request.is_tailable && reader_.has_collection() &&
            !reader_.collection()->options().is_capped)
            return Error(ErrorCode::bad_value,
                         "error processing query: ns=" + ns.to_string() +
                             " planner returned error :: caused by :: tailable cursor requested "
                             "on non capped collection");
        if (find_.wants_sort_key || (find_.projection && find_.projection->needs_sort_key())) {
            TRY(sort_pattern_, query::SortPattern::parse(request.sort));
            sort_values_.resize(sort_pattern_->size());
        }
        return {};
    }

    async::Task<Result<bool>> fill(BatchWriter& batch, Operation& operation) override {
        reader_.set_operation(&operation);
        bool is_on_worker = async::Executor::current() == &member_.workers;
        if (!is_on_worker && reader_.is_long()) {
            async::resume_on hop(member_.workers);
            co_await hop;
            is_on_worker = true;
        }
        while (true) {
            const int documents_max = is_on_worker ? worker_documents_max : inline_documents_max;
            replication::Oplog* const oplog = member_.replication->oplog();
            const std::uint64_t ticket = oplog != nullptr ? oplog->grown().ticket() : 0;
            auto slice = reader_.slice([&](query::Executor& executor) {
                return fill_slice(executor, batch, documents_max);
            });
            if (!slice) co_return std::move(slice).error();
            if (*slice == Slice::exhausted) {
                if (!is_tailing()) co_return true;
                const bool waits =
                    batch.count() == 0 && operation.await_deadline != Instant::max();
                if (!waits) co_return false;
                CO_TRY(const bool has_time, co_await await_writes(operation, oplog, ticket));
                if (!has_time) co_return false;
                continue;
            }
            if (*slice == Slice::full) co_return false;
            ++operation.stats.yields;
            if (is_on_worker) continue;
            async::resume_on hop(member_.workers);
            co_await hop;
            is_on_worker = true;
        }
    }

    void save() override { reader_.set_operation(nullptr); }
    std::string plan_summary() const override { return reader_.plan_summary(); }

private:
    enum class Slice { full, exhausted, unfinished };

    bool is_tailing() const { return reader_.request().is_tailable && reader_.has_collection(); }

    // Comes back when something was written since the ticket; false: awaitData's time is over.
    async::Task<Result<bool>> await_writes(Operation& operation,
                                           replication::Oplog* oplog,
                                           std::uint64_t ticket) {
        async::Notification never;  // A standalone has no log to tell of writes: it looks again.
        async::Notification& changed = oplog != nullptr ? oplog->grown() : never;
        Instant until = operation.await_deadline;
        if (oplog == nullptr) {
            ticket = never.ticket();
            until = std::min(until, member_.clock.now() + standalone_looks_again);
        }
        async::Cancellation cancellation = operation.cancellation;
        co_await changed.wait(member_.clock, until, ticket, cancellation);
        CO_TRY_OK(operation.check(member_.clock));
        co_return member_.clock.now() < operation.await_deadline;
    }

    // With its limit reached a cursor is closed with that batch: nobody comes for an empty one.
    bool is_done(const query::Executor& executor) const {
        const std::int64_t limit = reader_.request().limit;
        return executor.is_eof() || (limit > 0 && returned_ >= limit);
    }

    Result<Slice> fill_slice(query::Executor& executor, BatchWriter& batch, int documents_max) {
        if (!pending_.empty()) {
            if (!batch.has_room(pending_.size())) return Slice::full;
            batch.append(bson::View(pending_.data()));
            pending_.clear();
        }
        for (int documents = 0; documents < documents_max; ++documents) {
            if (batch.is_full()) return is_done(executor) ? Slice::exhausted : Slice::full;
            TRY(const bool has_document, executor.next());
            if (!has_document) return Slice::exhausted;
            ++returned_;
            TRY_OK(add(executor, batch));
            if (!pending_.empty()) return Slice::full;
        }
        return Slice::unfinished;
    }

    // Appends the present document as the client asked for it; keeps it for the next batch when it
    // does not fit.
    Status add(const query::Executor& executor, BatchWriter& batch) {
        const bson::View document = executor.document();
        const bool is_plain = !find_.projection && !find_.returns_key && !find_.wants_sort_key &&
                              !needs_record_id_;
        if (is_plain) {
            if (batch.has_room(document.size())) batch.append(document);
            else pending_.assign(document.bytes());
            return {};
        }
        scratch_.clear();
        TRY_OK(write_transformed(executor, document));
        const bson::View transformed(scratch_.data());
        if (batch.has_room(transformed.size())) batch.append(transformed);
        else pending_.assign(transformed.bytes());
        return {};
    }

    Status write_transformed(const query::Executor& executor, bson::View document) {
        arena_.clear();
        if (find_.returns_key) {
            TRY(const bson::Document key, executor.index_key());
            scratch_.append(key.bytes());
            return {};
        }
        query::ProjectionInput input;
        if (sort_pattern_) {
            TRY(input.sort_key, sort_key(document));
        }
        if (needs_record_id_) input.record_id = arena_.make(executor.record_id().value);
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
    CompiledFind find_;  // Its request has moved into the reader.
    CollectionReader reader_;
    bool needs_record_id_ = false;
    std::int64_t returned_ = 0;
    std::optional<query::SortPattern> sort_pattern_;
    std::vector<bson::Value> sort_values_;
    query::ProjectionContext projection_context_;
    bson::Arena arena_;
    std::string scratch_;
    std::string pending_;  // A document that did not fit into the batch before.
};

}  // namespace

Result<std::unique_ptr<CursorSource>> make_collection_cursor(Member& member,
                                                             const Namespace& ns,
                                                             CompiledFind find,
                                                             Placement placement,
                                                             Timestamp read_at) {
    auto cursor = std::make_unique<CollectionCursor>(member, ns, std::move(find),
                                                     std::move(placement), read_at);
    TRY_OK(cursor->open(ns));
    return std::unique_ptr<CursorSource>(std::move(cursor));
}

}  // namespace tessera::commands
