// SPDX-License-Identifier: Apache-2.0
//
// Ends processes in the order routers, shards, config servers, so that none looks for one that is
// gone: SIGTERM, a deadline, SIGKILL. Safe to repeat: what does not run is passed over.
#pragma once

#include <string>
#include <vector>

#include "base/time.h"
#include "launcher/progress.h"
#include "launcher/signals.h"
#include "launcher/topology.h"

namespace tessera::launcher {

struct StopReport {
    int ended = 0;
    int killed = 0;                     // Did not end in time.
    std::vector<std::string> failures;  // "shard-1-2: ..."; empty when all went well.
};

/// Ctrl-C meanwhile ends the patience: SIGKILL at once.
StopReport stop_nodes(const Topology& topology,
                      const std::vector<const Node*>& nodes,
                      Progress& progress,
                      Signals& signals,
                      Duration patience);

/// Sends one signal to each; for those that end a process, waits for its end.
StopReport signal_nodes(const Topology& topology,
                        const std::vector<const Node*>& nodes,
                        int number,
                        Progress& progress);

}  // namespace tessera::launcher
