// SPDX-License-Identifier: Apache-2.0
#include "sharding/config_reader.h"

#include <algorithm>

#include "async/clock.h"
#include "bson/builder.h"

namespace tessera::sharding {
namespace {

bson::Document find_command(std::string_view collection, bson::View filter, bson::View sort) {
    bson::Builder command;
    command.append("find", collection).append("filter", filter);
    if (!sort.is_empty()) command.append("sort", sort);
    command.append("readConcern", bson::make("level", "majority"));
    command.append("$db", "config");
    return std::move(command).finish();
}

CallOptions options_until(Instant deadline) {
    CallOptions options;
    options.deadline = deadline;
    options.is_retryable = true;
    return options;
}

}  // namespace

async::Task<Result<std::optional<routing::DatabaseEntry>>> RemoteConfigReader::database(
    std::string db, Instant deadline) {
    bson::Document find = find_command("databases", bson::make("_id", db), {});
    CO_TRY(const auto found,
           co_await registry_.find_all(config_shard, std::move(find), options_until(deadline)));
    if (found.empty()) co_return std::optional<routing::DatabaseEntry>();
    CO_TRY(auto entry, routing::DatabaseEntry::parse(found.front()));
    co_return std::optional<routing::DatabaseEntry>(std::move(entry));
}

async::Task<Result<std::optional<routing::CollectionEntry>>> RemoteConfigReader::collection(
    std::string ns, Instant deadline) {
    bson::Document find = find_command("collections", bson::make("_id", ns), {});
    CO_TRY(const auto found,
           co_await registry_.find_all(config_shard, std::move(find), options_until(deadline)));
    if (found.empty()) co_return std::optional<routing::CollectionEntry>();
    CO_TRY(auto entry, routing::CollectionEntry::parse(found.front()));
    co_return std::optional<routing::CollectionEntry>(std::move(entry));
}

async::Task<Result<std::vector<bson::Document>>> RemoteConfigReader::chunks(
    bson::Uuid collection, routing::Placement since, Instant deadline) {
    const bson::Document from = bson::make("$gte", since.as_timestamp());
    const bson::Document filter = bson::make("uuid", collection, "lastmod", from);
    bson::Document find = find_command("chunks", filter, bson::make("lastmod", 1));
    co_return co_await registry_.find_all(config_shard, std::move(find), options_until(deadline));
}

async::Task<Result<std::vector<bson::Document>>> RemoteConfigReader::tags(std::string ns,
                                                                          Instant deadline) {
    bson::Document find = find_command("tags", bson::make("ns", ns), bson::make("min", 1));
    co_return co_await registry_.find_all(config_shard, std::move(find), options_until(deadline));
}

}  // namespace tessera::sharding
