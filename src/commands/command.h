// SPDX-License-Identifier: Apache-2.0
//
// A command: its name, what the dispatcher must know before it runs, and what a member and a router
// do. One file says everything a command does; commands/table.cc lists them, sorted.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "async/task.h"
#include "base/result.h"
#include "bson/builder.h"
#include "commands/node.h"
#include "commands/request.h"

namespace tessera::commands {

/// One command being run.
struct Invocation {
    Invocation(const Request& its_request,
               std::shared_ptr<Operation> its_operation,
               bson::Builder& its_reply)
        : request(its_request), operation(std::move(its_operation)), reply(its_reply) {}

    const Request& request;
    std::shared_ptr<Operation> operation;  // Also owned by the registry.
    bson::Builder& reply;                  // The command's own fields; "ok" and the like follow.

    /// Set by commands that wrote: what the dispatcher waits for with the write concern, and puts
    /// into operationTime. A write that changed nothing sets the newest position it could have
    /// seen.
    OpTime last_write;
    /// The timestamp to read at, by the read concern; null: latest.
    Timestamp read_at;
    /// The session checked out for a retryable write; null otherwise.
    replication::Session* session = nullptr;
    /// What top and the counters file this under.
    Namespace ns;
    /// A command that answers more than once (exhaust hello) sets this to be called again.
    bool has_more_to_come = false;
    bool closes_connection = false;  // No answer: the process is about to end.
    bool may_exhaust = false;        // The client allowed it (exhaustAllowed).
    /// A writeConcernError the command (or a shard) already reports; suppresses waiting.
    bool has_write_concern_error = false;
    /// Extra error labels for an ok:0 answer.
    std::vector<std::string> error_labels;
};

namespace flags {
inline constexpr unsigned admin_only = 1;  // Only against the admin database.
inline constexpr unsigned writes = 2;      // Needs a writable primary; takes a writeConcern.
inline constexpr unsigned reads = 4;       // Takes a readConcern and a read preference.
inline constexpr unsigned retryable = 8;   // May carry a txnNumber.
inline constexpr unsigned internal = 16;   // Only from members of the cluster.
inline constexpr unsigned test_only = 32;  // Only with enableTestCommands.
inline constexpr unsigned any_state = 64;  // On members of any state (hello, ping, replSet*).
inline constexpr unsigned waits_write_concern = 128;  // Takes a writeConcern, checks state itself.
inline constexpr unsigned quiet = 256;                // Not in the log of slow operations (hello).
inline constexpr unsigned hidden = 512;               // Not in listCommands.
}  // namespace flags

using RunOnMember = async::Task<Status> (*)(Member&, Invocation&);
using RunOnRouter = async::Task<Status> (*)(Router&, Invocation&);

/// What the operation counters count a command as.
enum class Counted { command, insert, query, update, remove, getmore };

struct Command {
    std::string_view name;
    unsigned flags = 0;
    RunOnMember on_member = nullptr;  // Null: members answer CommandNotFound.
    RunOnRouter on_router = nullptr;  // Null: routers answer CommandNotFound.
    Counted counted = Counted::command;
    std::string_view help;  // listCommands: one sentence.
};

/// Returns the command of that name (or old alias), null when there is none.
const Command* find_command(std::string_view name);
/// All commands, sorted by name.
std::vector<const Command*> all_commands();

}  // namespace tessera::commands
