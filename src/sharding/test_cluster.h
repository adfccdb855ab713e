// SPDX-License-Identifier: Apache-2.0
//
// For tests: a config server and two shards, "A" and "B", replica sets of one over memory engines,
// with the real state machines of this module and a network of function calls on which calls can be
// lost. What the commands layer does for them is done here, and no more.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "replication/test_set.h"
#include "sharding/collection_rename.h"
#include "sharding/config_catalog.h"
#include "sharding/database_move.h"

namespace tessera::sharding::testing {

class TestCluster;

/// What happens to one call between members, counted from 0; hello is not counted. `silent`: that
/// one and all that follow are never answered. The last two: the victim's process ends before the
/// call is carried out, or after, whoever's call it is.
struct Fault {
    enum class Kind { none, lost_before, lost_after, silent, crash_before, crash_after };
    Kind kind = Kind::none;
    int call = 0;
    ShardName victim = {};
};

class ClusterTransport : public async::Transport {
public:
    ClusterTransport(TestCluster& cluster, HostAndPort from)
        : cluster_(cluster), from_(std::move(from)) {}
    async::Task<Result<std::string>> call(async::RemoteCall request,
                                          async::Cancellation cancellation) override;
    async::Task<Result<std::unique_ptr<async::Stream>>> open(HostAndPort,
                                                             Instant,
                                                             async::Cancellation) override {
        co_return Error(ErrorCode::host_unreachable, "no streams here");
    }
    void drop_connections(const HostAndPort&) override {}

private:
    TestCluster& cluster_;
    const HostAndPort from_;
};

/// Reads as RemoteConfigReader does, without the find commands.
class CatalogReader : public ConfigReader {
public:
    explicit CatalogReader(TestCluster& cluster) : cluster_(cluster) {}
    async::Task<Result<std::optional<routing::DatabaseEntry>>> database(std::string db,
                                                                        Instant) override;
    async::Task<Result<std::optional<routing::CollectionEntry>>> collection(std::string ns,
                                                                            Instant) override;
    async::Task<Result<std::vector<bson::Document>>> chunks(bson::Uuid collection,
                                                            routing::Placement since,
                                                            Instant) override;
    async::Task<Result<std::vector<bson::Document>>> tags(std::string ns, Instant) override;

private:
    TestCluster& cluster_;
};

/// One process.
struct TestNode {
    TestNode(TestCluster& cluster,
             replication::TestMember& its_member,
             ShardName its_name,
             int its_life);

    replication::TestMember& member;
    const ShardName name;
    const int life;  // No other node has had the number.
    ClusterTransport transport;
    ShardRegistry registry;
    CatalogReader reader;
    RoutingCache cache;
    ShardingState state;
    DocumentStore store;
    LocalData data;
    PlacementRecords records;
    std::atomic<std::int64_t> orphan_delay{0};
    MigrationEnvironment environment;
    MigrationSource source;
    MigrationDestination destination;
    DatabaseMoveSource move_source;
    DatabaseMoveDestination move_destination;
    RenameParticipant renames;
    int running = 0;  // Tasks and calls that use it.
    bool is_dead = false;
};

class TestCluster {
public:
    TestCluster();
    ~TestCluster();

    replication::TestSet set{3, "rs", {.is_durable = true}};
    std::unique_ptr<TestNode> config;
    std::unique_ptr<TestNode> a;
    std::unique_ptr<TestNode> b;
    std::unique_ptr<ConfigCatalog> catalog;
    Fault fault;
    int calls = 0;
    /// Called with the name of every command once it has been carried out.
    std::function<void(const std::string&)> on_handled;
    /// Reads of placement that still show what was there before, as a config primary does that has
    /// just been elected.
    int old_reads = 0;
    std::vector<bson::Document> old_chunks;

    template <class T>
    T run(async::Task<T> task) {
        return set.run(std::move(task));
    }
    template <class Condition>
    bool wait(const Condition& condition, Duration limit = 600s) {
        return set.wait(condition, limit);
    }
    TestNode* node(const HostAndPort& host);
    /// Runs on a node, in its background.
    void spawn(TestNode& node, async::Task<void> task);
    /// kill -9: nothing the node does from now on reaches its disk or anybody else.
    void crash(const ShardName& name);
    /// A new start of a node that has crashed, which takes over from itself; references to the node
    /// are void. False when something of its last life does not end.
    bool restart(const ShardName& name);
    bool has_crashed(const ShardName& name);
    TestNode& shard(const ShardName& name) { return name == "A" ? *a : *b; }
    /// shop.items, sharded by {a: 1} at 10: below on A, above on B, a document for each of 0 to 19.
    void make_items();
    /// The values of `a` a shard holds of a collection.
    std::vector<std::int64_t> held(TestNode& node, const std::string& ns);
    /// ... of what it owns by the catalogue.
    std::vector<std::int64_t> owned(TestNode& node, const std::string& ns);
    /// What every shard owns, together.
    std::vector<std::int64_t> all_owned(const std::string& ns);
    /// Whether no shard blocks any of the names or has something left to decide.
    bool is_settled(const std::vector<std::string>& namespaces);
    /// Deletes what migrations have left behind; false when something cannot be deleted.
    bool delete_orphans();

    /// Begins to delete what migrations have left behind in a collection, until a part is gone;
    /// false when that cannot be. `has_ended` is set when all of it is over.
    bool begin_deletion(TestNode& node, const std::string& ns, bool& has_ended);

    async::Task<Result<bson::Document>> handle(TestNode& node, bson::Document command);

private:
    std::unique_ptr<TestNode>& owner_of(const ShardName& name);
    void make_node(const ShardName& name);
    void make_catalog();
    async::Task<Result<bson::Document>> handle_config(bson::Document command);
    async::Task<Result<bson::Document>> handle_migration(TestNode& node, bson::Document command);
    async::Task<Result<bson::Document>> handle_rename(TestNode& node, bson::Document command);
    async::Task<Result<bson::Document>> handle_database(TestNode& node, bson::Document command);

    bson::ObjectIdSource ids_{set.random};
    int lives_ = 0;
};

}  // namespace tessera::sharding::testing
