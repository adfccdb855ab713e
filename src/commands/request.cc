// SPDX-License-Identifier: Apache-2.0
#include "commands/request.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "wire/command_line.h"

namespace tessera::commands {
namespace {

std::string text(std::string_view view) {
    return std::string(view);
}

Error wrong_type(std::string_view structure,
                 std::string_view field,
                 bson::Type found,
                 std::string_view expected) {
    return Error(ErrorCode::type_mismatch,
                 "BSON field '" + text(structure) + (structure.empty() ? "" : ".") + text(field) +
                     "' is the wrong type '" + text(type_name(found)) + "', expected type" +
                     (expected.find(',') == std::string_view::npos ? " '" : "s '[") +
                     text(expected) + (expected.find(',') == std::string_view::npos ? "'" : "]'"));
}

Result<SessionArguments> parse_session(const wire::CommandLine& line) {
    const bson::Value& lsid = line.lsid;
    if (!lsid.is_object()) return wrong_type("OperationSessionInfo", "lsid", lsid.type(), "object");
    SessionArguments session;
    const bson::Value id = lsid.as_view()["id"];
    if (id.is_missing())
        return Error(ErrorCode::idl_failed_to_parse,
                     "BSON field 'OperationSessionInfo.lsid.id' is missing but a required field");
    if (id.type() != bson::Type::binary || id.as_binary().subtype != bson::BinarySubtype::uuid ||
        id.as_binary().bytes.size() != 16)
        return Error(ErrorCode::type_mismatch,
                     "BSON field 'lsid.id' is the wrong type, expected a UUID");
    std::memcpy(session.id.id.bytes.data(), id.as_binary().bytes.data(), 16);
    if (const bson::Value uid = lsid.as_view()["uid"]; uid.type() == bson::Type::binary)
        session.id.uid = uid.as_binary().bytes;
    if (const bson::Value& number = line.txn_number; !number.is_missing()) {
        if (number.type() != bson::Type::int64)
            return wrong_type("OperationSessionInfo", "txnNumber", number.type(), "long");
        if (number.as_int64() < 0)
            return Error(ErrorCode::invalid_options,
                         "Transaction number cannot be negative, found: " +
                             std::to_string(number.as_int64()));
        session.txn_number = number.as_int64();
    }
    if (const bson::Value& autocommit = line.autocommit; !autocommit.is_missing()) {
        if (!autocommit.is_boolean() || autocommit.as_bool())
            return Error(ErrorCode::invalid_options, "Specifying autocommit=true is not allowed.");
        if (!session.txn_number)
            return Error(ErrorCode::invalid_options,
                         "'autocommit' field requires a transaction number to also be specified");
        session.is_transaction = true;
    }
    session.starts_transaction = line.start_transaction.is_truthy();
    if (session.starts_transaction && !session.is_transaction)
        return Error(ErrorCode::invalid_options,
                     "'startTransaction' field requires 'autocommit' field to also be specified");
    return session;
}

Status parse_concerns(const wire::CommandLine& line, Request& request) {
    if (const bson::Value& concern = line.write_concern; !concern.is_missing()) {
        if (!concern.is_object()) return wrong_type("", "writeConcern", concern.type(), "object");
        TRY(request.write_concern, replication::WriteConcern::parse(concern.as_view()));
    }
    if (const bson::Value& concern = line.read_concern; !concern.is_missing()) {
        if (!concern.is_object()) return wrong_type("", "readConcern", concern.type(), "object");
        TRY(request.read_concern, replication::ReadConcern::parse(concern.as_view()));
    }
    if (const bson::Value& preference = line.read_preference; preference.is_object()) {
        TRY(request.read_preference, ReadPreference::parse(preference.as_view()));
    }
    return {};
}

Status parse_time_max(const wire::CommandLine& line, Request& request) {
    const std::pair<std::string_view, const bson::Value&> fields[] = {
        {"maxTimeMS", line.max_time_ms}, {"maxTimeMSOpOnly", line.max_time_ms_op_only}};
    for (const auto& [field, value] : fields) {
        if (value.is_missing()) continue;
        if (!value.is_number())
            return Error(ErrorCode::bad_value, text(field) + " must be a number");
        const std::int64_t milliseconds = value.to_int64();
        if (milliseconds < 0 || milliseconds > std::numeric_limits<std::int32_t>::max() ||
            !value.is_integral())
            return Error(ErrorCode::bad_value,
                         std::to_string(milliseconds) + " value for " + text(field) +
                             " is out of range [0, 2147483647]");
        if (milliseconds > 0) request.time_max = std::chrono::milliseconds(milliseconds);
    }
    return {};
}

}  // namespace

Result<ReadPreference> ReadPreference::parse(bson::View document) {
    ReadPreference result;
    const bson::Value mode = document["mode"];
    if (!mode.is_string()) return Error(ErrorCode::failed_to_parse, "$readPreference has no mode");
    const std::string_view name = mode.as_string();
    if (name == "primary")
        result.mode = Mode::primary;
    else if (name == "primaryPreferred")
        result.mode = Mode::primary_preferred;
    else if (name == "secondary")
        result.mode = Mode::secondary;
    else if (name == "secondaryPreferred")
        result.mode = Mode::secondary_preferred;
    else if (name == "nearest")
        result.mode = Mode::nearest;
    else
        return Error(ErrorCode::failed_to_parse,
                     "Could not parse $readPreference mode '" + text(name) + "'");
    if (const bson::Value tags = document["tags"]; tags.is_array())
        for (const bson::Element& each : tags.as_view())
            if (each.value.is_object()) result.tag_sets.push_back(each.value.as_view());
    if (const bson::Value staleness = document["maxStalenessSeconds"]; staleness.is_number())
        result.staleness_max =
            std::chrono::seconds(std::max<std::int64_t>(staleness.to_int64(), 0));
    return result;
}

Result<Request> Request::parse(const wire::Request& message) {
    const bson::View body = message.body;
    Request request;
    request.body = body;
    request.sequences = &message.sequences;
    if (body.is_empty()) return Error(ErrorCode::failed_to_parse, "empty command document");
    TRY(const wire::CommandLine line, wire::parse_command_line(message));
    request.name = line.name;
    request.db = line.database;
    if (!check_database_name(request.db) && request.db != "$external")
        return Error(ErrorCode::invalid_namespace,
                     "Invalid database name: '" + text(request.db) + "'");
    TRY_OK(parse_concerns(line, request));
    TRY_OK(parse_time_max(line, request));
    if (!line.lsid.is_missing()) {
        TRY(request.session, parse_session(line));
    } else if (!line.txn_number.is_missing()) {
        return Error(ErrorCode::invalid_options,
                     "Transaction number requires a session ID to also be specified");
    }
    if (line.cluster_time.is_object()) {
        const bson::Value stamp = line.cluster_time.as_view()["clusterTime"];
        if (stamp.type() == bson::Type::timestamp) request.cluster_time = stamp.as_timestamp();
    }
    if (line.shard_version.is_object()) request.shard_version = line.shard_version.as_view();
    if (line.database_version.is_object())
        request.database_version = line.database_version.as_view();
    if (line.api_version.is_string() && line.api_version.as_string() != "1")
        return Error(ErrorCode::api_version_error,
                     "Cannot accept API version " + text(line.api_version.as_string()));
    if (line.comment.is_string()) request.comment_text = line.comment.as_string();
    return request;
}

Result<Namespace> Request::collection() const {
    const bson::Value first = body.front().value;
    if (!first.is_string())
        return Error(ErrorCode::bad_value,
                     "collection name has invalid type " + text(type_name(first.type())));
    Namespace ns{text(db), text(first.as_string())};
    if (ns.collection.empty())
        return Error(ErrorCode::invalid_namespace,
                     "Invalid namespace specified '" + ns.to_string() + "'");
    TRY_OK(check_namespace(ns));
    return ns;
}

Result<std::vector<bson::View>> Request::documents(std::string_view argument) const {
    for (const wire::Sequence& sequence : *sequences)
        if (sequence.name == argument) return sequence.documents;
    const bson::Value value = body[argument];
    if (value.is_missing())
        return Error(ErrorCode::idl_failed_to_parse,
                     "BSON field '" + text(name) + "." + text(argument) +
                         "' is missing but a required field");
    if (!value.is_array()) return wrong_type(name, argument, value.type(), "array");
    std::vector<bson::View> result;
    for (const bson::Element& each : value.as_view()) {
        if (!each.value.is_object())
            return wrong_type(
                name, text(argument) + "." + text(each.name), each.value.type(), "object");
        result.push_back(each.value.as_view());
    }
    return result;
}

Status Request::check_known_fields(std::string_view struct_name,
                                   std::initializer_list<std::string_view> known) const {
    auto element = body.begin();  // It names the command.
    for (++element; element != body.end(); ++element)
        if (std::find(known.begin(), known.end(), element->name) == known.end())
            TRY_OK(check_generic_field(struct_name, element->name));
    return {};
}

Status check_generic_field(std::string_view struct_name, std::string_view name) {
    if (wire::is_generic_argument(name)) return {};
    return Error(ErrorCode::idl_unknown_field,
                 "BSON field '" + text(struct_name) + "." + text(name) + "' is an unknown field.");
}

Result<std::int64_t> integer_value(const bson::Value& value,
                                      std::string_view name,
                                      std::int64_t otherwise,
                                      std::string_view struct_name) {
    if (value.is_nullish()) return otherwise;
    if (!value.is_number())
        return wrong_type(struct_name, name, value.type(), "long, int, decimal, double");
    return value.to_int64();
}

Result<std::int64_t> count_value(const bson::Value& value,
                                    std::string_view name,
                                    std::int64_t otherwise,
                                    std::string_view struct_name) {
    TRY(const std::int64_t count, integer_value(value, name, otherwise, struct_name));
    if (count < 0 && count != otherwise)
        return Error(location(51024),
                     "BSON field '" + text(name) + "' value must be >= 0, actual value '" +
                         std::to_string(count) + "'");
    return count;
}

Result<bool> bool_value(const bson::Value& value,
                           std::string_view name,
                           bool otherwise,
                           std::string_view struct_name) {
    if (value.is_nullish()) return otherwise;
    if (!value.is_boolean() && !value.is_number())
        return wrong_type(struct_name, name, value.type(), "bool, long, int, decimal, double");
    return value.is_truthy();
}

Result<bson::View> object_value(const bson::Value& value,
                                   std::string_view name,
                                   std::string_view struct_name) {
    if (value.is_nullish()) return bson::View();
    if (!value.is_object()) return wrong_type(struct_name, name, value.type(), "object");
    return value.as_view();
}

Result<std::string_view> string_value(const bson::Value& value,
                                         std::string_view name,
                                         std::string_view otherwise,
                                         std::string_view struct_name) {
    if (value.is_nullish()) return otherwise;
    if (!value.is_string()) return wrong_type(struct_name, name, value.type(), "string");
    return value.as_string();
}

}  // namespace tessera::commands
