// SPDX-License-Identifier: Apache-2.0
//
// Sizes over all shards: collStats, dbStats, dataSize, validate. Numbers are added up, each shard's
// own answer goes along.
#include <map>

#include "commands/router_calls.h"
#include "commands/router_commands.h"
#include "commands/support.h"
#include "routing/retry.h"

namespace tessera::commands {
namespace {

async::Task<Result<std::vector<ShardAnswer>>> ask(Router& router,
                                                  Invocation& invocation,
                                                  const routing::RoutingInfo& info) {
    std::vector<ShardCommand> commands;
    for (const routing::ShardTarget& target : routing::target_all(info))
        commands.push_back(ShardCommand{target.shard, forwarded(invocation.request, &target)});
    auto answers = co_await call_shards(
        router, invocation, std::move(commands), call_options(invocation, true));
    CO_TRY_OK(check_answers(answers));
    co_return answers;
}

async::Task<Result<std::vector<ShardAnswer>>> ask_owners(Router& router,
                                                         Invocation& invocation,
                                                         const Namespace& ns) {
    const Instant deadline = routing_deadline(router, *invocation.operation);
    const auto attempt = [&](const routing::RoutingInfo& info) {
        return ask(router, invocation, info);
    };
    auto running = sharding::with_routing<std::vector<ShardAnswer>>(
        router.routing, ns.to_string(), deadline, attempt);
    co_return co_await std::move(running);
}

std::int64_t sum(const std::vector<ShardAnswer>& answers, std::string_view field) {
    std::int64_t total = 0;
    for (const ShardAnswer& answer : answers)
        total += (*answer.reply)[field].to_int64();
    return total;
}

double sum_of_doubles(const std::vector<ShardAnswer>& answers, std::string_view field) {
    double total = 0;
    for (const ShardAnswer& answer : answers)
        total += (*answer.reply)[field].to_double();
    return total;
}

// avgObjSize, in bytes whatever the scale of the other numbers.
double average_size(const std::vector<ShardAnswer>& answers, std::string_view count_field) {
    double bytes = 0;
    double count = 0;
    for (const ShardAnswer& answer : answers) {
        const double here = (*answer.reply)[count_field].to_double();
        bytes += here * (*answer.reply)["avgObjSize"].to_double();
        count += here;
    }
    return count > 0 ? bytes / count : 0.0;
}

std::string raw_name(Router& router, const routing::ShardName& shard) {
    const auto address = router.shards.address(shard);
    return address ? address->to_string() : shard;
}

void append_raw(Router& router, const std::vector<ShardAnswer>& answers, bson::Builder& reply) {
    bson::Builder raw = reply.object("raw");
    for (const ShardAnswer& answer : answers) {
        bson::Builder one = raw.object(raw_name(router, answer.shard));
        append_payload(*answer.reply, one);
        one.append("ok", 1.0);
    }
}

}  // namespace

async::Task<Status> coll_stats_on_router(Router& router, Invocation& invocation) {
    CO_TRY(const Namespace ns, invocation.request.collection());
    invocation.ns = ns;
    auto answers = co_await ask_owners(router, invocation, ns);
    if (!answers && answers.error().code() == ErrorCode::namespace_not_found)
        co_return Error(ErrorCode::namespace_not_found, "Database [" + ns.db + "] not found.");
    if (!answers) co_return call_error(router, *invocation.operation, answers.error());
    const Instant deadline = routing_deadline(router, *invocation.operation);
    CO_TRY(const auto info, co_await router.routing.get(ns.to_string(), deadline));
    bson::Builder& reply = invocation.reply;
    reply.append("sharded", info.is_sharded());
    if (!info.is_sharded()) reply.append("primary", info.database.primary);
    reply.append("ns", ns.to_string());
    for (const std::string_view field : {"capped", "max", "maxSize", "wiredTiger"})
        if (answers->size() == 1) reply.append(field, (*answers->front().reply)[field]);
    const std::int64_t count = sum(*answers, "count");
    append_count(reply, "count", count);
    for (const std::string_view field :
         {"size", "storageSize", "totalIndexSize", "totalSize", "freeStorageSize", "numOrphanDocs"})
        append_count(reply, field, sum(*answers, field));
    if (count > 0)
        append_count(
            reply, "avgObjSize", static_cast<std::int64_t>(average_size(*answers, "count")));
    std::map<std::string, std::int64_t> index_sizes;
    for (const ShardAnswer& answer : *answers)
        if (const bson::Value sizes = (*answer.reply)["indexSizes"]; sizes.is_object())
            for (const bson::Element& each : sizes.as_view())
                index_sizes[std::string(each.name)] += each.value.to_int64();
    {
        bson::Builder sizes = reply.object("indexSizes");
        for (const auto& [name, bytes] : index_sizes)
            append_count(sizes, name, bytes);
    }
    append_count(reply, "nindexes", static_cast<std::int64_t>(index_sizes.size()));
    reply.append("scaleFactor", answers->front().reply->view()["scaleFactor"]);
    if (info.is_sharded())
        append_count(reply, "nchunks", static_cast<std::int64_t>(info.chunks->chunks().size()));
    bson::Builder shards = reply.object("shards");
    for (const ShardAnswer& answer : *answers) {
        bson::Builder one = shards.object(answer.shard);
        append_payload(*answer.reply, one);
    }
    co_return Status();
}

async::Task<Status> db_stats_on_router(Router& router, Invocation& invocation) {
    const Request& request = invocation.request;
    CO_TRY_OK(request.check_known_fields("dbStats", {"scale", "freeStorage"}));
    std::vector<routing::ShardName> shards;
    if (is_on_config_servers(request.db)) {
        shards.push_back(sharding::config_shard);
    } else {
        CO_TRY(shards, co_await all_shards(router, invocation));
    }
    std::vector<ShardCommand> commands;
    for (const routing::ShardName& shard : shards)
        commands.push_back(ShardCommand{shard, forwarded(request, nullptr)});
    const auto answers = co_await call_shards(
        router, invocation, std::move(commands), call_options(invocation, true));
    CO_TRY_OK(check_answers(answers));
    bson::Builder& reply = invocation.reply;
    append_raw(router, answers, reply);
    reply.append("db", request.db);
    for (const std::string_view field : {"collections", "views", "objects"})
        append_count(reply, field, sum(answers, field));
    reply.append("avgObjSize", average_size(answers, "objects"));
    for (const std::string_view field : {"dataSize", "storageSize"})
        reply.append(field, sum_of_doubles(answers, field));
    append_count(reply, "indexes", sum(answers, "indexes"));
    for (const std::string_view field : {"indexSize", "totalSize"})
        reply.append(field, sum_of_doubles(answers, field));
    if (!answers.empty()) reply.append("scaleFactor", (*answers.front().reply)["scaleFactor"]);
    reply.append("fsUsedSize", sum_of_doubles(answers, "fsUsedSize"));
    reply.append("fsTotalSize", sum_of_doubles(answers, "fsTotalSize"));
    co_return Status();
}

async::Task<Status> data_size_on_router(Router& router, Invocation& invocation) {
    const bson::Value first = invocation.request.body.front().value;
    if (!first.is_string())
        co_return Error(ErrorCode::type_mismatch, "dataSize takes a namespace as a string");
    const Namespace ns = Namespace::split(first.as_string());
    invocation.ns = ns;
    auto answers = co_await ask_owners(router, invocation, ns);
    const bool is_missing = !answers && answers.error().code() == ErrorCode::namespace_not_found;
    if (!answers && !is_missing)
        co_return call_error(router, *invocation.operation, answers.error());
    append_count(invocation.reply, "size", is_missing ? 0 : sum(*answers, "size"));
    append_count(invocation.reply, "numObjects", is_missing ? 0 : sum(*answers, "numObjects"));
    append_count(invocation.reply, "millis", is_missing ? 0 : sum(*answers, "millis"));
    invocation.reply.append("estimate", invocation.request.body["estimate"].is_truthy());
    co_return Status();
}

async::Task<Status> validate_on_router(Router& router, Invocation& invocation) {
    CO_TRY(const Namespace ns, invocation.request.collection());
    invocation.ns = ns;
    auto answers = co_await ask_owners(router, invocation, ns);
    if (!answers && answers.error().code() == ErrorCode::namespace_not_found)
        co_return Error(ErrorCode::namespace_not_found,
                        "Collection '" + ns.to_string() + "' does not exist to validate.");
    if (!answers) co_return call_error(router, *invocation.operation, answers.error());
    bool is_valid = true;
    for (const ShardAnswer& answer : *answers)
        is_valid = is_valid && (*answer.reply)["valid"].is_truthy();
    invocation.reply.append("valid", is_valid);
    append_raw(router, *answers, invocation.reply);
    co_return Status();
}

}  // namespace tessera::commands
