// SPDX-License-Identifier: Apache-2.0
//
// Commands about the cluster. A router sends those of users on to the config servers' primary,
// which carries them out under the same name (sharding_commands.cc); "_configsvr..." is what
// routers and shards ask of config servers (sharding_config_commands.cc), "_shardsvr..." what
// config servers ask of shards (sharding_shard_commands.cc).
#pragma once

#include <array>
#include <string>

#include "commands/command.h"
#include "commands/sharding_member.h"

namespace tessera::commands {

extern const std::array<Command, 22> sharding_admin_commands;
extern const std::array<Command, 6> sharding_config_commands;
extern const std::array<Command, 15> sharding_shard_commands;
extern const std::array<Command, 8> sharding_move_commands;
extern const std::array<Command, 4> sharding_chunk_commands;

/// A router's side of what config servers carry out: sends the command as it came.
async::Task<Status> forward_to_config(Router& router, Invocation& invocation);

// Operations of the config primary that concern shards too (sharding_operations.cc).
struct ShardCollectionArguments {
    std::string ns;
    bson::Document key;
    bool is_unique = false;
    bool enforces_unique_index = true;
    bson::Document collation;
    std::int64_t num_initial_chunks = 0;
    bool presplit_hashed_zones = false;
};
async::Task<Result<std::string>> add_shard(MemberSharding& sharding,
                                           std::string address,
                                           std::string name,
                                           Instant deadline);
async::Task<Result<routing::DatabaseEntry>> create_database(MemberSharding& sharding,
                                                            std::string db,
                                                            std::string primary);
async::Task<Status> shard_collection(MemberSharding& sharding,
                                     ShardCollectionArguments arguments,
                                     Instant deadline);
async::Task<Status> drop_sharded_collection(MemberSharding& sharding,
                                            std::string ns,
                                            Instant deadline);
async::Task<Status> drop_database_everywhere(MemberSharding& sharding,
                                             std::string db,
                                             Instant deadline);
/// Gives a database another primary shard; goes on with the donor's next primary when one fails.
async::Task<Status> move_primary(MemberSharding& sharding,
                                 std::string db,
                                 sharding::ShardName to,
                                 Instant deadline);
async::Task<Status> move_range(MemberSharding& sharding, bson::Document request, Instant deadline);

/// Creates a collection with this UUID, these options and indexes, or adds what it lacks of them.
/// Returns the last position written. On a worker.
Result<OpTime> ensure_collection_like(Member& member, const Namespace& ns, bson::View description);

}  // namespace tessera::commands
