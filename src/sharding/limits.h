// SPDX-License-Identifier: Apache-2.0
//
// Every limit of this module, in one place.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/time.h"

namespace tessera::sharding::limits {

/// Bytes of one _migrateClone or _transferMods answer.
inline constexpr std::size_t migration_batch_bytes = std::size_t{8} << 20;
/// Changed _ids a donor remembers while a range is cloned; beyond it the migration is aborted.
inline constexpr std::size_t migration_changes_bytes = std::size_t{64} << 20;
/// How long a migration may take to become small enough for its critical section.
inline constexpr Duration migration_catch_up = std::chrono::hours(6);
/// A critical section begins when so much is left to transfer.
inline constexpr std::size_t critical_section_bytes = std::size_t{256} << 10;
/// How long the recipient has to commit inside the critical section.
inline constexpr Duration critical_section = std::chrono::seconds(30);
/// Between two polls of a recipient.
inline constexpr Duration migration_poll_min = std::chrono::milliseconds(1);
inline constexpr Duration migration_poll_max = std::chrono::seconds(1);

/// Documents of a collection that is copied whole which are written in one unit, and asked for at
/// once.
inline constexpr std::size_t copy_unit = 128;
inline constexpr std::int64_t copy_batch = 2000;
/// How long movePrimary may block the writes of a database, and how long it waits for reads that
/// began before to end until it drops what it has moved.
inline constexpr Duration database_copy = std::chrono::hours(6);
inline constexpr Duration reads_of_moved_database = std::chrono::seconds(10);

/// The middle of a range is that of so many documents, of which so many keys are kept.
inline constexpr std::size_t median_documents = 200'000;
inline constexpr std::size_t median_sample = 4096;

/// Documents a range deletion removes before it lets others run.
inline constexpr std::size_t range_deletion_batch = 128;
inline constexpr Duration range_deletion_pause = std::chrono::milliseconds(20);
/// Orphans stay so long for readers on secondaries (orphanCleanupDelaySecs).
inline constexpr Duration orphan_cleanup_delay = std::chrono::minutes(15);

/// Chunks that came later keep their history: a read at an earlier time may ask for it
/// (minSnapshotHistoryWindowInSeconds, transactionLifetimeLimitSeconds: the longer one).
inline constexpr Duration history_window = std::chrono::seconds(300);

/// Pause between balancer rounds, when nothing moved and when something did.
inline constexpr Duration balancer_idle = std::chrono::seconds(10);
inline constexpr Duration balancer_busy = std::chrono::seconds(1);
/// A failed move is not tried again for so long.
inline constexpr Duration failed_move = std::chrono::minutes(1);

/// How long a change of metadata may wait for a majority, and its attempts after write conflicts.
inline constexpr Duration majority_wait = std::chrono::seconds(30);
inline constexpr int conflict_attempts = 100;
/// Statements of one session that are taken along with a range, and how long a session that is in
/// use may be waited for.
inline constexpr int session_links = 100'000;
inline constexpr Duration session_wait = std::chrono::seconds(10);
/// A shard leaves a critical section that the config servers asked for after so long by itself.
inline constexpr Duration change_lease = std::chrono::seconds(30);
/// Attempts of a new config primary, a second apart, at a drop its predecessor had begun.
inline constexpr int drop_attempts = 120;
/// A shard that takes part in a rename asks how it ended when it has heard nothing for so long.
inline constexpr Duration rename_patience = std::chrono::seconds(5);
/// How long a rename may wait for moves of ranges to end on all shards.
inline constexpr Duration rename_quiet = std::chrono::seconds(30);
/// How long one step of a DDL operation may take on a shard.
inline constexpr Duration ddl_step = std::chrono::seconds(60);
/// config.changelog and config.actionlog keep so many entries: older ones are dropped.
inline constexpr std::size_t changelog_entries = 2000;

/// Attempts to reach a set's primary by one call, and how long one discovery may take.
inline constexpr int primary_attempts = 8;
inline constexpr Duration discovery = std::chrono::seconds(20);
/// How long one member may take to answer hello, and the pauses between rounds of asking.
inline constexpr Duration hello_patience = std::chrono::seconds(2);
inline constexpr Duration discovery_pause_min = std::chrono::milliseconds(20);
inline constexpr Duration discovery_pause_max = std::chrono::milliseconds(250);
/// How long a read of the config servers' collections may take by itself.
inline constexpr Duration config_read = std::chrono::seconds(30);
/// Reads of what a shard has been told already, until the config servers show it.
inline constexpr int catch_up_attempts = 7;
/// Refreshes of one cache entry that may fail in a row before waiters get the error.
inline constexpr int refresh_attempts = 3;

}  // namespace tessera::sharding::limits
