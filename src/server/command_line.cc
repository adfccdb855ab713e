// SPDX-License-Identifier: Apache-2.0
#include "server/command_line.h"

#include <algorithm>
#include <map>
#include <variant>

#include <fmt/format.h>

#include "bson/builder.h"
#include "server/config_file.h"
#include "server/options.h"

namespace tessera::server {
namespace {

struct Assignment {
    const Option* option;
    OptionValue value;
};

Error bad_option(std::string reason) {
    return {ErrorCode::bad_value, std::move(reason)};
}

std::string name_of(const Option& option) {
    return option.name.empty() ? std::string(option.path) : fmt::format("--{}", option.name);
}

Error unknown_flag(Program program, std::string_view flag) {
    const std::string_view near = nearest_option(program, flag);
    std::string reason = fmt::format("unrecognised option '--{}'", flag);
    if (find_option(program == Program::mongod ? Program::mongos : Program::mongod, flag) !=
        nullptr)
        reason +=
            program == Program::mongod ? "; it is one of mongos's" : "; it is one of mongod's";
    else if (!near.empty())
        reason += fmt::format("; did you mean --{}?", near);
    return bad_option(std::move(reason));
}

Error refused(const Option& option, std::string_view written) {
    return bad_option(fmt::format("{} is not supported: {}", written, option.help));
}

// --tlsX and --sslX as a family: more of them than are worth naming.
bool is_of_tls(std::string_view flag) {
    return flag.starts_with("tls") || flag.starts_with("ssl");
}

class Words {
public:
    Words(Program program, const std::vector<std::string>& argv) : program_(program), argv_(argv) {}

    Result<std::vector<Assignment>> read() {
        while (at_ < argv_.size()) {
            const std::string_view word = argv_[at_++];
            if (word.starts_with("--")) {
                TRY_OK(read_long(word.substr(2)));
            } else if (word.starts_with("-") && word.size() > 1) {
                TRY_OK(read_letters(word.substr(1)));
            } else {
                return bad_option(fmt::format("'{}' is no option: options begin with --", word));
            }
        }
        return std::move(found_);
    }

private:
    Status read_long(std::string_view word) {
        const std::size_t equals = word.find('=');
        const std::string_view name = word.substr(0, equals);
        const Option* const option = find_option(program_, name);
        if (option == nullptr) {
            if (is_of_tls(name))
                return refused(*find_option(program_, "tlsMode"), fmt::format("--{}", name));
            return unknown_flag(program_, name);
        }
        if (option->use == Use::refused) return refused(*option, name_of(*option));
        if (equals != std::string_view::npos)
            return add(*option, std::string(word.substr(equals + 1)));
        if (option->kind == Kind::flag) return add(*option, "");
        if (option->letter == 'v') {
            const bool has_level = at_ < argv_.size() && !argv_[at_].empty() &&
                                   argv_[at_].find_first_not_of('v') == std::string::npos;
            return add(*option, has_level ? argv_[at_++] : "v");
        }
        return add_next(*option);
    }

    Status read_letters(std::string_view letters) {
        const Option* const option = find_letter(program_, letters.front());
        if (option == nullptr) return bad_option(fmt::format("unrecognised option '-{}'", letters));
        if (option->letter == 'v') {
            if (letters.find_first_not_of('v') != std::string_view::npos)
                return bad_option(fmt::format("unrecognised option '-{}'", letters));
            return add(*option, std::string(letters));
        }
        if (letters.size() == 1)
            return option->kind == Kind::flag ? add(*option, "") : add_next(*option);
        if (option->kind == Kind::flag)
            return bad_option(fmt::format("unrecognised option '-{}'", letters));
        return add(*option, std::string(letters.substr(1)));
    }

    Status add_next(const Option& option) {
        if (at_ == argv_.size())
            return bad_option(
                fmt::format("the required argument for option '{}' is missing", name_of(option)));
        return add(option, argv_[at_++]);
    }

    Status add(const Option& option, std::string text) {
        TRY(auto value, read_value(option, std::move(text)));
        found_.push_back({&option, std::move(value)});
        return ok();
    }

    Program program_;
    const std::vector<std::string>& argv_;
    std::size_t at_ = 1;
    std::vector<Assignment> found_;
};

Result<Assignment> read_entry(Program program, const FileEntry& entry, const std::string& file) {
    const Option* const option =
        entry.is_path ? find_path(program, entry.key) : find_option(program, entry.key);
    if (option == nullptr) {
        if (entry.key.starts_with("net.tls.") || entry.key.starts_with("net.ssl.") ||
            (!entry.is_path && is_of_tls(entry.key)))
            return refused(*find_option(program, "tlsMode"), entry.key);
        const std::string_view near =
            entry.is_path ? nearest_path(program, entry.key) : nearest_option(program, entry.key);
        return bad_option(
            fmt::format("Unrecognized option: {} (in {}){}",
                        entry.key,
                        file,
                        near.empty() ? std::string() : fmt::format("; did you mean {}?", near)));
    }
    if (option->use == Use::refused) return refused(*option, entry.key);
    TRY(auto value, read_value(*option, entry.value));
    return Assignment{option, std::move(value)};
}

using ParsedValue = std::variant<bool, std::int32_t, std::int64_t, double, std::string>;

ParsedValue parsed_value(const Assignment& assignment) {
    switch (assignment.option->kind) {
        case Kind::flag:
            return assignment.value.flag;
        case Kind::number:
            return assignment.value.number;
        case Kind::integer:
            if (assignment.value.integer == static_cast<std::int32_t>(assignment.value.integer))
                return static_cast<std::int32_t>(assignment.value.integer);
            return assignment.value.integer;
        case Kind::text:
            break;
    }
    return assignment.value.text;
}

using ParsedMap = std::map<std::string, ParsedValue>;

void note(ParsedMap& parsed, const Settings& settings, const Assignment& assignment) {
    const std::string_view name = assignment.option->name;
    const std::string path(assignment.option->path);
    if (path == "setParameter") {
        const std::string& text = assignment.value.text;
        const std::size_t equals = text.find('=');
        parsed["setParameter." + text.substr(0, equals)] = text.substr(equals + 1);
    } else if (name == "bind_ip_all") {
        parsed["net.bindIp"] = std::string("*");
    } else if (path == "systemLog.path") {
        parsed["systemLog.destination"] = std::string("file");
        parsed[path] = assignment.value.text;
    } else if (name == "verbose") {
        parsed[path] = static_cast<std::int32_t>(settings.verbosity);
    } else if (name == "nounixsocket") {
        parsed["net.unixDomainSocket.enabled"] = false;
    } else if (name == "configsvr" || name == "shardsvr") {
        parsed["sharding.clusterRole"] = std::string(name);
    } else if (!path.empty()) {
        parsed[path] = parsed_value(assignment);
    }
}

using Position = ParsedMap::const_iterator;

// The keys of [at, end) all begin with the `depth` characters of `out`'s own path.
void append_level(bson::Builder& out, Position at, Position end, std::size_t depth) {
    while (at != end) {
        const std::string_view rest = std::string_view(at->first).substr(depth);
        const std::size_t dot = rest.find('.');
        if (dot == std::string_view::npos) {
            std::visit([&](const auto& value) { out.append(rest, value); }, at->second);
            ++at;
            continue;
        }
        const std::string prefix = at->first.substr(0, depth + dot + 1);
        Position last = at;
        while (last != end && last->first.starts_with(prefix))
            ++last;
        bson::Builder child = out.object(rest.substr(0, dot));
        append_level(child, at, last, prefix.size());
        child.done();
        at = last;
    }
}

// A parameter that concerns the start alone, and is nobody else's to know.
Result<bool> take_start_parameter(Settings& settings, std::string_view name, bool otherwise) {
    auto& parameters = settings.parameters;
    const auto is_named = [&](const auto& entry) { return entry.first == name; };
    const auto found = std::find_if(parameters.begin(), parameters.end(), is_named);
    if (found == parameters.end()) return otherwise;
    const std::string value = found->second;
    parameters.erase(found);
    if (value == "true" || value == "1") return true;
    if (value == "false" || value == "0") return false;
    return bad_option(fmt::format("--setParameter {} takes true or false, not '{}'", name, value));
}

Status check_binding(Settings& settings, bool allows_open_bind) {
    TRY(settings.has_local_sockets,
        take_start_parameter(settings, local_sockets_parameter, settings.has_local_sockets));
    TRY(allows_open_bind, take_start_parameter(settings, open_bind_parameter, allows_open_bind));
    if (allows_open_bind) return ok();
    for (const std::string& address : settings.bind_addresses) {
        if (HostAndPort{address, 0}.is_loopback() || address.starts_with("/")) continue;
        return bad_option(fmt::format(
            "refusing to listen at {}: nobody has to authenticate, so any machine that reaches "
            "this "
            "one could read and write. Bind to 127.0.0.1, or override with --setParameter {}=true "
            "or the environment variable {}=1",
            address == "*" ? "every address" : address,
            open_bind_parameter,
            open_bind_variable));
    }
    return ok();
}

Status check_together(CommandLine& line, bool has_db_path, bool allows_open_bind) {
    Settings& settings = line.settings;
    if (settings.forks && settings.log_path.empty())
        return bad_option("--fork has to be used with --logpath");
    if (settings.program == Program::mongos) {
        if (settings.config_hosts.empty())
            return bad_option(
                "error: no args for --configdb; it names the config servers: "
                "--configdb <set name>/<host:port>,<host:port>,...");
        return check_binding(settings, allows_open_bind);
    }
    if (settings.cluster_role == ClusterRole::config && !has_db_path)
        settings.db_path = "/data/configdb";
    if (line.action == Action::shut_down) return ok();
    if (settings.cluster_role != ClusterRole::none && settings.set_name.empty())
        return bad_option(
            fmt::format("Cannot start a {} as a standalone server. Please use the "
                        "option --replSet to start the node as a replica set.",
                        settings.cluster_role == ClusterRole::config ? "configsvr" : "shardsvr"));
    return check_binding(settings, allows_open_bind);
}

}  // namespace

Result<CommandLine> parse_command_line(Program program,
                                       std::vector<std::string> argv,
                                       bool allows_open_bind) {
    CommandLine line;
    line.settings.program = program;
    line.settings.argv = std::move(argv);
    TRY(auto given, Words(program, line.settings.argv).read());
    std::vector<Assignment> all;
    for (const Assignment& assignment : given) {
        const std::string_view name = assignment.option->name;
        if (name == "help") line.action = Action::help;
        if (name == "version" && line.action == Action::run) line.action = Action::version;
        if (name == "shutdown" && line.action == Action::run) line.action = Action::shut_down;
        if (name != "config") continue;
        TRY(const auto entries, read_config_file(assignment.value.text));
        for (const FileEntry& entry : entries) {
            TRY(auto read, read_entry(program, entry, assignment.value.text));
            all.push_back(std::move(read));
        }
    }
    if (line.action == Action::help || line.action == Action::version) return line;
    // What the command line says counts more than what a file says.
    for (Assignment& assignment : given)
        all.push_back(std::move(assignment));

    ParsedMap parsed;
    bool has_db_path = false;
    for (const Assignment& assignment : all) {
        const Option& option = *assignment.option;
        if (option.apply != nullptr) TRY_OK(option.apply(line.settings, assignment.value));
        if (option.use == Use::ignored)
            line.warnings.push_back(
                fmt::format("{} has no effect: {}", name_of(option), option.help));
        has_db_path = has_db_path || option.name == "dbpath";
        note(parsed, line.settings, assignment);
    }
    bson::Builder document;
    append_level(document, parsed.begin(), parsed.end(), 0);
    line.settings.parsed = std::move(document).finish();
    TRY_OK(check_together(line, has_db_path, allows_open_bind));
    return line;
}

}  // namespace tessera::server
