// SPDX-License-Identifier: Apache-2.0
//
// TAGs name processes: by name or port, by set, by role, by what they are at this moment. Of one
// kind they add up (config-1 config-2), of several kinds they must all hold (shard-1 primary).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "launcher/status.h"
#include "launcher/topology.h"

namespace tessera::launcher {

/// Whether a word can be a tag of this cluster.
bool is_tag(const Topology& topology, std::string_view word);
/// Whether any of the words needs the processes to be asked (primary, secondary, arbiter).
bool needs_status(const std::vector<std::string>& words);
/// Fails with BadValue for a word that is no tag, and when no process is meant.
Result<std::vector<const Node*>> select_nodes(const Topology& topology,
                                              const std::vector<std::string>& words,
                                              const std::vector<NodeStatus>& states);

}  // namespace tessera::launcher
