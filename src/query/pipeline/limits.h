// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace tessera::query {

/// Bytes one blocking stage ($group, $sort ...) may hold before the query fails with 292.
inline constexpr std::size_t stage_memory_max = 100ULL * 1024 * 1024;
/// Bytes of the values made while evaluating expressions on one document.
inline constexpr std::size_t evaluation_memory_max = 256ULL * 1024 * 1024;
/// A batch a stage fills by itself ends at so many documents or bytes.
inline constexpr std::size_t batch_documents_max = 1000;
inline constexpr std::size_t batch_bytes_max = 1024 * 1024;
/// Stages of one pipeline, and how deep pipelines may nest ($lookup in $lookup ...).
inline constexpr std::size_t pipeline_stages_max = 1000;
inline constexpr int pipeline_nesting_max = 20;
/// Local values a $lookup asks for at once, and documents a $merge writes at once.
inline constexpr std::size_t lookup_values_max = 1000;
inline constexpr std::size_t merge_writes_max = 1000;

}  // namespace tessera::query
