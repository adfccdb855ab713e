// SPDX-License-Identifier: Apache-2.0
//
// Whether enough members have an entry (protocol.md 1.17), as pure functions of positions and
// configuration. Waiting, time-outs and error replies are the driver's.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/optime.h"
#include "base/result.h"
#include "consensus/config.h"

namespace tessera::consensus {

struct WriteConcern {
    /// A number of members, or "majority", or a mode of the configuration.
    std::variant<int, std::string> w = std::string("majority");
    /// What `j` said; absent: durable for "majority" (by writeConcernMajorityJournalDefault),
    /// applied for a number or a mode.
    std::optional<bool> journal;

    bool is_majority() const {
        const auto* mode = std::get_if<std::string>(&w);
        return mode != nullptr && *mode == "majority";
    }
};

/// One member's progress as this node knows it.
struct KnownPosition {
    MemberId member = no_member;
    OpTime applied;
    OpTime durable;
};

/// Everything the question depends on.
struct ReplicationProgress {
    const ReplicaSetConfig* config = nullptr;
    MemberId self = no_member;
    OpTime commit_point;
    std::vector<KnownPosition> positions;
};

/// Fails with UnsatisfiableWriteConcern (100) when even all members together could not satisfy
/// it, with UnknownReplWriteConcern (79) when the mode is not in the configuration.
Status check_satisfiable(const WriteConcern& concern, const ReplicaSetConfig& config);

/// Returns whether `optime` is replicated as `concern` asks. w:0 and, once this member has it,
/// w:1 are satisfied at once. Requires: check_satisfiable (else false).
bool is_satisfied(const WriteConcern& concern, OpTime optime, const ReplicationProgress& progress);

}  // namespace tessera::consensus
