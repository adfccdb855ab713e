// SPDX-License-Identifier: Apache-2.0
//
// The bounds of the protocol's pure core, each stated once.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/time.h"

namespace tessera::consensus::limits {

inline constexpr std::size_t members_max = 50;
inline constexpr std::size_t voters_max = 7;
inline constexpr double priority_max = 1000.0;
inline constexpr std::int64_t config_version_max = 2147483647;

/// Who hears from a member by its heartbeats still asks it himself once in so many intervals.
inline constexpr int heartbeats_spared_max = 8;
/// Attempts after the first within one round of heartbeats to one member.
inline constexpr int heartbeat_retries_max = 2;
/// Requests waiting for an answer at once, whatever their kind; more are not sent.
inline constexpr std::size_t requests_in_flight_max = 512;
/// Granted votes waiting for the ballot to become durable; more are refused.
inline constexpr std::size_t held_votes_max = 128;
/// Hosts on the sync-source denylist; the oldest deadline leaves first.
inline constexpr std::size_t denylist_max = 128;

/// The election timer's random extra, as a fraction of the election timeout.
inline constexpr double election_timeout_offset_fraction = 0.15;
/// Elections lost to a split vote that are repeated without another election timeout.
inline constexpr int quick_retries_max = 3;
/// A member takes over by priority only when this close to the newest known position.
inline constexpr std::uint32_t priority_takeover_freshness_seconds = 2;
inline constexpr std::uint32_t priority_takeover_freshness_increments = 1000;

/// A sync source may be this far behind the newest eligible member.
inline constexpr std::uint32_t sync_source_lag_seconds_max = 30;
/// How far behind a source named by replSetSyncFrom may be.
inline constexpr std::uint32_t asked_source_lag_seconds_max = 10;
/// Another source must be nearer by this much to be worth a change ...
inline constexpr Duration sync_source_ping_threshold = 5ms;
/// ... and such changes are this rare.
inline constexpr int sync_source_changes_an_hour_max = 3;
inline constexpr Duration sync_source_retry = 1s;

}  // namespace tessera::consensus::limits
