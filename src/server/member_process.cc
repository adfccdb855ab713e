// SPDX-License-Identifier: Apache-2.0
//
// mongod: data directory, engine, role, sockets, in the order that lets a second start on the same
// port or directory fail before it touches anything.
#include <filesystem>

#include "async/block_on.h"
#include "base/log.h"
#include "roles/member.h"
#include "server/machinery.h"
#include "server/process.h"
#include "storage/data_directory.h"
#include "storage/memory/open.h"
#include "storage/wiredtiger/open.h"

namespace tessera::server {
namespace {

constexpr Duration shutdown_grace = 5s;
constexpr Duration step_down_patience = 2s;

std::string directory_role(const Settings& settings) {
    if (settings.cluster_role == ClusterRole::config) return "config";
    if (settings.cluster_role == ClusterRole::shard) return "shard";
    return settings.set_name.empty() ? "standalone" : "replica";
}

// A fifth of the free disk, between 50 MB and 1 GB: several members share a laptop.
std::int64_t oplog_bytes(const Settings& settings) {
    constexpr std::int64_t megabyte = 1024 * 1024;
    if (settings.oplog_megabytes > 0) return settings.oplog_megabytes * megabyte;
    std::error_code failure;
    const auto space = std::filesystem::space(settings.db_path, failure);
    const std::int64_t fifth =
        failure ? 1024 * megabyte : static_cast<std::int64_t>(space.available / 5);
    return std::clamp(fifth, 50 * megabyte, 1024 * megabyte);
}

Result<std::unique_ptr<storage::Engine>> open_engine(const Settings& settings) {
    if (settings.storage_engine == "memory")
        return std::unique_ptr<storage::Engine>(storage::memory::open());
    storage::wiredtiger::Options options;
    options.cache_bytes = static_cast<std::uint64_t>(settings.cache_gigabytes * (1U << 30));
    options.checkpoint_interval = std::chrono::seconds(settings.checkpoint_seconds);
    return storage::wiredtiger::open(settings.db_path, options);
}

int open_failure_code(const Error& error) {
    return error.code() == ErrorCode::bad_value ? exit_code::need_downgrade : exit_code::uncaught;
}

}  // namespace

int run_member(const Settings& settings) {
    Machinery machinery(settings);
    if (const auto failure = machinery.listen())
        return report_failure(failure->code, failure->error);

    std::optional<storage::DataDirectoryLock> lock;
    if (settings.storage_engine != "memory") {
        auto acquired = storage::DataDirectoryLock::acquire(settings.db_path);
        if (!acquired) return report_failure(exit_code::uncaught, acquired.error());
        lock.emplace(std::move(*acquired));
        const auto marked = storage::check_marker(settings.db_path, directory_role(settings));
        if (!marked) return report_failure(exit_code::need_downgrade, marked.error());
        if (lock->was_unclean())
            log::warning(log::Component::storage,
                         22271,
                         "Detected unclean shutdown - Lock file is not empty",
                         {{"dbpath", settings.db_path}});
    }
    auto engine = open_engine(settings);
    if (!engine) return report_failure(open_failure_code(engine.error()), engine.error());

    roles::MemberOptions options;
    options.process = machinery.describe();
    options.was_unclean = lock && lock->was_unclean();
    options.replication.set_name = settings.set_name;
    options.replication.host = options.process.host;
    options.replication.is_config_server = settings.cluster_role == ClusterRole::config;
    options.replication.oplog_bytes_max = oplog_bytes(settings);
    roles::Surroundings surroundings{machinery.clock(),
                                     machinery.transport(),
                                     machinery.control(),
                                     machinery.workers(),
                                     machinery.random(),
                                     [&](int code) { machinery.request_stop(code); },
                                     [&] { return machinery.connection_counts(); }};
    auto role = roles::MemberRole::start(surroundings, std::move(options), std::move(*engine));
    if (!role) {
        const bool is_anothers = role.error().code() == ErrorCode::inconsistent_replica_set_names;
        return report_failure(is_anothers ? exit_code::need_downgrade : exit_code::uncaught,
                              role.error());
    }
    for (const auto& [name, value] : settings.parameters) {
        const auto set = (*role)->member().parameters.set_at_startup(name, value);
        if (!set) return report_failure(exit_code::bad_options, set.error());
    }
    const auto profiled = (*role)->member().profiler.set_defaults(settings.profile);
    if (!profiled) return report_failure(exit_code::bad_options, profiled.error());
    machinery.handler().set_dispatcher((*role)->dispatcher(), (*role)->member());
    machinery.accept();

    const int code = machinery.wait_for_stop();
    log::info(log::Component::control, 23138, "Shutting down", {{"exitCode", code}});
    async::block_on(machinery.control(), (*role)->shut_down(step_down_patience));
    const bool has_ended = machinery.shut_down(shutdown_grace);
    if (!has_ended) {
        // Something still runs on objects we would destroy; what was acknowledged is in the
        // journal.
        log::warning(log::Component::control,
                     9000103,
                     "Some commands did not end; leaving without waiting for them");
        std::_Exit(code);
    }
    role->reset();
    log::info(log::Component::control, 20565, "Now exiting");
    return code;
}

}  // namespace tessera::server
