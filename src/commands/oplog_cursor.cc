// SPDX-License-Identifier: Apache-2.0
//
// An awaitData getMore waits until the oplog has grown, or until this member knows a newer commit
// point than the reader (lastKnownCommittedOpTime): an empty batch then carries it
// (reference/protocol.md 1.7).
#include "commands/oplog_cursor.h"

#include "replication/oplog.h"

namespace tessera::commands {
namespace {

constexpr int entries_per_slice = 5'000;

// The smallest timestamp the filter lets through, from its conditions on "ts".
Timestamp lower_bound(bson::View filter) {
    const bson::Value ts = filter["ts"];
    if (ts.type() == bson::Type::timestamp) return ts.as_timestamp();
    if (!ts.is_object()) return {};
    for (const std::string_view op : {"$gte", "$gt", "$eq"}) {
        const bson::Value value = ts.as_view()[op];
        if (value.type() == bson::Type::timestamp) return value.as_timestamp();
    }
    return {};
}

class OplogCursor : public CursorSource {
public:
    OplogCursor(Member& member, CompiledFind find, Timestamp from, const Request& request)
        : member_(member), find_(std::move(find)), next_(from) {
        read_flags(request);
    }

    void on_get_more(const Request& request) override {
        read_flags(request);
        if (const bson::Value known = request.body["lastKnownCommittedOpTime"]; known.is_object()) {
            if (const auto optime = replication::parse_optime(known)) known_commit_point_ = *optime;
        }
        if (const bson::Value term = request.body["term"]; term.is_number())
            member_.replication->observe_term(term.to_int64());
    }

    async::Task<Result<bool>> fill(BatchWriter& batch, Operation& operation) override {
        while (true) {
            replication::Oplog* const oplog = member_.replication->oplog();
            if (oplog == nullptr) co_return false;
            const auto ticket = oplog->grown().ticket();
            auto status = read(*oplog, batch);
            if (!status) co_return std::move(status).error();
            const bool knows_more = known_commit_point_ &&
                                    *known_commit_point_ < member_.replication->commit_point();
            const bool waits = batch.count() == 0 && operation.await_deadline != Instant::max() &&
                               !knows_more;
            if (!waits) co_return false;
            async::Cancellation cancellation = operation.cancellation;
            const auto outcome = co_await oplog->grown().wait(
                member_.clock, operation.await_deadline, ticket, cancellation);
            CO_TRY_OK(operation.check(member_.clock));
            if (outcome == async::Notification::Outcome::timed_out) co_return false;
        }
    }

    void append_reply_fields(bson::Builder& reply) const override {
        member_.replication->append_metadata(reply, wants_repl_data_, wants_query_data_);
    }
    std::string plan_summary() const override { return "COLLSCAN"; }

private:
    void read_flags(const Request& request) {
        wants_repl_data_ |= request.body["$replData"].is_truthy();
        wants_query_data_ |= request.body["$oplogQueryData"].is_truthy();
    }

    Status read(replication::Oplog& oplog, BatchWriter& batch) {
        const Timestamp visible = oplog.visible().timestamp;
        if (next_ > visible) return {};
        TRY(const auto transaction, member_.engine->begin());
        const auto cursor = transaction->open_cursor(oplog.table());
        TRY(bool has_entry, seek(*cursor));
        for (int i = 0; has_entry && i < entries_per_slice && !batch.is_full(); ++i) {
            const Timestamp at = replication::Oplog::timestamp_of(cursor->key());
            if (at > visible) break;
            const bson::View entry(cursor->value().data());
            TRY(const bool matches, find_.request.filter.matches(entry, context_));
            if (matches) {
                if (!batch.has_room(entry.size())) break;
                if (find_.projection) {
                    scratch_.clear();
                    TRY_OK(find_.projection->apply(entry, {}, projection_context_, scratch_));
                    batch.append(bson::View(scratch_.data()));
                } else {
                    batch.append(entry);
                }
            }
            last_ = at;
            next_ = Timestamp::unpack(at.packed() + 1);
            TRY(has_entry, cursor->next());
        }
        return {};
    }

    // Where the entry last read is gone, so may be others after it: a reader may skip none unseen.
    Result<bool> seek(storage::Cursor& cursor) {
        if (last_.is_null()) return cursor.seek(replication::Oplog::key_of(next_));
        const std::string key = replication::Oplog::key_of(last_);
        TRY(const bool found, cursor.seek(key));
        if (found && cursor.key() == key) return cursor.next();
        return Error(ErrorCode::capped_position_lost,
                     "CollectionScan died due to position in capped collection being deleted. Last "
                     "seen record id: RecordId(" +
                         std::to_string(last_.packed()) + ")");
    }

    Member& member_;
    CompiledFind find_;
    Timestamp next_;  // Where reading goes on.
    Timestamp last_;  // Of the entry read last.
    std::optional<OpTime> known_commit_point_;
    bool wants_repl_data_ = false;
    bool wants_query_data_ = false;
    query::MatchContext context_;
    query::ProjectionContext projection_context_;
    std::string scratch_;
};

}  // namespace

Result<std::unique_ptr<CursorSource>> make_oplog_cursor(Member& member,
                                                        const Request& request,
                                                        const FindArguments& args) {
    TRY(CompiledFind find, compile_find(member, request, args));
    if (const bson::Value term = request.body["term"]; term.is_number())
        member.replication->observe_term(term.to_int64());
    return std::unique_ptr<CursorSource>(std::make_unique<OplogCursor>(
        member, std::move(find), lower_bound(args.filter), request));
}

}  // namespace tessera::commands
