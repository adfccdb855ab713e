// SPDX-License-Identifier: Apache-2.0
#include "server/options.h"

#include <algorithm>
#include <charconv>
#include <vector>

#include <fmt/format.h>

namespace tessera::server {
namespace {

constexpr unsigned both = for_mongod | for_mongos;

Error bad_value(std::string reason) {
    return {ErrorCode::bad_value, std::move(reason)};
}

std::vector<std::string> split(std::string_view text, char separator) {
    std::vector<std::string> parts;
    while (true) {
        const std::size_t at = text.find(separator);
        std::string_view part = text.substr(0, at);
        while (!part.empty() && part.front() == ' ')
            part.remove_prefix(1);
        while (!part.empty() && part.back() == ' ')
            part.remove_suffix(1);
        if (!part.empty()) parts.emplace_back(part);
        if (at == std::string_view::npos) return parts;
        text.remove_prefix(at + 1);
    }
}

using Value = const OptionValue&;

Status set_port(Settings& settings, Value value) {
    if (value.integer < 0 || value.integer > 65535)
        return bad_value(
            fmt::format("net.port must be between 0 and 65535, but it is {}", value.integer));
    settings.port = static_cast<std::uint16_t>(value.integer);
    return ok();
}

Status set_bind_ip(Settings& settings, Value value) {
    settings.bind_addresses = split(value.text, ',');
    if (settings.bind_addresses.empty())
        return bad_value("--bind_ip needs at least one address, e.g. --bind_ip 127.0.0.1");
    return ok();
}

Status set_bind_all(Settings& settings, Value value) {
    if (value.flag) settings.bind_addresses = {"*"};
    return ok();
}

Status set_max_connections(Settings& settings, Value value) {
    if (value.integer < 5) return bad_value("maxConns has to be at least 5");
    settings.connections_max = static_cast<std::size_t>(value.integer);
    return ok();
}

Status set_cache(Settings& settings, Value value) {
    if (value.number < 0.0 || value.number > 10'000.0)
        return bad_value(
            "wiredTigerCacheSizeGB must be between 0.25 and 10000 (or 0: the default)");
    settings.cache_gigabytes = value.number;
    return ok();
}

Status set_engine(Settings& settings, Value value) {
    if (value.text != "wiredTiger" && value.text != "memory")
        return bad_value("Cannot start server with an unknown storage engine: " + value.text +
                         " (there are wiredTiger and memory)");
    settings.storage_engine = value.text;
    return ok();
}

Status set_checkpoints(Settings& settings, Value value) {
    if (value.integer < 1 || value.integer > 9'000'000)
        return bad_value("syncdelay must be between 1 and 9000000 seconds");
    settings.checkpoint_seconds = value.integer;
    return ok();
}

Status set_set_name(Settings& settings, Value value) {
    // "name/seeds" is an old form: the seeds have had no meaning for long.
    settings.set_name = value.text.substr(0, value.text.find('/'));
    if (settings.set_name.empty()) return bad_value("--replSet needs the name of the set");
    return ok();
}

Status set_oplog_size(Settings& settings, Value value) {
    if (value.integer < 1) return bad_value("bad --oplogSize, arg must be greater than 0");
    settings.oplog_megabytes = value.integer;
    return ok();
}

Status set_role(Settings& settings, ClusterRole role) {
    if (settings.cluster_role != ClusterRole::none && settings.cluster_role != role)
        return bad_value(
            "--configsvr and --shardsvr exclude one another: a process is one of them");
    settings.cluster_role = role;
    return ok();
}

Status set_role_by_name(Settings& settings, Value value) {
    if (value.text == "configsvr") return set_role(settings, ClusterRole::config);
    if (value.text == "shardsvr") return set_role(settings, ClusterRole::shard);
    return bad_value("sharding.clusterRole is configsvr or shardsvr, not " + value.text);
}

Status set_config_db(Settings& settings, Value value) {
    const std::size_t slash = value.text.find('/');
    if (slash == std::string::npos || slash == 0)
        return bad_value(
            "configdb supports only replica set connection string: "
            "--configdb <set name>/<host:port>,<host:port>,...");
    settings.config_set_name = value.text.substr(0, slash);
    settings.config_hosts.clear();
    for (const std::string& host : split(std::string_view(value.text).substr(slash + 1), ',')) {
        TRY(auto parsed, HostAndPort::parse(host));
        if (host.find(':') == std::string::npos) parsed.port = 27019;
        settings.config_hosts.push_back(std::move(parsed));
    }
    if (settings.config_hosts.empty())
        return bad_value("--configdb names no host: <set name>/<host:port>,<host:port>,...");
    return ok();
}

Status set_verbosity(Settings& settings, Value value) {
    // "--verbose", "-vvv" (one letter is the flag's own), "--verbose vvv", or a file's number.
    const bool is_letters = value.text.find_first_not_of('v') == std::string::npos;
    std::int64_t level = static_cast<std::int64_t>(value.text.size());
    if (!is_letters) {
        const char* const end = value.text.data() + value.text.size();
        const auto [at, failure] = std::from_chars(value.text.data(), end, level);
        if (failure != std::errc() || at != end || level < 0 || level > 5)
            return bad_value("verbosity is a number from 0 to 5, or as many v, not " + value.text);
    } else if (level == 0) {
        level = 1;
    }
    settings.verbosity = static_cast<int>(std::min<std::int64_t>(level, 5));
    return ok();
}

Status set_parameter(Settings& settings, Value value) {
    const std::size_t equals = value.text.find('=');
    if (equals == std::string::npos || equals == 0)
        return bad_value("Illegal --setParameter parameter: \"" + value.text +
                         "\", it has to be name=value");
    settings.parameters.emplace_back(value.text.substr(0, equals), value.text.substr(equals + 1));
    return ok();
}

Status set_destination(Settings& settings, Value value) {
    if (value.text == "file") return ok();
    (void)settings;
    return bad_value("systemLog.destination: only \"file\" is supported, not \"" + value.text +
                     "\"; without one the log goes to standard output");
}

Status set_log_rotation(Settings& settings, Value value) {
    if (value.text != "rename" && value.text != "reopen")
        return bad_value("systemLog.logRotate is rename or reopen, not " + value.text);
    settings.reopens_log = value.text == "reopen";
    return ok();
}

Status set_authorization(Settings& settings, Value value) {
    (void)settings;
    if (value.text == "disabled") return ok();
    return bad_value(
        "security.authorization: authentication is not supported yet; leave it out, "
        "or say disabled");
}

Status set_sample_rate(Settings& settings, Value value) {
    if (!(value.number >= 0.0 && value.number <= 1.0))
        return bad_value("slowOpSampleRate must be between 0 and 1");
    settings.profile.sample_rate = value.number;
    return ok();
}

Status set_profile_level(Settings& settings, Value value) {
    if (value.integer < 0 || value.integer > 2)
        return bad_value("--profile is 0 (off), 1 (slow operations) or 2 (all)");
    settings.profile.level = static_cast<int>(value.integer);
    return ok();
}

Status set_profile_mode(Settings& settings, Value value) {
    const std::string_view modes[] = {"off", "slowOp", "all"};
    const auto* const found = std::find(std::begin(modes), std::end(modes), value.text);
    if (found == std::end(modes))
        return bad_value("operationProfiling.mode is off, slowOp or all, not " + value.text);
    settings.profile.level = static_cast<int>(found - std::begin(modes));
    return ok();
}

constexpr std::string_view no_authentication =
    "authentication is not supported yet; start without it, on a loopback address";
constexpr std::string_view no_tls =
    "TLS is not supported yet; start without it, on a loopback address";

// A table: a row an option.
// clang-format off
constexpr Option table[] = {
    // General.
    {"help", 'h', both, Kind::flag, Use::applied, "", "Shows this", nullptr},
    {"version", 0, both, Kind::flag, Use::applied, "", "Shows the version", nullptr},
    {"config", 'f', both, Kind::text, Use::applied, "config",
     "Reads a configuration file: YAML, or lines of option = value", nullptr},
    {"shutdown", 0, for_mongod, Kind::flag, Use::applied, "",
     "Ends the mongod that runs on --dbpath", nullptr},
    {"fork", 0, both, Kind::flag, Use::applied, "processManagement.fork",
     "Goes on in the background once it accepts connections (with --logpath)",
     [](Settings& s, Value v) { s.forks = v.flag; return ok(); }},
    {"pidfilepath", 0, both, Kind::text, Use::applied, "processManagement.pidFilePath",
     "Writes the process id to this file",
     [](Settings& s, Value v) { s.pid_file = v.text; return ok(); }},
    {"setParameter", 0, both, Kind::text, Use::applied, "setParameter",
     "Sets a server parameter: name=value", set_parameter},
    {"timeZoneInfo", 0, both, Kind::text, Use::ignored, "processManagement.timeZoneInfo",
     "Time zones come from the system's own data", nullptr},
    // Log.
    {"logpath", 0, both, Kind::text, Use::applied, "systemLog.path",
     "Logs to this file instead of standard output",
     [](Settings& s, Value v) { s.log_path = v.text; return ok(); }},
    {"logappend", 0, both, Kind::flag, Use::applied, "systemLog.logAppend",
     "Appends to the log file instead of setting an old one aside",
     [](Settings& s, Value v) { s.appends_log = v.flag; return ok(); }},
    {"logRotate", 0, both, Kind::text, Use::applied, "systemLog.logRotate",
     "What SIGUSR1 does to the log file: rename or reopen", set_log_rotation},
    {"", 0, both, Kind::text, Use::applied, "systemLog.destination", "", set_destination},
    {"verbose", 'v', both, Kind::text, Use::applied, "systemLog.verbosity",
     "Logs more; more v, even more", set_verbosity},
    {"quiet", 0, both, Kind::flag, Use::applied, "systemLog.quiet", "Logs less",
     [](Settings& s, Value v) { s.is_quiet = v.flag; return ok(); }},
    {"syslog", 0, both, Kind::flag, Use::refused, "",
     "the log goes to standard output or to --logpath", nullptr},
    {"slowms", 0, both, Kind::integer, Use::applied, "operationProfiling.slowOpThresholdMs",
     "Milliseconds after which an operation is slow: logged, and profiled at level 1",
     [](Settings& s, Value v) { s.profile.slow_ms = v.integer; return ok(); }},
    {"slowOpSampleRate", 0, both, Kind::number, Use::applied,
     "operationProfiling.slowOpSampleRate", "The part of slow operations that is logged, 0 to 1",
     set_sample_rate},
    {"profile", 0, for_mongod, Kind::integer, Use::applied, "",
     "Level of the profiler: 0 off, 1 slow operations, 2 all", set_profile_level},
    {"", 0, for_mongod, Kind::text, Use::applied, "operationProfiling.mode", "", set_profile_mode},
    {"", 0, both, Kind::text, Use::applied, "operationProfiling.filter", "",
     [](Settings& s, Value v) { s.profile.filter = v.text; return ok(); }},
    // Network.
    {"port", 0, both, Kind::integer, Use::applied, "net.port",
     "Port; default 27017 (--shardsvr 27018, --configsvr 27019); 0: any free one", set_port},
    {"bind_ip", 0, both, Kind::text, Use::applied, "net.bindIp",
     "Addresses to listen at, with commas between; default localhost", set_bind_ip},
    {"bind_ip_all", 0, both, Kind::flag, Use::applied, "net.bindIpAll",
     "Listens at every address", set_bind_all},
    {"ipv6", 0, both, Kind::flag, Use::applied, "net.ipv6", "Listens at IPv6 addresses too",
     [](Settings& s, Value v) { s.ipv6 = v.flag; return ok(); }},
    {"maxConns", 0, both, Kind::integer, Use::applied, "net.maxIncomingConnections",
     "Connections at one time at most", set_max_connections},
    {"nounixsocket", 0, both, Kind::flag, Use::applied, "",
     "Makes no Unix socket",
     [](Settings& s, Value v) { s.has_unix_socket = !v.flag; return ok(); }},
    {"", 0, both, Kind::flag, Use::applied, "net.unixDomainSocket.enabled", "",
     [](Settings& s, Value v) { s.has_unix_socket = v.flag; return ok(); }},
    {"unixSocketPrefix", 0, both, Kind::text, Use::applied, "net.unixDomainSocket.pathPrefix",
     "Folder of the Unix socket; default /tmp",
     [](Settings& s, Value v) { s.unix_socket_directory = v.text; return ok(); }},
    {"networkMessageCompressors", 0, both, Kind::text, Use::refused,
     "net.compression.compressors", "snappy, zstd and zlib are always offered", nullptr},
    // Security: an issue of its own, refused by name until then.
    {"auth", 0, for_mongod, Kind::flag, Use::refused, "", no_authentication, nullptr},
    {"noauth", 0, for_mongod, Kind::flag, Use::applied, "",
     "Without authentication, as always for now", nullptr},
    {"", 0, for_mongod, Kind::text, Use::applied, "security.authorization", "",
     set_authorization},
    {"keyFile", 0, both, Kind::text, Use::refused, "security.keyFile", no_authentication,
     nullptr},
    {"clusterAuthMode", 0, both, Kind::text, Use::refused, "security.clusterAuthMode",
     no_authentication, nullptr},
    {"transitionToAuth", 0, both, Kind::flag, Use::refused, "security.transitionToAuth",
     no_authentication, nullptr},
    {"tlsMode", 0, both, Kind::text, Use::refused, "net.tls.mode", no_tls, nullptr},
    {"tlsCertificateKeyFile", 0, both, Kind::text, Use::refused, "net.tls.certificateKeyFile",
     no_tls, nullptr},
    {"tlsCAFile", 0, both, Kind::text, Use::refused, "net.tls.CAFile", no_tls, nullptr},
    // Storage.
    {"dbpath", 0, for_mongod, Kind::text, Use::applied, "storage.dbPath",
     "Folder of the data; default /data/db (--configsvr /data/configdb)",
     [](Settings& s, Value v) { s.db_path = v.text; return ok(); }},
    {"storageEngine", 0, for_mongod, Kind::text, Use::applied, "storage.engine",
     "wiredTiger, or memory: nothing is kept after the process ends", set_engine},
    {"wiredTigerCacheSizeGB", 0, for_mongod, Kind::number, Use::applied,
     "storage.wiredTiger.engineConfig.cacheSizeGB", "Memory for cached data, at most", set_cache},
    {"syncdelay", 0, for_mongod, Kind::integer, Use::applied, "storage.syncPeriodSecs",
     "Seconds between checkpoints", set_checkpoints},
    {"journal", 0, for_mongod, Kind::flag, Use::ignored, "storage.journal.enabled",
     "The journal is always on", nullptr},
    {"nojournal", 0, for_mongod, Kind::flag, Use::ignored, "", "The journal is always on", nullptr},
    {"journalCommitInterval", 0, for_mongod, Kind::integer, Use::ignored,
     "storage.journal.commitIntervalMs", "The journal is flushed as soon as somebody waits",
     nullptr},
    {"directoryperdb", 0, for_mongod, Kind::flag, Use::ignored, "storage.directoryPerDB",
     "All tables are in one folder", nullptr},
    {"wiredTigerDirectoryForIndexes", 0, for_mongod, Kind::flag, Use::ignored,
     "storage.wiredTiger.engineConfig.directoryForIndexes", "All tables are in one folder",
     nullptr},
    {"wiredTigerJournalCompressor", 0, for_mongod, Kind::text, Use::ignored,
     "storage.wiredTiger.engineConfig.journalCompressor", "The journal's compression is fixed",
     nullptr},
    {"wiredTigerCollectionBlockCompressor", 0, for_mongod, Kind::text, Use::ignored,
     "storage.wiredTiger.collectionConfig.blockCompressor", "Collections' compression is fixed",
     nullptr},
    {"wiredTigerIndexPrefixCompression", 0, for_mongod, Kind::text, Use::ignored,
     "storage.wiredTiger.indexConfig.prefixCompression", "Indexes' compression is fixed", nullptr},
    {"noprealloc", 0, for_mongod, Kind::flag, Use::ignored, "",
     "Of an engine that is no more", nullptr},
    {"smallfiles", 0, for_mongod, Kind::flag, Use::ignored, "storage.smallFiles",
     "Of an engine that is no more", nullptr},
    {"enableMajorityReadConcern", 0, for_mongod, Kind::text, Use::ignored,
     "replication.enableMajorityReadConcern", "Read concern majority is always on", nullptr},
    {"enableFreeMonitoring", 0, for_mongod, Kind::text, Use::ignored, "",
     "There is no such service", nullptr},
    {"noscripting", 0, both, Kind::flag, Use::ignored, "", "No JavaScript runs here anyway",
     nullptr},
    {"repair", 0, for_mongod, Kind::flag, Use::refused, "",
     "a member recovers by itself; to rebuild it, empty its dbpath and let it copy the set",
     nullptr},
    {"upgrade", 0, for_mongod, Kind::flag, Use::refused, "",
     "there is nothing to upgrade", nullptr},
    {"notablescan", 0, for_mongod, Kind::flag, Use::refused, "",
     "collection scans cannot be forbidden", nullptr},
    // Replication and sharding.
    {"replSet", 0, for_mongod, Kind::text, Use::applied, "replication.replSet",
     "Name of the replica set it is a member of", set_set_name},
    {"", 0, for_mongod, Kind::text, Use::applied, "replication.replSetName", "", set_set_name},
    {"oplogSize", 0, for_mongod, Kind::integer, Use::applied, "replication.oplogSizeMB",
     "Megabytes of the oplog", set_oplog_size},
    {"configsvr", 0, for_mongod, Kind::flag, Use::applied, "",
     "A config server of a sharded cluster",
     [](Settings& s, Value v) { return v.flag ? set_role(s, ClusterRole::config) : ok(); }},
    {"shardsvr", 0, for_mongod, Kind::flag, Use::applied, "",
     "A shard's member of a sharded cluster",
     [](Settings& s, Value v) { return v.flag ? set_role(s, ClusterRole::shard) : ok(); }},
    {"", 0, for_mongod, Kind::text, Use::applied, "sharding.clusterRole", "", set_role_by_name},
    {"configdb", 0, for_mongos, Kind::text, Use::applied, "sharding.configDB",
     "The config servers: <set name>/<host:port>,<host:port>,...", set_config_db},
};
// clang-format on

bool is_for(const Option& option, Program program) {
    return (option.programs & (program == Program::mongod ? for_mongod : for_mongos)) != 0;
}

std::string lowered(std::string_view text) {
    std::string out(text);
    for (char& c : out)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return out;
}

// Levenshtein's distance.
std::size_t distance(std::string_view one, std::string_view two) {
    std::vector<std::size_t> row(two.size() + 1);
    for (std::size_t j = 0; j <= two.size(); ++j)
        row[j] = j;
    for (std::size_t i = 1; i <= one.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= two.size(); ++j) {
            const std::size_t above = row[j];
            row[j] = std::min(
                {above + 1, row[j - 1] + 1, diagonal + (one[i - 1] == two[j - 1] ? 0 : 1)});
            diagonal = above;
        }
    }
    return row[two.size()];
}

std::string_view nearest(Program program, std::string_view word, std::string_view Option::*field) {
    std::string_view best;
    std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
    const std::string wanted = lowered(word);
    for (const Option& option : table) {
        if (!is_for(option, program) || (option.*field).empty()) continue;
        const std::size_t far = distance(wanted, lowered(option.*field));
        if (far < best_distance) {
            best_distance = far;
            best = option.*field;
        }
    }
    return best;
}

const Option* find(Program program, std::string_view word, std::string_view Option::*field) {
    if (word.empty()) return nullptr;
    for (const Option& option : table)
        if (option.*field == word && is_for(option, program)) return &option;
    return nullptr;
}

std::string written(const Option& option) {
    return option.name.empty() ? std::string(option.path) : fmt::format("--{}", option.name);
}

}  // namespace

std::span<const Option> all_options() {
    return table;
}

const Option* find_option(Program program, std::string_view name) {
    return find(program, name, &Option::name);
}

const Option* find_letter(Program program, char letter) {
    for (const Option& option : table)
        if (letter != 0 && option.letter == letter && is_for(option, program)) return &option;
    return nullptr;
}

const Option* find_path(Program program, std::string_view path) {
    return find(program, path, &Option::path);
}

std::string_view nearest_option(Program program, std::string_view name) {
    return nearest(program, name, &Option::name);
}

std::string_view nearest_path(Program program, std::string_view path) {
    return nearest(program, path, &Option::path);
}

Result<OptionValue> read_value(const Option& option, std::string text) {
    OptionValue value;
    value.text = std::move(text);
    const char* const begin = value.text.data();
    const char* const end = begin + value.text.size();
    if (option.kind == Kind::flag) {
        value.flag = value.text.empty() || value.text == "true" || value.text == "1" ||
                     value.text == "yes" || value.text == "on";
        if (!value.flag && value.text != "false" && value.text != "0" && value.text != "no" &&
            value.text != "off")
            return bad_value(
                fmt::format("{} is true or false, not '{}'", written(option), value.text));
    } else if (option.kind == Kind::integer) {
        const auto [at, failure] = std::from_chars(begin, end, value.integer);
        if (failure != std::errc() || at != end)
            return bad_value(
                fmt::format("the argument ('{}') for option '{}' is invalid: it has to "
                            "be a whole number",
                            value.text,
                            written(option)));
    } else if (option.kind == Kind::number) {
        const auto [at, failure] = std::from_chars(begin, end, value.number);
        if (failure != std::errc() || at != end)
            return bad_value(
                fmt::format("the argument ('{}') for option '{}' is invalid: it has to "
                            "be a number",
                            value.text,
                            written(option)));
    } else if (value.text.empty() && option.letter != 'v') {
        return bad_value(fmt::format("{} needs a value", written(option)));
    }
    return value;
}

std::string help_text(Program program) {
    const std::string_view name = program == Program::mongod ? "mongod" : "mongos";
    std::string text = fmt::format("Options of {}:\n", name);
    for (const Option& option : table) {
        if (!is_for(option, program) || option.name.empty() || option.use == Use::refused) continue;
        std::string left = fmt::format("  --{}{}",
                                       option.name,
                                       option.kind == Kind::flag ? ""
                                       : option.letter == 'v'    ? " [=arg]"
                                                                 : " arg");
        if (option.letter != 0) left += fmt::format(" (-{})", option.letter);
        text += fmt::format("{:<42} {}{}\n",
                            left,
                            option.help,
                            option.use == Use::ignored ? " (accepted, no effect)" : "");
    }
    return text;
}

}  // namespace tessera::server
