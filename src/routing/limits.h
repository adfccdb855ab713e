// SPDX-License-Identifier: Apache-2.0
//
// Every limit of this module, in one place.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tessera::routing::limits {

/// Fields of one shard key.
inline constexpr std::size_t shard_key_fields = 32;
/// Key ranges one filter may expand to; beyond it the later fields of the key are ignored.
inline constexpr std::size_t key_ranges = 4096;
/// Nesting of $and and $or that is looked into; deeper parts of a filter do not narrow a target.
inline constexpr std::size_t filter_depth = 64;

/// Rounds a router tries again after stale answers (protocol.md 4.3).
inline constexpr int stale_retries = 10;
/// Rounds of a write batch without a finished statement before NoProgressMade.
inline constexpr int rounds_without_progress = 5;

/// Statements and bytes of one child batch sent to a shard.
inline constexpr std::size_t child_batch_statements = 1000;
inline constexpr std::size_t child_batch_bytes = std::size_t{16} << 20;
/// Bytes of error messages a merged reply carries in full; later ones are sent empty.
inline constexpr std::size_t error_message_bytes = std::size_t{1} << 20;

/// The chunk size when config.settings says nothing.
inline constexpr std::int64_t chunk_bytes = std::int64_t{128} << 20;
/// A collection is balanced when no two shards differ by this many chunk sizes.
inline constexpr std::int64_t imbalance_chunks = 3;
/// numInitialChunks: a shard, and in all.
inline constexpr std::int64_t initial_chunks_per_shard = 8192;
inline constexpr std::int64_t initial_chunks = 1'000'000;
/// Split points of one split command.
inline constexpr std::size_t split_points = 8192;
/// Entries kept of a chunk's history, the newest first.
inline constexpr std::size_t chunk_history = 100;

}  // namespace tessera::routing::limits
