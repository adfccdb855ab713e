// SPDX-License-Identifier: Apache-2.0
//
// Writes through a router as a function, for the write commands and for $out and $merge.
#pragma once

#include <vector>

#include "commands/router_calls.h"
#include "routing/write_batch.h"

namespace tessera::commands {

struct RouterWrite {
    enum class Kind { insert, update, remove };
    Kind kind = Kind::insert;
    Namespace ns;
    std::vector<bson::View> statements;  // Documents, or {q, u, ...}; outlive the write.
    bson::View let;
    bool is_ordered = true;
    bool bypasses_validation = false;
    bool has_statement_numbers = false;  // A retryable write: stmtIds go along.
};

std::string_view list_name(RouterWrite::Kind kind);
std::string_view command_name(RouterWrite::Kind kind);
/// A statement's number within its session's transaction: its index, or what the client says.
std::int64_t statement_number(const Request& request, std::size_t index);

/// Carries a write out on whatever shards it concerns. Requires: the database exists.
async::Task<Result<routing::WriteBatchResult>> run_write(Router& router,
                                                         Invocation& invocation,
                                                         const RouterWrite& write);

}  // namespace tessera::commands
