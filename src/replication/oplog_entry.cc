// SPDX-License-Identifier: Apache-2.0
#include "replication/oplog_entry.h"

namespace tessera::replication {
namespace {

constexpr std::int64_t oplog_version = 2;
// multiOpType: the operations are a batch of statements, not a transaction.
constexpr std::int32_t batch_type = 1;

Error malformed(std::string_view what) {
    return Error(ErrorCode::bad_value, "malformed oplog entry: " + std::string(what));
}

Result<OpKind> parse_kind(const bson::Value& value) {
    if (!value.is_string() || value.as_string().size() != 1) return malformed("op");
    switch (const char letter = value.as_string().front()) {
        case 'i':
        case 'u':
        case 'd':
        case 'c':
        case 'n':
            return static_cast<OpKind>(letter);
        default:
            return Error(ErrorCode::oplog_operation_unsupported,
                         "unknown oplog operation '" + std::string(1, letter) + "'");
    }
}

Result<bson::Uuid> parse_uuid(const bson::Value& value) {
    if (value.type() != bson::Type::binary || value.as_binary().bytes.size() != 16)
        return malformed("a UUID is not 16 bytes");
    bson::Uuid result;
    std::memcpy(result.bytes.data(), value.as_binary().bytes.data(), 16);
    return result;
}

void add_statements(const bson::Value& given, std::vector<StatementId>& statements) {
    if (given.is_array()) {
        for (const bson::Element& each : given.as_view())
            statements.push_back(static_cast<StatementId>(each.value.to_int64()));
    } else if (given.is_number()) {
        statements.push_back(static_cast<StatementId>(given.to_int64()));
    }
}

Result<EntrySession> parse_session(bson::View entry, const bson::Value& lsid) {
    if (!lsid.is_object()) return malformed("lsid");
    EntrySession session;
    TRY(session.id, SessionId::parse(lsid.as_view()));
    session.txn_number = entry["txnNumber"].to_int64();
    add_statements(entry["stmtId"], session.statements);
    if (const bson::Value previous = entry["prevOpTime"]; previous.is_object()) {
        TRY(session.previous, parse_optime(previous));
    }
    if (const bson::Value image = entry["needsRetryImage"]; image.is_string())
        session.needs_retry_image = image.as_string();
    return session;
}

}  // namespace

bson::Document SessionId::to_bson() const {
    return bson::make("id", id, "uid", bson::Binary{bson::BinarySubtype::generic, uid});
}

Result<SessionId> SessionId::parse(bson::View document) {
    SessionId result;
    TRY(result.id, parse_uuid(document["id"]));
    const bson::Value uid = document["uid"];
    if (uid.type() != bson::Type::binary) return malformed("a session without uid");
    result.uid = uid.as_binary().bytes;
    return result;
}

Result<OpTime> parse_optime(const bson::Value& value) {
    if (!value.is_object()) return malformed("an optime is not an object");
    const bson::View view = value.as_view();
    if (view["ts"].type() != bson::Type::timestamp || !view["t"].is_number())
        return malformed("an optime lacks ts or t");
    return OpTime{view["ts"].as_timestamp(), view["t"].to_int64()};
}

void append_document_key(bson::View document, bson::View shard_key, bson::Builder& out) {
    out.append("_id", document["_id"]);
    for (const bson::Element& field : shard_key) {
        if (field.name == "_id") continue;
        const bson::Value value = document.at_path(field.name);
        if (!value.is_missing()) out.append(field.name, value);
    }
}

void InsertedBatch::append_to(bson::Builder& object, bool remembered) const {
    bson::ArrayBuilder operations = object.array("applyOps");
    for (const InsertStatement& each : inserts) {
        bson::Builder operation = operations.object();
        operation.append("op", "i").append("ns", ns).append("ui", collection);
        operation.append("o", each.document);
        {
            bson::Builder key = operation.object("o2");
            append_document_key(each.document, shard_key, key);
        }
        if (remembered && each.statement != no_statement)
            operation.append("stmtId", each.statement);
        if (from_migrate) operation.append("fromMigrate", true);
    }
}

void OplogEntry::encode(OpTime at, WallTime wall, std::string& out) const {
    bson::Builder entry(out);
    begin(entry);
    end(entry, at, wall, session ? std::optional(session->previous) : std::nullopt);
}

void OplogEntry::begin(bson::Builder& entry) const {
    if (session) {
        entry.append("lsid", session->id.to_bson());
        entry.append("txnNumber", session->txn_number);
    }
    const char letter = static_cast<char>(kind);
    entry.append("op", std::string_view(&letter, 1)).append("ns", ns);
    if (uuid) entry.append("ui", *uuid);
    if (batch != nullptr) {
        bson::Builder operations = entry.object("o");
        batch->append_to(operations, session.has_value());
    } else {
        entry.append("o", object);
    }
    if (object2) entry.append("o2", *object2);
    if (session && !session->needs_retry_image.empty())
        entry.append("needsRetryImage", session->needs_retry_image);
    if (session && session->statements.size() == 1) {
        entry.append("stmtId", session->statements.front());
    } else if (session && !session->statements.empty()) {
        auto list = entry.array("stmtId");
        for (const StatementId statement : session->statements) list.append(statement);
    }
    if (session && batch != nullptr) entry.append("multiOpType", batch_type);
    if (from_migrate) entry.append("fromMigrate", true);
}

void OplogEntry::end(bson::Builder& entry,
                     OpTime at,
                     WallTime wall,
                     const std::optional<OpTime>& previous) {
    entry.append("ts", at.timestamp).append("t", at.term);
    entry.append("v", oplog_version).append("wall", wall);
    if (previous) entry.append("prevOpTime", *previous);
}

namespace {

// What an entry and an operation of an applyOps have in common.
Status parse_operation(bson::View entry, ParsedEntry& result) {
    result.whole = entry;
    TRY(result.kind, parse_kind(entry["op"]));
    if (!entry["ns"].is_string()) return malformed("ns");
    result.ns = Namespace::split(entry["ns"].as_string());
    if (const bson::Value uuid = entry["ui"]; !uuid.is_missing()) {
        TRY(result.uuid, parse_uuid(uuid));
    }
    if (!entry["o"].is_object()) return malformed("o");
    result.object = entry["o"].as_view();
    if (const bson::Value second = entry["o2"]; second.is_object())
        result.object2 = second.as_view();
    result.from_migrate = entry["fromMigrate"].is_truthy();
    return {};
}

}  // namespace

Result<ParsedEntry> ParsedEntry::parse(bson::View entry) {
    ParsedEntry result;
    if (entry["ts"].type() != bson::Type::timestamp) return malformed("ts");
    result.optime.timestamp = entry["ts"].as_timestamp();
    if (entry["t"].is_number()) result.optime.term = entry["t"].to_int64();
    if (entry["wall"].type() == bson::Type::date) result.wall = entry["wall"].as_date();
    TRY_OK(parse_operation(entry, result));
    if (const bson::Value lsid = entry["lsid"]; !lsid.is_missing()) {
        TRY(result.session, parse_session(entry, lsid));
        if (result.is_apply_ops() && result.object["applyOps"].is_array())
            for (const bson::Element& each : result.object["applyOps"].as_view())
                if (each.value.is_object())
                    add_statements(each.value.as_view()["stmtId"], result.session->statements);
    }
    return result;
}

bool ParsedEntry::is_apply_ops() const {
    return kind == OpKind::command && !object.is_empty() && object.front().name == "applyOps";
}

Result<std::vector<ParsedEntry>> ParsedEntry::operations() const {
    const bson::Value list = object["applyOps"];
    if (!list.is_array())
        return Error(ErrorCode::oplog_operation_unsupported, "applyOps is not an array");
    std::vector<ParsedEntry> result;
    for (const bson::Element& each : list.as_view()) {
        if (!each.value.is_object()) return malformed("applyOps");
        ParsedEntry& operation = result.emplace_back();
        operation.optime = optime;
        operation.wall = wall;
        TRY_OK(parse_operation(each.value.as_view(), operation));
    }
    return result;
}

bson::Document ParsedEntry::as_entry() const {
    bson::Builder entry;
    entry.append_all(whole).append("ts", optime.timestamp).append("t", optime.term);
    entry.append("v", oplog_version).append("wall", wall);
    return std::move(entry).finish();
}

}  // namespace tessera::replication
