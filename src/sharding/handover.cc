// SPDX-License-Identifier: Apache-2.0
#include "sharding/handover.h"

#include <algorithm>

#include "sharding/limits.h"

namespace tessera::sharding {

async::Task<Result<bson::Document>> ask_until_answered(MigrationEnvironment environment,
                                                       ShardName shard,
                                                       bson::Document command) {
    Duration pause = limits::migration_poll_min;
    for (;;) {
        CallOptions options;
        options.deadline = environment.clock.now() + limits::critical_section;
        options.is_retryable = true;
        auto reply = co_await environment.registry.call_settled(shard, command, std::move(options));
        if (reply || reply.error().code() == ErrorCode::shard_not_found ||
            environment.registry.is_shut_down())
            co_return reply;
        CO_TRY_OK(environment.replication.check_writable(config_ns("migrationCoordinators")));
        async::sleep_until wait(environment.clock, environment.clock.now() + pause);
        co_await wait;
        pause = std::min(pause * 2, limits::migration_poll_max);
    }
}

async::Task<Status> refresh_until(MigrationEnvironment environment,
                                  std::string ns,
                                  std::function<bool()> is_shown) {
    const Instant until = environment.clock.now() + limits::config_read;
    Duration pause = limits::discovery_pause_min;
    for (;;) {
        CO_TRY_OK(co_await environment.state.refresh(ns, until));
        if (is_shown()) co_return Status();
        if (environment.clock.now() + pause >= until)
            co_return Error(ErrorCode::exceeded_time_limit,
                            "the config servers do not show what they have committed of " + ns);
        async::sleep_until wait(environment.clock, environment.clock.now() + pause);
        co_await wait;
        pause = std::min(pause * 2, limits::discovery_pause_max);
    }
}

async::Task<Status> await_recipient(MigrationEnvironment environment, RecipientWatch watch) {
    constexpr Duration pause_max = 50ms;
    Duration pause = limits::migration_poll_min;
    for (;;) {
        CallOptions poll;
        poll.deadline = environment.clock.now() + limits::critical_section;
        poll.is_retryable = true;
        CO_TRY(const auto status,
               co_await environment.registry.call_ok(watch.shard, watch.ask, std::move(poll)));
        CO_TRY(const bool is_reached, watch.judge(status));
        if (is_reached) co_return Status();
        if (environment.clock.now() >= watch.until)
            co_return Error(ErrorCode::exceeded_time_limit, "the recipient did not catch up");
        async::sleep_until wait(environment.clock, environment.clock.now() + pause);
        co_await wait;
        pause = std::min(pause * 2, pause_max);
    }
}

}  // namespace tessera::sharding
