// SPDX-License-Identifier: Apache-2.0
//
// The answer of replSetGetStatus (reference/observed.md).
#pragma once

#include "bson/view.h"
#include "consensus/views.h"

namespace tessera::replication {

/// Now, on both clocks, and what the storage knows.
struct StatusTimes {
    Instant now;
    WallTime wall;
    Timestamp stable_recovery;  // Of the last checkpoint; null: none yet.
    std::string_view message;   // Why this member is in the state it is in; mostly empty.
};

bson::Document status_to_bson(const consensus::StatusView& view, const StatusTimes& times);

}  // namespace tessera::replication
