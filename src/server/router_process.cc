// SPDX-License-Identifier: Apache-2.0
//
// mongos: sockets and a router behind them. It keeps no files.
#include <cstdlib>

#include "async/block_on.h"
#include "base/log.h"
#include "roles/router.h"
#include "server/machinery.h"
#include "server/process.h"

namespace tessera::server {
namespace {

constexpr Duration shutdown_grace = 5s;

}  // namespace

int run_router(const Settings& settings) {
    Machinery machinery(settings);
    if (const auto failure = machinery.listen())
        return report_failure(failure->code, failure->error);

    roles::RouterOptions options;
    options.process = machinery.describe();
    options.config_servers.set_name = settings.config_set_name;
    options.config_servers.hosts = settings.config_hosts;
    roles::Surroundings surroundings{machinery.clock(),
                                     machinery.transport(),
                                     machinery.control(),
                                     machinery.workers(),
                                     machinery.random(),
                                     [&](int code) { machinery.request_stop(code); },
                                     [&] { return machinery.connection_counts(); }};
    auto role = std::make_unique<roles::RouterRole>(surroundings, std::move(options));
    std::optional<Error> refused;
    for (const auto& [name, value] : settings.parameters) {
        const auto set = role->router().parameters.set_at_startup(name, value);
        if (!set) refused = set.error();
    }
    if (const auto set = role->router().profiler.set_defaults(settings.profile); !set)
        refused = set.error();
    int code = exit_code::bad_options;
    if (refused) {
        report_failure(code, *refused);
    } else {
        machinery.handler().set_dispatcher(role->dispatcher(), role->router());
        machinery.accept();
        code = machinery.wait_for_stop();
        log::info(log::Component::control, 23138, "Shutting down", {{"exitCode", code}});
    }
    async::block_on(machinery.control(), role->shut_down());
    const bool has_ended = machinery.shut_down(shutdown_grace);
    if (!has_ended) {
        // A router keeps nothing: commands still running on its objects may end with the process.
        log::warning(log::Component::control,
                     9000103,
                     "Some commands did not end; leaving without waiting for them");
        std::_Exit(code);
    }
    role.reset();
    log::info(log::Component::control, 20565, "Now exiting");
    return code;
}

}  // namespace tessera::server
