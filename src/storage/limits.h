// SPDX-License-Identifier: Apache-2.0
//
// Every bound of the storage layer, in one place.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/time.h"

namespace tessera::storage::limits {

/// Transactions open at once in one engine; beyond it begin() fails with TemporarilyUnavailable.
inline constexpr std::uint32_t transactions_max = 512;
/// Idle engine sessions kept for reuse, and idle cursors kept by one session.
inline constexpr std::size_t idle_sessions_max = 64;
inline constexpr std::size_t cached_cursors_max = 128;
/// A key's length. Index keys of MongoDB are unlimited since 4.2; a document bounds them.
inline constexpr std::size_t key_bytes_max = 17 * 1024 * 1024;
/// A value from this size on is kept compressed by a table that packs large values. Smaller ones
/// are worth it only many at a time, as the journal and the pages do.
inline constexpr std::size_t packed_value_bytes_min = 16 * 1024;
/// Time between two checkpoints of the background thread, and between two journal syncs when
/// nobody waits for one.
inline constexpr Duration checkpoint_interval = 60s;
inline constexpr Duration journal_interval = 100ms;
/// How often tables whose drop had to wait are tried again.
inline constexpr Duration drop_retry_interval = 1s;
/// Waiters for one journal sync; beyond it a waiter is told TemporarilyUnavailable.
inline constexpr std::size_t durability_waiters_max = 100'000;

}  // namespace tessera::storage::limits
