// SPDX-License-Identifier: Apache-2.0
#include "roles/router.h"

#include "base/log.h"
#include "bson/builder.h"

namespace tessera::roles {
namespace {

constexpr Duration cursor_sweep_interval = 30s;
constexpr Duration ping_interval = 10s;
constexpr Duration ping_patience = 30s;
// How long one search for the config servers may take before the log says what is waited for.
constexpr Duration search_patience = 5s;
constexpr Duration search_pause = 500ms;

}  // namespace

RouterRole::RouterRole(Surroundings surroundings, RouterOptions options)
    : surroundings_(std::move(surroundings)) {
    const Surroundings& around = surroundings_;
    router_ = std::make_unique<commands::Router>(std::move(options.process),
                                                 around.clock,
                                                 around.transport,
                                                 around.control,
                                                 around.workers,
                                                 around.random,
                                                 std::move(options.config_servers));
    router_->request_shutdown = around.request_shutdown;
    router_->connection_counts = around.connection_counts;
    dispatcher_ = std::make_unique<commands::Dispatcher>(*router_, *router_);
    background_ = std::make_unique<async::TaskGroup>(around.control);
    background_->spawn(expire_cursors());
    background_->spawn(find_config_servers());
}

RouterRole::~RouterRole() = default;

async::Task<void> RouterRole::pause(Duration duration) {
    const auto ticket = stop_.ticket();
    if (stopping_.is_cancelled()) co_return;
    const Instant until = surroundings_.clock.now() + duration;
    co_await stop_.wait(surroundings_.clock, until, ticket, stopping_);
}

async::Task<void> RouterRole::expire_cursors() {
    while (!stopping_.is_cancelled()) {
        co_await pause(cursor_sweep_interval);
        router_->cursors.expire(
            std::chrono::milliseconds(router_->parameters.cursor_timeout_ms.load()));
    }
}

async::Task<void> RouterRole::find_config_servers() {
    const auto address = router_->shards.address(sharding::config_shard);
    const std::string name = address ? address->to_string() : std::string();
    while (!stopping_.is_cancelled()) {
        const Instant deadline = surroundings_.clock.now() + search_patience;
        const auto status = co_await router_->shards.refresh(deadline, stopping_);
        if (stopping_.is_cancelled()) co_return;
        if (status) {
            log::info(log::Component::sharding,
                      9000301,
                      "Found the config servers",
                      {{"configServers", name}, {"shards", router_->shards.shards().size()}});
            break;
        }
        log::info(log::Component::sharding,
                  9000302,
                  "Waiting for the config servers",
                  {{"configServers", name}, {"error", status.error()}});
        co_await pause(search_pause);
    }
    co_await send_pings();
}

// config.mongos: who routes here, as mongosh's sh.status() shows it.
async::Task<void> RouterRole::send_pings() {
    while (!stopping_.is_cancelled()) {
        const auto status = co_await ping(surroundings_.clock.now() + ping_patience);
        if (!status && !stopping_.is_cancelled())
            log::warning(log::Component::sharding,
                         9000303,
                         "Could not tell the config servers that this router lives",
                         {{"error", status.error()}});
        co_await pause(ping_interval);
    }
}

async::Task<Status> RouterRole::ping(Instant deadline) {
    const commands::ProcessInfo& process = router_->process;
    const auto up = std::chrono::duration_cast<std::chrono::seconds>(surroundings_.clock.now() -
                                                                     process.started);
    bson::Builder set;
    set.append("_id", process.host.to_string());
    set.append("advisoryHostFQDNs", bson::ArrayBuilder().finish().view().as_array_value());
    set.append("created", process.started_wall);
    set.append("mongoVersion", commands::server_version);
    set.append("ping", surroundings_.clock.wall_now());
    set.append("up", static_cast<std::int64_t>(up.count()));
    set.append("waiting", true);
    const bson::Document query = bson::make("_id", process.host.to_string());
    bson::Builder command;
    command.append("update", "mongos");
    {
        auto updates = command.array("updates");
        bson::Builder update = updates.object();
        update.append("q", query);
        update.append("u", std::move(set).finish());
        update.append("upsert", true);
    }
    command.append("writeConcern", bson::make("w", "majority"));
    command.append("$db", "config");
    sharding::CallOptions options;
    options.deadline = deadline;
    options.is_retryable = true;
    options.cancellation = stopping_;
    bson::Document body = std::move(command).finish();
    const auto reply =
        co_await router_->shards.call_ok(sharding::config_shard, std::move(body), options);
    if (!reply) co_return reply.error();
    co_return Status();
}

async::Task<void> RouterRole::shut_down() {
    router_->is_shutting_down = true;
    router_->never_changes.notify();
    stopping_.cancel();
    stop_.notify();
    router_->operations.kill_all(
        ErrorCode::interrupted_at_shutdown,
        [](const commands::Operation&, const commands::Operation::Description& description) {
            return description.command_name != "shutdown";
        });
    co_await background_->join();
    router_->cursors.kill_all();
}

}  // namespace tessera::roles
