// SPDX-License-Identifier: Apache-2.0
//
// What a shard or a config server has beside a plain member: how it reaches the rest of the
// cluster, what it knows of its own part, and on config servers the catalogue. Made by roles before
// the first command, started and stopped with the member.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "commands/node.h"
#include "sharding/balancer.h"
#include "sharding/config_catalog.h"
#include "sharding/database_move.h"
#include "sharding/document_store.h"
#include "sharding/migration.h"
#include "sharding/routing_cache.h"
#include "sharding/shard_registry.h"
#include "sharding/sharding_state.h"

namespace tessera::commands {

struct MemberSharding : replication::RoleObserver {
    MemberSharding(Member& its_member, Random& random);

    Member& member;
    sharding::ShardRegistry registry;
    sharding::RemoteConfigReader reader;
    sharding::RoutingCache cache;
    sharding::ShardingState state;
    sharding::DocumentStore store;
    Random catalog_random;
    bson::ObjectIdSource catalog_ids;
    /// Of a config server's primary.
    sharding::ConfigCatalog catalog;
    sharding::LocalData data;
    sharding::PlacementRecords records;
    sharding::MigrationEnvironment environment;
    sharding::MigrationSource source;
    sharding::MigrationDestination destination;
    sharding::DatabaseMoveSource move_source;
    sharding::DatabaseMoveDestination move_destination;
    sharding::RenameParticipant renames;
    sharding::Balancer balancer;
    /// A turn to change which collections a database has and where (config primary); held over
    /// co_await. As many as there are databases.
    async::Task<async::Semaphore::Permit> lock_database(std::string db);

    /// Where this config server's set is, by its present configuration.
    sharding::SetAddress own_set() const;
    /// Lets the balancer look at once: a setting or a shard has changed.
    void wake_balancer() { stop_.notify(); }
    /// Loads the shard's identity if it has been stored and is not known yet. Any thread.
    void load_identity();

    void on_step_up(Term term) override;
    void on_step_down() override;
    void on_rollback() override;
    /// Before destruction: ends what runs in the background.
    async::Task<void> shut_down();

    /// Runs something until its end; shut_down() waits for it.
    void spawn(async::Task<void> task) { background_.spawn(std::move(task)); }
    /// Begins what runs all the time.
    void start();

private:
    async::Task<void> take_over();
    async::Task<void> finish_drops();
    async::Task<void> delete_ranges();
    async::Task<void> balance();
    std::mutex database_locks_mutex_;  // Guards database_locks_.
    std::map<std::string, std::unique_ptr<async::Semaphore>> database_locks_;
    async::Cancellation stopping_;
    async::Notification stop_;  // Notified at shut_down(), and to wake the loops.
    async::TaskGroup background_;
};

/// Makes member.sharding and member.placement on shards and config servers; nothing on others. Call
/// before Replication::start().
void add_sharding(Member& member, Random& random);

/// Fails with CommandNotFound where this member is no config server / no shard.
Result<MemberSharding*> require_config_server(Member& member, std::string_view command);
Result<MemberSharding*> require_shard(Member& member, std::string_view command);

}  // namespace tessera::commands
