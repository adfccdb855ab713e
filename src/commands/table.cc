// SPDX-License-Identifier: Apache-2.0
//
// Every command there is, in one sorted table. No registration at start-up: a command that is not
// listed here does not exist.
#include <algorithm>
#include <unordered_map>

#include "commands/aggregate_command.h"
#include "commands/catalog_commands.h"
#include "commands/command.h"
#include "commands/count_distinct.h"
#include "commands/cursor_commands.h"
#include "commands/ddl_commands.h"
#include "commands/diagnostic_commands.h"
#include "commands/explain_command.h"
#include "commands/find_command.h"
#include "commands/fsync_command.h"
#include "commands/hello.h"
#include "commands/info_commands.h"
#include "commands/operation_commands.h"
#include "commands/profile.h"
#include "commands/replication_commands.h"
#include "commands/session_commands.h"
#include "commands/shard_version_command.h"
#include "commands/sharding_commands.h"
#include "commands/write_commands.h"

namespace tessera::commands {
namespace {

template <std::size_t n>
void add(std::vector<const Command*>& table, const std::array<Command, n>& commands) {
    for (const Command& command : commands) table.push_back(&command);
}

std::vector<const Command*> make_table() {
    std::vector<const Command*> table = {
        &aggregate_command,       &count_command,
        &delete_command,          &distinct_command,
        &explain_command,         &find_and_modify_command,
        &find_and_modify_lower_command, &find_documents_command,
        &hello_command,           &insert_command,
        &is_master_command,       &is_master_lower_command,
        &profile_command,         &shard_version_command,
        &update_command,
    };
    add(table, catalog_commands);
    add(table, cursor_commands);
    add(table, ddl_commands);
    add(table, diagnostic_commands);
    add(table, fsync_commands);
    add(table, info_commands);
    add(table, operation_commands);
    add(table, replication_commands);
    add(table, session_commands);
    add(table, sharding_admin_commands);
    add(table, sharding_chunk_commands);
    add(table, sharding_config_commands);
    add(table, sharding_move_commands);
    add(table, sharding_shard_commands);
    std::sort(table.begin(), table.end(),
              [](const Command* one, const Command* two) { return one->name < two->name; });
    return table;
}

const std::vector<const Command*>& table() {
    static const std::vector<const Command*> sorted = make_table();
    return sorted;
}

}  // namespace

const Command* find_command(std::string_view name) {
    static const auto by_name = [] {
        std::unordered_map<std::string_view, const Command*> result;
        for (const Command* const command : table())
            result.emplace(command->name, command);
        return result;
    }();
    const auto found = by_name.find(name);
    return found != by_name.end() ? found->second : nullptr;
}

std::vector<const Command*> all_commands() { return table(); }

}  // namespace tessera::commands
