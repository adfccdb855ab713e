// SPDX-License-Identifier: Apache-2.0
//
// Input: a document, tried as everything a member reads from another one or from whoever calls
// replSetInitiate: a configuration, an oplog entry, the requests and replies between members, read
// and write concerns. What is read as a configuration is shown as one that reads the same.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "bson/validate.h"
#include "consensus/config.h"
#include "replication/config_documents.h"
#include "replication/message_documents.h"
#include "replication/oplog_entry.h"
#include "replication/read_write_concern.h"

namespace {

using namespace tessera;  // NOLINT(google-build-using-namespace): a fuzz target is one function.

consensus::ReplicaSetConfig known_config() {
    consensus::ReplicaSetConfig config;
    config.set_name = "rs";
    for (consensus::MemberId id = 0; id < 3; ++id) {
        consensus::MemberConfig member;
        member.id = id;
        member.host = {"host", static_cast<std::uint16_t>(27017 + id)};
        config.members.push_back(member);
    }
    return config;
}

void try_config(bson::View document) {
    const auto config = replication::parse_config(document);
    if (!config) return;
    const auto again = replication::parse_config(replication::config_to_bson(*config));
    ASSERT(again.has_value() && *again == *config);
    if (!config->validate()) return;
    (void)config->validate_for_initiate(0).has_value();
    (void)config->validate_reconfig(known_config(), 0, false).has_value();
}

void try_entry(bson::View document) {
    const auto entry = replication::ParsedEntry::parse(document);
    if (!entry) return;
    ASSERT(bson::validate(entry->object.bytes()).has_value());
    if (entry->object2) ASSERT(bson::validate(entry->object2->bytes()).has_value());
}

void try_messages(bson::View document, const consensus::ReplicaSetConfig& config) {
    (void)replication::parse_heartbeat_request(document).has_value();
    (void)replication::parse_vote_request(document).has_value();
    (void)replication::parse_position_update(document, &config).has_value();
    (void)replication::parse_position_update(document, nullptr).has_value();
    const consensus::Message requests[] = {consensus::HeartbeatRequest(),
                                           consensus::VoteRequest(),
                                           consensus::PositionUpdate(),
                                           consensus::StepUpRequest()};
    for (const consensus::Message& request : requests)
        (void)replication::parse_reply(request, document, &config).has_value();
    (void)replication::parse_repl_data(document, &config);
    (void)replication::parse_oplog_query_data(document, &config);
    (void)replication::status_of_reply(document).has_value();
}

void try_concerns(bson::View document) {
    const auto written = replication::WriteConcern::parse(document);
    if (written) ASSERT(bson::validate(written->to_bson().bytes()).has_value());
    (void)replication::ReadConcern::parse(document).has_value();
    (void)replication::SessionId::parse(document).has_value();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto document = bson::validate({reinterpret_cast<const char*>(data), size});
    if (!document) return 0;
    try_config(*document);
    try_entry(*document);
    try_messages(*document, known_config());
    try_concerns(*document);
    return 0;
}
