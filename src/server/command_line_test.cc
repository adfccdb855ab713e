// SPDX-License-Identifier: Apache-2.0
#include "server/command_line.h"

#include <cstdlib>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "bson/json.h"
#include "server/config_file.h"
#include "server/options.h"

namespace tessera::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Words = std::vector<std::string>;

Result<CommandLine> parse(Program program, Words words, bool allows_open_bind = false) {
    words.insert(words.begin(), program == Program::mongod ? "mongod" : "mongos");
    return parse_command_line(program, std::move(words), allows_open_bind);
}

Settings settings_of(Words words) {
    auto line = parse(Program::mongod, std::move(words));
    EXPECT_TRUE(line) << line.error().reason();
    return line ? line->settings : Settings();
}

std::string refusal_of(Words words, Program program = Program::mongod) {
    const auto line = parse(program, std::move(words));
    EXPECT_FALSE(line);
    return line ? std::string() : line.error().reason();
}

// A file that is gone with the test.
class ConfigFile {
public:
    explicit ConfigFile(const std::string& text) {
        const int file = ::mkstemp(path_.data());
        ::close(file);
        std::ofstream(path_) << text;
    }
    ~ConfigFile() { ::unlink(path_.c_str()); }
    const std::string& path() const { return path_; }

private:
    std::string path_ = "/tmp/tessera-config-XXXXXX";
};

TEST(CommandLine, TakesValuesAfterBlanksAndEqualsSigns) {
    const Settings one = settings_of({"--port", "27100", "--dbpath", "/d", "--replSet", "rs"});
    const Settings two = settings_of({"--replSet=rs", "--dbpath=/d", "--port=27100"});
    for (const Settings& settings : {one, two}) {
        EXPECT_EQ(settings.effective_port(), 27100);
        EXPECT_EQ(settings.db_path, "/d");
        EXPECT_EQ(settings.set_name, "rs");
    }
}

TEST(CommandLine, TheLastOfARepeatedOptionCounts) {
    EXPECT_EQ(settings_of({"--port", "1", "--port", "2"}).effective_port(), 2);
}

TEST(CommandLine, DefaultPortsAndFoldersFollowTheRole) {
    EXPECT_EQ(settings_of({}).effective_port(), 27017);
    EXPECT_EQ(settings_of({"--shardsvr", "--replSet", "s"}).effective_port(), 27018);
    const Settings config = settings_of({"--configsvr", "--replSet", "c"});
    EXPECT_EQ(config.effective_port(), 27019);
    EXPECT_EQ(config.db_path, "/data/configdb");
    EXPECT_EQ(config.cluster_role, ClusterRole::config);
}

TEST(CommandLine, NamesWhatItDoesNotKnowAndGuesses) {
    EXPECT_THAT(refusal_of({"--noSuchFlag"}), HasSubstr("--noSuchFlag"));
    EXPECT_THAT(refusal_of({"--dbPath", "/d"}), HasSubstr("did you mean --dbpath?"));
    EXPECT_THAT(refusal_of({"--prot=1"}), HasSubstr("did you mean --port?"));
    EXPECT_THAT(refusal_of({"--configdb", "c/h:1"}), HasSubstr("mongos's"));
    EXPECT_THAT(refusal_of({"word"}), HasSubstr("'word'"));
    EXPECT_THAT(refusal_of({"-x"}), HasSubstr("-x"));
}

TEST(CommandLine, RefusesBadValues) {
    EXPECT_THAT(refusal_of({"--port", "x"}), HasSubstr("'x'"));
    EXPECT_THAT(refusal_of({"--port", "70000"}), HasSubstr("65535"));
    EXPECT_THAT(refusal_of({"--port"}), HasSubstr("missing"));
    EXPECT_THAT(refusal_of({"--oplogSize", "0"}), HasSubstr("greater than 0"));
    EXPECT_THAT(refusal_of({"--storageEngine", "mmapv1"}), HasSubstr("mmapv1"));
    EXPECT_THAT(refusal_of({"--setParameter", "x"}), HasSubstr("name=value"));
    EXPECT_THAT(refusal_of({"--wiredTigerCacheSizeGB", "much"}), HasSubstr("number"));
    EXPECT_THAT(refusal_of({"--fork"}), HasSubstr("--logpath"));
    EXPECT_THAT(refusal_of({"--shardsvr"}), HasSubstr("--replSet"));
    EXPECT_THAT(refusal_of({"--shardsvr", "--configsvr", "--replSet", "x"}), HasSubstr("exclude"));
}

TEST(CommandLine, RefusesSecurityByName) {
    for (const char* flag : {"--auth", "--keyFile", "--tlsMode", "--tlsCAFile", "--sslMode"})
        EXPECT_THAT(refusal_of({flag, "x"}), HasSubstr("not supported"));
    EXPECT_TRUE(parse(Program::mongod, {"--noauth"}));
}

TEST(CommandLine, WarnsOfOptionsWithoutEffect) {
    const auto line = parse(Program::mongod, {"--noprealloc", "--smallfiles", "--nojournal"});
    ASSERT_TRUE(line);
    EXPECT_THAT(
        line->warnings,
        ElementsAre(
            HasSubstr("--noprealloc"), HasSubstr("--smallfiles"), HasSubstr("--nojournal")));
    EXPECT_THAT(parse(Program::mongod, {"--quiet"})->warnings, IsEmpty());
}

TEST(CommandLine, SetsTheProfiler) {
    const Settings settings = settings_of({"--profile", "2", "--slowms", "7",
                                           "--slowOpSampleRate", "0.25"});
    EXPECT_EQ(settings.profile.level, 2);
    EXPECT_EQ(settings.profile.slow_ms, 7);
    EXPECT_EQ(settings.profile.sample_rate, 0.25);
    EXPECT_EQ(settings_of({}).profile.level, 0);
    EXPECT_EQ(settings_of({}).profile.slow_ms, 100);
    EXPECT_THAT(refusal_of({"--profile", "3"}), HasSubstr("--profile"));
    EXPECT_THAT(refusal_of({"--slowOpSampleRate", "2"}), HasSubstr("between 0 and 1"));
    EXPECT_TRUE(parse(Program::mongos, {"--configdb", "c/a:1", "--slowms", "7"}));
    EXPECT_FALSE(parse(Program::mongos, {"--configdb", "c/a:1", "--profile", "1"}));
}

TEST(CommandLine, CountsTheLettersOfVerbosity) {
    EXPECT_EQ(settings_of({}).verbosity, 0);
    EXPECT_EQ(settings_of({"-v"}).verbosity, 1);
    EXPECT_EQ(settings_of({"-vvvvv"}).verbosity, 5);
    EXPECT_EQ(settings_of({"--verbose"}).verbosity, 1);
    EXPECT_EQ(settings_of({"--verbose", "vv", "--quiet"}).verbosity, 2);
}

TEST(CommandLine, ListensToOtherMachinesOnlyIfToldSo) {
    EXPECT_THAT(refusal_of({"--bind_ip_all"}), HasSubstr("allowNonLoopbackWithoutAuth"));
    EXPECT_THAT(refusal_of({"--bind_ip", "127.0.0.1,10.0.0.1"}), HasSubstr("10.0.0.1"));
    const Settings settings =
        settings_of({"--bind_ip_all", "--setParameter", "allowNonLoopbackWithoutAuth=true"});
    EXPECT_THAT(settings.bind_addresses, ElementsAre("*"));
    EXPECT_THAT(settings.parameters, IsEmpty());
    EXPECT_TRUE(parse(Program::mongod, {"--bind_ip_all"}, true));
    EXPECT_TRUE(parse(Program::mongod, {"--bind_ip", "localhost,127.0.0.1,::1"}));
}

TEST(CommandLine, CanDoWithoutLocalSockets) {
    EXPECT_TRUE(settings_of({}).has_local_sockets);
    const Settings settings = settings_of({"--setParameter", "localSockets=false"});
    EXPECT_FALSE(settings.has_local_sockets);
    EXPECT_THAT(settings.parameters, IsEmpty());
    EXPECT_THAT(refusal_of({"--setParameter", "localSockets=perhaps"}), HasSubstr("perhaps"));
}

TEST(CommandLine, ReadsTheConfigServersOfARouter) {
    const auto line = parse(Program::mongos, {"--configdb", "cfg/a:1,b:2,c", "--port=27040"});
    ASSERT_TRUE(line);
    EXPECT_EQ(line->settings.config_set_name, "cfg");
    EXPECT_THAT(line->settings.config_hosts,
                ElementsAre(HostAndPort{"a", 1}, HostAndPort{"b", 2}, HostAndPort{"c", 27019}));
    EXPECT_THAT(refusal_of({}, Program::mongos), HasSubstr("--configdb"));
    EXPECT_THAT(refusal_of({"--configdb", "a:1"}, Program::mongos), HasSubstr("set name"));
    EXPECT_THAT(refusal_of({"--configdb", "c/a:1", "--dbpath", "x"}, Program::mongos),
                HasSubstr("mongod's"));
}

TEST(CommandLine, ShowsWhatItParsedAsMongodDoes) {
    const Settings settings = settings_of({"--port",
                                           "29201",
                                           "--dbpath",
                                           "29201",
                                           "--bind_ip",
                                           "127.0.0.1",
                                           "--replSet",
                                           "rsT",
                                           "--oplogSize",
                                           "200",
                                           "--wiredTigerCacheSizeGB",
                                           "0.5",
                                           "--logpath",
                                           "29201.log",
                                           "--logappend",
                                           "--fork",
                                           "--pidfilepath",
                                           "/tmp/29201.pid"});
    EXPECT_EQ(bson::to_json(settings.parsed),
              R"({"net":{"bindIp":"127.0.0.1","port":29201},)"
              R"("processManagement":{"fork":true,"pidFilePath":"/tmp/29201.pid"},)"
              R"("replication":{"oplogSizeMB":200,"replSet":"rsT"},)"
              R"("storage":{"dbPath":"29201","wiredTiger":{"engineConfig":{"cacheSizeGB":0.5}}},)"
              R"("systemLog":{"destination":"file","logAppend":true,"path":"29201.log"}})");
}

TEST(CommandLine, ReadsYaml) {
    const ConfigFile file(
        "systemLog:\n  destination: file\n  path: /l\n  logAppend: true\n"
        "net:\n  port: 27018\n  bindIp: 127.0.0.1\nstorage:\n  dbPath: /d\n"
        "  journal:\n    enabled: true\nreplication:\n  replSetName: s1\n"
        "sharding:\n  clusterRole: shardsvr\nsetParameter:\n  enableTestCommands: 1\n");
    const auto line = parse(Program::mongod, {"-f", file.path(), "--port", "9"});
    ASSERT_TRUE(line) << line.error().reason();
    EXPECT_EQ(line->settings.log_path, "/l");
    EXPECT_TRUE(line->settings.appends_log);
    EXPECT_EQ(line->settings.effective_port(), 9);  // The command line counts more.
    EXPECT_EQ(line->settings.set_name, "s1");
    EXPECT_EQ(line->settings.cluster_role, ClusterRole::shard);
    EXPECT_THAT(line->settings.parameters,
                ElementsAre(std::pair<std::string, std::string>("enableTestCommands", "1")));
    EXPECT_THAT(line->warnings, ElementsAre(HasSubstr("journal")));
    EXPECT_EQ(line->settings.parsed.view().at_path("replication.replSetName").as_string(), "s1");
}

TEST(CommandLine, ReadsTheOldForm) {
    const ConfigFile file("# a comment\nport = 27100\ndbpath=/d\nfork = true\nlogpath = /l\n");
    const auto line = parse(Program::mongod, {"--config", file.path()});
    ASSERT_TRUE(line) << line.error().reason();
    EXPECT_EQ(line->settings.effective_port(), 27100);
    EXPECT_EQ(line->settings.db_path, "/d");
    EXPECT_TRUE(line->settings.forks);
}

TEST(CommandLine, NamesWhatIsWrongInAFile) {
    const auto refusal = [](const std::string& text) {
        const ConfigFile file(text);
        return refusal_of({"--config", file.path()});
    };
    EXPECT_THAT(refusal("net:\n  prot: 1\n"), HasSubstr("net.prot"));
    EXPECT_THAT(refusal("net:\n  prot: 1\n"), HasSubstr("did you mean net.port?"));
    EXPECT_THAT(refusal("net: [1, 2]\n"), HasSubstr("net"));
    EXPECT_THAT(refusal("net:\n port: {\n"), HasSubstr("Error parsing config file"));
    EXPECT_THAT(refusal("security:\n  keyFile: /k\n"), HasSubstr("security.keyFile"));
    EXPECT_THAT(refusal("net:\n  tls:\n    allowInvalidCertificates: true\n"), HasSubstr("TLS"));
    EXPECT_THAT(refusal("port = 1\nnonsense\n"), HasSubstr("line 2"));
    EXPECT_THAT(refusal("prot = 1\n"), HasSubstr("prot"));
    EXPECT_THAT(refusal("just words\n"), HasSubstr("neither"));
    EXPECT_THAT(refusal("net:\n  port:\n    __exec: date\n"), HasSubstr("__exec"));
    EXPECT_THAT(refusal_of({"--config", "/no/such/file"}), HasSubstr("/no/such/file"));
}

TEST(CommandLine, ActsOnHelpAndVersionBeforeAnythingElse) {
    EXPECT_EQ(parse(Program::mongod, {"--version"})->action, Action::version);
    EXPECT_EQ(parse(Program::mongod, {"-h"})->action, Action::help);
    EXPECT_EQ(parse(Program::mongos, {"--help"})->action, Action::help);
    EXPECT_EQ(parse(Program::mongod, {"--shutdown", "--dbpath", "/d"})->action, Action::shut_down);
}

TEST(Options, HelpNamesEachLongOptionAtALinesStart) {
    for (const Program program : {Program::mongod, Program::mongos}) {
        const std::string text = help_text(program);
        for (const char* flag : {"--port", "--logpath", "--fork", "--config", "--setParameter"})
            EXPECT_THAT(text, HasSubstr(std::string("\n  ") + flag));
    }
    EXPECT_THAT(help_text(Program::mongos), testing::Not(HasSubstr("--dbpath")));
}

TEST(Options, NoNameStandsTwice) {
    for (const Option& one : all_options()) {
        for (const Option& two : all_options()) {
            const bool may_clash = &one != &two && (one.programs & two.programs) != 0;
            if (may_clash && !one.name.empty()) {
                EXPECT_NE(one.name, two.name);
            }
        }
    }
}

}  // namespace
}  // namespace tessera::server
