// SPDX-License-Identifier: Apache-2.0
#include "sharding/balancer.h"

#include <algorithm>

#include "base/log.h"
#include "bson/builder.h"
#include "sharding/limits.h"

namespace tessera::sharding {
namespace {

// "23:05" as minutes of the day; -1 on anything else.
int minutes_of(const bson::Value& value) {
    if (!value.is_string()) return -1;
    const std::string_view text = value.as_string();
    const auto colon = text.find(':');
    if (colon == std::string_view::npos || colon == 0 || colon + 1 >= text.size()) return -1;
    const auto number = [](std::string_view digits) {
        int result = 0;
        for (const char each : digits) {
            if (each < '0' || each > '9' || result > 99) return -1;
            result = result * 10 + (each - '0');
        }
        return result;
    };
    const int hours = number(text.substr(0, colon));
    const int minutes = number(text.substr(colon + 1));
    return hours < 0 || hours > 23 || minutes < 0 || minutes > 59 ? -1 : hours * 60 + minutes;
}

}  // namespace

BalancerSettings BalancerSettings::parse(bson::View balancer, bson::View chunk_size) {
    BalancerSettings result;
    const bson::Value mode = balancer["mode"];
    const bool is_off = mode.is_string() && mode.as_string() == "off";
    result.is_enabled = !is_off && !balancer["stopped"].is_truthy();
    if (const bson::Value window = balancer["activeWindow"]; window.is_object()) {
        result.window_start = minutes_of(window.as_view()["start"]);
        result.window_stop = minutes_of(window.as_view()["stop"]);
    }
    result.waits_for_delete = balancer["_waitForDelete"].is_truthy();
    if (const bson::Value value = chunk_size["value"]; value.is_number() && value.to_double() > 0)
        result.chunk_bytes_max = static_cast<std::int64_t>(value.to_double() * 1024 * 1024);
    return result;
}

bool BalancerSettings::is_open_at(WallTime now) const {
    if (window_start < 0 || window_stop < 0 || window_start == window_stop) return true;
    const auto minute = static_cast<int>(now.milliseconds / 60'000 % (24 * 60));
    if (window_start < window_stop) return window_start <= minute && minute < window_stop;
    return minute >= window_start || minute < window_stop;
}

Result<BalancerSettings> Balancer::settings() const {
    const Namespace ns = config_ns("settings");
    TRY(const auto balancer, catalog_.store().find_one(ns, bson::make("_id", "balancer")));
    TRY(const auto size, catalog_.store().find_one(ns, bson::make("_id", "chunksize")));
    return BalancerSettings::parse(balancer ? balancer->view() : bson::View(),
                                   size ? size->view() : bson::View());
}

async::Task<Result<routing::BalancerInput>> Balancer::gather(BalancerSettings settings,
                                                             std::string only_ns) {
    routing::BalancerInput input;
    input.chunk_bytes_max = settings.chunk_bytes_max;
    CO_TRY(const auto shards, catalog_.shards());
    for (const ShardEntry& each : shards) {
        routing::BalancerShard shard;
        shard.name = each.name;
        shard.is_draining = each.is_draining;
        shard.zones.insert(each.zones.begin(), each.zones.end());
        input.shards.push_back(std::move(shard));
    }
    CO_TRY(const auto collections, catalog_.collections());
    for (const routing::CollectionEntry& each : collections) {
        if (each.no_balance || !each.allow_migrations) continue;
        if (!only_ns.empty() && each.ns != only_ns) continue;
        auto map = catalog_.chunks(each.ns);
        if (!map) continue;  // Dropped meanwhile.
        routing::BalancerCollection collection;
        collection.chunks = *map;
        CO_TRY(collection.zones, catalog_.zones(each));
        for (routing::BalancerShard& shard : input.shards) {
            CallOptions options;
            options.deadline = clock_.now() + limits::critical_section;
            options.is_retryable = true;
            bson::Document ask = bson::make("_shardsvrDescribe", each.ns, "$db", "admin");
            const auto reply = co_await registry_.call_ok(shard.name, std::move(ask), options);
            if (!reply) {
                shard.is_available = false;
                continue;
            }
            const std::int64_t bytes = (*reply)["dataSize"].to_int64();
            const std::int64_t count = (*reply)["count"].to_int64();
            const std::int64_t orphans = (*reply)["orphans"].to_int64();
            const std::int64_t owned = std::max<std::int64_t>(count - orphans, 0);
            if (count > 0) collection.bytes[shard.name] = bytes / count * owned;
        }
        input.collections.push_back(std::move(collection));
    }
    const std::lock_guard lock(mutex_);
    std::erase_if(failed_, [&](const auto& each) { return each.second <= clock_.now(); });
    for (const auto& [move, until] : failed_)
        input.failed.insert(move);
    co_return input;
}

async::Task<Result<std::string>> Balancer::first_violation(std::string ns) {
    CO_TRY(const auto now, settings());
    CO_TRY([[maybe_unused]] const auto map, catalog_.chunks(ns));
    CO_TRY(const auto input, co_await gather(now, ns));
    for (const routing::BalancerCollection& each : input.collections)
        if (each.chunks->collection().ns == ns)
            co_return routing::first_compliance_violation(input, each);
    co_return std::string();
}

async::Task<void> Balancer::move(routing::Migration migration,
                                 bool waits_for_delete,
                                 std::atomic<std::int64_t>& moved) {
    bson::Builder command;
    command.append("_shardsvrMoveRange", migration.ns);
    command.append("fromShard", migration.from).append("toShard", migration.to);
    command.append("min", migration.chunk.min);
    command.append("maxChunkSizeBytes", migration.bytes_max);
    command.append("forceJumbo", migration.force_jumbo);
    command.append("waitForDelete", waits_for_delete).append("$db", "admin");
    bson::Document body = std::move(command).finish();
    CallOptions options;
    options.deadline = clock_.now() + limits::migration_catch_up;
    const auto reply = co_await registry_.call_settled(migration.from, std::move(body), options);
    const bson::Document details = bson::make("min",
                                              migration.chunk.min,
                                              "from",
                                              migration.from,
                                              "to",
                                              migration.to,
                                              "note",
                                              reply ? "success" : "aborted",
                                              "reason",
                                              migration.why);
    if (reply) {
        moved.fetch_add(1);
    } else {
        const auto key = migration.chunk.min;
        log::info(log::Component::sharding,
                  9000450,
                  "The balancer could not move a range",
                  {{"ns", migration.ns}, {"error", reply.error()}});
        routing::FailedMove failed;
        failed.ns = migration.ns;
        if (const auto map = catalog_.chunks(migration.ns))
            if (auto encoded = (*map)->key().encode_bound(key)) failed.min_key = *encoded;
        const std::lock_guard lock(mutex_);
        failed_[failed] = clock_.now() + limits::failed_move;
    }
    co_await catalog_.log_change(
        "changelog", reply ? "moveChunk.from" : "moveChunk.error", migration.ns, details);
}

async::Task<Result<std::int64_t>> Balancer::run_round() {
    CO_TRY(const BalancerSettings now, settings());
    if (!now.is_enabled || !now.is_open_at(catalog_.store().wall_time())) co_return std::int64_t{0};
    const Instant began = clock_.now();
    is_in_round_ = true;
    auto input = co_await gather(now, "");
    if (!input) {
        is_in_round_ = false;
        co_return std::move(input).error();
    }
    const routing::BalancerPlan plan = routing::plan_round(*input);
    for (const routing::ZoneSplit& each : plan.splits) {
        const auto status = co_await catalog_.split(each.ns, each.chunk, each.points);
        if (!status)
            log::info(log::Component::sharding,
                      9000451,
                      "The balancer could not split a chunk",
                      {{"ns", each.ns}, {"error", status.error()}});
    }
    std::atomic<std::int64_t> moved{0};
    std::vector<async::Task<void>> moves;
    for (const routing::Migration& each : plan.migrations)
        moves.push_back(move(each, now.waits_for_delete, moved));
    co_await async::when_all(std::move(moves));
    rounds_.fetch_add(1);
    is_in_round_ = false;
    if (!plan.migrations.empty() || !plan.splits.empty()) {
        const auto candidates = static_cast<std::int32_t>(plan.migrations.size());
        const auto done = static_cast<std::int32_t>(moved.load());
        bson::Document details = bson::make("executionTimeMillis",
                                            to_milliseconds(clock_.now() - began),
                                            "errorOccured",
                                            false,
                                            "candidateChunks",
                                            candidates,
                                            "chunksMoved",
                                            done);
        co_await catalog_.log_change("actionlog", "balancer.round", "", std::move(details));
    }
    co_return moved.load() + static_cast<std::int64_t>(plan.splits.size());
}

}  // namespace tessera::sharding
