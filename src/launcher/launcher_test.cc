// SPDX-License-Identifier: Apache-2.0
#include <csignal>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bson/json.h"
#include "launcher/arguments.h"
#include "launcher/conversation.h"
#include "launcher/limits.h"
#include "launcher/ports.h"
#include "launcher/processes.h"
#include "launcher/status.h"
#include "launcher/tags.h"
#include "launcher/topology.h"

namespace tessera::launcher {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::vector<std::string> names(const std::vector<const Node*>& nodes) {
    std::vector<std::string> found;
    for (const Node* node : nodes)
        found.push_back(node->name);
    return found;
}

TEST(Topology, RoutersComeFirstThenConfigServersThenShards) {
    const Topology topology = plan(Shape(), 27040);
    ASSERT_EQ(topology.nodes.size(), 14U);
    EXPECT_EQ(topology.nodes[0].name, "router-1");
    EXPECT_EQ(topology.nodes[0].port, 27040);
    EXPECT_EQ(topology.nodes[2].name, "config-1");
    EXPECT_EQ(topology.nodes[5].name, "shard-1-1");
    EXPECT_EQ(topology.nodes[13].name, "shard-3-3");
    EXPECT_EQ(topology.nodes[13].port, 27053);
    EXPECT_THAT(topology.sets(), ElementsAre("config", "shard-1", "shard-2", "shard-3"));
    EXPECT_EQ(topology.uri(), "mongodb://127.0.0.1:27040,127.0.0.1:27041/");
    EXPECT_EQ(topology.seeds("shard-1"), "shard-1/127.0.0.1:27045,127.0.0.1:27046,127.0.0.1:27047");
}

TEST(Topology, CommandLinesAreWhatAPersonWouldType) {
    Topology topology = plan(Shape(), 27040);
    topology.directory = "/c";
    topology.flags = {{"--quiet"}, {"--r"}, {"--c"}, {"--s"}};
    const auto router = topology.command_line(topology.nodes[0]);
    EXPECT_EQ(router.front(), "mongos");
    EXPECT_THAT(router, Contains("config/127.0.0.1:27042,127.0.0.1:27043,127.0.0.1:27044"));
    EXPECT_THAT(router, Contains("--r"));
    const auto config = topology.command_line(topology.nodes[2]);
    EXPECT_THAT(config, Contains("--configsvr"));
    EXPECT_THAT(config, Contains("/c/config-1/data"));
    EXPECT_THAT(config, Not(Contains("--s")));
    const auto shard = topology.command_line(topology.nodes[5]);
    EXPECT_THAT(shard, Contains("--shardsvr"));
    EXPECT_THAT(shard, Contains("--s"));
    EXPECT_THAT(shard, Contains("--quiet"));
}

TEST(Topology, SurvivesItsFile) {
    Shape shape;
    shape.arbiters = 1;
    shape.members = 2;
    Topology topology = plan(shape, 30000);
    topology.name = "demo";
    topology.is_ephemeral = true;
    topology.flags.shard = {"--setParameter", "x=1"};
    const auto again = topology_from_json(topology_to_json(topology));
    ASSERT_TRUE(again) << again.error().reason();
    EXPECT_EQ(again->name, "demo");
    EXPECT_EQ(again->shape, shape);
    EXPECT_EQ(again->flags, topology.flags);
    EXPECT_TRUE(again->is_ephemeral);
    ASSERT_EQ(again->nodes.size(), topology.nodes.size());
    EXPECT_EQ(again->nodes.back().port, topology.nodes.back().port);
    EXPECT_TRUE(again->nodes.back().is_arbiter);
}

TEST(Topology, RefusesAFileThatIsNotOne) {
    EXPECT_FALSE(topology_from_json("nonsense"));
    EXPECT_FALSE(topology_from_json("{}"));
    EXPECT_FALSE(topology_from_json(R"({"version": 99})"));
    EXPECT_FALSE(topology_from_json(
        R"({"version":1,"name":"x","shape":{"routers":1,"shards":1,"members":1,"config":1},)"
        R"("ports":{"router-1":1}})"));
}

TEST(Arguments, ReadsFlagsInBothForms) {
    const auto parsed = parse_arguments({"up",
                                         "demo",
                                         "--shards=2",
                                         "--members",
                                         "1",
                                         "--shard-arg",
                                         "--quiet",
                                         "--",
                                         "--slowms",
                                         "5"});
    ASSERT_TRUE(parsed) << parsed.error().reason();
    EXPECT_EQ(parsed->verb, "up");
    EXPECT_THAT(parsed->words, ElementsAre("demo"));
    EXPECT_EQ(parsed->shards, 2);
    EXPECT_EQ(parsed->members, 1);
    EXPECT_THAT(parsed->flags.shard, ElementsAre("--quiet"));
    EXPECT_THAT(parsed->flags.all, ElementsAre("--slowms", "5"));
}

TEST(Arguments, RefusesByName) {
    const auto refusal = [](const std::vector<std::string>& words) {
        const auto parsed = parse_arguments(words);
        EXPECT_FALSE(parsed);
        return parsed ? std::string() : parsed.error().reason();
    };
    EXPECT_THAT(refusal({"upp"}), HasSubstr("'upp'"));
    EXPECT_THAT(refusal({"up", "--shard", "2"}), HasSubstr("did you mean --shards?"));
    EXPECT_THAT(refusal({"up", "--shards", "0"}), HasSubstr("--shards"));
    EXPECT_THAT(refusal({"up", "--shards"}), HasSubstr("needs a value"));
    EXPECT_THAT(refusal({"up", "--auth"}), HasSubstr("not supported yet"));
    EXPECT_THAT(refusal({"down", "--shards", "2"}), HasSubstr("does not take"));
    EXPECT_THAT(refusal({"up", "--any-port", "--port", "1"}), HasSubstr("excludes"));
    EXPECT_THAT(refusal({"up", "--members", "7", "--arbiters", "1"}), HasSubstr("vote"));
    EXPECT_THAT(refusal({"up", "--json=1"}), HasSubstr("no value"));
}

TEST(Arguments, ReadsTimesSizesAndSignals) {
    EXPECT_EQ(*parse_duration("500ms"), 500ms);
    EXPECT_EQ(*parse_duration("60"), 60s);
    EXPECT_EQ(*parse_duration("2m"), 120s);
    EXPECT_FALSE(parse_duration("soon"));
    EXPECT_FALSE(parse_duration("-1s"));
    EXPECT_DOUBLE_EQ(*parse_memory("512MB"), 0.5);
    EXPECT_DOUBLE_EQ(*parse_memory("2GB"), 2);
    EXPECT_FALSE(parse_memory("lots"));
    EXPECT_EQ(*parse_signal("KILL"), SIGKILL);
    EXPECT_EQ(*parse_signal("SIGSTOP"), SIGSTOP);
    EXPECT_EQ(*parse_signal("15"), SIGTERM);
    EXPECT_FALSE(parse_signal("PARTY"));
}

TEST(Arguments, EveryVerbHasItsHelp) {
    for (const Verb& verb : all_verbs()) {
        EXPECT_THAT(help_text(), HasSubstr(std::string(verb.name)));
        EXPECT_THAT(help_text(verb.name), HasSubstr(std::string(verb.help)));
    }
    EXPECT_THAT(help_text("up"), HasSubstr("--shards N"));
    EXPECT_THAT(help_text("nothing"), IsEmpty());
}

constexpr std::string_view table =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout "
    "inode\n"
    "   0: 0100007F:69A0 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 "
    "4711 1 0\n"
    "   1: 0100007F:69A1 0100007F:1234 01 00000000:00000000 00:00000000 00000000     0        0 "
    "4712 1 0\n";

TEST(Ports, OnlyListenersTakeAPort) {
    ListeningPorts ports;
    collect_listening(table, ports);
    EXPECT_THAT(ports, ElementsAre(std::pair<const std::uint16_t, std::uint64_t>(0x69A0, 4711)));
}

TEST(Ports, AFreeBlockHoldsNoTakenPort) {
    ListeningPorts taken;
    for (std::uint16_t port = any_port_first; port < any_port_last; port += 2)
        taken[port] = 1;
    std::uint64_t drawn = 0;
    const auto draw = [&](std::uint64_t below) { return drawn++ % below; };
    EXPECT_FALSE(find_free_block(2, taken, draw));
    taken.erase(any_port_first + 2);
    drawn = 0;
    const auto found = find_free_block(3, taken, draw);
    ASSERT_TRUE(found);
    EXPECT_EQ(*found, any_port_first + 1);
}

TEST(Processes, AProcessIsKnownByMoreThanItsId) {
    auto self = identify(::getpid());
    ASSERT_TRUE(self);
    EXPECT_EQ(state_of(*self), ProcessState::running);
    EXPECT_TRUE(ProcessHandle::open(*self));
    ProcessIdentity other = *self;
    other.start_time += 1;
    EXPECT_EQ(state_of(other), ProcessState::gone);
    EXPECT_FALSE(ProcessHandle::open(other));
    other = *self;
    other.executable = "/bin/true";
    EXPECT_FALSE(ProcessHandle::open(other));
    EXPECT_GT(resident_bytes(self->pid), 0);
}

class Tags : public testing::Test {
protected:
    Tags() {
        for (const Node& node : topology_.nodes) {
            NodeStatus status;
            status.node = &node;
            status.process = ProcessState::running;
            status.member = node.role == Role::router   ? "router"
                            : node.name.ends_with("-1") ? "primary"
                                                        : "secondary";
            states_.push_back(status);
        }
    }
    std::vector<std::string> select(const std::vector<std::string>& words) {
        const auto chosen = select_nodes(topology_, words, states_);
        return chosen ? names(*chosen) : std::vector<std::string>{"none"};
    }

    Topology topology_ = plan(Shape(), 27040);
    std::vector<NodeStatus> states_;
};

TEST_F(Tags, OfOneKindAddUpAndOfSeveralMustAllHold) {
    EXPECT_THAT(select({"shard-1", "primary"}), ElementsAre("shard-1-1"));
    EXPECT_THAT(select({"27040"}), ElementsAre("router-1"));
    EXPECT_THAT(select({"config-1", "config-3"}), ElementsAre("config-1", "config-3"));
    EXPECT_THAT(select({"routers"}), ElementsAre("router-1", "router-2"));
    EXPECT_EQ(select({"all"}).size(), 14U);
    EXPECT_EQ(select({"shard"}).size(), 9U);
    EXPECT_EQ(select({"shard", "secondary"}).size(), 6U);
    EXPECT_THAT(select({"config"}), ElementsAre("config-1", "config-2", "config-3"));
    EXPECT_THAT(select({"shard-9"}), ElementsAre("none"));
    EXPECT_THAT(select({"down"}), ElementsAre("none"));
    states_[5].process = ProcessState::gone;
    EXPECT_THAT(select({"down"}), ElementsAre("shard-1-1"));
}

TEST_F(Tags, HealthIsWhatACallerCanDo) {
    EXPECT_EQ(judge(topology_, states_, 3), Health::healthy);
    EXPECT_EQ(judge(topology_, states_, 2), Health::degraded);
    states_[6].process = ProcessState::gone;
    states_[6].member = "down";
    EXPECT_EQ(judge(topology_, states_, 3), Health::degraded);
    states_[5].member = "secondary";
    EXPECT_EQ(judge(topology_, states_, 3), Health::unavailable);
    for (NodeStatus& status : states_) {
        status.process = ProcessState::gone;
        status.member = "down";
    }
    EXPECT_EQ(judge(topology_, states_, 0), Health::down);
}

TEST(Conversation, InitiatesWithShortTimeouts) {
    const Topology topology = plan(Shape(), 27040);
    const auto command = initiate_command(topology, "config");
    const bson::View config = command["replSetInitiate"].as_view();
    EXPECT_TRUE(config["configsvr"].is_truthy());
    EXPECT_EQ(config.at_path("settings.electionTimeoutMillis").to_int64(), 1000);
    EXPECT_EQ(config["members"].as_view().count(), 3U);
    EXPECT_FALSE(initiate_command(topology, "shard-1")["replSetInitiate"]
                     .as_view()["configsvr"]
                     .is_truthy());
}

TEST(Conversation, APrimaryIsEstablishedOnceAMajorityKnowsItsTerm) {
    const auto hello = [](std::string_view written, std::string_view majority) {
        const auto document = bson::from_json(
            R"({"setName":"s","isWritablePrimary":true,"lastWrite":{"opTime":{"t":)" +
            std::string(written) + R"(},"majorityOpTime":{"t":)" + std::string(majority) + "}}}");
        return read_hello(*document);
    };
    EXPECT_FALSE(hello("2", "1").is_established);
    EXPECT_TRUE(hello("2", "2").is_established);
    EXPECT_TRUE(
        read_hello(*bson::from_json(R"({"msg":"isdbgrid","isWritablePrimary":true})")).is_router);
}

TEST(Conversation, AWriteMayFailInsideItsReply) {
    EXPECT_TRUE(check_write(*bson::from_json(R"({"ok":1,"n":1})")));
    EXPECT_FALSE(check_write(
        *bson::from_json(R"({"ok":1,"writeErrors":[{"index":0,"code":11000,"errmsg":"no"}]})")));
    EXPECT_FALSE(check_write(
        *bson::from_json(R"({"ok":1,"writeConcernError":{"code":64,"errmsg":"late"}})")));
}

}  // namespace
}  // namespace tessera::launcher
