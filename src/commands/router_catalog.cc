// SPDX-License-Identifier: Apache-2.0
//
// What the cluster has: listDatabases merged over shards and config servers, listCollections and
// listIndexes from a shard that knows.
#include <map>

#include "commands/cursor_commands.h"
#include "commands/router_commands.h"
#include "commands/router_cursor.h"
#include "query/match/filter.h"

namespace tessera::commands {
namespace {

struct DatabaseSize {
    std::int64_t bytes = 0;
    bool is_empty = true;
    std::map<routing::ShardName, std::int64_t> by_shard;
};

// A shard's own admin and config are its affair; the cluster's are on the config servers.
bool counts(std::string_view db, const routing::ShardName& shard) {
    if (db == "local") return false;
    return is_on_config_servers(db) == (shard == sharding::config_shard);
}

void append_database(const std::string& name,
                     const DatabaseSize& size,
                     bool is_name_only,
                     bson::Builder& entry) {
    entry.append("name", name);
    if (is_name_only) return;
    entry.append("sizeOnDisk", size.bytes).append("empty", size.is_empty);
    bson::Builder shards = entry.object("shards");
    for (const auto& [shard, bytes] : size.by_shard)
        shards.append(shard, bytes);
}

// Sends a command that opens a cursor to one shard and hands its answer on.
async::Task<Result<bool>> open_on(Router& router,
                                  Invocation& invocation,
                                  const Namespace& ns,
                                  std::int64_t batch_size,
                                  routing::ShardTarget target) {
    std::vector<ShardCommand> commands;
    commands.push_back(ShardCommand{target.shard, forwarded(invocation.request, &target)});
    OpenOptions options;
    options.call = call_options(invocation, true);
    CO_TRY(auto cursors,
           co_await open_cursors(router, invocation, std::move(commands), std::move(options)));
    CursorOptions cursor;
    cursor.ns = ns;
    FirstBatch first;
    first.batch_size = batch_size;
    auto source = make_single_source(router, std::move(cursors.front()));
    CO_TRY_OK(co_await reply_with_cursor(
        router, invocation, std::move(source), std::move(cursor), first));
    co_return true;
}

Result<std::int64_t> batch_size_of(const Request& request) {
    TRY(const bson::View cursor, object_argument(request.body, "cursor", request.name));
    return count_argument(cursor, "batchSize", std::int64_t{1} << 40, "cursor");
}

}  // namespace

async::Task<Status> list_databases_on_router(Router& router, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY_OK(
        request.check_known_fields("listDatabases", {"filter", "nameOnly", "authorizedDatabases"}));
    CO_TRY(const bson::View given, object_argument(request.body, "filter", request.name));
    CO_TRY(const query::Filter filter, query::Filter::parse(given, query::FilterOptions()));
    CO_TRY(const bool is_name_only,
           bool_argument(request.body, "nameOnly", false, "listDatabases"));
    CO_TRY(auto shards, co_await all_shards(router, invocation));
    shards.push_back(sharding::config_shard);
    std::vector<ShardCommand> commands;
    for (const routing::ShardName& shard : shards)
        commands.push_back(ShardCommand{shard, forwarded(request, nullptr, {"filter"})});
    const auto answers = co_await call_shards(
        router, invocation, std::move(commands), call_options(invocation, true));
    CO_TRY_OK(check_answers(answers));
    std::map<std::string, DatabaseSize> databases;
    for (const ShardAnswer& answer : answers) {
        const bson::Value list = (*answer.reply)["databases"];
        if (!list.is_array()) continue;
        for (const bson::Element& each : list.as_view()) {
            const bson::View entry = each.value.as_view();
            const std::string name(entry["name"].as_string());
            if (!counts(name, answer.shard)) continue;
            DatabaseSize& size = databases[name];
            const std::int64_t bytes = entry["sizeOnDisk"].to_int64();
            size.bytes += bytes;
            size.is_empty = size.is_empty && entry["empty"].is_truthy();
            size.by_shard[answer.shard] = bytes;
        }
    }
    query::MatchContext context;
    std::int64_t total = 0;
    auto list = invocation.reply.array("databases");
    for (const auto& [name, size] : databases) {
        bson::Builder entry;
        append_database(name, size, is_name_only, entry);
        const bson::Document document = std::move(entry).finish();
        CO_TRY(const bool matches, filter.matches(document, context));
        if (!matches) continue;
        total += size.bytes;
        list.append(document);
    }
    list.done();
    if (!is_name_only)
        invocation.reply.append("totalSize", total).append("totalSizeMb", total >> 20);
    co_return Status();
}

async::Task<Status> list_collections_on_router(Router& router, Invocation& invocation) {
    const std::string db(invocation.request.db);
    const Namespace ns{db, "$cmd.listCollections"};
    CO_TRY(const std::int64_t batch_size, batch_size_of(invocation.request));
    const Instant deadline = routing_deadline(router, *invocation.operation);
    const auto attempt = [&](const routing::RoutingInfo& info) {
        routing::ShardTarget target = routing::target_primary(info);
        return open_on(router, invocation, ns, batch_size, std::move(target));
    };
    auto running = sharding::with_routing<bool>(router.routing, db + ".$cmd", deadline, attempt);
    const auto done = co_await std::move(running);
    if (done) co_return Status();
    if (done.error().code() != ErrorCode::namespace_not_found)
        co_return call_error(router, *invocation.operation, done.error());
    bson::Builder cursor = invocation.reply.object("cursor");
    cursor.append("id", std::int64_t{0}).append("ns", ns.to_string());
    cursor.array("firstBatch").done();
    co_return Status();
}

async::Task<Status> list_indexes_on_router(Router& router, Invocation& invocation) {
    CO_TRY(const Namespace ns, invocation.request.collection());
    invocation.ns = ns;
    CO_TRY(const std::int64_t batch_size, batch_size_of(invocation.request));
    const Instant deadline = routing_deadline(router, *invocation.operation);
    const auto attempt = [&](const routing::RoutingInfo& info) {
        routing::ShardTarget target = routing::target_all(info).front();
        return open_on(router, invocation, ns, batch_size, std::move(target));
    };
    auto running = sharding::with_routing<bool>(router.routing, ns.to_string(), deadline, attempt);
    const auto done = co_await std::move(running);
    if (done) co_return Status();
    if (done.error().code() == ErrorCode::namespace_not_found)
        co_return Error(ErrorCode::namespace_not_found, "ns does not exist: " + ns.to_string());
    co_return call_error(router, *invocation.operation, done.error());
}

}  // namespace tessera::commands
