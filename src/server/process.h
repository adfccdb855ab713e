// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "server/settings.h"

namespace tessera::server {

/// Runs a mongod or a mongos until it is told to stop, and returns the process's exit code. What
/// goes wrong at the start is logged and also said in one line on standard error.
int run_member(const Settings& settings);
int run_router(const Settings& settings);

}  // namespace tessera::server
