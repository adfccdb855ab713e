// SPDX-License-Identifier: Apache-2.0
//
// What the config primary does with the help of shards. A change of a collection's placement that
// is no migration goes: the shards concerned block it (_shardsvrBeginChange), the catalogue
// changes, the shards forget what they knew and go on (_shardsvrEndChange). A shard that hears
// nothing more goes on by itself after limits::change_lease, and then asks the catalogue.
//
// A drop removes the documents first and the entry last: what is half dropped is still sharded, and
// dropping it again finishes it. The config servers note the drop before, so that a new primary of
// theirs does so by itself.
#include <algorithm>
#include <map>
#include <set>

#include "base/log.h"
#include "commands/sharding_commands.h"
#include "routing/initial_chunks.h"
#include "sharding/limits.h"

namespace tessera::commands {

async::Task<Result<bson::Document>> ask_shard(MemberSharding& sharding,
                                              sharding::ShardName shard,
                                              bson::Document command,
                                              Instant deadline) {
    sharding::CallOptions options;
    options.deadline =
        std::min(deadline, sharding.member.clock.now() + sharding::limits::ddl_step);
    options.is_retryable = true;  // All of these may run twice.
    co_return co_await sharding.registry.call_settled(
        std::move(shard), std::move(command), std::move(options));
}

namespace {

using sharding::CallOptions;
using sharding::ShardName;

bson::Document majority() {
    return bson::make("w", "majority");
}

async::Task<void> end_change(MemberSharding& sharding,
                             std::vector<ShardName> shards,
                             std::string ns) {
    for (const ShardName& shard : shards) {
        const Term term = sharding.member.replication->writable_term();
        bson::Document command = bson::make("_shardsvrEndChange", ns, "term", term, "$db", "admin");
        const Instant deadline = sharding.member.clock.now() + sharding::limits::ddl_step;
        const auto reply = co_await ask_shard(sharding, shard, std::move(command), deadline);
        if (!reply)
            log::warning(log::Component::sharding,
                         9000420,
                         "A shard was not told of the end of a change",
                         {{"shard", shard}, {"ns", ns}, {"error", reply.error()}});
    }
}

// Blocks a collection on shards, on all or on none; lets go of it when told to.
// `db`: its primary shard checks that it still is that.
async::Task<Status> begin_change(MemberSharding& sharding,
                                 std::vector<ShardName> shards,
                                 std::string ns,
                                 routing::DatabaseEntry db,
                                 Instant deadline) {
    std::vector<ShardName> begun;
    for (const ShardName& shard : shards) {
        bson::Builder body;
        body.append("_shardsvrBeginChange", ns);
        body.append("term", sharding.member.replication->writable_term());
        if (shard == db.primary) db.version.append_to(body, "databaseVersion");
        body.append("$db", "admin");
        bson::Document command = std::move(body).finish();
        auto reply = co_await ask_shard(sharding, shard, std::move(command), deadline);
        if (reply) {
            begun.push_back(shard);
            continue;
        }
        // One that did not answer goes on by itself when its lease is over.
        co_await end_change(sharding, std::move(begun), ns);
        co_return std::move(reply).error();
    }
    co_return Status();
}

// The host that is primary of the set one of whose members is given.
async::Task<Result<sharding::SetAddress>> inspect_set(MemberSharding& sharding,
                                                      sharding::SetAddress seeds,
                                                      Instant deadline) {
    std::optional<Error> last;
    for (const HostAndPort& host : seeds.hosts) {
        CallOptions options;
        options.deadline = std::min(deadline, sharding.member.clock.now() + 5s);
        bson::Document hello = bson::make("hello", 1, "$db", "admin");
        auto reply = co_await sharding.registry.call_host(host, std::move(hello), options);
        if (!reply) {
            last = Error(ErrorCode::operation_failed,
                         "Could not reach " + host.to_string() + ": " + reply.error().reason());
            continue;
        }
        const bson::Value name = (*reply)["setName"];
        if (!name.is_string())
            co_return Error(ErrorCode::operation_failed,
                            host.to_string() + " is not a member of a replica set; a shard is one");
        if (name.as_string() != seeds.set_name)
            co_return Error(ErrorCode::operation_failed,
                            "in seed list " + seeds.to_string() + ", host " + host.to_string() +
                                " does not belong to replica set " + seeds.set_name + "; found '" +
                                std::string(name.as_string()) + "'");
        if ((*reply)["configsvr"].is_truthy())
            co_return Error(
                ErrorCode::operation_failed,
                "Cannot add " + seeds.to_string() + " as a shard since it is a config server");
        sharding::SetAddress whole;
        whole.set_name = seeds.set_name;
        whole.hosts = sharding::members_of_hello(*reply);
        if (whole.hosts.empty()) whole.hosts = seeds.hosts;
        co_return whole;
    }
    co_return *last;
}

// The databases a new shard brings along.
async::Task<Result<std::vector<std::string>>> databases_of(MemberSharding& sharding,
                                                           ShardName shard,
                                                           Instant deadline) {
    bson::Document command = bson::make("listDatabases", 1, "nameOnly", true, "$db", "admin");
    CO_TRY(const bson::Document reply,
           co_await ask_shard(sharding, std::move(shard), std::move(command), deadline));
    std::vector<std::string> names;
    if (const bson::Value list = reply["databases"]; list.is_array()) {
        for (const bson::Element& each : list.as_view()) {
            const bson::Value name = each.value.as_view()["name"];
            if (!name.is_string()) continue;
            const std::string text(name.as_string());
            if (text != "admin" && text != "local" && text != "config") names.push_back(text);
        }
    }
    co_return names;
}

}  // namespace

async::Task<Result<std::string>> add_shard(MemberSharding& sharding,
                                           std::string text,
                                           std::string name,
                                           Instant deadline) {
    auto& catalog = sharding.catalog;
    CO_TRY(const auto seeds, sharding::SetAddress::parse(text));
    CO_TRY(const auto address, co_await inspect_set(sharding, seeds, deadline));
    CO_TRY(const auto existing, catalog.shards());
    for (const sharding::ShardEntry& each : existing) {
        const bool is_same = each.address.set_name == address.set_name;
        if (is_same && (name.empty() || name == each.name)) co_return each.name;
        if (is_same)
            co_return Error(ErrorCode::illegal_operation,
                            "A shard already exists containing the replica set '" +
                                address.set_name + "', as " + each.name);
        if (each.name == name)
            co_return Error(ErrorCode::operation_failed,
                            "A shard named " + name + " already exists");
    }
    if (name.empty()) name = address.set_name;
    if (name == sharding::config_shard || name == "admin")
        co_return Error(ErrorCode::bad_value, "a shard cannot be named " + name);
    sharding.registry.put(name, address);
    CO_TRY(const auto brought, co_await databases_of(sharding, name, deadline));
    for (const std::string& db : brought) {
        CO_TRY(const auto entry, catalog.database(db));
        if (entry && entry->primary != name)
            co_return Error(ErrorCode::operation_failed,
                            "can't add shard '" + text + "' because a local database '" + db +
                                "' exists in another " + entry->primary);
    }
    sharding::ShardIdentity identity;
    identity.name = name;
    CO_TRY(identity.cluster, catalog.cluster_id());
    identity.config_servers = sharding.own_set();
    bson::Document command = bson::make(
        "_shardsvrSetIdentity", identity.to_document(), "writeConcern", majority(), "$db", "admin");
    CO_TRY([[maybe_unused]] const auto set,
           co_await ask_shard(sharding, name, std::move(command), deadline));
    CO_TRY_OK(co_await catalog.add_shard(name, address));
    for (const std::string& db : brought) {
        CO_TRY([[maybe_unused]] const auto entry, co_await catalog.create_database(db, name));
    }
    sharding.wake_balancer();
    co_await catalog.log_change(
        "changelog", "addShard", "", bson::make("name", name, "host", address.to_string()));
    co_return name;
}

namespace {

// With the database's turn.
async::Task<Result<routing::DatabaseEntry>> find_or_create(MemberSharding& sharding,
                                                           std::string db,
                                                           std::string primary) {
    auto& catalog = sharding.catalog;
    CO_TRY(const auto known, catalog.database(db));
    if (known) {
        if (!primary.empty() && primary != known->primary)
            co_return Error(ErrorCode::namespace_exists,
                            "Database " + db +
                                " could not be created :: caused by :: database "
                                "already exists on a different primary shard");
        co_return *known;
    }
    if (primary.empty()) {
        // The shard that is primary of the fewest databases.
        CO_TRY(const auto shards, catalog.shards());
        CO_TRY(const auto databases, catalog.databases());
        std::size_t fewest = SIZE_MAX;
        for (const sharding::ShardEntry& shard : shards) {
            if (shard.is_draining) continue;
            const auto count = static_cast<std::size_t>(
                std::count_if(databases.begin(), databases.end(), [&](const auto& each) {
                    return each.primary == shard.name;
                }));
            if (count >= fewest) continue;
            fewest = count;
            primary = shard.name;
        }
        if (primary.empty()) co_return Error(ErrorCode::shard_not_found, "No shards found");
    }
    co_return co_await catalog.create_database(db, primary);
}

}  // namespace

async::Task<Result<routing::DatabaseEntry>> create_database(MemberSharding& sharding,
                                                            std::string db,
                                                            std::string primary) {
    CO_TRY_OK(check_database_name(db));
    if (db == "admin" || db == "config" || db == "local")
        co_return Error(ErrorCode::invalid_options,
                        "Cannot manually create or shard the '" + db + "' database");
    CO_TRY(const auto known, sharding.catalog.database(db));
    if (known && (primary.empty() || primary == known->primary)) co_return *known;
    const auto turn = co_await sharding.lock_database(db);  // One that is being dropped ends first.
    co_return co_await find_or_create(sharding, std::move(db), std::move(primary));
}

namespace {

// Checks what the collection has against the key, and says which indexes shards must have.
Result<bson::Document> indexes_for(const routing::ShardKeyPattern& key,
                                   const ShardCollectionArguments& arguments,
                                   bson::View description) {
    const bool is_empty = description["count"].to_int64() == 0;
    bool is_supported = false;
    bson::ArrayBuilder indexes;
    if (const bson::Value list = description["indexes"]; list.is_array()) {
        for (const bson::Element& each : list.as_view()) {
            const bson::View spec = each.value.as_view();
            const bson::View pattern = spec["key"].as_view();
            const bool is_id = spec["name"].is_string() && spec["name"].as_string() == "_id_";
            const bool is_partial =
                spec.has("partialFilterExpression") || spec["sparse"].is_truthy();
            if (!is_id && spec["unique"].is_truthy() && !key.can_guarantee_unique(pattern))
                return Error(ErrorCode::invalid_options,
                             "can't shard collection '" + arguments.ns + "' with unique index on " +
                                 std::string(spec["name"].as_string()) +
                                 ": uniqueness can't be maintained unless the shard key is a "
                                 "prefix of it");
            const bool is_unique = spec["unique"].is_truthy() || is_id;
            if (key.is_prefix_of(pattern) && !is_partial && (!arguments.is_unique || is_unique))
                is_supported = true;
            if (!is_id) indexes.append(spec);
        }
    }
    const bool is_id_key =
        key.fields().size() == 1 && key.fields()[0].path == "_id" && !key.has_hashed();
    if (is_id_key) is_supported = true;
    if (!is_supported) {
        if (!is_empty)
            return Error(ErrorCode::invalid_options,
                         "Please create an index that starts with the proposed shard key before "
                         "sharding the collection");
        std::string name;
        for (const bson::Element& each : key.document().view()) {
            if (!name.empty()) name += "_";
            name += std::string(each.name) + (each.value.is_string() ? "_hashed" : "_1");
        }
        auto spec = indexes.object();
        spec.append("v", 2).append("key", key.document()).append("name", name);
        if (arguments.is_unique) spec.append("unique", true);
    }
    return std::move(indexes).finish();
}

struct NewSharding {
    ShardCollectionArguments arguments;
    routing::ShardKeyPattern key;
    ShardName primary;
};

// With changes of the collection blocked on its primary shard; `told` gets the others.
async::Task<Status> shard_blocked_collection(MemberSharding& sharding,
                                             NewSharding what,
                                             std::set<ShardName>& told,
                                             Instant deadline) {
    const auto& [arguments, key, primary] = what;
    auto& catalog = sharding.catalog;
    bson::Document describe = bson::make("_shardsvrDescribe", arguments.ns, "$db", "admin");
    CO_TRY(const bson::Document found,
           co_await ask_shard(sharding, primary, std::move(describe), deadline));
    if (found["isView"].is_truthy())
        co_return Error(ErrorCode::command_not_supported_on_view, "Views cannot be sharded.");
    CO_TRY(const bson::Document indexes, indexes_for(key, arguments, found));
    routing::CollectionEntry entry;
    entry.ns = arguments.ns;
    entry.uuid = catalog.new_uuid();
    if (const auto uuid = bson::uuid_in(found["uuid"])) entry.uuid = *uuid;
    entry.generation = catalog.new_generation();
    entry.last_modified = catalog.store().wall_time();
    entry.key = key;
    entry.is_unique = arguments.is_unique;

    routing::InitialChunksRequest request;
    request.primary = primary;
    request.is_empty = found["count"].to_int64() == 0;
    request.num_initial_chunks = arguments.num_initial_chunks;
    request.presplit_hashed_zones = arguments.presplit_hashed_zones;
    CO_TRY(const auto shards, catalog.shards());
    for (const sharding::ShardEntry& each : shards) {
        if (!each.is_draining) request.shards.push_back(each.name);
        request.zones_of_shard[each.name].insert(each.zones.begin(), each.zones.end());
    }
    CO_TRY(request.zones, catalog.zones(entry));
    CO_TRY(const auto plan, routing::plan_initial_chunks(key, request));
    Random random(catalog.new_generation().timestamp.packed());
    bson::ObjectIdSource ids(random);
    const routing::IdContext context{ids, catalog.store().wall_time()};
    CO_TRY(auto chunks,
           routing::make_initial_chunks(key, plan, entry.generation.timestamp, context));
    bson::Builder description;
    description.append("uuid", entry.uuid);
    description.append("options",
                       found["options"].is_object() ? found["options"].as_view() : bson::View());
    description.append_array("indexes", indexes);
    const bson::Document like = std::move(description).finish();
    told.insert(primary);
    for (const routing::PlannedChunk& each : plan)
        told.insert(each.shard);
    const std::set<ShardName> owners = told;
    for (const ShardName& shard : owners) {
        bson::Document command = bson::make("_shardsvrEnsureCollection",
                                            arguments.ns,
                                            "description",
                                            like,
                                            "writeConcern",
                                            majority(),
                                            "$db",
                                            "admin");
        CO_TRY([[maybe_unused]] const auto made,
               co_await ask_shard(sharding, shard, std::move(command), deadline));
    }
    const std::size_t count = chunks.size();
    CO_TRY_OK(co_await catalog.create_collection(entry, std::move(chunks)));
    co_await catalog.log_change(
        "changelog",
        "shardCollection.end",
        arguments.ns,
        bson::make("version", std::to_string(count) + " chunks", "primary", primary));
    co_return Status();
}

}  // namespace

async::Task<Status> shard_collection(MemberSharding& sharding,
                                     ShardCollectionArguments arguments,
                                     Instant deadline) {
    const Namespace ns = Namespace::split(arguments.ns);
    CO_TRY_OK(check_namespace(ns));
    if (ns.is_system())
        co_return Error(ErrorCode::illegal_operation, "can't shard system namespaces");
    CO_TRY(const auto key, routing::ShardKeyPattern::parse(arguments.key));
    if (arguments.is_unique && key.has_hashed())
        co_return Error(ErrorCode::invalid_options,
                        "Hashed shard keys cannot be declared unique. It's possible to ensure "
                        "uniqueness on the hashed field by declaring an additional (non-hashed) "
                        "unique index on the field.");
    const auto turn = co_await sharding.lock_database(ns.db);
    CO_TRY(const auto db, co_await find_or_create(sharding, ns.db, ""));
    CO_TRY(const auto existing, sharding.catalog.collection(arguments.ns));
    if (existing) {
        if (existing->key == key && existing->is_unique == arguments.is_unique) co_return Status();
        co_return Error(ErrorCode::already_initialized,
                        "sharding already enabled for collection " + arguments.ns);
    }
    std::vector<ShardName> primary;
    primary.push_back(db.primary);
    CO_TRY_OK(co_await begin_change(sharding, primary, arguments.ns, db, deadline));
    std::set<ShardName> told;
    told.insert(db.primary);
    NewSharding what{arguments, key, db.primary};
    auto status = co_await shard_blocked_collection(sharding, std::move(what), told, deadline);
    std::vector<ShardName> all(told.begin(), told.end());
    co_await end_change(sharding, all, arguments.ns);
    co_return status;
}

namespace {

// With the database's turn.
async::Task<Status> drop_collection_everywhere(MemberSharding& sharding,
                                               routing::CollectionEntry entry,
                                               Instant deadline) {
    const std::string ns = entry.ns;
    const Namespace name = Namespace::split(ns);
    CO_TRY(const auto db, sharding.catalog.database(name.db));
    if (!db) co_return Status();
    CO_TRY(const auto all, sharding.catalog.shards());
    std::vector<ShardName> shards;
    for (const sharding::ShardEntry& each : all)
        shards.push_back(each.name);
    CO_TRY_OK(co_await sharding.catalog.note_drop(entry));
    auto status = co_await begin_change(sharding, shards, ns, *db, deadline);
    if (status) {
        for (const ShardName& shard : shards) {
            // By UUID: should this reach the shard late, it does nothing to what came since.
            bson::Document command = bson::make("drop",
                                                name.collection,
                                                "collectionUUID",
                                                entry.uuid,
                                                "writeConcern",
                                                majority(),
                                                "$db",
                                                name.db);
            const auto reply = co_await ask_shard(sharding, shard, std::move(command), deadline);
            if (!reply && reply.error().code() != ErrorCode::namespace_not_found &&
                reply.error().code() != ErrorCode::collection_uuid_mismatch)
                status = reply.error();
        }
        if (status) status = co_await sharding.catalog.drop_collection(ns);
        co_await end_change(sharding, shards, ns);
    }
    if (status)
        co_await sharding.catalog.log_change("changelog", "dropCollection", ns, bson::Document());
    co_return status;
}

// For a client, who is told of a failure: a later primary is not to surprise him with a success.
async::Task<Status> drop_or_forget(MemberSharding& sharding,
                                   routing::CollectionEntry entry,
                                   Instant deadline) {
    auto status = co_await drop_collection_everywhere(sharding, entry, deadline);
    if (!status) (void)co_await sharding.catalog.forget_drop(entry.ns);
    co_return status;
}

}  // namespace

async::Task<Status> drop_sharded_collection(MemberSharding& sharding,
                                            std::string ns,
                                            bson::Uuid uuid,
                                            Instant deadline) {
    const auto turn = co_await sharding.lock_database(Namespace::split(ns).db);
    CO_TRY(const auto entry, sharding.catalog.collection(ns));
    if (!entry || entry->uuid != uuid)
        co_return Error(ErrorCode::collection_uuid_mismatch,
                        "the sharded collection " + ns + " is not the one to be dropped");
    co_return co_await drop_or_forget(sharding, *entry, deadline);
}

async::Task<Status> finish_drop(MemberSharding& sharding, std::string ns, bson::Uuid uuid) {
    const auto turn = co_await sharding.lock_database(Namespace::split(ns).db);
    CO_TRY(const auto entry, sharding.catalog.collection(ns));
    if (!entry || entry->uuid != uuid) co_return co_await sharding.catalog.forget_drop(ns);
    const Instant deadline = sharding.member.clock.now() + sharding::limits::ddl_step;
    co_return co_await drop_collection_everywhere(sharding, *entry, deadline);
}

namespace {

// What the shards have of a database, and are to have no more.
async::Task<Status> drop_on_shards(MemberSharding& sharding,
                                   std::vector<sharding::ShardEntry> shards,
                                   std::string db,
                                   Instant deadline) {
    for (const sharding::ShardEntry& each : shards) {
        bson::Document command =
            bson::make("dropDatabase", 1, "writeConcern", majority(), "$db", db);
        CO_TRY([[maybe_unused]] const auto reply,
               co_await ask_shard(sharding, each.name, std::move(command), deadline));
    }
    co_return Status();
}

}  // namespace

async::Task<Status> drop_database_everywhere(MemberSharding& sharding,
                                             std::string db,
                                             Instant deadline) {
    const auto turn = co_await sharding.lock_database(db);
    CO_TRY(const auto entry, sharding.catalog.database(db));
    if (!entry) co_return Status();
    CO_TRY(const auto collections, sharding.catalog.collections());
    for (const routing::CollectionEntry& each : collections) {
        if (Namespace::split(each.ns).db != db) continue;
        CO_TRY_OK(co_await drop_or_forget(sharding, each, deadline));
    }
    CO_TRY(const auto shards, sharding.catalog.shards());
    CO_TRY_OK(co_await drop_on_shards(sharding, shards, db, deadline));
    CO_TRY_OK(co_await sharding.catalog.drop_database(db));
    for (const sharding::ShardEntry& each : shards) {
        bson::Document command = bson::make("_shardsvrForget", db, "$db", "admin");
        [[maybe_unused]] const auto reply =
            co_await ask_shard(sharding, each.name, std::move(command), deadline);
    }
    // Until they had forgotten it, clients could write to it; it cannot be made anew meanwhile.
    const auto swept = co_await drop_on_shards(sharding, shards, db, deadline);
    if (!swept)
        log::warning(log::Component::sharding,
                     9000421,
                     "What was written to a database while it was dropped may have been left",
                     {{"database", db}, {"error", swept.error()}});
    co_await sharding.catalog.log_change("changelog", "dropDatabase", db, bson::Document());
    co_return Status();
}

namespace {

// What a donor that lost its primary in the middle answers until the next one has cleaned up.
bool is_passing(ErrorCode code) {
    return has_class(code,
                     error_class::not_primary | error_class::recovering |
                         error_class::shutting_down) ||
           code == ErrorCode::host_unreachable || code == ErrorCode::network_timeout ||
           code == ErrorCode::network_interface_exceeded_time_limit;
}

}  // namespace

async::Task<Status> move_primary(MemberSharding& sharding,
                                 std::string db,
                                 ShardName to,
                                 Instant deadline) {
    auto& catalog = sharding.catalog;
    const auto turn = co_await sharding.lock_database(db);
    bool was_interrupted = false;
    for (;;) {
        CO_TRY(const auto entry, catalog.database(db));
        if (!entry)
            co_return Error(ErrorCode::namespace_not_found, "database " + db + " not found");
        CO_TRY(const sharding::ShardEntry target, catalog.shard(to));
        if (entry->primary == to) co_return Status();
        if (target.is_draining)
            co_return Error(ErrorCode::shard_not_found,
                            "Shard '" + to + "' is draining: it takes no database");
        const ShardName from = entry->primary;
        bson::Document command =
            bson::make("_shardsvrMovePrimary", db, "toShard", to, "$db", "admin");
        CallOptions options;
        options.deadline = deadline;
        const auto reply =
            co_await sharding.registry.call_settled(from, std::move(command), std::move(options));
        if (reply) {
            co_await catalog.log_change(
                "changelog", "movePrimary", db, bson::make("from", from, "to", to));
            co_return Status();
        }
        const ErrorCode code = reply.error().code();
        was_interrupted |= is_passing(code);
        const bool may_pass =
            is_passing(code) ||
            (was_interrupted && code == ErrorCode::conflicting_operation_in_progress);
        const bool is_primary = sharding.member.replication->is_writable_primary();
        if (!may_pass || !is_primary || sharding.member.clock.now() >= deadline) {
            co_await catalog.log_change(
                "changelog",
                "movePrimary.error",
                db,
                bson::make("from", from, "to", to, "errmsg", reply.error().reason()));
            co_return reply.error();
        }
        async::sleep_until wait(sharding.member.clock, sharding.member.clock.now() + 100ms);
        co_await wait;
    }
}

async::Task<Status> move_range(MemberSharding& sharding, bson::Document request, Instant deadline) {
    const std::string ns(request["ns"].as_string());
    CO_TRY(const auto map, sharding.catalog.chunks(ns));
    CO_TRY(const routing::Key key, map->key().encode_bound(request["min"].as_view()));
    const ShardName from = map->chunk_of(key).shard;
    const ShardName to(request["toShard"].as_string());
    CO_TRY([[maybe_unused]] const auto target, sharding.catalog.shard(to));
    if (from == to) co_return Status();
    bson::Builder command;
    command.append("_shardsvrMoveRange", ns).append_all(request).append("fromShard", from);
    command.append("$db", "admin");
    CallOptions options;
    options.deadline = deadline;
    bson::Document body = std::move(command).finish();
    auto reply = co_await sharding.registry.call_settled(from, std::move(body), std::move(options));
    if (!reply) {
        co_await sharding.catalog.log_change(
            "changelog",
            "moveChunk.error",
            ns,
            bson::make("from", from, "to", to, "errmsg", reply.error().reason()));
        co_return std::move(reply).error();
    }
    co_await sharding.catalog.log_change(
        "changelog",
        "moveChunk.from",
        ns,
        bson::make("min", request["min"], "from", from, "to", to, "note", "success"));
    co_return Status();
}

}  // namespace tessera::commands
