// SPDX-License-Identifier: Apache-2.0
//
// The bounds of this module, each stated once.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/time.h"

namespace tessera::replication::limits {

/// Entries, and their bytes, applied in one storage transaction.
inline constexpr std::size_t apply_group_entries = 1'000;
inline constexpr std::size_t apply_group_bytes = 4U * 1024 * 1024;
/// Units of several entries remembered until they are committed (Oplog::unit_boundary).
inline constexpr std::size_t units_kept = 65'536;
/// Attempts of a group that meets write conflicts before the member gives up applying.
inline constexpr int apply_attempts_max = 1'000;
/// Fetched bytes that wait to be applied; the fetcher pauses beyond.
inline constexpr std::size_t fetch_buffer_bytes = 64U * 1024 * 1024;
/// A getMore of the oplog waits for news half an election timeout, within these. Nothing hangs on
/// its end: heartbeats tell who is alive, and a source that is not is left at once.
inline constexpr Duration fetch_await_min = 5s;
inline constexpr Duration fetch_await_max = 30s;
/// The answer may take so much longer than that.
inline constexpr Duration fetch_network_slack = 5s;
inline constexpr Duration probe_timeout = 5s;
inline constexpr Duration denylist_period = 10s;
/// Whose oplog no longer reaches back to ours is asked again after this.
inline constexpr Duration stale_source_period = 60s;
/// Entries a rollback reads at a time while it looks for the common point, and in all.
inline constexpr std::int32_t rollback_batch = 1'000;
inline constexpr std::size_t rollback_entries_max = 10'000'000;
/// How long a rollback waits for readers to let go of the engine.
inline constexpr int recover_attempts_max = 3'000;
inline constexpr Duration recover_retry = 10ms;
/// Attempts at an initial sync, one after the other, before the member rests for a while.
inline constexpr int initial_sync_attempts = 10;
inline constexpr Duration initial_sync_rest = 1s;
/// Bytes of documents inserted in one transaction while cloning.
inline constexpr std::size_t clone_bytes = 1U * 1024 * 1024;
/// While an initial sync clones, its getMores of the log wait this long.
inline constexpr Duration clone_log_await = 250ms;
/// How much history is kept for reads at a timestamp.
inline constexpr std::uint32_t history_seconds = 5;
/// How often the oplog's size is looked at, and how much goes at once.
inline constexpr Duration truncation_interval = 10s;
inline constexpr std::size_t truncation_entries = 100'000;
/// A request from another member is given up after this.
inline constexpr Duration inbound_timeout = 30s;
/// The largest number a commitQuorum may be: members of a set.
inline constexpr std::int64_t commit_quorum_max = 50;
/// Attempts at a change of an index build's record that meets others.
inline constexpr int build_record_attempts = 100;
/// How often the driver of an index build looks at what may have changed unsaid: the votes for
/// it, documents to be checked.
inline constexpr Duration build_look_interval = 100ms;
/// A build that failed on a secondary is begun again after this: what stood in its way may be gone.
inline constexpr Duration build_again_interval = 1s;
/// How long a member waits for the primary's answer to its vote.
inline constexpr Duration build_vote_timeout = 5s;
/// How long replSetInitiate and replSetReconfig wait for each other member.
inline constexpr Duration quorum_timeout = 5s;

}  // namespace tessera::replication::limits
