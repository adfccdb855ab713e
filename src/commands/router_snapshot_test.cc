// SPDX-License-Identifier: Apache-2.0
//
// Reads of one moment through a router: which moment it takes, where the data was then, and what
// happens when a shard cannot read that moment any more.
#include <gtest/gtest.h>

#include "commands/test_router.h"

namespace tessera::commands {
namespace {

using testing::cursor;
using testing::failure;
using testing::json;
using testing::outcome;

// shop.items by {a: 1}: below 10 on A, the rest on B, since {100, 1}.
class RouterSnapshot : public ::testing::Test {
protected:
    RouterSnapshot() {
        net.shard_collection("{'a':1}", {"{'a':10}"}, {"A", "B"});
        now = Timestamp{
            static_cast<std::uint32_t>(net.clock.wall_now().milliseconds / 1000), 7};
        tell(now);
    }
    void tell(Timestamp time) {
        EXPECT_TRUE(net.router->logical_clock.advance(time, net.clock.wall_now()).has_value());
    }
    static bson::Document with_time(const bson::Document& reply, Timestamp time) {
        bson::Builder whole;
        whole.append_all(reply);
        whole.append("$clusterTime", bson::make("clusterTime", time));
        return std::move(whole).finish();
    }
    static Timestamp time_of(bson::View command) {
        const bson::Value concern = command["readConcern"];
        if (!concern.is_object()) return {};
        EXPECT_EQ(concern.as_view()["level"].as_string(), "snapshot");
        EXPECT_FALSE(concern.as_view().has("afterClusterTime"));
        return concern.as_view()["atClusterTime"].as_timestamp();
    }
    bson::Document find_at(Timestamp time, bson::View filter = {}) {
        const bson::Document concern = bson::make("level", "snapshot", "atClusterTime", time);
        return net.run(
            bson::make("find", "items", "filter", filter, "readConcern", concern, "$db", "shop"));
    }
    testing::TestRouter net;
    Timestamp now;
};

const std::string snapshot = "'readConcern':{'level':'snapshot'}";

TEST_F(RouterSnapshot, IsTheSameMomentOnEveryShard) {
    net.holds("A", {"{'_id':1}", "{'_id':2}"});
    for (const std::string command : {"{'find':'items','batchSize':1,",
                                      "{'aggregate':'items','pipeline':[],'cursor':{},"}) {
        net.forget();
        const bson::Document reply = net.run(command + snapshot + "}");
        EXPECT_EQ(cursor(reply)["atClusterTime"].as_timestamp(), now) << command;
        const std::string name(command.substr(2, command.find(':') - 3));
        ASSERT_EQ(net.asked(name), "A,B");
        for (const auto& each : net.calls(name)) EXPECT_EQ(time_of(each.command), now);
    }
    for (const char* const shard : {"A", "B"})
        net.answers(shard, "distinct", "{'values':[1]}");
    const bson::Document reply = net.run("{'distinct':'items','key':'b'," + snapshot + "}");
    EXPECT_EQ(reply["atClusterTime"].as_timestamp(), now);
    EXPECT_EQ(time_of(net.last("distinct")), now);
}

TEST_F(RouterSnapshot, IsNotOlderThanWhatTheClientHasSeen) {
    const Timestamp seen{now.seconds, 9};
    const bson::Document concern = bson::make("level", "snapshot", "afterClusterTime", seen);
    const bson::Document reply =
        net.run(bson::make("find", "plain", "readConcern", concern, "$db", "shop"));
    EXPECT_EQ(cursor(reply)["atClusterTime"].as_timestamp(), seen);
    EXPECT_EQ(time_of(net.last("find")), seen);
}

TEST_F(RouterSnapshot, AnIdleRouterAsksWhatTimeItIs) {
    net.clock.advance_to(net.clock.now() + 10s);
    const Timestamp later{now.seconds + 9, 3};
    net.answers("C", "ping", with_time(json("{}"), later));
    for (const char* const shard : {"A", "B"}) net.answers(shard, "ping", "{}");
    const bson::Document reply = net.run("{'find':'items'," + snapshot + "}");
    EXPECT_EQ(cursor(reply)["atClusterTime"].as_timestamp(), later);
    EXPECT_EQ(net.asked("ping").size(), std::string("A,B,C,config").size());
    net.forget();
    net.run("{'find':'items'," + snapshot + "}");
    EXPECT_EQ(net.asked("ping"), "");
}

TEST_F(RouterSnapshot, GoesWhereTheDataWas) {
    net.move_chunk_at({500, 1}, 1, "C");
    find_at({499, 1}, json("{'a':50}"));
    EXPECT_EQ(net.asked("find"), "B");
    // By what the shard is now: it owns nothing any more.
    const auto version = routing::ShardVersion::parse(net.last("find")["shardVersion"]);
    EXPECT_EQ(version->version().placement.major, 0U);
    net.forget();
    find_at({500, 1}, json("{'a':50}"));
    EXPECT_EQ(net.asked("find"), "C");
    net.forget();
    find_at({500, 1});
    EXPECT_EQ(net.asked("find"), "A,C");
    EXPECT_EQ(outcome(find_at({99, 1})), "StaleChunkHistory");
}

TEST_F(RouterSnapshot, IsTakenLaterWhenAShardCannotReadItAnyMore) {
    const Timestamp later{now.seconds, 50};
    net.answers("B", "find", with_time(failure(ErrorCode::snapshot_too_old), later));
    const bson::Document reply = net.run("{'find':'items'," + snapshot + "}");
    EXPECT_EQ(cursor(reply)["atClusterTime"].as_timestamp(), later);
    EXPECT_EQ(time_of(net.last("find")), later);
    EXPECT_EQ(net.calls("find").size(), 4U);
    // The client's own moment is not another one.
    net.answers("B", "find", failure(ErrorCode::snapshot_too_old));
    EXPECT_EQ(outcome(find_at(now)), "SnapshotTooOld");
    for (int i = 0; i < 10; ++i) net.answers("B", "find", failure(ErrorCode::snapshot_too_old));
    EXPECT_EQ(net.outcome("{'find':'items'," + snapshot + "}"), "SnapshotTooOld");
}

TEST_F(RouterSnapshot, IsForCommandsThatReadDocuments) {
    for (const char* const command : {"{'count':'items',", "{'listCollections':1,"})
        EXPECT_EQ(net.outcome(command + snapshot + "}"), "InvalidOptions") << command;
    // Drivers send it with getMore, whose cursor has its own.
    net.holds("A", {"{'_id':1}", "{'_id':2}"});
    const bson::Document reply = net.run("{'find':'items','batchSize':1," + snapshot + "}");
    EXPECT_EQ(testing::batch(net.more(reply, snapshot)), "{'_id':2}");
}

}  // namespace
}  // namespace tessera::commands
