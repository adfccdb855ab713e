// SPDX-License-Identifier: Apache-2.0
#include "commands/sharding_member.h"

#include <array>

#include "base/log.h"
#include "commands/placement_gate.h"
#include "commands/sharding_commands.h"
#include "sharding/limits.h"

namespace tessera::commands {
MemberSharding::MemberSharding(Member& its_member, Random& random)
    : member(its_member),
      registry(its_member.clock, its_member.transport, its_member.logical_clock, {}),
      reader(registry),
      cache(its_member.clock, reader),
      state(its_member.clock, cache),
      store(*its_member.replication, *its_member.catalog, *its_member.engine, its_member.clock),
      catalog_random(random.split()),
      catalog_ids(catalog_random),
      catalog(store, catalog_ids, catalog_random, its_member.process.host),
      data(*its_member.replication, *its_member.catalog, *its_member.engine, its_member.clock),
      records(its_member.clock, state, store),
      environment{its_member.clock,
                  its_member.workers,
                  registry,
                  state,
                  store,
                  data,
                  *its_member.replication,
                  *its_member.sessions,
                  *its_member.engine,
                  its_member.parameters.orphan_cleanup_delay_seconds,
                  records},
      source(environment),
      destination(environment),
      move_source(environment),
      move_destination(environment),
      renames(environment,
              source,
              destination,
              [this](async::Task<void> task) { background_.spawn(std::move(task)); }),
      balancer(its_member.clock, registry, catalog),
      background_(its_member.control) {}

sharding::SetAddress MemberSharding::own_set() const {
    sharding::SetAddress address;
    address.set_name = member.replication->options().set_name;
    const auto config = member.replication->config_document();
    if (config && (*config)["members"].is_array()) {
        for (const bson::Element& each : (*config)["members"].as_view()) {
            const bson::View fields = each.value.as_view();
            if (fields["arbiterOnly"].is_truthy() || !fields["host"].is_string()) continue;
            if (auto host = HostAndPort::parse(fields["host"].as_string()))
                address.hosts.push_back(std::move(*host));
        }
    }
    if (address.hosts.empty()) address.hosts.push_back(member.process.host);
    return address;
}

void MemberSharding::start() {
    if (member.process.is_config_server)
        background_.spawn(balance());
    else
        background_.spawn(delete_ranges());
}

void MemberSharding::load_identity() {
    if (!member.process.is_shard_server || state.identity()) return;
    const Namespace ns{"admin", "system.version"};
    const bson::Document id = bson::make("_id", "shardIdentity");
    const auto found = store.find_one(ns, id);
    if (!found || !*found) return;
    auto identity = sharding::ShardIdentity::parse(**found);
    if (!identity) return;
    registry.set_config_servers(identity->config_servers);
    [[maybe_unused]] const Status status = state.set_identity(std::move(*identity));
}

async::Task<async::Semaphore::Permit> MemberSharding::lock_database(std::string db) {
    async::Semaphore* semaphore = nullptr;
    {
        const std::lock_guard lock(database_locks_mutex_);
        auto& entry = database_locks_[db];
        if (!entry) entry = std::make_unique<async::Semaphore>(1);
        semaphore = entry.get();
    }
    co_return co_await semaphore->acquire();
}

void MemberSharding::on_step_up(Term) {
    if (member.process.is_shard_server) state.set_recovering(true);
    background_.spawn(take_over());
}

void MemberSharding::on_step_down() {
    destination.on_step_down();
    move_destination.on_step_down();
    state.forget_all();
}

void MemberSharding::on_rollback() {
    state.forget_all();
}

namespace {

bson::Document index_on(const bson::Document& key, std::string_view name, bool is_unique) {
    bson::Builder spec;
    spec.append("v", 2).append("key", key).append("name", name);
    if (is_unique) spec.append("unique", true);
    return std::move(spec).finish();
}

// The indexes MongoDB's config servers have; also on a data directory of before they were made.
Status ensure_config_indexes(Member& member) {
    struct OfCollection {
        const char* name;
        std::vector<bson::Document> specs;
    };
    const std::array<OfCollection, 3> all = {{
        {"shards", {index_on(bson::make("host", 1), "host_1", true)}},
        {"chunks",
         {index_on(bson::make("uuid", 1, "min", 1), "uuid_1_min_1", true),
          index_on(bson::make("uuid", 1, "shard", 1, "min", 1), "uuid_1_shard_1_min_1", false),
          index_on(bson::make("uuid", 1, "lastmod", 1), "uuid_1_lastmod_1", true)}},
        {"tags",
         {index_on(bson::make("ns", 1, "min", 1), "ns_1_min_1", true),
          index_on(bson::make("ns", 1, "tag", 1), "ns_1_tag_1", false)}},
    }};
    for (const OfCollection& each : all) {
        bson::Builder description;
        {
            auto indexes = description.array("indexes");
            for (const bson::Document& spec : each.specs)
                indexes.append(spec);
        }
        const bson::Document like = std::move(description).finish();
        TRY([[maybe_unused]] const OpTime at,
            ensure_collection_like(member, sharding::config_ns(each.name), like));
    }
    return {};
}

}  // namespace

// What a new primary does before it serves requests with versions.
async::Task<void> MemberSharding::take_over() {
    if (member.process.is_config_server) {
        registry.set_config_servers(own_set());
        auto status = co_await catalog.initialize();
        if (status) {
            async::resume_on hop(member.workers);
            co_await hop;
            status = ensure_config_indexes(member);
            async::resume_on back(member.control);
            co_await back;
        }
        if (!status)
            log::warning(log::Component::sharding,
                         9000410,
                         "The cluster's catalogue could not be initialized",
                         {{"error", status.error()}});
        else
            background_.spawn(finish_drops());
        co_await resume_renames(*this);
    } else {
        load_identity();
        state.forget_all();
        auto ranges = source.inherited();
        auto databases = move_source.inherited();
        auto begun = renames.inherited();
        state.set_recovering(false);
        for (const Error* error : {ranges ? nullptr : &ranges.error(),
                                   databases ? nullptr : &databases.error(),
                                   begun ? nullptr : &begun.error()})
            if (error != nullptr)
                log::error(log::Component::sharding,
                           9000411,
                           "Inherited migrations cannot be read",
                           {{"error", *error}});
        if (begun)
            for (sharding::CollectionRename& each : *begun)
                background_.spawn(renames.watch(std::move(each), Duration()));
        if (ranges) background_.spawn(source.resolve_inherited(std::move(*ranges)));
        if (databases) co_await move_source.resolve_inherited(std::move(*databases));
    }
}

// Drops a config primary before this one had begun.
async::Task<void> MemberSharding::finish_drops() {
    for (int attempt = 0; attempt < sharding::limits::drop_attempts; ++attempt) {
        if (stopping_.is_cancelled() || !member.replication->is_writable_primary()) co_return;
        const auto drops = catalog.noted_drops();
        Status status = drops ? Status() : Status(drops.error());
        for (std::size_t i = 0; status && i < drops->size(); ++i)
            status = co_await finish_drop(*this, (*drops)[i].first, (*drops)[i].second);
        if (status) co_return;
        log::warning(log::Component::sharding,
                     9000414,
                     "A drop that was begun before could not be finished yet",
                     {{"error", status.error()}});
        const auto ticket = stop_.ticket();
        co_await stop_.wait(member.clock, member.clock.now() + 1s, ticket, stopping_);
    }
}

// What migrations left behind goes when it is due.
async::Task<void> MemberSharding::delete_ranges() {
    constexpr Duration interval = 500ms;
    while (!stopping_.is_cancelled()) {
        const auto ticket = stop_.ticket();
        co_await stop_.wait(member.clock, member.clock.now() + interval, ticket, stopping_);
        if (stopping_.is_cancelled() || !member.process.is_shard_server) co_return;
        if (!member.replication->is_writable_primary()) continue;
        const auto deleted = co_await sharding::delete_ranges(environment);
        if (!deleted)
            log::warning(log::Component::sharding,
                         9000412,
                         "A range could not be deleted",
                         {{"error", deleted.error()}});
        async::resume_on back(member.control);
        co_await back;
    }
}

async::Task<void> MemberSharding::balance() {
    Duration pause = sharding::limits::balancer_busy;
    while (!stopping_.is_cancelled()) {
        const auto ticket = stop_.ticket();
        co_await stop_.wait(member.clock, member.clock.now() + pause, ticket, stopping_);
        if (stopping_.is_cancelled()) co_return;
        pause = sharding::limits::balancer_idle;
        if (!member.replication->is_writable_primary()) continue;
        const auto moved = co_await balancer.run_round();
        async::resume_on back(member.control);
        co_await back;
        if (!moved)
            log::warning(log::Component::sharding,
                         9000413,
                         "A round of the balancer failed",
                         {{"error", moved.error()}});
        else if (*moved > 0)
            pause = sharding::limits::balancer_busy;
    }
}

async::Task<void> MemberSharding::shut_down() {
    stopping_.cancel();
    stop_.notify();
    registry.shut_down();
    destination.on_step_down();
    move_destination.on_step_down();
    renames.shut_down();
    co_await background_.join();
}

void add_sharding(Member& member, Random& random) {
    if (!member.process.is_config_server && !member.process.is_shard_server) return;
    member.sharding = std::make_unique<MemberSharding>(member, random);
    if (member.process.is_shard_server)
        member.placement = std::make_unique<ShardPlacementGate>(*member.sharding);
    member.replication->add_observer(*member.sharding);
    member.sharding->start();
}

Result<MemberSharding*> require_config_server(Member& member, std::string_view command) {
    if (member.sharding == nullptr || !member.process.is_config_server)
        return Error(ErrorCode::command_not_found,
                     "no such command: '" + std::string(command) +
                         "'; it is for routers (mongos) and config servers");
    return member.sharding.get();
}

Result<MemberSharding*> require_shard(Member& member, std::string_view command) {
    if (member.sharding == nullptr || !member.process.is_shard_server)
        return Error(ErrorCode::command_not_found,
                     "no such command: '" + std::string(command) + "'; it is for shards");
    return member.sharding.get();
}

}  // namespace tessera::commands
