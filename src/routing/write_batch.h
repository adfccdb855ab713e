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
    bson::View document;    // Of an insert, _id included. Outlives the batch.
    WriteStatement write;   // Of an update or delete.
    std::size_t bytes = 0;  // On the wire.
};

struct WriteBatchOptions {
    bool is_ordered = true;
    bool is_in_transaction = false;  // Stale answers end the batch: the client retries it all.
};

/// One command to one shard.
struct ChildBatch {
    std::uint32_t id = 0;
    WriteKind kind = WriteKind::one_shard;
    ShardTarget target;  // None (empty name) of a two_phase child.
    /// The statements, as indexes into the original batch; a write error's index in the child's
    /// reply is an index into this list. by_id and two_phase children have one statement.
    std::vector<std::uint32_t> statements;
    /// Of a two_phase child: the shards that may hold the document. The driver finds it and writes
    /// it where it is, in one transaction, then reports what the write answered.
    std::vector<ShardTarget> candidates;
    std::size_t bytes = 0;
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
    std::vector<UpsertEntry> upserted;    // By index.
    std::vector<WriteErrorEntry> errors;  // By index.
    std::optional<bson::Document> write_concern_error;
    std::vector<std::int32_t> retried_statements;  // retriedStmtIds
    /// n, nModified (of updates), upserted, writeErrors, writeConcernError, retriedStmtIds; not ok.
    void append_to(bson::Builder& reply, bool is_update) const;
};

class WriteBatch {
public:
    WriteBatch(std::string ns, WriteBatchOptions options, std::vector<BatchStatement> statements);

    /// The children to send now, with fresh routing. May be empty when every statement left failed
    /// to be targeted: check is_finished(). Requires: every earlier child has been reported.
    std::vector<ChildBatch> next_round(const RoutingInfo& routing);

    /// A child answered, with ok: 1 or ok: 0. `reply` need not outlive the call.
    void on_reply(std::uint32_t child, bson::View reply);
    /// A child failed as a whole: no answer.
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
        WriteKind kind = WriteKind::one_shard;  // As sent in this round.
        bool is_stale = false;                  // Some child of this round met stale routing.
        bool is_unexecuted = false;             // Behind an error in an ordered child.
        bool is_matched = false;                // by_id: some shard wrote it.
        std::optional<bson::Document> upserted;
        std::vector<bson::Document> errors;  // Of this round, one a shard.
        std::set<ShardName> finished_on;     // multi: not to be sent there again.
        std::size_t finished_before = 0;     // Its size when this round began.
    };
    enum class Added { yes, full };

    Result<WriteTarget> target(const RoutingInfo& routing, const Slot& slot) const;
    Added add(std::vector<ChildBatch>& children, const WriteTarget& target, std::uint32_t index);
    bool add_special(std::vector<ChildBatch>& children,
                     const WriteTarget& target,
                     std::uint32_t index);
    ChildBatch& new_child(std::vector<ChildBatch>& children,
                          WriteKind kind,
                          const ShardTarget& target);
    void read_write_errors(const ChildBatch& child, bson::View reply);
    void note_stale(const Error& error);
    void finish_child(std::uint32_t child);
    void settle_round();
    void settle(std::uint32_t index);
    void fail(std::uint32_t index, bson::Document error);
    void fail_all_open(const Error& error);

    std::string ns_;
    WriteBatchOptions options_;
    std::vector<Slot> slots_;
    std::size_t first_open_ = 0;                 // Every slot before it is done or failed.
    std::map<std::uint32_t, ChildBatch> round_;  // Not yet reported.
    std::vector<std::uint32_t> sent_;            // Slots of this round.
    std::uint32_t next_child_ = 0;
    int rounds_ = 0;
    int idle_rounds_ = 0;
    bool has_progress_ = false;
    bool is_stopped_ = false;  // Ordered, and an error happened.
    std::optional<Error> fatal_;
    std::vector<RefreshRequest> refreshes_;
    std::int64_t n_ = 0;
    std::int64_t n_modified_ = 0;
    struct ConcernError {
        ShardName shard;
        bson::Document error;
    };
    std::vector<ConcernError> concern_errors_;
    std::set<ShardName> shards_written_;
    std::set<std::int32_t> retried_statements_;
};

}  // namespace tessera::routing
