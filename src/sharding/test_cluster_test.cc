// SPDX-License-Identifier: Apache-2.0
#include "sharding/test_cluster.h"

#include <algorithm>

#include "routing/ownership.h"
#include "routing/test_support.h"

namespace tessera::sharding::testing {
namespace {

bson::Document failure(const Error& error) {
    return bson::make(
        "ok", 0.0, "errmsg", error.reason(), "code", static_cast<std::int32_t>(error.code()));
}

Result<OpTime> ensure_like(void* context, const Namespace& ns, bson::View like) {
    auto& member = *static_cast<replication::TestMember*>(context);
    const catalog::CollectionLock lock = member.catalog->lock_exclusive(ns);
    if (lock) return OpTime();
    async::VirtualClock clock;
    TRY(auto unit, replication::WriteUnit::begin(*member.replication, *member.engine, clock));
    TRY_OK(unit.reserve(1));
    replication::NewCollection what;
    if (const auto uuid = bson::uuid_in(like["uuid"])) what.uuid = *uuid;
    return replication::create_collection(unit, *member.catalog, ns, what);
}

async::Task<void> pause(async::Clock& clock) {
    async::sleep_until until(clock, clock.now() + 1s);
    co_await until;
}

async::Task<void> delete_once(TestNode& node, bool& has_ended) {
    [[maybe_unused]] const auto deleted = co_await delete_ranges(node.environment);
    has_ended = true;
}

Error lost() {
    return {ErrorCode::host_unreachable, "lost on its way"};
}

bson::Document batch_of(std::string_view ns, const std::vector<bson::Document>& documents) {
    bson::Builder reply;
    {
        bson::Builder cursor = reply.object("cursor");
        cursor.append("id", std::int64_t{0}).append("ns", ns);
        auto batch = cursor.array("firstBatch");
        for (const bson::Document& each : documents)
            batch.append(each);
    }
    return std::move(reply).finish();
}

SetAddress address_of(const HostAndPort& host) {
    SetAddress address;
    address.set_name = "rs";
    address.hosts.push_back(host);
    return address;
}

}  // namespace

async::Task<Result<std::string>> ClusterTransport::call(async::RemoteCall request,
                                                        async::Cancellation cancellation) {
    auto command = bson::Document::adopt(std::move(request.command_bson));
    // 0 while it is down; another one after that.
    const auto life_of = [this](const HostAndPort& host) {
        const TestNode* const found = cluster_.node(host);
        return found != nullptr && !found->is_dead ? found->life : 0;
    };
    const int caller = life_of(from_);
    const int called = life_of(request.target);
    const auto is_cut_off = [&life_of, this, &request, caller, called] {
        return caller == 0 || called == 0 || life_of(from_) != caller ||
               life_of(request.target) != called;
    };
    if (is_cut_off()) {
        async::sleep_until refused(cluster_.set.clock, cluster_.set.clock.now() + 500us);
        co_await refused;
        co_return lost();
    }
    bson::Builder reply;
    if (command.view().front().name == "hello") {
        reply.append("ok", 1.0).append("isWritablePrimary", true).append("setName", "rs");
        reply.append("primary", request.target.to_string());
        reply.append("me", request.target.to_string());
        reply.array("hosts").append(request.target.to_string());
        co_return std::move(std::move(reply).finish()).release();
    }
    const int number = cluster_.calls++;
    const Fault fault = cluster_.fault;
    const bool is_hit = fault.kind != Fault::Kind::none && number == fault.call;
    if (fault.kind == Fault::Kind::silent && number >= fault.call) {
        async::Notification answered;
        co_await answered.wait(
            cluster_.set.clock, request.deadline, answered.ticket(), std::move(cancellation));
        co_return lost();
    }
    async::sleep_until there(cluster_.set.clock, cluster_.set.clock.now() + 500us);
    co_await there;
    if (is_hit && fault.kind == Fault::Kind::lost_before) co_return lost();
    if (is_hit && fault.kind == Fault::Kind::crash_before) cluster_.crash(fault.victim);
    if (is_cut_off()) co_return lost();
    const std::string name(command.view().front().name);
    auto answer = co_await cluster_.handle(*cluster_.node(request.target), std::move(command));
    if (cluster_.on_handled) cluster_.on_handled(name);
    if (is_hit && fault.kind == Fault::Kind::crash_after) cluster_.crash(fault.victim);
    async::sleep_until back(cluster_.set.clock, cluster_.set.clock.now() + 500us);
    co_await back;
    if (is_hit && fault.kind == Fault::Kind::lost_after) co_return lost();
    if (is_cut_off()) co_return lost();
    if (!answer) co_return std::move(failure(answer.error())).release();
    reply.append_all(*answer).append("ok", 1.0);
    co_return std::move(std::move(reply).finish()).release();
}

async::Task<Result<std::optional<routing::DatabaseEntry>>> CatalogReader::database(std::string db,
                                                                                   Instant) {
    if (cluster_.has_crashed(config_shard)) co_return lost();
    co_return cluster_.catalog->database(db);
}
async::Task<Result<std::optional<routing::CollectionEntry>>> CatalogReader::collection(
    std::string ns, Instant) {
    if (cluster_.has_crashed(config_shard)) co_return lost();
    co_return cluster_.catalog->collection(ns);
}
async::Task<Result<std::vector<bson::Document>>> CatalogReader::chunks(bson::Uuid collection,
                                                                       routing::Placement since,
                                                                       Instant) {
    if (cluster_.has_crashed(config_shard)) co_return lost();
    CO_TRY(auto all,
           cluster_.old_reads > 0 && cluster_.old_reads--
               ? Result<std::vector<bson::Document>>(cluster_.old_chunks)
               : cluster_.config->store.find(config_ns("chunks"), bson::make("uuid", collection)));
    std::erase_if(all, [&](const bson::Document& each) {
        return each["lastmod"].as_timestamp() < since.as_timestamp();
    });
    co_return all;
}
async::Task<Result<std::vector<bson::Document>>> CatalogReader::tags(std::string ns, Instant) {
    if (cluster_.has_crashed(config_shard)) co_return lost();
    co_return cluster_.config->store.find(config_ns("tags"), bson::make("ns", ns));
}

TestNode::TestNode(TestCluster& cluster,
                   replication::TestMember& its_member,
                   ShardName its_name,
                   int its_life)
    : member(its_member),
      name(std::move(its_name)),
      life(its_life),
      transport(cluster, member.host),
      registry(cluster.set.clock, transport, member.replication->logical_clock(), {}),
      reader(cluster),
      cache(cluster.set.clock, reader),
      state(cluster.set.clock, cache),
      store(*member.replication, *member.catalog, *member.engine, cluster.set.clock),
      data(*member.replication, *member.catalog, *member.engine, cluster.set.clock),
      records(cluster.set.clock, state, store),
      environment{cluster.set.clock,
                  cluster.set.executor,
                  registry,
                  state,
                  store,
                  data,
                  *member.replication,
                  *member.sessions,
                  *member.engine,
                  orphan_delay,
                  records},
      source(environment),
      destination(environment),
      move_source(environment),
      move_destination(environment),
      renames(environment, source, destination, [this, &cluster](async::Task<void> task) {
          cluster.spawn(*this, std::move(task));
      }) {
    if (name == config_shard) return;
    ShardIdentity identity;
    identity.name = name;
    ASSERT(state.set_identity(std::move(identity)).has_value());
}

TestCluster::TestCluster() {
    for (std::size_t i = 0; i < set.size(); ++i) {
        bson::Builder own;
        own.append("_id", "rs").append("version", 1);
        own.array("members").object().append("_id", 0).append("host", set[i].host.to_string());
        const bson::Document configuration = std::move(own).finish();
        ASSERT(run(set[i].replication->initiate(configuration)).has_value());
        ASSERT(wait([&] { return set[i].replication->is_writable_primary(); }));
    }
    for (const ShardName& name : {config_shard, ShardName("A"), ShardName("B")})
        make_node(name);
    make_catalog();
    ASSERT(run(catalog->add_shard("A", address_of(set[1].host))).has_value());
    ASSERT(run(catalog->add_shard("B", address_of(set[2].host))).has_value());
    ASSERT(run(catalog->create_database("shop", "A")).has_value());
}

TestCluster::~TestCluster() {
    for (std::size_t i = 0; i < set.size(); ++i)
        set.kill(i);
    set.executor.run();
}

std::unique_ptr<TestNode>& TestCluster::owner_of(const ShardName& name) {
    if (name == "A") return a;
    return name == "B" ? b : config;
}

void TestCluster::make_node(const ShardName& name) {
    auto& owner = owner_of(name);
    const std::size_t place = name == "A" ? 1 : name == "B" ? 2 : 0;
    owner = std::make_unique<TestNode>(*this, set[place], name, ++lives_);
    owner->registry.set_config_servers(address_of(set[0].host));
    owner->registry.put("A", address_of(set[1].host));
    owner->registry.put("B", address_of(set[2].host));
}

void TestCluster::make_catalog() {
    catalog = std::make_unique<ConfigCatalog>(config->store, ids_, set.random, set[0].host);
    ASSERT(run(catalog->initialize()).has_value());
}

void TestCluster::spawn(TestNode& node, async::Task<void> task) {
    const auto run_counted = [](TestNode& on, async::Task<void> what) -> async::Task<void> {
        const std::shared_ptr<void> counted(nullptr, [&on](void*) { --on.running; });
        co_await std::move(what);
    };
    ++node.running;
    async::spawn(set.executor, run_counted(node, std::move(task)));
}

void TestCluster::crash(const ShardName& name) {
    TestNode& node = *owner_of(name);
    node.is_dead = true;
    node.member.engine->lose_disk();
}

bool TestCluster::has_crashed(const ShardName& name) {
    return !owner_of(name) || owner_of(name)->is_dead;
}

bool TestCluster::restart(const ShardName& name) {
    auto& owner = owner_of(name);
    const std::size_t place = set.index_of(owner->member);
    // What would just be gone has to end here.
    owner->registry.shut_down();
    owner->destination.on_step_down();
    owner->move_destination.on_step_down();
    owner->renames.shut_down();
    if (!wait([&] { return owner->running == 0; })) return false;
    if (name == config_shard) catalog.reset();
    owner.reset();
    set.restart(place);
    if (!wait([&] { return set[place].replication->is_writable_primary(); })) return false;
    make_node(name);
    if (name == config_shard) {
        make_catalog();
        return true;
    }
    // As MemberSharding::take_over() does.
    owner->state.set_recovering(true);
    auto ranges = owner->source.inherited();
    auto databases = owner->move_source.inherited();
    auto renames = owner->renames.inherited();
    owner->state.set_recovering(false);
    ASSERT(ranges && databases && renames);
    for (CollectionRename& each : *renames)
        spawn(*owner, owner->renames.watch(std::move(each), Duration()));
    spawn(*owner, owner->source.resolve_inherited(std::move(*ranges)));
    spawn(*owner, owner->move_source.resolve_inherited(std::move(*databases)));
    return true;
}

TestNode* TestCluster::node(const HostAndPort& host) {
    for (TestNode* each : {config.get(), a.get(), b.get()})
        if (each != nullptr && each->member.host == host) return each;
    return nullptr;
}

void TestCluster::make_items() {
    const auto map = routing::testing::map_of({10}, {"A", "B"});
    std::vector<routing::Chunk> chunks;
    for (const auto& each : map->chunks())
        chunks.push_back(*each);
    routing::CollectionEntry entry = map->collection();
    entry.generation = catalog->new_generation();
    ASSERT(run(catalog->create_collection(entry, chunks)).has_value());
    const bson::Document like = bson::make("uuid", entry.uuid);
    const Namespace ns = Namespace::split(entry.ns);
    for (TestNode* each : {a.get(), b.get()})
        ASSERT(ensure_like(&each->member, ns, like).has_value());
    for (std::int32_t i = 0; i < 20; ++i)
        ASSERT((i < 10 ? a : b)->member.insert(ns, bson::make("_id", i, "a", i)).has_value());
    for (TestNode* each : {a.get(), b.get()})
        ASSERT(each->member.engine->flush_journal().has_value());
}

std::vector<std::int64_t> TestCluster::held(TestNode& node, const std::string& ns) {
    std::vector<std::int64_t> result;
    const auto documents = node.store.find(Namespace::split(ns), {});
    ASSERT(documents.has_value());
    for (const bson::Document& each : *documents)
        result.push_back(each["a"].to_int64());
    std::sort(result.begin(), result.end());
    return result;
}

std::vector<std::int64_t> TestCluster::owned(TestNode& node, const std::string& ns) {
    const auto map = catalog->chunks(ns);
    ASSERT(map.has_value());
    routing::OwnershipFilter filter(*map, node.name);
    std::vector<std::int64_t> result;
    for (const std::int64_t each : held(node, ns))
        if (filter.owns(bson::make("a", each))) result.push_back(each);
    return result;
}

std::vector<std::int64_t> TestCluster::all_owned(const std::string& ns) {
    std::vector<std::int64_t> result = owned(*a, ns);
    for (const std::int64_t each : owned(*b, ns))
        result.push_back(each);
    std::sort(result.begin(), result.end());
    return result;
}

bool TestCluster::is_settled(const std::vector<std::string>& namespaces) {
    for (TestNode* each : {a.get(), b.get()}) {
        for (const std::string& ns : namespaces)
            if (!each->state.is_readable(ns) || each->state.is_in_critical_section(ns))
                return false;
        for (const char* left :
             {"migrationCoordinators", "migrationRecipients", "system.sharding_ddl_coordinators"})
            if (!each->store.find(config_ns(left), {})->empty()) return false;
    }
    return true;
}

bool TestCluster::begin_deletion(TestNode& node, const std::string& ns, bool& has_ended) {
    const std::size_t before = held(node, ns).size();
    async::spawn(set.executor, delete_once(node, has_ended));
    return wait([&] { return held(node, ns).size() < before; }) && !has_ended;
}

bool TestCluster::delete_orphans() {
    for (TestNode* each : {a.get(), b.get()}) {
        const auto is_clean = [&] {
            if (each->store.find(config_ns("rangeDeletions"), {})->empty()) return true;
            [[maybe_unused]] const auto deleted = run(delete_ranges(each->environment));
            return false;
        };
        bool is_done = false;
        for (int round = 0; round < 20 && !is_done; ++round) {
            is_done = is_clean();
            run(pause(set.clock));
        }
        if (!is_done) return false;
    }
    return true;
}

// ---- What the commands layer does --------------------------------------------------------------

async::Task<Result<bson::Document>> TestCluster::handle(TestNode& node, bson::Document command) {
    ++node.running;
    const std::shared_ptr<void> counted(nullptr, [&node](void*) { --node.running; });
    const std::string name(command.view().front().name);
    if (&node == config.get()) co_return co_await handle_config(std::move(command));
    if (name == "find") {
        const Namespace ns{std::string(command["$db"].as_string()),
                           std::string(command.view().front().value.as_string())};
        CO_TRY(const auto found, node.store.find(ns, {}));
        co_return batch_of(ns.to_string(), found);
    }
    if (name.find("Rename") != std::string::npos)
        co_return co_await handle_rename(node, std::move(command));
    if (name.find("Database") != std::string::npos)
        co_return co_await handle_database(node, std::move(command));
    co_return co_await handle_migration(node, std::move(command));
}

namespace {

MoveCommit move_in(bson::View body) {
    MoveCommit move;
    move.ns = body.front().value.as_string();
    move.range = {bson::Document(body["min"].as_view()), bson::Document(body["max"].as_view())};
    move.from = body["from"].as_string();
    move.to = body["to"].as_string();
    move.generation = {body["epoch"].as_object_id(), body["timestamp"].as_timestamp()};
    move.expected = routing::Placement::of(body["expected"].as_timestamp());
    return move;
}

Result<DatabaseCommit> database_move_in(bson::View body) {
    DatabaseCommit move;
    move.db = body.front().value.as_string();
    move.from = body["from"].as_string();
    move.to = body["to"].as_string();
    TRY(move.expected, routing::DatabaseVersion::parse(body["version"]));
    return move;
}

}  // namespace

async::Task<Result<bson::Document>> TestCluster::handle_config(bson::Document command) {
    const std::string name(command.view().front().name);
    if (name == "find") {
        const Namespace ns = config_ns(std::string(command.view().front().value.as_string()));
        bson::Document filter;
        if (command["filter"].is_object()) filter = bson::Document(command["filter"].as_view());
        CO_TRY(const auto found, config->store.find(ns, filter));
        co_return batch_of(ns.to_string(), found);
    }
    if (name == "_configsvrCommitChunkMigration") {
        CO_TRY_OK(co_await catalog->commit_move(move_in(command)));
        co_return bson::Document();
    }
    if (name == "_configsvrResolveChunkMigration") {
        CO_TRY(const bool is_committed, co_await catalog->resolve_move(move_in(command)));
        co_return bson::make("isCommitted", is_committed);
    }
    if (name == "_configsvrCommitMovePrimary") {
        CO_TRY(auto move, database_move_in(command));
        CO_TRY_OK(co_await catalog->commit_move_primary(std::move(move)));
        co_return bson::Document();
    }
    if (name == "_configsvrResolveMovePrimary") {
        CO_TRY(auto move, database_move_in(command));
        CO_TRY(const bool is_committed, co_await catalog->resolve_move_primary(std::move(move)));
        co_return bson::make("isCommitted", is_committed);
    }
    if (name == "_configsvrResolveRename") {
        CollectionRename rename;
        rename.from = command.view().front().value.as_string();
        CO_TRY(rename.id, bson::uuid_in(command["id"]));
        CO_TRY(const auto known, co_await catalog->resolve_rename(std::move(rename)));
        RenameOutcome outcome{known.is_committed, known.uuid, "A"};
        bson::Builder reply;
        outcome.append_to(reply);
        co_return std::move(reply).finish();
    }
    co_return Error(ErrorCode::command_not_found, name);
}

async::Task<Result<bson::Document>> TestCluster::handle_rename(TestNode& node,
                                                               bson::Document command) {
    CollectionRename rename;
    rename.from = command.view().front().value.as_string();
    rename.to = command["to"].as_string();
    CO_TRY(rename.id, bson::uuid_in(command["id"]));
    if (command.view().front().name == "_shardsvrBeginRename") {
        const Instant until = set.clock.now() + 15s;
        CO_TRY_OK(co_await node.renames.begin(std::move(rename), std::nullopt, until));
        co_return bson::Document();
    }
    CO_TRY(auto outcome, RenameOutcome::parse(command));
    CO_TRY_OK(co_await node.renames.end(std::move(rename), std::move(outcome)));
    co_return bson::Document();
}

async::Task<Result<bson::Document>> TestCluster::handle_migration(TestNode& node,
                                                                  bson::Document command) {
    const std::string name(command.view().front().name);
    const bson::Value first = command.view().front().value;
    if (name == "_shardsvrDescribe") {
        const auto uuid = node.data.uuid_of(Namespace::split(first.as_string()));
        if (!uuid) co_return bson::make("count", 0);
        co_return bson::make("uuid", *uuid, "count", 1);
    }
    if (name == "_recvChunkStart" || name == "_recvChunkRelease") {
        CO_TRY(auto migration, MigrationDocument::parse(first.as_view()));
        if (name == "_recvChunkRelease") {
            CO_TRY_OK(co_await node.destination.release(std::move(migration),
                                                        command["isCommitted"].is_truthy()));
            co_return bson::Document();
        }
        CO_TRY_OK(node.destination.start(migration));
        spawn(node, node.destination.pull(std::move(migration), ensure_like, &node.member));
        co_return bson::Document();
    }
    CO_TRY(const bson::Uuid id, bson::uuid_in(first));
    if (name == "_recvChunkStatus") co_return node.destination.status(id);
    if (name == "_migrateClone") co_return node.source.next_clone_batch(id);
    if (name == "_transferMods") co_return node.source.next_changes(id);
    if (name == "_getNextSessionMods") co_return node.source.next_session_changes(id);
    if (name == "_recvChunkCommit") {
        CO_TRY_OK(co_await node.destination.commit(id, set.clock.now() + 30s));
        co_return bson::Document();
    }
    co_return Error(ErrorCode::command_not_found, name);
}

async::Task<Result<bson::Document>> TestCluster::handle_database(TestNode& node,
                                                                 bson::Document command) {
    const std::string name(command.view().front().name);
    const bson::Value first = command.view().front().value;
    const Instant deadline = set.clock.now() + 60s;
    if (name == "_recvDatabaseStart" || name == "_recvDatabaseRelease") {
        CO_TRY(auto move, DatabaseMove::parse(first.as_view()));
        if (name == "_recvDatabaseRelease") {
            CO_TRY_OK(co_await node.move_destination.release(
                std::move(move), command["isCommitted"].is_truthy(), deadline));
            co_return bson::Document();
        }
        CO_TRY_OK(co_await node.move_destination.start(move, deadline));
        spawn(node, node.move_destination.pull(std::move(move), ensure_like, &node.member));
        co_return bson::Document();
    }
    CO_TRY(const bson::Uuid id, bson::uuid_in(first));
    if (name == "_recvDatabaseStatus") co_return node.move_destination.status(id);
    if (name == "_getNextDatabaseSessionMods") co_return node.move_source.next_session_changes(id);
    co_return Error(ErrorCode::command_not_found, name);
}

}  // namespace tessera::sharding::testing
