// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/time.h"

namespace tessera::catalog::limits {

/// Indexes of one collection, the one of _id included.
inline constexpr std::size_t indexes_max = 64;
inline constexpr std::size_t index_fields_max = 32;
inline constexpr std::size_t index_name_bytes_max = 1024;
/// Documents of one transaction while an index is filled.
inline constexpr int build_batch = 1000;
/// Documents and bytes of one slice of a build that others write beside.
inline constexpr int build_slice_documents = 256;
inline constexpr std::size_t build_slice_bytes = 1024 * 1024;
/// A slice that meets writers this often goes on alone.
inline constexpr int build_attempts_shared = 12;
/// Records written during the build of a unique index: looked at so many at a time, and kept.
inline constexpr std::size_t build_suspects_batch = 2000;
inline constexpr std::size_t build_suspects_max = 1'000'000;
/// A collection with at most this many documents is counted anew when its directory is opened;
/// the saved count of a larger one is believed until it has been counted in the background.
inline constexpr std::int64_t recount_max = 50'000;
/// Documents counted between two looks at whether to go on.
inline constexpr std::int64_t recount_slice = 10'000;
/// Namespace locks kept for namespaces that hold no collection.
inline constexpr std::size_t idle_locks_max = 10'000;
/// Capped collections, and the smallest size they are given.
inline constexpr std::int64_t capped_bytes_min = 4096;
/// Documents one insert into a capped collection may push out.
inline constexpr std::size_t capped_excess_max = 1000;
/// Faults one validation lists.
inline constexpr std::size_t validation_faults_max = 1000;
/// The longest expireAfterSeconds.
inline constexpr std::int64_t expire_after_seconds_max = 2'147'483'647;

}  // namespace tessera::catalog::limits
