// SPDX-License-Identifier: Apache-2.0
//
// WriteBatch: a router's side of insert, update and delete, as a state machine. The driver asks for
// the next child batches, sends them (in parallel), reports each answer, refreshes routing when
// asked to, and goes on until finished:
//
//     WriteBatch batch(ns, options, std::move(statements));
//     while (!batch.is_finished()) {
//         children = batch.next_round(routing);       // Current routing information.
//         for each child: reply = send(child); batch.on_reply(child.id, reply) or on_error(...);
//         if (batch.take_refreshes() not empty) refresh those namespaces;
//     }
//     reply = batch.result();
//
// Ordered batches send neighbouring statements for one shard together and stop at the first error;
// unordered ones send each shard all it can take. A statement that met stale routing is sent again;
// one that is done is not.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "bson/view.h"
#include "routing/limits.h"
#include "routing/retry.h"
#include "routing/targeting.h"

namespace tessera::routing {

struct BatchStatement {
    enum class Kind { insert, write };
    Kind kind = Kind::insert;
    bson::View document;   // Of an insert, _id included. Outlives the batch.
    WriteStatement write;  // Of an update or delete.
    std::size_t bytes = 0; // On the wire.
};

struct WriteBatchOptions {
    bool is_ordered = true;
    bool is_in_transaction = false;  // Stale answers end the batch: the client retries it all.
    bool is_unacknowledged = false;  // w: 0: no reply is waited for by the client.
};

/// One command to one shard.
struct ChildBatch {
    std::uint32_t id = 0;
    ShardTarget target;
    WriteKind kind = WriteKind::one_shard;
    bool is_upsert = false;
    /// The statements, as indexes into the original batch; a write error's index in the child's
    /// reply is an index into this list. A two_phase child has one statement and no target: the
    /// driver runs the find-then-write procedure and reports what the write answered.
    std::vector<std::uint32_t> statements;
};

struct WriteErrorEntry {
    std::uint32_t index = 0;  // In the original batch.
    bson::Document error;     // {index, code, errmsg, keyPattern, ...} as the shard sent it.
};
struct UpsertEntry {
    std::uint32_t index = 0;
    bson::Document id;  // {_id: value}
};

struct WriteBatchResult {
    std::int64_t n = 0;
    std::int64_t n_modified = 0;
    std::vector<UpsertEntry> upserted;              // By index.
    std::vector<WriteErrorEntry> errors;            // By index.
    std::optional<bson::Document> write_concern_error;
    std::vector<std::int32_t> retried_statements;   // retriedStmtIds
    /// n, nModified (of updates), upserted, writeErrors, writeConcernError, retriedStmtIds; not ok.
    void append_to(bson::Builder& reply, bool is_update) const;
};

class WriteBatch {
public:
    WriteBatch(std::string ns, WriteBatchOptions options, std::vector<BatchStatement> statements);

    /// The children to send now, with fresh routing. May be empty when every statement left failed
    /// to be targeted: check is_finished(). Requires: every earlier child has been reported.
    std::vector<ChildBatch> next_round(const RoutingInfo& routing);

    /// A child answered ok: 1. `reply` need not outlive the call.
    void on_reply(std::uint32_t child, bson::View reply);
    /// A child failed as a whole: no answer, or ok: 0.
    void on_error(std::uint32_t child, const Error& error);

    /// What to refresh before the next round.
    std::vector<RefreshRequest> take_refreshes();
    bool is_finished() const;
    /// Set when the batch as a whole must fail instead of answering per statement: an error inside
    /// a transaction.
    const std::optional<Error>& fatal() const { return fatal_; }
    /// Shards that executed something, for the sessions and the last optime of a client.
    const std::set<ShardName>& shards_written() const { return shards_written_; }
    WriteBatchResult result() const;

private:
    enum class State : std::uint8_t { ready, sent, done, failed };
    struct Slot {
        BatchStatement statement;
        State state = State::ready;
        std::uint32_t outstanding = 0;  // Children that hold it in this round.
        bool is_stale = false;          // Some child of this round met stale routing.
        bool is_all_or_any = false;     // Sent as by_id in this round.
        std::int64_t n = 0;
        std::int64_t n_modified = 0;
        std::optional<bson::Document> upserted;
        std::vector<bson::Document> errors;
    };
    struct Child {
        ChildBatch batch;
        bool is_reported = false;
    };

    void settle_round();
    void settle(Slot& slot);
    void fail(Slot& slot, bson::Document error);
    void add_to_child(std::vector<ChildBatch>& children, const ShardTarget& target,
                      const WriteTarget& how, std::uint32_t index);
    Result<WriteTarget> target(const RoutingInfo& routing, const BatchStatement& statement) const;
    void note_stale(const Error& error);
    void apply_write_errors(const ChildBatch& child, bson::View reply, std::vector<bool>& failed);

    std::string ns_;
    WriteBatchOptions options_;
    std::vector<Slot> slots_;
    std::size_t first_open_ = 0;  // No slot before it is open.
    std::map<std::uint32_t, Child> round_;
    std::uint32_t next_child_ = 0;
    int rounds_ = 0;
    int idle_rounds_ = 0;
    bool is_stopped_ = false;  // Ordered and an error happened.
    std::optional<Error> fatal_;
    std::vector<RefreshRequest> refreshes_;
    std::vector<bson::Document> concern_errors_;
    std::set<ShardName> shards_written_;
    std::set<std::int32_t> retried_statements_;
};

}  // namespace tessera::routing
