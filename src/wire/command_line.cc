// SPDX-License-Identifier: Apache-2.0
#include "wire/command_line.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "base/name_table.h"

namespace tessera::wire {

namespace {

struct Known {
    std::string_view name;
    bson::Value CommandLine::*value;  // Null: accepted on every command and read elsewhere, or of
                                      // no effect on us.
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
    Known{"$db", nullptr},
    Known{"$audit", nullptr},
    Known{"$client", nullptr},
    Known{"$configServerState", nullptr},
    Known{"$configTime", nullptr},
    Known{"$topologyTime", nullptr},
    Known{"$replData", nullptr},
    Known{"$oplogQueryData", nullptr},
    Known{"allowImplicitCollectionCreation", nullptr},
    Known{"clientOperationKey", nullptr},
    Known{"coordinator", nullptr},
};

constexpr auto known_names = [] {
    std::array<std::string_view, known_arguments.size()> result;
    std::transform(
        known_arguments.begin(), known_arguments.end(), result.begin(), [](const Known& known) {
            return known.name;
        });
    return NameTable(result);
}();
constexpr std::size_t database_argument = known_names.find("$db");

Error duplicate(std::string_view name) {
    return Error(
        location(40413),
        "BSON field 'APIParametersFromClient." + std::string(name) + "' is a duplicate field");
}

/// No two fields of a command may have one name: each reader would take another one's value.
Status check_distinct(bson::View body) {
    std::vector<std::string_view> all;
    for (const bson::Element& field : body)
        all.push_back(field.name);
    std::sort(all.begin(), all.end());
    const auto twice = std::adjacent_find(all.begin(), all.end());
    if (twice != all.end()) return duplicate(*twice);
    return {};
}

/// Tells of most names that they are distinct without looking at them twice.
class SeenNames {
public:
    /// False: a name of this name_hash() may have been there before.
    bool is_new(std::uint32_t hash) {
        const auto end = hashes_.begin() + static_cast<std::ptrdiff_t>(count_);
        if (count_ == hashes_.size() || std::find(hashes_.begin(), end, hash) != end) return false;
        hashes_[count_++] = hash;
        return true;
    }

private:
    std::array<std::uint32_t, 32> hashes_;  // The first `count_`.
    std::size_t count_ = 0;
};

}  // namespace

Result<CommandLine> parse_command_line(const Request& request) {
    if (request.error) return *request.error;
    CommandLine result;
    result.body = request.body;
    if (request.body.is_empty())
        return Error(ErrorCode::command_not_found, "no such command: ''");
    SeenNames seen;
    bool are_distinct = true;
    bson::Value database;
    auto element = request.body.begin();
    result.name = element->name;
    (void)seen.is_new(name_hash(result.name));
    for (++element; element != request.body.end(); ++element) {
        const std::uint32_t hash = name_hash(element->name);
        are_distinct = are_distinct && seen.is_new(hash);
        const std::size_t at = known_names.find(element->name, hash);
        if (at == known_names.none) continue;
        if (at == database_argument)
            database = element->value;
        else if (known_arguments[at].value != nullptr)
            result.*(known_arguments[at].value) = element->value;
    }
    if (!are_distinct) TRY_OK(check_distinct(request.body));
    if (request.op_code == OpCode::query)
        result.database = request.query_database;
    else if (database.is_string())
        result.database = database.as_string();
    else
        return Error(location(40571), "OP_MSG requests require a $db argument");
    return result;
}

bool is_generic_argument(std::string_view name) {
    return known_names.find(name) != known_names.none;
}

}  // namespace tessera::wire
