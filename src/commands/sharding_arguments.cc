// SPDX-License-Identifier: Apache-2.0
//
// The first argument of commands between members of a cluster.
#include "commands/sharding_commands.h"

namespace tessera::commands {

Result<std::string> name_argument(const Request& request) {
    const bson::Value value = request.body.front().value;
    if (!value.is_string())
        return Error(ErrorCode::type_mismatch, std::string(request.name) + " takes a name");
    return std::string(value.as_string());
}

Result<bson::Uuid> uuid_argument(const Request& request) {
    auto uuid = bson::uuid_in(request.body.front().value);
    if (!uuid) return Error(ErrorCode::type_mismatch, std::string(request.name) + " takes a UUID");
    return uuid;
}

Result<bson::View> document_argument(const Request& request) {
    const bson::Value value = request.body.front().value;
    if (!value.is_object())
        return Error(ErrorCode::type_mismatch, std::string(request.name) + " takes a document");
    return value.as_view();
}

}  // namespace tessera::commands
