// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "bson/json.h"
#include "replication/config_documents.h"
#include "replication/message_documents.h"

namespace tessera::replication {
namespace {

bson::Document json(std::string_view text) {
    auto document = bson::from_json(text);
    EXPECT_TRUE(document.has_value()) << text;
    return std::move(document).value();
}

TEST(ConfigDocuments, FillsInDefaultsAsObserved) {
    const auto config =
        parse_config(json(R"({"_id": "rsT", "members": [{"_id": 0, "host": "127.0.0.1:29201"}]})"));
    ASSERT_TRUE(config);
    const bson::Document expected = json(
        R"({"_id":"rsT","version":1,"term":-1,"members":[{"_id":0,"host":"127.0.0.1:29201",)"
        R"("arbiterOnly":false,"buildIndexes":true,"hidden":false,)"
        R"("priority":{"$numberDouble":"1.0"},)"
        R"("tags":{},"secondaryDelaySecs":{"$numberLong":"0"},"votes":1}],)"
        R"("protocolVersion":{"$numberLong":"1"},"writeConcernMajorityJournalDefault":true,)"
        R"("settings":{"chainingAllowed":true,"heartbeatIntervalMillis":2000,)"
        R"("heartbeatTimeoutSecs":10,"electionTimeoutMillis":10000,"catchUpTimeoutMillis":-1,)"
        R"("catchUpTakeoverDelayMillis":30000,"getLastErrorModes":{},)"
        R"("getLastErrorDefaults":{"w":1,"wtimeout":0}}})");
    EXPECT_EQ(bson::to_json(config_to_bson(*config)), bson::to_json(expected));
}

TEST(ConfigDocuments, RoundTrip) {
    const bson::Document given = json(
        R"({"_id":"s","version":7,"configsvr":true,"members":[{"_id":3,"host":"a:1","priority":0,)"
        R"("hidden":true,"votes":0,"tags":{"dc":"x"},"secondaryDelaySecs":60},)"
        R"({"_id":4,"host":"b:2","arbiterOnly":true}],)"
        R"("settings":{"getLastErrorModes":{"m":{"dc":2}},"electionTimeoutMillis":900}})");
    const auto config = parse_config(given);
    ASSERT_TRUE(config);
    const auto again = parse_config(config_to_bson(*config));
    ASSERT_TRUE(again);
    EXPECT_EQ(*again, *config);
}

TEST(ConfigDocuments, RefusesWhatItDoesNotKnow) {
    for (const char* text :
         {R"({"_id":"s","members":[],"nope":1})",
          R"({"members":[]})",
          R"({"_id":"s","members":[{"_id":0}]})",
          R"({"_id":"s","members":[{"_id":0,"host":"a","x":1}]})",
          R"({"_id":"s","members":[{"_id":0,"host":"a","votes":2}]})",
          R"({"_id":"s","members":[],"settings":{"getLastErrorDefaults":{"w":2}}})"}) {
        const auto config = parse_config(json(text));
        ASSERT_FALSE(config) << text;
        EXPECT_EQ(config.error().code(), ErrorCode::invalid_replica_set_config);
    }
}

TEST(MessageDocuments, HeartbeatsRoundTrip) {
    consensus::HeartbeatRequest request;
    request.set_name = "s";
    request.config = {3, 2};
    request.from = {"a", 1};
    request.from_id = 5;
    request.term = 9;
    const auto parsed = parse_heartbeat_request(request_to_bson(request, nullptr));
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->config, request.config);
    EXPECT_EQ(parsed->from, request.from);
    EXPECT_EQ(parsed->from_id, 5);
    EXPECT_EQ(parsed->term, 9);

    consensus::HeartbeatReply reply;
    reply.set_name = "s";
    reply.state = consensus::MemberState::secondary;
    reply.config = {3, 2};
    reply.term = 9;
    reply.applied = {{{10, 2}, 8}, {1234}};
    reply.new_config = *parse_config(json(R"({"_id":"s","members":[{"_id":0,"host":"a:1"}]})"));
    auto rendered = reply_to_bson(reply, nullptr);
    ASSERT_TRUE(rendered);
    bson::Builder whole;
    whole.append_all(*rendered).append("ok", 1.0);
    const auto message = parse_reply(request, std::move(whole).finish(), nullptr);
    ASSERT_TRUE(message);
    const auto* back = std::get_if<consensus::HeartbeatReply>(&*message);
    ASSERT_NE(back, nullptr);
    EXPECT_EQ(back->applied, reply.applied);
    EXPECT_EQ(back->state, reply.state);
    EXPECT_EQ(back->new_config, reply.new_config);
}

TEST(MessageDocuments, MetadataNamesMembersByTheirPlace) {
    const auto config = parse_config(
        json(R"({"_id":"s","members":[{"_id":7,"host":"a:1"},{"_id":3,"host":"b:2"}]})"));
    ASSERT_TRUE(config);
    consensus::ReplMetadata metadata;
    metadata.term = 4;
    metadata.primary_id = 3;
    metadata.sync_source_id = 7;
    bson::Builder out;
    append_repl_data(metadata, &*config, out);
    const bson::Document document = std::move(out).finish();
    EXPECT_EQ(document["$replData"].as_view()["primaryIndex"].to_int64(), 1);
    const auto parsed = parse_repl_data(document, &*config);
    EXPECT_EQ(parsed.primary_id, 3);
    EXPECT_EQ(parsed.sync_source_id, 7);
    EXPECT_EQ(parsed.term, 4);
}

}  // namespace
}  // namespace tessera::replication
