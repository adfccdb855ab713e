// SPDX-License-Identifier: Apache-2.0
//
// The decision on the first batch from a new sync source (protocol.md 1.7): a pure function.
#pragma once

#include <cstdint>
#include <optional>

#include "base/optime.h"

namespace tessera::consensus {

struct FirstBatchFacts {
    /// The newest entry of my own log, from which the fetch began (inclusive).
    OpTime last_fetched;
    /// The source's rollback id when it was probed, and with this batch.
    std::int32_t rollback_id_probed = 0;
    std::int32_t rollback_id = 0;
    /// `$oplogQueryData`.lastOpApplied that came with the batch.
    OpTime source_applied;
    /// The source's oldest entry, from the probe.
    OpTime source_oldest;
    /// The first document of the batch, if it has one.
    std::optional<OpTime> first;
    /// Whether the source must be strictly ahead (it is not the primary and this is steady state).
    bool must_be_ahead = false;
};

enum class FirstBatch {
    proceed,         // Drop the first entry (mine) and append the rest.
    choose_another,  // The source does not serve (119 InvalidSyncSource): denylist it for a while.
    roll_back,       // The logs part before my newest entry (120 OplogStartMissing).
    too_stale,       // The source's log begins after mine ends.
};

FirstBatch check_first_batch(const FirstBatchFacts& facts);

}  // namespace tessera::consensus
