// SPDX-License-Identifier: Apache-2.0
//
// The bounds of this folder's queues, buffers and waits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/time.h"

namespace tessera::net {

/// One receive takes at most so much; the buffer belongs to the loop, not to a connection.
inline constexpr std::size_t receive_bytes = 64 * 1024;
/// What a client may send ahead while its request is being served, before we stop reading.
inline constexpr std::size_t read_ahead_bytes_max = 64 * 1024;
/// Requests of one connection in a row before others have their turn.
inline constexpr std::uint64_t turn_requests = 32;
/// Reply buffers a loop keeps for the next request, and how large they may be.
inline constexpr std::size_t spare_buffers_max = 8;
inline constexpr std::size_t spare_buffer_bytes_max = 256 * 1024;
/// Time to a new attempt when accept() fails for want of descriptors.
inline constexpr Duration accept_pause = 100ms;
/// How long after the grace period cancelled commands may take to end, before shut_down gives up.
inline constexpr Duration cancelled_end_max = 5s;

/// Pooled connections of one loop to one target: open at most, and callers waiting for one.
inline constexpr std::size_t pool_connections_max = 200;
inline constexpr std::size_t pool_waiters_max = 10'000;
/// An unused pooled connection is closed after so long.
inline constexpr Duration pool_idle_max = 60s;
/// To connect and shake hands, whatever the call's own deadline allows.
inline constexpr Duration connect_max = 10s;
/// A pooled call without an answer for so long makes us ask its target for hello, and after a hello
/// answered, no sooner again; a target that leaves hello unanswered for so long has gone.
inline constexpr Duration silence_min = 500ms;
inline constexpr Duration probe_pause = 2s;
inline constexpr Duration probe_patience = 2s;

}  // namespace tessera::net
