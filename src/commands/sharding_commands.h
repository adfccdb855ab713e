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
extern const std::array<Command, 8> sharding_config_commands;
extern const std::array<Command, 17> sharding_shard_commands;
extern const std::array<Command, 8> sharding_move_commands;
extern const std::array<Command, 4> sharding_chunk_commands;

/// What the field with the command's own name holds; TypeMismatch when it is something else.
Result<std::string> name_argument(const Request& request);
Result<bson::Uuid> uuid_argument(const Request& request);
Result<bson::View> document_argument(const Request& request);

/// A router's side of what config servers carry out: sends the command as it came.
async::Task<Status> forward_to_config(Router& router, Invocation& invocation);

// Operations of the config primary that concern shards too (sharding_operations.cc).
/// One step of such an operation on a shard's primary, which may run twice.
async::Task<Result<bson::Document>> ask_shard(MemberSharding& sharding,
                                              sharding::ShardName shard,
                                              bson::Document command,
                                              Instant deadline);
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
/// Drops the collection of that UUID; CollectionUUIDMismatch (361) when it is gone, whatever has
/// its name now.
async::Task<Status> drop_sharded_collection(MemberSharding& sharding,
                                            std::string ns,
                                            bson::Uuid uuid,
                                            Instant deadline);
/// Drops a collection as a config primary before this one had noted; nothing when it is gone.
async::Task<Status> finish_drop(MemberSharding& sharding, std::string ns, bson::Uuid uuid);
async::Task<Status> drop_database_everywhere(MemberSharding& sharding,
                                             std::string db,
                                             Instant deadline);
/// What a router asks of a rename in which a name is sharded (sharding_rename.cc).
struct RenameArguments {
    std::string from;
    std::string to;
    bool drop_target = false;
    /// Of the collection, when the router knows it as sharded: a rename that has happened already
    /// is a success.
    std::optional<bson::Uuid> uuid;
};
async::Task<Status> rename_everywhere(MemberSharding& sharding,
                                      RenameArguments arguments,
                                      Instant deadline);
/// How a rename ended that a shard has heard nothing of; it ends now if nothing carries it out.
async::Task<Result<sharding::RenameOutcome>> resolve_rename(MemberSharding& sharding,
                                                            sharding::CollectionRename rename);
/// A new config primary finishes or gives up what its predecessor had begun.
async::Task<void> resume_renames(MemberSharding& sharding);

/// Gives a database another primary shard; goes on with the donor's next primary when one fails.
async::Task<Status> move_primary(MemberSharding& sharding,
                                 std::string db,
                                 sharding::ShardName to,
                                 Instant deadline);
async::Task<Status> move_range(MemberSharding& sharding, bson::Document request, Instant deadline);

/// Creates a collection with this UUID, these options and indexes, or adds what it lacks of them.
/// Returns the last position written. On a worker.
Result<OpTime> ensure_collection_like(Member& member, const Namespace& ns, bson::View description);
/// The same, as migrations call it; the context is the Member.
Result<OpTime> make_like(void* context, const Namespace& ns, bson::View description);

}  // namespace tessera::commands
