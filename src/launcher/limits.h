// SPDX-License-Identifier: Apache-2.0
//
// The bounds of the launcher's topologies and waits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/time.h"

namespace tessera::launcher {

inline constexpr std::int64_t shards_max = 32;
inline constexpr std::int64_t routers_max = 32;
/// Members with a vote; a replica set has no more.
inline constexpr std::int64_t members_max = 7;
inline constexpr std::uint16_t default_port = 27040;

/// How long `up` and `start` wait for readiness, unless --wait says otherwise.
inline constexpr Duration ready_wait_default = 60s;
/// How long a cluster that takes writes waits for its last members to have their places.
inline constexpr Duration members_wait_max = 5s;
/// One look at a condition to the next.
inline constexpr Duration poll_pause = 5ms;
/// One command to one process.
inline constexpr Duration command_wait_max = 10s;
inline constexpr Duration status_wait_max = 1500ms;
/// From SIGTERM to SIGKILL, for each tier of processes.
inline constexpr Duration stop_wait_max = 15s;
inline constexpr Duration kill_wait_max = 5s;

/// --any-port looks below the range the system gives to outgoing connections.
inline constexpr std::uint16_t any_port_first = 10240;
inline constexpr std::uint16_t any_port_last = 19900;
inline constexpr int any_port_attempts_max = 500;
/// How often `up --any-port` plans anew when somebody took a port in the meantime.
inline constexpr int start_attempts_max = 3;

inline constexpr std::size_t failure_log_lines = 5;
inline constexpr std::size_t small_file_bytes_max = 1024 * 1024;
inline constexpr std::size_t log_tail_bytes_max = 8 * 1024 * 1024;

}  // namespace tessera::launcher
