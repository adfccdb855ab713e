// SPDX-License-Identifier: Apache-2.0
//
// Every bound of planning and execution, in one place.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tessera::query {

/// Bytes a blocking sort may hold before the query fails with 292.
inline constexpr std::size_t sort_memory_max = 100ULL * 1024 * 1024;
/// Steps of execution between two questions whether to go on.
inline constexpr std::uint32_t steps_per_check = 8;  // A step may be an expensive $expr.
/// Plans tried against each other; the rest is ranked by rule alone.
inline constexpr std::size_t candidates_max = 16;
/// A trial ends when a plan has given so many documents, is at its end, or all have used up
/// max(trial_works_min, trial_works_fraction * documents) steps.
inline constexpr std::uint64_t trial_results_max = 101;
inline constexpr std::uint64_t trial_works_min = 10'000;
inline constexpr double trial_works_fraction = 0.3;
/// Scans one $in may be taken apart into, so that an index provides the sort.
inline constexpr std::size_t explode_max = 200;
/// Branches of $or planned with indexes.
inline constexpr std::size_t branches_max = 1000;
/// RecordIds remembered to drop duplicates; beyond it the query fails with 146.
inline constexpr std::size_t record_ids_max = 16'000'000;

}  // namespace tessera::query
