// SPDX-License-Identifier: Apache-2.0
//
// One entry of local.oplog.rs, in MongoDB's format (reference/protocol.md section 2; field order as
// observed on a real member).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/namespace.h"
#include "base/optime.h"
#include "base/result.h"
#include "bson/builder.h"
#include "bson/view.h"

namespace tessera::replication {

/// A statement's number within a retryable write; -1: none.
using StatementId = std::int32_t;
inline constexpr StatementId no_statement = -1;

/// A logical session's identity as stored: {id: UUID, uid: Binary(32)}.
struct SessionId {
    bson::Uuid id;
    std::string uid;  // SHA-256 of the user's name; of nothing without authentication. 32 bytes.

    auto operator<=>(const SessionId&) const = default;
    bson::Document to_bson() const;
    static Result<SessionId> parse(bson::View document);
};

enum class OpKind : char {
    insert = 'i',
    update = 'u',
    remove = 'd',
    command = 'c',
    no_op = 'n',
};

/// The parts of an entry that make it part of a retryable write or a transaction.
struct EntrySession {
    SessionId id;
    std::int64_t txn_number = 0;
    std::vector<StatementId> statements;
    OpTime previous;                       // prevOpTime: {0,0}/-1 for the first of its chain.
    std::string needs_retry_image;         // "", "preImage" or "postImage".
};

struct InsertStatement {
    bson::View document;
    StatementId statement = no_statement;
};

/// What names a document in the oplog: _id, then the fields of its collection's shard key.
void append_document_key(bson::View document, bson::View shard_key, bson::Builder& out);

/// Documents that one unit inserted into a collection: one entry for all of them, an applyOps at
/// one position, as MongoDB 8 logs the batches of an insert.
struct InsertedBatch {
    std::string_view ns;
    bson::Uuid collection;
    std::span<const InsertStatement> inserts;
    bson::View shard_key;
    bool from_migrate = false;

    /// Appends the field applyOps; the statements' numbers when they are `remembered`.
    void append_to(bson::Builder& object, bool remembered) const;
};

/// An entry about to be written; what it points to must live until encode() or begin().
struct OplogEntry {
    OpKind kind = OpKind::no_op;
    std::string ns;                        // "db.coll", "db.$cmd" or "".
    std::optional<bson::Uuid> uuid;
    bson::View object;                     // o
    const InsertedBatch* batch = nullptr;  // In place of `object`.
    std::optional<bson::View> object2;     // o2
    bool from_migrate = false;
    std::optional<EntrySession> session;

    /// Writes the whole entry document.
    void encode(OpTime at, WallTime wall, std::string& out) const;
    /// The same in two steps, for who does not know the position yet. `previous`: prevOpTime, of an
    /// entry with a session.
    void begin(bson::Builder& entry) const;
    static void end(bson::Builder& entry,
                    OpTime at,
                    WallTime wall,
                    const std::optional<OpTime>& previous);
};

/// An entry read back. Views into the bytes it was parsed from.
struct ParsedEntry {
    OpTime optime;
    WallTime wall;
    OpKind kind = OpKind::no_op;
    Namespace ns;
    std::optional<bson::Uuid> uuid;
    bson::View object;
    std::optional<bson::View> object2;
    bool from_migrate = false;
    std::optional<EntrySession> session;
    bson::View whole;

    /// Fails with BadValue or OplogOperationUnsupported on what is not an entry. The statements of
    /// an applyOps are those of its operations.
    static Result<ParsedEntry> parse(bson::View entry);

    bool is_apply_ops() const;
    /// The operations of an applyOps, which have no position but the entry's. Fails as parse().
    Result<std::vector<ParsedEntry>> operations() const;
    /// One of operations() as an entry that stands for itself.
    bson::Document as_entry() const;
};

/// Operations applied since the start (opcountersRepl); commands count as one each.
struct AppliedCounts {
    std::int64_t inserts = 0;
    std::int64_t updates = 0;
    std::int64_t removes = 0;
    std::int64_t commands = 0;
};

/// Reads {ts, t}; fails with BadValue.
Result<OpTime> parse_optime(const bson::Value& value);

}  // namespace tessera::replication
