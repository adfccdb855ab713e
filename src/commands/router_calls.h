// SPDX-License-Identifier: Apache-2.0
//
// What every router command needs to send commands on: which of the client's arguments go along,
// how long to try, how the answers of several shards become one, and what time they tell.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "commands/command.h"
#include "commands/router.h"
#include "routing/targeting.h"

namespace tessera::commands {

/// How long a command without maxTimeMS waits for the config servers or for a shard's primary.
inline constexpr Duration routing_patience = 30s;

/// When a command stops waiting to learn where data lives.
Instant routing_deadline(Router& router, const Operation& operation);

/// The member to read from, the deadline and the cancellation of a request.
/// `is_retryable`: the command may be executed twice without harm.
sharding::CallOptions call_options(const Invocation& invocation, bool is_retryable);
/// As call_options for writes and DDL: always the primary.
sharding::CallOptions primary_options(const Invocation& invocation, bool is_retryable);

/// Copies the client's command but for `without` and what only concerns this hop, and appends the
/// target's versions (null: none).
bson::Document forwarded(const Request& request,
                         const routing::ShardTarget* target,
                         std::initializer_list<std::string_view> without = {});
/// Begins a command of our own on the client's behalf: appends lsid, readConcern, $readPreference,
/// maxTimeMS, comment, the versions and $db; not what the command itself says.
void append_read_context(const Request& request,
                         std::string_view db,
                         const routing::ShardTarget* target,
                         bson::Builder& command);
/// As above for a write: lsid, txnNumber, writeConcern (majority without one; an unacknowledged
/// write is acknowledged to the router, which must know of stale routing).
void append_write_context(const Request& request,
                          std::string_view db,
                          const routing::ShardTarget* target,
                          bson::Builder& command);

/// Takes a shard's operationTime over into the invocation.
void note_time(Invocation& invocation, bson::View reply);
/// The error a failed call stands for: that of the operation when it was killed or ran out of time.
Error call_error(Router& router, const Operation& operation, Error error);

/// The shards that may hold matches: now, or at the time a snapshot read names.
Result<std::vector<routing::ShardTarget>> target_read(const Request& request,
                                                      const routing::RoutingInfo& info,
                                                      bson::View filter,
                                                      const routing::FilterOptions& options = {});

/// Sends one command to one shard; ok: 0 becomes its Error.
async::Task<Result<bson::Document>> call_shard(Router& router,
                                               Invocation& invocation,
                                               routing::ShardName shard,
                                               bson::Document command,
                                               sharding::CallOptions options);

struct ShardCommand {
    routing::ShardName shard;
    bson::Document command;
};
struct ShardAnswer {
    routing::ShardName shard;
    HostAndPort host;              // Of the member that answered.
    Result<bson::Document> reply;  // ok: 1, or its Error.
};
/// Sends to all at once and returns when every one has answered, in the order given.
async::Task<std::vector<ShardAnswer>> call_shards(Router& router,
                                                  Invocation& invocation,
                                                  std::vector<ShardCommand> commands,
                                                  sharding::CallOptions options);
/// The error of answers as a whole: stale routing first (it is tried again), else the first one.
Status check_answers(const std::vector<ShardAnswer>& answers);

/// Sends an internal command to the config primary; repeated until it is answered: it must be
/// idempotent. `command` is without $db.
async::Task<Result<bson::Document>> call_config(Router& router,
                                                Invocation& invocation,
                                                bson::Document command);
/// Makes the database known to the cluster unless it is.
async::Task<Status> ensure_database(Router& router, Invocation& invocation, std::string db);

/// Every shard of the cluster, from the config servers when none is known yet.
async::Task<Result<std::vector<routing::ShardName>>> all_shards(Router& router,
                                                                Invocation& invocation);

/// The first writeConcernError of the answers, as it came.
void append_write_concern_errors(const std::vector<ShardAnswer>& answers, bson::Builder& reply);

/// What a shard's answer says, without what every reply has (ok, times, positions).
void append_payload(bson::View answer, bson::Builder& reply);

/// Whether the namespace lives on the config servers.
inline bool is_on_config_servers(std::string_view db) {
    return db == "config" || db == "admin";
}

}  // namespace tessera::commands
