// SPDX-License-Identifier: Apache-2.0
#include "replication/oplog_entry.h"

namespace tessera::replication {
namespace {

constexpr std::int64_t oplog_version = 2;

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

Result<EntrySession> parse_session(bson::View entry, const bson::Value& lsid) {
    if (!lsid.is_object()) return malformed("lsid");
    EntrySession session;
    TRY(session.id, SessionId::parse(lsid.as_view()));
    session.txn_number = entry["txnNumber"].to_int64();
    const bson::Value statement = entry["stmtId"];
    if (statement.is_array()) {
        for (const bson::Element& each : statement.as_view())
            session.statements.push_back(static_cast<StatementId>(each.value.to_int64()));
    } else if (statement.is_number()) {
        session.statements.push_back(static_cast<StatementId>(statement.to_int64()));
    }
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

void OplogEntry::encode(OpTime at, WallTime wall, std::string& out) const {
    bson::Builder entry(out);
    if (session) {
        entry.append("lsid", session->id.to_bson());
        entry.append("txnNumber", session->txn_number);
    }
    const char letter = static_cast<char>(kind);
    entry.append("op", std::string_view(&letter, 1)).append("ns", ns);
    if (uuid) entry.append("ui", *uuid);
    entry.append("o", object);
    if (object2) entry.append("o2", *object2);
    if (session && !session->needs_retry_image.empty())
        entry.append("needsRetryImage", session->needs_retry_image);
    if (session && session->statements.size() == 1) {
        entry.append("stmtId", session->statements.front());
    } else if (session && !session->statements.empty()) {
        auto list = entry.array("stmtId");
        for (const StatementId statement : session->statements) list.append(statement);
    }
    if (from_migrate) entry.append("fromMigrate", true);
    entry.append("ts", at.timestamp).append("t", at.term);
    entry.append("v", oplog_version).append("wall", wall);
    if (session) entry.append("prevOpTime", session->previous);
}

Result<ParsedEntry> ParsedEntry::parse(bson::View entry) {
    ParsedEntry result;
    result.whole = entry;
    if (entry["ts"].type() != bson::Type::timestamp) return malformed("ts");
    result.optime.timestamp = entry["ts"].as_timestamp();
    if (entry["t"].is_number()) result.optime.term = entry["t"].to_int64();
    if (entry["wall"].type() == bson::Type::date) result.wall = entry["wall"].as_date();
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
    if (const bson::Value lsid = entry["lsid"]; !lsid.is_missing()) {
        TRY(result.session, parse_session(entry, lsid));
    }
    return result;
}

}  // namespace tessera::replication
