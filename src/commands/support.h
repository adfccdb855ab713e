// SPDX-License-Identifier: Apache-2.0
//
// Small things many command files share.
#pragma once

#include <string>
#include <string_view>

#include "commands/command.h"

namespace tessera::commands {

/// The error of a command aimed at what exists only as a view.
Error is_a_view(const Namespace& ns);
/// The `$sort`, `{}` forms ... of a field that must be an object in a statement.
Result<bson::View> required_object(bson::View statement, std::string_view field,
                                   std::string_view struct_name);
/// A Builder's worth of an int64 that shows as int32 where it fits, as counts do on the wire.
void append_count(bson::Builder& out, std::string_view name, std::int64_t value);
/// What a write error's entry holds: {index, code, errmsg, details...}.
void append_write_error(bson::ArrayBuilder& errors, std::int64_t index, const Error& error);
/// Whether the error ends a whole command rather than one statement of it: not primary any more,
/// interrupted, stale routing, shutdown.
bool ends_command(const Error& error);
/// Completes a client's session id with the digest of its user: none without authentication.
replication::SessionId complete(const replication::SessionId& id);

/// {firstBatch: documents, id: 0, ns}: a cursor that is exhausted with its first batch.
void append_finished_cursor(bson::Builder& reply, const std::string& ns,
                            const std::vector<bson::Document>& documents);

/// atClusterTime, where the read was one of level "snapshot": later reads of the client's session
/// ask for the same moment.
void append_snapshot_time(const Invocation& invocation, bson::Builder& out);

/// Implements a command's member side by a plain function, for those that never wait.
template <Status (*Function)(Member&, Invocation&)>
async::Task<Status> member_function(Member& member, Invocation& invocation) {
    co_return Function(member, invocation);
}
template <Status (*Function)(Router&, Invocation&)>
async::Task<Status> router_function(Router& router, Invocation& invocation) {
    co_return Function(router, invocation);
}
/// The same on members and routers alike.
template <Status (*Function)(Node&, Invocation&)>
async::Task<Status> on_any_member(Member& member, Invocation& invocation) {
    co_return Function(member, invocation);
}

}  // namespace tessera::commands
