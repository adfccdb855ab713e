// SPDX-License-Identifier: Apache-2.0
//
// The stages only a server knows: $collStats, $currentOp, $indexStats, $listSessions,
// $listLocalSessions, $listClusterCatalog, as lists of documents.
#pragma once

#include <string_view>
#include <vector>

#include "commands/node.h"

namespace tessera::commands {

/// Fails with 40324 for a stage this server does not have.
Result<std::vector<bson::Document>> diagnostic_documents(Member& member,
                                                         const Operation& operation,
                                                         const Namespace& ns,
                                                         std::string_view stage,
                                                         const bson::Value& spec);
/// What $currentOp shows besides the operations running.
struct CurrentOpOptions {
    bool idle_cursors = false;
    bool idle_connections = false;
    /// From the stage's specification; those that change nothing here (allUsers) are not kept.
    static CurrentOpOptions parse(bson::View spec);
};
/// $currentOp's documents.
std::vector<bson::Document> current_operations(Node& node, const CurrentOpOptions& options);
/// One collection's storage statistics, as collStats shows them, sizes divided by `scale`.
bson::Document storage_stats(Member& member, const Namespace& ns, std::int64_t scale);

}  // namespace tessera::commands
