// SPDX-License-Identifier: Apache-2.0
//
// hello, isMaster, ismaster: what a client learns of this process, and how it learns of changes at
// once. With topologyVersion and maxAwaitTimeMS the answer waits for a change; with exhaustAllowed
// answers follow each other without further requests. Source: the drivers' specifications
// "Server Discovery and Monitoring" and "Server Monitoring"; reference/protocol.md 1.18.
#include "commands/hello.h"

#include "bson/validate.h"
#include "commands/router.h"
#include "wire/compression.h"
#include "wire/message.h"

namespace tessera::commands {
namespace {

constexpr std::int64_t await_ms_max = 24LL * 3600 * 1000;

void append_limits(Node& node, Invocation& invocation) {
    bson::Builder& reply = invocation.reply;
    reply.append_integer("maxBsonObjectSize", bson::document_bytes_max);
    reply.append_integer("maxMessageSizeBytes", static_cast<std::int64_t>(wire::message_bytes_max));
    reply.append("maxWriteBatchSize", 100'000);
    reply.append("localTime", node.clock.wall_now());
    reply.append("logicalSessionTimeoutMinutes", 30);
    reply.append_integer("connectionId", invocation.operation->client->connection_id);
    reply.append("minWireVersion", 0).append("maxWireVersion", wire_version_max);
    reply.append("readOnly", false);
}

// The compressors both sides have, in the client's order.
void append_compression(const Request& request, bson::Builder& reply) {
    const bson::Value asked = request.body["compression"];
    if (!asked.is_array()) return;
    std::vector<std::string_view> common;
    for (const bson::Element& each : asked.as_view())
        if (each.value.is_string() && wire::compressor_by_name(each.value.as_string()))
            common.push_back(each.value.as_string());
    if (common.empty()) return;
    auto list = reply.array("compression");
    for (const std::string_view name : common)
        list.append(name);
}

void append_hosts(std::string_view name,
                  const std::vector<HostAndPort>& hosts,
                  bson::Builder& reply) {
    auto list = reply.array(name);
    for (const HostAndPort& host : hosts)
        list.append(host.to_string());
}

bson::ObjectId election_id(Term term) {
    bson::ObjectId id;
    id.bytes[0] = 0x7f;
    id.bytes[1] = id.bytes[2] = id.bytes[3] = 0xff;
    for (std::size_t i = 0; i < 8; ++i)
        id.bytes[4 + i] = static_cast<std::uint8_t>(term >> (8 * (7 - i)));
    return id;
}

void append_last_write(const consensus::TopologyView& topology, bson::Builder& reply) {
    bson::Builder last = reply.object("lastWrite");
    const auto date = [](const OpTime& at) {
        return WallTime{std::int64_t{at.timestamp.seconds} * 1000};
    };
    last.append("opTime", topology.last_write.optime);
    last.append("lastWriteDate", date(topology.last_write.optime));
    last.append("majorityOpTime", topology.majority_write.optime);
    last.append("majorityWriteDate", date(topology.majority_write.optime));
}

void append_set_member(const consensus::TopologyView& topology,
                       std::string_view writable_field,
                       bson::Builder& reply) {
    append_hosts("hosts", topology.hosts, reply);
    if (!topology.passives.empty()) append_hosts("passives", topology.passives, reply);
    if (!topology.arbiters.empty()) append_hosts("arbiters", topology.arbiters, reply);
    reply.append("setName", topology.set_name).append_integer("setVersion", topology.set_version);
    reply.append(writable_field, topology.is_writable_primary);
    reply.append("secondary", topology.is_secondary);
    if (topology.primary) reply.append("primary", topology.primary->to_string());
    if (topology.arbiter_only) reply.append("arbiterOnly", true);
    if (topology.passive) reply.append("passive", true);
    if (topology.hidden) reply.append("hidden", true);
    if (!topology.build_indexes) reply.append("buildIndexes", false);
    if (topology.secondary_delay > Duration::zero())
        reply.append_integer("secondaryDelaySecs",
                             to_milliseconds(topology.secondary_delay) / 1000);
    if (!topology.tags.empty()) {
        bson::Builder tags = reply.object("tags");
        for (const auto& [key, value] : topology.tags)
            tags.append(key, value);
    }
    if (topology.me) reply.append("me", topology.me->to_string());
    if (topology.election_term) reply.append("electionId", election_id(*topology.election_term));
    append_last_write(topology, reply);
}

void append_topology_version(const Node& node, std::int64_t counter, bson::Builder& reply) {
    bson::Builder version = reply.object("topologyVersion");
    version.append("processId", node.process.process_id).append("counter", counter);
}

struct Awaited {
    bool waits = false;
    std::int64_t counter = 0;
    bool is_same_process = false;
    Duration time_max{0};
};

Result<Awaited> parse_awaited(const Node& node, const Request& request) {
    const bson::Value version = request.body["topologyVersion"];
    const bson::Value time = request.body["maxAwaitTimeMS"];
    Awaited awaited;
    if (version.is_missing() && time.is_missing()) return awaited;
    if (version.is_missing() || time.is_missing())
        return Error(location(31368),
                     version.is_missing()
                         ? "A request with a 'maxAwaitTimeMS' must include a 'topologyVersion'"
                         : "A request with a 'topologyVersion' must include 'maxAwaitTimeMS'");
    if (!version.is_object() || version.as_view()["processId"].type() != bson::Type::object_id ||
        version.as_view()["counter"].type() != bson::Type::int64)
        return Error(ErrorCode::type_mismatch,
                     "topologyVersion needs a processId and an int64 counter");
    if (!time.is_number() || time.to_int64() < 0)
        return Error(location(31373), "maxAwaitTimeMS must be a non-negative integer");
    awaited.waits = true;
    awaited.counter = version.as_view()["counter"].as_int64();
    awaited.is_same_process =
        version.as_view()["processId"].as_object_id() == node.process.process_id;
    awaited.time_max = std::chrono::milliseconds(std::min(time.to_int64(), await_ms_max));
    return awaited;
}

std::string_view writable_field(const Request& request) {
    return request.name == "hello" ? "isWritablePrimary" : "ismaster";
}

// Waits until the topology is newer than what the client has, or its time is over. A streamed
// answer's next wait starts from what the answer before it said.
async::Task<Status> await_change(Member& member, Invocation& invocation, Awaited awaited) {
    std::int64_t seen = awaited.counter;
    HelloStream& stream = invocation.operation->client->hello_stream;
    if (invocation.may_exhaust && stream.is_streaming) seen = stream.counter;
    const Instant deadline = member.clock.now() + awaited.time_max;
    if (awaited.is_same_process && seen > member.replication->topology_version())
        co_return Error(location(31382),
                        "Received a topology version with counter greater than the server's");
    while (awaited.is_same_process && member.replication->topology_version() == seen) {
        auto& changed = member.replication->topology_changed();
        const auto ticket = changed.ticket();
        if (member.replication->topology_version() != seen) break;
        async::Cancellation cancellation = invocation.operation->cancellation;
        const auto outcome = co_await changed.wait(member.clock, deadline, ticket, cancellation);
        if (outcome == async::Notification::Outcome::timed_out) break;
        CO_TRY_OK(invocation.operation->check(member.clock));
    }
    co_return Status();
}

void note_client(Invocation& invocation) {
    const Request& request = invocation.request;
    ClientInfo& client = *invocation.operation->client;
    if (request.body["helloOk"].is_truthy()) client.speaks_hello = true;
    if (const bson::Value metadata = request.body["client"]; metadata.is_object()) {
        const bson::Value name = metadata.as_view().at_path("application.name");
        client.set_metadata(metadata.as_view(),
                            name.is_string() ? name.as_string() : std::string_view());
    }
    // Without authentication every peer may be a member; a later layer asks for proof.
    if (request.body["internalClient"].is_object()) client.is_internal = true;
}

async::Task<Status> hello_on_member(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    note_client(invocation);
    CO_TRY(const Awaited awaited, parse_awaited(member, request));
    if (awaited.waits) CO_TRY_OK(co_await await_change(member, invocation, awaited));

    bson::Builder& reply = invocation.reply;
    const std::string_view writable = writable_field(request);
    if (request.body["helloOk"].is_truthy()) reply.append("helloOk", true);
    std::int64_t counter = 0;
    if (!member.replication->is_replica_set()) {
        reply.append(writable, true);
        append_topology_version(member, counter, reply);
    } else {
        const consensus::TopologyView topology = member.replication->topology();
        counter = topology.topology_version;
        append_topology_version(member, counter, reply);
        if (topology.is_initialized && topology.is_member) {
            append_set_member(topology, writable, reply);
        } else {
            reply.append(writable, false).append("secondary", false);
            reply.append("info", "Does not have a valid replica set config");
            reply.append("isreplicaset", true);
        }
        if (member.process.is_config_server) reply.append("configsvr", 2);
    }
    append_limits(member, invocation);
    append_compression(request, reply);
    HelloStream& stream = invocation.operation->client->hello_stream;
    stream.is_streaming = awaited.waits && invocation.may_exhaust;
    stream.counter = counter;
    invocation.has_more_to_come = stream.is_streaming;
    co_return Status();
}

async::Task<Status> hello_on_router(Router& router, Invocation& invocation) {
    const Request& request = invocation.request;
    note_client(invocation);
    CO_TRY(const Awaited awaited, parse_awaited(router, request));
    HelloStream& stream = invocation.operation->client->hello_stream;
    const bool is_first = !(invocation.may_exhaust && stream.is_streaming);
    if (awaited.waits && awaited.is_same_process && (awaited.counter == 0 || !is_first)) {
        // A router's topology never changes: the answer waits its full time.
        async::Cancellation cancellation = invocation.operation->cancellation;
        const Instant deadline = router.clock.now() + awaited.time_max;
        const auto ticket = router.never_changes.ticket();
        co_await router.never_changes.wait(router.clock, deadline, ticket, cancellation);
        CO_TRY_OK(invocation.operation->check(router.clock));
    }
    bson::Builder& reply = invocation.reply;
    if (request.body["helloOk"].is_truthy()) reply.append("helloOk", true);
    reply.append(writable_field(request), true).append("msg", "isdbgrid");
    append_topology_version(router, 0, reply);
    append_limits(router, invocation);
    append_compression(request, reply);
    stream.is_streaming = awaited.waits && invocation.may_exhaust;
    invocation.has_more_to_come = stream.is_streaming;
    co_return Status();
}

}  // namespace

const Command hello_command = {"hello",
                               flags::any_state | flags::quiet,
                               hello_on_member,
                               hello_on_router,
                               Counted::command,
                               "Tells what this process is and how it stands in its set."};
const Command is_master_command = {"isMaster",
                                   flags::any_state | flags::quiet,
                                   hello_on_member,
                                   hello_on_router,
                                   Counted::command,
                                   "The old name of hello."};
const Command is_master_lower_command = {"ismaster",
                                         flags::any_state | flags::quiet,
                                         hello_on_member,
                                         hello_on_router,
                                         Counted::command,
                                         "The old name of hello."};

}  // namespace tessera::commands
