// SPDX-License-Identifier: Apache-2.0
//
// What insert, update, delete and findAndModify share: the loop that tries again after write
// conflicts, the implicit creation of collections, statements executed before, and the reply.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "commands/command.h"
#include "commands/placement.h"
#include "replication/write_unit.h"

namespace tessera::commands {

/// The limits of a write command.
inline constexpr std::int64_t write_batch_max = 100'000;

/// One write command on one member.
struct WriteCommand {
    Member& member;
    Invocation& invocation;
    Namespace ns;
    bool is_ordered = true;
    bool validates = true;  // Not bypassDocumentValidation.
    Placement placement;
    std::vector<replication::StatementId> statement_ids;  // stmtIds, where the request has them.
    replication::StatementId first_statement = 0;         // Else they count up from here.

    replication::WriteOrigin origin() const {
        return {invocation.session, false, placement.shard_key.view()};
    }
    Result<replication::WriteUnit> begin_unit() const {
        return replication::WriteUnit::begin(
            *member.replication, *member.engine, member.clock, origin());
    }
    /// The statement's id: its index, or what stmtId/stmtIds say.
    replication::StatementId statement_id(std::size_t index) const;
    /// Where the statement was executed before, when this is a retry of it.
    Result<std::optional<OpTime>> executed(std::size_t index) const;
    /// Notes a committed write for the write concern and operationTime.
    void wrote(OpTime at) {
        if (invocation.last_write < at) invocation.last_write = at;
    }
};

/// Parses what all write commands have: the namespace, ordered, bypassDocumentValidation; checks
/// the batch's size, the placement, and that the namespace is no view.
Result<WriteCommand> parse_write_command(Member& member,
                                         Invocation& invocation,
                                         std::size_t statements);

/// Creates the collection unless it is there. Fails on a view.
Status ensure_collection(Member& member, Invocation& invocation, const Namespace& ns);

/// Calls `attempt` (a coroutine function giving Task<Status>-like results) again while it fails
/// with WriteConflict: at once a few times, then after growing pauses, until the operation is
/// killed.
class ConflictBackoff {
public:
    explicit ConflictBackoff(Member& member, Operation& operation)
        : member_(member), operation_(operation) {}
    /// Whether to try again; waits. Fails when the operation was killed or out of time.
    async::Task<Result<bool>> again(const Error& error);

private:
    Member& member_;
    Operation& operation_;
    int attempts_ = 0;
};

/// The replies' "n", "writeErrors", "retriedStmtIds", "electionId", "opTime".
class WriteReply {
public:
    void add_error(std::int64_t index, Error error) {
        errors_.emplace_back(index, std::move(error));
    }
    void add_retried(replication::StatementId statement) { retried_.push_back(statement); }
    bool has_errors() const { return !errors_.empty(); }
    std::int64_t count = 0;

    /// Appends "n", then what `extra` appends, then the rest.
    void append_head(bson::Builder& reply) const;
    void append_tail(const WriteCommand& command, bson::Builder& reply) const;

private:
    std::vector<std::pair<std::int64_t, Error>> errors_;
    std::vector<replication::StatementId> retried_;
};

/// Tells sharding of a committed write, for a migration that copies the collection.
void notify_write(Member& member,
                  const WriteCommand& command,
                  bson::View key_source,
                  bson::View document,
                  bool is_delete);

/// A statement that wrote nothing still answers for the newest entry there is: the client may have
/// seen its effect already (a write concern then waits for that).
void note_no_op_write(WriteCommand& command);

}  // namespace tessera::commands
