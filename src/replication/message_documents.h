// SPDX-License-Identifier: Apache-2.0
//
// What members say to each other as documents (reference/protocol.md 1.2, 1.3, 1.9, clients.md).
// $replData and $oplogQueryData name members by their index in the configuration on the wire and by
// their id in the core; `config` translates.
#pragma once

#include <optional>

#include "base/result.h"
#include "bson/builder.h"
#include "bson/view.h"
#include "consensus/config.h"
#include "consensus/messages.h"

namespace tessera::replication {

/// The present configuration; null: none.
using ConfigView = const consensus::ReplicaSetConfig*;

/// A request as a command on admin, with $replData where the protocol carries it.
bson::Document request_to_bson(const consensus::Message& request, ConfigView config);
/// The fields of a reply, without "ok". An error reply is an Error instead.
Result<bson::Document> reply_to_bson(const consensus::Message& reply, ConfigView config);

Result<consensus::HeartbeatRequest> parse_heartbeat_request(bson::View request);
Result<consensus::VoteRequest> parse_vote_request(bson::View request);
Result<consensus::PositionUpdate> parse_position_update(bson::View request, ConfigView config);
/// The answer to `request`; an "ok: 0" becomes the message's error where it has one, else an Error.
Result<consensus::Message> parse_reply(const consensus::Message& request,
                                       bson::View reply,
                                       ConfigView config);

void append_repl_data(const consensus::ReplMetadata& metadata,
                      ConfigView config,
                      bson::Builder& out);
void append_oplog_query_data(const consensus::OplogQueryMetadata& metadata,
                             ConfigView config,
                             bson::Builder& out);
consensus::ReplMetadata parse_repl_data(bson::View reply, ConfigView config);
consensus::OplogQueryMetadata parse_oplog_query_data(bson::View reply, ConfigView config);

/// "ok: 0" as the Error it says; success otherwise.
Status status_of_reply(bson::View reply);

}  // namespace tessera::replication
