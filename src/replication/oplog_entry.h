// SPDX-License-Identifier: Apache-2.0
//
// One entry of local.oplog.rs, in MongoDB's format (reference/protocol.md section 2; field order as
// observed on a real member).
#pragma once

#include <cstdint>
#include <optional>
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

/// An entry about to be written; documents are views that must live until encode().
struct OplogEntry {
    OpKind kind = OpKind::no_op;
    std::string ns;                        // "db.coll", "db.$cmd" or "".
    std::optional<bson::Uuid> uuid;
    bson::View object;                     // o
    std::optional<bson::View> object2;     // o2
    bool from_migrate = false;
    std::optional<EntrySession> session;

    /// Writes the whole entry document.
    void encode(OpTime at, WallTime wall, std::string& out) const;
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

    /// Fails with BadValue or OplogOperationUnsupported on what is not an entry.
    static Result<ParsedEntry> parse(bson::View entry);
};

/// Reads {ts, t}; fails with BadValue.
Result<OpTime> parse_optime(const bson::Value& value);

}  // namespace tessera::replication
