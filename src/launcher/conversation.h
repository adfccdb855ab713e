// SPDX-License-Identifier: Apache-2.0
//
// What the launcher says to the processes, and what it makes of their answers: public commands
// only.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "launcher/topology.h"
#include "net/blocking_client.h"

namespace tessera::launcher {

struct Hello {
    bool is_router = false;
    std::string set_name;  // Empty before the set is initiated.
    bool is_primary = false;
    bool is_secondary = false;
    bool is_arbiter = false;
    /// Primary, and something of its own term is known to a majority: it takes majority writes.
    bool is_established = false;
    std::string primary;  // "host:port" of the one it takes for it.
};
Hello read_hello(bson::View reply);
Result<Hello> ask_hello(net::BlockingClient& client, Duration timeout);

/// Elections within about a second instead of ten: members of one machine hear of each other soon.
bson::Document initiate_command(const Topology& topology, const std::string& set);
/// {_id: "router-1", readyAt: ...} into config.tessera, acknowledged by a majority.
bson::Document ready_write(const Node& router, WallTime now);
/// Small chunks, so that a small cluster's balancer has something to do; only where nobody chose.
bson::Document chunk_size_write();
bson::Document add_shard_command(const Topology& topology, const std::string& set);
/// The ids in a reply to listShards.
std::vector<std::string> shards_of(bson::View reply);
/// A write's reply with ok: 1 may still carry writeErrors or a writeConcernError.
Status check_write(bson::View reply);

}  // namespace tessera::launcher
