// SPDX-License-Identifier: Apache-2.0
#include "routing/retry.h"

namespace tessera::routing {

bool is_stale_routing(ErrorCode code) {
    return code == ErrorCode::stale_config || code == ErrorCode::stale_db_version ||
           code == ErrorCode::stale_epoch ||
           code == ErrorCode::shard_cannot_refresh_due_to_locks_held;
}

bool needs_new_routing(ErrorCode code) {
    return is_stale_routing(code) || code == ErrorCode::shard_not_found;
}

std::optional<RefreshRequest> refresh_for(const Error& error, std::string_view ns) {
    if (!needs_new_routing(error.code())) return std::nullopt;
    const std::string_view details = error.details();
    const bson::View fields = details.empty() ? bson::View() : bson::View(details.data());
    RefreshRequest request;
    if (error.code() == ErrorCode::stale_db_version) {
        if (auto info = StaleDatabaseInfo::parse(fields)) {
            request.database = info->db;
            request.wanted_database = info->wanted;
        } else {
            request.database = ns.substr(0, ns.find('.'));
        }
        return request;
    }
    request.collection = ns;
    if (error.code() == ErrorCode::shard_not_found) {
        request.database = ns.substr(0, ns.find('.'));
        return request;
    }
    if (auto info = StaleConfigInfo::parse(fields)) {
        request.collection = info->ns;
        request.wanted_collection = info->wanted;
        request.shard = info->shard;
    } else if (fields["ns"].is_string()) {
        request.collection = fields["ns"].as_string();
    }
    return request;
}

}  // namespace tessera::routing
