// SPDX-License-Identifier: Apache-2.0
#include "launcher/conversation.h"

#include "bson/builder.h"

namespace tessera::launcher {
namespace {

constexpr std::int32_t election_timeout_ms = 1000;
constexpr std::int32_t heartbeat_interval_ms = 330;
constexpr std::int32_t chunk_megabytes = 1;
constexpr std::int32_t write_concern_timeout_ms = 10'000;

// One upsert with a majority write concern.
bson::Document upsert(std::string_view collection,
                      std::string_view id,
                      std::string_view operation,
                      bson::View fields) {
    bson::Builder command;
    command.append("update", collection);
    {
        auto updates = command.array("updates");
        auto update = updates.object();
        update.append("q", bson::make("_id", id));
        update.append("u", bson::make(operation, fields));
        update.append("upsert", true);
    }
    command.append("writeConcern",
                   bson::make("w", "majority", "wtimeout", write_concern_timeout_ms));
    return std::move(command).finish();
}

}  // namespace

Hello read_hello(bson::View reply) {
    Hello hello;
    const bson::Value message = reply["msg"];
    hello.is_router = message.is_string() && message.as_string() == "isdbgrid";
    if (const bson::Value name = reply["setName"]; name.is_string())
        hello.set_name = name.as_string();
    hello.is_primary = reply["isWritablePrimary"].is_truthy() && !hello.is_router;
    hello.is_secondary = reply["secondary"].is_truthy();
    hello.is_arbiter = reply["arbiterOnly"].is_truthy();
    if (const bson::Value primary = reply["primary"]; primary.is_string())
        hello.primary = primary.as_string();
    const bson::Value written = reply.at_path("lastWrite.opTime.t");
    const bson::Value majority = reply.at_path("lastWrite.majorityOpTime.t");
    hello.is_established =
        hello.is_primary && majority.is_number() && majority.to_int64() == written.to_int64();
    return hello;
}

Result<Hello> ask_hello(net::BlockingClient& client, Duration timeout) {
    TRY(const auto reply, client.run_ok("admin", bson::make("hello", 1), timeout));
    return read_hello(reply);
}

bson::Document initiate_command(const Topology& topology, const std::string& set) {
    bson::Builder command;
    {
        auto config = command.object("replSetInitiate");
        config.append("_id", set).append("version", 1);
        if (set == "config") config.append("configsvr", true);
        {
            auto members = config.array("members");
            std::int32_t id = 0;
            for (const Node* node : topology.of_set(set)) {
                auto member = members.object();
                member.append("_id", id++).append("host", node->address().to_string());
                if (node->is_arbiter) member.append("arbiterOnly", true);
            }
        }
        config.append("settings",
                      bson::make("electionTimeoutMillis",
                                 election_timeout_ms,
                                 "heartbeatIntervalMillis",
                                 heartbeat_interval_ms));
    }
    return std::move(command).finish();
}

bson::Document ready_write(const Node& router, WallTime now) {
    return upsert("tessera", router.name, "$set", bson::make("readyAt", now));
}

bson::Document chunk_size_write() {
    return upsert("settings", "chunksize", "$setOnInsert", bson::make("value", chunk_megabytes));
}

bson::Document add_shard_command(const Topology& topology, const std::string& set) {
    return bson::make("addShard",
                      topology.seeds(set),
                      "name",
                      set,
                      "writeConcern",
                      bson::make("w", "majority", "wtimeout", write_concern_timeout_ms));
}

std::vector<std::string> shards_of(bson::View reply) {
    std::vector<std::string> ids;
    const bson::Value shards = reply["shards"];
    if (!shards.is_array()) return ids;
    for (const auto& shard : shards.as_view()) {
        if (!shard.value.is_object()) continue;
        const bson::Value id = shard.value.as_view()["_id"];
        if (id.is_string()) ids.emplace_back(id.as_string());
    }
    return ids;
}

Status check_write(bson::View reply) {
    for (const char* const name : {"writeErrors", "writeConcernError"}) {
        bson::Value trouble = reply[name];
        if (trouble.is_missing()) continue;
        if (trouble.is_array()) {
            if (trouble.as_view().is_empty()) continue;
            trouble = trouble.as_view().front().value;
        }
        if (!trouble.is_object()) continue;
        const bson::Value message = trouble.as_view()["errmsg"];
        return Error(location(static_cast<std::int32_t>(trouble.as_view()["code"].to_int64())),
                     message.is_string() ? std::string(message.as_string()) : std::string(name));
    }
    return ok();
}

}  // namespace tessera::launcher
