// SPDX-License-Identifier: Apache-2.0
//
// The configuration of a replica set as a document: what replSetInitiate and replSetReconfig take,
// replSetGetConfig answers and local.system.replset keeps (reference/protocol.md 1.1).
#pragma once

#include "base/result.h"
#include "bson/builder.h"
#include "bson/view.h"
#include "consensus/config.h"

namespace tessera::replication {

/// Reads a configuration; checks types and names, not what validate() checks.
/// Fails with InvalidReplicaSetConfig (93).
Result<consensus::ReplicaSetConfig> parse_config(bson::View document);
/// Every field, defaults included, in the order a member shows them.
bson::Document config_to_bson(const consensus::ReplicaSetConfig& config);

}  // namespace tessera::replication
