// SPDX-License-Identifier: Apache-2.0
//
// The verbs. Each returns its exit code and has said on standard error what went wrong.
#pragma once

#include <string>

#include "base/error.h"
#include "launcher/arguments.h"
#include "launcher/progress.h"
#include "launcher/topology.h"

namespace tessera::launcher {

namespace exit_code {
inline constexpr int clean = 0;
inline constexpr int failed = 1;
inline constexpr int bad_usage = 2;
inline constexpr int port_taken = 48;
}  // namespace exit_code

/// Says what went wrong; the exit code for it.
int complain(Progress& progress, const Error& error);

int run_up(const Arguments& arguments);
int run_exec(const Arguments& arguments);

int run_down(Arguments arguments);
int run_destroy(Arguments arguments);
int run_start(Arguments arguments);
int run_stop(Arguments arguments);
int run_restart(Arguments arguments);
/// Also `freeze` and `thaw`.
int run_kill(Arguments arguments);

int run_status(Arguments arguments);
int run_health(Arguments arguments);
int run_logs(Arguments arguments);
int run_uri(Arguments arguments);
int run_env(Arguments arguments);
int run_list(const Arguments& arguments);

/// Stops what runs of the cluster and deletes its folders; `report` says what stays and why.
int delete_cluster(const Topology& topology, Progress& progress);

}  // namespace tessera::launcher
