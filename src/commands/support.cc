// SPDX-License-Identifier: Apache-2.0
#include "commands/support.h"

#include <openssl/sha.h>

namespace tessera::commands {

Error is_a_view(const Namespace& ns) {
    return Error(ErrorCode::command_not_supported_on_view,
                 "Namespace " + ns.to_string() + " is a view, not a collection");
}

Result<bson::View> required_object(bson::View statement,
                                   std::string_view field,
                                   std::string_view struct_name) {
    const bson::Value value = statement[field];
    const std::string name = std::string(struct_name) + "." + std::string(field);
    if (value.is_missing())
        return Error(ErrorCode::idl_failed_to_parse,
                     "BSON field '" + name + "' is missing but a required field");
    if (!value.is_object())
        return Error(ErrorCode::type_mismatch,
                     "BSON field '" + name + "' is the wrong type '" +
                         std::string(type_name(value.type())) + "', expected type 'object'");
    return value.as_view();
}

void append_count(bson::Builder& out, std::string_view name, std::int64_t value) {
    out.append_integer(name, value);
}

void append_write_error(bson::ArrayBuilder& errors, std::int64_t index, const Error& error) {
    bson::Builder entry = errors.object();
    entry.append_integer("index", index);
    entry.append("code", static_cast<std::int32_t>(error.code()));
    if (error.code() == ErrorCode::stale_config || error.code() == ErrorCode::stale_db_version)
        entry.append("codeName", code_name(error.code()));
    if (error.details().empty()) {
        entry.append("errmsg", error.reason());
        return;
    }
    entry.append("errmsg", error.reason());
    const bson::View details(error.details().data());
    if (error.code() == ErrorCode::document_validation_failure && !details.has("errInfo"))
        entry.append("errInfo", details);
    else
        entry.append_all(details);
}

bool ends_command(const Error& error) {
    if (has_class(error.code(), error_class::not_primary | error_class::recovering |
                                    error_class::shutting_down))
        return true;
    switch (error.code()) {
        case ErrorCode::interrupted:
        case ErrorCode::client_disconnect:
        case ErrorCode::max_time_ms_expired:
        case ErrorCode::cursor_killed:
        case ErrorCode::out_of_disk_space:
        case ErrorCode::transaction_too_old:
        case ErrorCode::incomplete_transaction_history:
            return true;
        default:
            return false;
    }
}

replication::SessionId complete(const replication::SessionId& id) {
    if (!id.uid.empty()) return id;
    static const std::string nobody = [] {
        unsigned char digest[SHA256_DIGEST_LENGTH];
        SHA256(nullptr, 0, digest);
        return std::string(reinterpret_cast<const char*>(digest), sizeof(digest));
    }();
    replication::SessionId result = id;
    result.uid = nobody;
    return result;
}

void append_snapshot_time(const Invocation& invocation, bson::Builder& out) {
    const auto& concern = invocation.request.read_concern;
    if (!invocation.read_at.is_null() && concern &&
        concern->level == replication::ReadLevel::snapshot)
        out.append("atClusterTime", invocation.read_at);
}

void append_finished_cursor(bson::Builder& reply,
                            const std::string& ns,
                            const std::vector<bson::Document>& documents) {
    bson::Builder cursor = reply.object("cursor");
    cursor.append("id", std::int64_t{0}).append("ns", ns);
    auto batch = cursor.array("firstBatch");
    for (const bson::Document& document : documents) batch.append(document);
}

}  // namespace tessera::commands
