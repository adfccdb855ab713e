// SPDX-License-Identifier: Apache-2.0
//
// What every command has in common: its name, its database, and the generic arguments that any
// command may carry. A command's own parser asks is_generic_argument() before it refuses a field
// as unknown.
#pragma once

#include <string_view>

#include "base/result.h"
#include "bson/view.h"
#include "wire/request.h"

namespace tessera::wire {

/// Values are missing where the field is; their types are for their users to check. All of it
/// points into the request.
struct CommandLine {
    std::string_view name;
    std::string_view database;
    bson::View body;

    bson::Value lsid;
    bson::Value txn_number;
    bson::Value autocommit;
    bson::Value start_transaction;
    bson::Value max_time_ms;
    bson::Value max_time_ms_op_only;  // maxTimeMSOpOnly, attached by routers
    bson::Value read_preference;  // $readPreference
    bson::Value read_concern;
    bson::Value write_concern;
    bson::Value cluster_time;  // $clusterTime
    bson::Value comment;
    bson::Value api_version;
    bson::Value api_strict;
    bson::Value api_deprecation_errors;
    bson::Value shard_version;     // shardVersion, attached by routers
    bson::Value database_version;  // databaseVersion, attached by routers
};

/// Walks the body once. Fails with request.error if there is one, with CommandNotFound for an empty
/// body and with 40571 when $db is missing.
Result<CommandLine> parse_command_line(const Request& request);

/// Whether any command may carry a field of that name.
bool is_generic_argument(std::string_view name);

}  // namespace tessera::wire
