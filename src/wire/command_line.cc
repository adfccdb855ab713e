// SPDX-License-Identifier: Apache-2.0
#include "wire/command_line.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

namespace tessera::wire {

namespace {

struct Known {
    std::string_view name;
    bson::Value CommandLine::*value;
};

constexpr std::array known_arguments = {
    Known{"lsid", &CommandLine::lsid},
    Known{"$clusterTime", &CommandLine::cluster_time},
    Known{"$readPreference", &CommandLine::read_preference},
    Known{"readConcern", &CommandLine::read_concern},
    Known{"writeConcern", &CommandLine::write_concern},
    Known{"maxTimeMS", &CommandLine::max_time_ms},
    Known{"maxTimeMSOpOnly", &CommandLine::max_time_ms_op_only},
    Known{"txnNumber", &CommandLine::txn_number},
    Known{"autocommit", &CommandLine::autocommit},
    Known{"startTransaction", &CommandLine::start_transaction},
    Known{"comment", &CommandLine::comment},
    Known{"apiVersion", &CommandLine::api_version},
    Known{"apiStrict", &CommandLine::api_strict},
    Known{"apiDeprecationErrors", &CommandLine::api_deprecation_errors},
    Known{"shardVersion", &CommandLine::shard_version},
    Known{"databaseVersion", &CommandLine::database_version},
};

/// Accepted on every command and read elsewhere, or of no effect on us.
constexpr std::array<std::string_view, 11> other_arguments = {
    "$db",          "$audit",          "$client",       "$configServerState",
    "$configTime",  "$topologyTime",   "$replData",     "$oplogQueryData",
    "allowImplicitCollectionCreation", "clientOperationKey",
    "coordinator",
};

Error duplicate(std::string_view name) {
    return Error(
        location(40413),
        "BSON field 'APIParametersFromClient." + std::string(name) + "' is a duplicate field");
}

/// No two fields of a command may have one name: each reader would take another one's value.
Status check_distinct(bson::View body) {
    constexpr std::size_t usual_max = 32;
    std::array<std::string_view, usual_max> names;
    std::size_t count = 0;
    for (const bson::Element& field : body) {
        const auto end = names.begin() + static_cast<std::ptrdiff_t>(count);
        if (std::find(names.begin(), end, field.name) != end) return duplicate(field.name);
        if (count == usual_max) break;
        names[count++] = field.name;
    }
    if (count < usual_max) return {};
    std::vector<std::string_view> all;
    for (const bson::Element& field : body)
        all.push_back(field.name);
    std::sort(all.begin(), all.end());
    const auto twice = std::adjacent_find(all.begin(), all.end());
    if (twice != all.end()) return duplicate(*twice);
    return {};
}

}  // namespace

Result<CommandLine> parse_command_line(const Request& request) {
    if (request.error) return *request.error;
    CommandLine result;
    result.body = request.body;
    if (request.body.is_empty())
        return Error(ErrorCode::command_not_found, "no such command: ''");
    TRY_OK(check_distinct(request.body));
    TRY(result.database, request.database());
    auto element = request.body.begin();
    result.name = element->name;
    for (++element; element != request.body.end(); ++element) {
        for (const Known& known : known_arguments) {
            if (element->name.size() != known.name.size() || element->name != known.name) continue;
            result.*(known.value) = element->value;
            break;
        }
    }
    return result;
}

bool is_generic_argument(std::string_view name) {
    const auto is_it = [&](const Known& known) { return known.name == name; };
    return std::any_of(known_arguments.begin(), known_arguments.end(), is_it) ||
           std::find(other_arguments.begin(), other_arguments.end(), name) !=
               other_arguments.end();
}

}  // namespace tessera::wire
