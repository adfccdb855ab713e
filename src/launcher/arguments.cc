// SPDX-License-Identifier: Apache-2.0
#include "launcher/arguments.h"

#include <algorithm>
#include <charconv>
#include <csignal>

#include <fmt/format.h>

#include "launcher/files.h"
#include "launcher/limits.h"

namespace tessera::launcher {
namespace {

Error bad(std::string reason) {
    return {ErrorCode::bad_value, std::move(reason)};
}

using Text = const std::string&;

struct Flag {
    std::string_view name;
    char letter;
    std::string_view value;  // What it is called in the help; empty: the flag takes none.
    std::string_view verbs;  // Names between blanks; "*": all.
    std::string_view help;
    Status (*apply)(Arguments& arguments, Text value);
};

Status number(Text text, std::int64_t min, std::int64_t max, std::optional<std::int64_t>& out) {
    std::int64_t value = 0;
    const auto [at, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failure != std::errc() || at != text.data() + text.size() || value < min || value > max)
        return bad(fmt::format("a number from {} to {} is needed, not '{}'", min, max, text));
    out = value;
    return ok();
}

Status port_number(Text text, std::int64_t min, std::uint16_t& out) {
    std::optional<std::int64_t> value;
    TRY_OK(number(text, min, 65'000, value));
    out = static_cast<std::uint16_t>(*value);
    return ok();
}

constexpr std::string_view starting = " up exec ";

// A table: a row a flag.
// clang-format off
const Flag flag_table[] = {
    {"dir", 0, "D", "*", "The cluster's own folder; default: one in ~/.local/share/tessera",
     [](Arguments& a, Text v) -> Status {
         if (v.empty()) return bad("a folder is needed");
         a.directory = absolute_path(v);
         return ok();
     }},
    {"name", 0, "NAME", "*", "The cluster's name; default: local",
     [](Arguments& a, Text v) { a.name = v; return ok(); }},
    {"shards", 0, "N", starting, "Shards; default 3",
     [](Arguments& a, Text v) { return number(v, 1, shards_max, a.shards); }},
    {"members", 0, "N", starting, "Members of each shard that hold data; default 3",
     [](Arguments& a, Text v) { return number(v, 1, members_max, a.members); }},
    {"arbiters", 0, "N", starting, "Arbiters of each shard; default 0",
     [](Arguments& a, Text v) { return number(v, 0, 1, a.arbiters); }},
    {"routers", 0, "N", starting, "Routers; default 2",
     [](Arguments& a, Text v) { return number(v, 1, routers_max, a.routers); }},
    {"config", 0, "N", starting, "Config servers; default 3",
     [](Arguments& a, Text v) { return number(v, 1, members_max, a.config); }},
    {"port", 0, "P", starting, "The first router's port, the others follow; default 27040",
     [](Arguments& a, Text v) -> Status {
         std::uint16_t port = 0;
         TRY_OK(port_number(v, 1, port));
         a.port = port;
         return ok();
     }},
    {"any-port", 0, "", starting, "Takes free ports, which stay the cluster's",
     [](Arguments& a, Text) { a.any_port = true; return ok(); }},
    {"port-offset", 0, "N", starting, "Adds to the default ports",
     [](Arguments& a, Text v) { return port_number(v, 0, a.port_offset); }},
    {"ephemeral", 0, "", starting, "Deletes the data at `down`",
     [](Arguments& a, Text) { a.is_ephemeral = true; return ok(); }},
    {"memory", 0, "SIZE", starting, "Cache of all members together, at most, e.g. 2GB",
     [](Arguments& a, Text v) -> Status {
         TRY(a.memory_gigabytes, parse_memory(v));
         return ok();
     }},
    {"wait", 0, "TIME", " up exec start restart health ",
     "How long to wait for readiness; default 60s",
     [](Arguments& a, Text v) -> Status {
         TRY(a.wait, parse_duration(v));
         return ok();
     }},
    {"dry-run", 0, "", " up ", "Shows ports, folders and command lines; starts nothing",
     [](Arguments& a, Text) { a.is_dry_run = true; return ok(); }},
    {"foreground", 0, "", " up ", "Stays until Ctrl-C, which stops the cluster",
     [](Arguments& a, Text) { a.in_foreground = true; return ok(); }},
    {"detach", 0, "", " up ", "Leaves the cluster running (the default)",
     [](Arguments& a, Text) { a.in_foreground = false; return ok(); }},
    {"shard-arg", 0, "FLAG", starting, "A flag for each shard's members (repeat it)",
     [](Arguments& a, Text v) { a.flags.shard.push_back(v); return ok(); }},
    {"config-arg", 0, "FLAG", starting, "A flag for each config server (repeat it)",
     [](Arguments& a, Text v) { a.flags.config.push_back(v); return ok(); }},
    {"router-arg", 0, "FLAG", starting, "A flag for each router (repeat it)",
     [](Arguments& a, Text v) { a.flags.router.push_back(v); return ok(); }},
    {"json", 0, "", "*", "Results as JSON",
     [](Arguments& a, Text) { a.json = true; return ok(); }},
    {"quiet", 'q', "", "*", "No progress; `up` prints the URI alone",
     [](Arguments& a, Text) { a.quiet = true; return ok(); }},
    {"yes", 'y', "", " destroy ", "Does not ask",
     [](Arguments& a, Text) { a.yes = true; return ok(); }},
    {"follow", 'f', "", " logs ", "Goes on with new lines, until Ctrl-C",
     [](Arguments& a, Text) { a.follow = true; return ok(); }},
    {"tail", 0, "N", " logs ", "The last N lines of each process; default 20",
     [](Arguments& a, Text v) -> Status {
         std::optional<std::int64_t> lines;
         TRY_OK(number(v, 0, 1'000'000, lines));
         a.tail = *lines;
         return ok();
     }},
    {"grep", 0, "TEXT", " logs ", "Only lines that contain this text",
     [](Arguments& a, Text v) { a.grep = v; return ok(); }},
    {"signal", 0, "S", " kill ", "The signal to send; default KILL",
     [](Arguments& a, Text v) { a.signal = v; return ok(); }},
    {"shell", 0, "SHELL", " env ", "bash, fish or powershell; default bash",
     [](Arguments& a, Text v) -> Status {
         if (v != "bash" && v != "zsh" && v != "sh" && v != "fish" && v != "powershell")
             return bad(fmt::format("bash, fish or powershell, not '{}'", v));
         a.shell = v;
         return ok();
     }},
    {"direct", 0, "NODE", " uri ", "Of one process, by its name or port",
     [](Arguments& a, Text v) { a.direct = v; return ok(); }},
};
// clang-format on

// Of the same family, and not there yet: refused by name, with what to do instead.
struct Later {
    std::string_view name;
    std::string_view instead;
};
constexpr std::string_view no_auth = "there is no authentication yet";
constexpr Later later_flags[] = {
    {"auth", no_auth},
    {"user", no_auth},
    {"password", no_auth},
    {"password-file", no_auth},
    {"tls", "there is no TLS yet"},
    {"file", "give the topology by --shards, --members, --routers, --config, --arbiters"},
    {"tiny", "--memory SIZE bounds the members' caches"},
    {"watch", "`tessera health --wait TIME` waits for a healthy cluster"},
};
constexpr std::string_view by_hand = "start and add the process by hand; see docs/operations.md";
constexpr Later later_verbs[] = {
    {"stepdown", "run rs.stepDown() at `tessera uri --direct NODE`"},
    {"partition", "`tessera freeze TAG` silences a process"},
    {"add", by_hand},
    {"remove", by_hand},
    {"top", "run db.currentOp() in mongosh"},
    {"watch", "`tessera status` shows the cluster, `tessera logs -f` follows its logs"},
    {"shell", "run mongosh \"$(tessera uri)\""},
    {"connect", "run mongosh \"$(tessera uri)\""},
    {"ui", "connect Compass to `tessera uri`"},
    {"demo", "`tessera up`, then mongosh \"$(tessera uri)\""},
    {"export", "`tessera up --dry-run` shows the command lines"},
    {"doctor", "`tessera status` and `tessera logs` say what is wrong"},
    {"bundle", "pack the folder that `tessera status --json` names"},
    {"completion", "`tessera help VERB` lists flags"},
    {"man", "`tessera help` and docs/operations.md"},
};

bool takes(std::string_view verbs, std::string_view verb) {
    return verbs == "*" || verbs.find(fmt::format(" {} ", verb)) != std::string_view::npos;
}

const Flag* find_flag(std::string_view name) {
    for (const Flag& flag : flag_table)
        if (flag.name == name) return &flag;
    return nullptr;
}

const Flag* find_letter(char letter) {
    for (const Flag& flag : flag_table)
        if (letter != 0 && flag.letter == letter) return &flag;
    return nullptr;
}

// A prefix of it, or one letter more, less or other: good enough to guess.
std::string_view similar(std::string_view name) {
    for (const Flag& flag : flag_table)
        if (flag.name.starts_with(name.substr(0, 4)) || name.starts_with(flag.name))
            return flag.name;
    return {};
}

Error unknown_flag(std::string_view verb, std::string_view name) {
    for (const Later& known : later_flags)
        if (known.name == name)
            return bad(fmt::format("--{} is not supported yet: {}", name, known.instead));
    if (find_flag(name) != nullptr)
        return bad(fmt::format("`tessera {}` does not take --{}", verb, name));
    const std::string_view near = similar(name);
    return bad(
        fmt::format("there is no --{}{}. A server's own flags follow a bare --",
                    name,
                    near.empty() ? std::string() : fmt::format("; did you mean --{}?", near)));
}

Error unknown_verb(std::string_view name) {
    for (const Later& known : later_verbs)
        if (known.name == name)
            return bad(fmt::format("`tessera {}` is not supported yet: {}", name, known.instead));
    return bad(fmt::format("'{}' is no verb; `tessera help` lists them", name));
}

Status read_flag(const std::vector<std::string>& words, std::size_t& at, Arguments& arguments) {
    const std::string& word = words[at++];
    const bool is_long = word.starts_with("--");
    const std::size_t equals = is_long ? word.find('=') : std::string::npos;
    const std::string name = is_long
                                 ? word.substr(2, equals == std::string::npos ? equals : equals - 2)
                                 : word.substr(1);
    const Flag* const flag =
        is_long ? find_flag(name) : (name.size() == 1 ? find_letter(name[0]) : nullptr);
    if (flag == nullptr || !takes(flag->verbs, arguments.verb))
        return unknown_flag(arguments.verb, name);
    std::string value;
    if (!flag->value.empty()) {
        if (equals != std::string::npos)
            value = word.substr(equals + 1);
        else if (at < words.size())
            value = words[at++];
        else
            return bad(fmt::format("--{} needs a value", flag->name));
    } else if (equals != std::string::npos) {
        return bad(fmt::format("--{} takes no value", flag->name));
    }
    const auto status = flag->apply(arguments, value);
    if (!status) return bad(fmt::format("--{}: {}", flag->name, status.error().reason()));
    return ok();
}

}  // namespace

const std::vector<Verb>& all_verbs() {
    static const std::vector<Verb> verbs = {
        {"up", "[NAME] [-- server flags]", "Starts a cluster, or what is down of it"},
        {"down", "[NAME]", "Stops it; data and ports are kept"},
        {"status", "[NAME]", "Shows every process, its state and role"},
        {"start", "[TAG ...]", "Starts processes that are down"},
        {"stop", "[TAG ...]", "Stops processes in order (SIGTERM, then SIGKILL)"},
        {"restart", "[TAG ...]", "Stops and starts processes"},
        {"kill", "TAG ... [--signal S]", "Signals processes: KILL, STOP, CONT, TERM, ..."},
        {"freeze", "TAG ...", "Stops processes where they stand; they keep their connections"},
        {"thaw", "TAG ...", "Lets frozen processes go on"},
        {"health", "[NAME] [--wait TIME]", "Says in one word, and by its exit code, how it is"},
        {"logs", "[TAG ...]", "Shows the processes' logs"},
        {"uri", "[NAME]", "Prints the connection string"},
        {"env", "[NAME]", "Prints shell lines that set MONGODB_URI"},
        {"exec", "[NAME] -- COMMAND ...", "Runs a command with MONGODB_URI set"},
        {"list", "", "Lists the clusters of this user"},
        {"destroy", "[NAME]", "Stops a cluster and deletes its data"},
        {"version", "", "Prints the version"},
        {"help", "[VERB]", "Explains a verb"},
    };
    return verbs;
}

Result<Arguments> parse_arguments(const std::vector<std::string>& words) {
    Arguments arguments;
    std::size_t at = 0;
    if (words.empty() || words[0] == "--help" || words[0] == "-h") {
        arguments.verb = "help";
        return arguments;
    }
    if (words[0] == "--version") {
        arguments.verb = "version";
        return arguments;
    }
    arguments.verb = words[at++];
    const auto& verbs = all_verbs();
    if (std::none_of(verbs.begin(), verbs.end(), [&](const Verb& verb) {
            return verb.name == arguments.verb;
        }))
        return unknown_verb(arguments.verb);
    while (at < words.size()) {
        const std::string& word = words[at];
        if (word == "--") {
            arguments.after_dashes.assign(words.begin() + static_cast<std::ptrdiff_t>(at) + 1,
                                          words.end());
            break;
        }
        if (word == "--help" || word == "-h") {
            arguments.words = {arguments.verb};
            arguments.verb = "help";
            return arguments;
        }
        if (word.size() > 1 && word.front() == '-') {
            TRY_OK(read_flag(words, at, arguments));
            continue;
        }
        arguments.words.push_back(word);
        ++at;
    }
    if (arguments.verb == "up") arguments.flags.all = arguments.after_dashes;
    if (!arguments.after_dashes.empty() && arguments.verb != "up" && arguments.verb != "exec")
        return bad(fmt::format("`tessera {}` takes nothing after --", arguments.verb));
    if (arguments.any_port && (arguments.port || arguments.port_offset != 0))
        return bad("--any-port excludes --port and --port-offset");
    if (arguments.members.value_or(3) + arguments.arbiters.value_or(0) > members_max)
        return bad(fmt::format("a replica set has at most {} members with a vote", members_max));
    return arguments;
}

Result<Duration> parse_duration(std::string_view text) {
    double value = 0;
    const auto [at, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    const std::string_view unit = text.substr(static_cast<std::size_t>(at - text.data()));
    const double scale = unit == "ms"                  ? 0.001
                         : unit.empty() || unit == "s" ? 1
                         : unit == "m"                 ? 60
                         : unit == "h"                 ? 3600
                                                       : 0;
    if (failure != std::errc() || scale == 0 || value <= 0 || value * scale > 86'400)
        return bad(fmt::format("a time such as 500ms, 60s or 2m is needed, not '{}'", text));
    return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(value * scale));
}

Result<double> parse_memory(std::string_view text) {
    double value = 0;
    const auto [at, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    const std::string_view unit = text.substr(static_cast<std::size_t>(at - text.data()));
    const double scale = unit.empty() || unit == "GB" || unit == "G" ? 1
                         : unit == "MB" || unit == "M"               ? 1.0 / 1024
                                                                     : 0;
    if (failure != std::errc() || scale == 0 || value <= 0 || value * scale > 10'000)
        return bad(fmt::format("a size such as 512MB or 2GB is needed, not '{}'", text));
    return value * scale;
}

Result<int> parse_signal(std::string_view text) {
    struct Named {
        std::string_view name;
        int number;
    };
    static constexpr Named names[] = {{"HUP", SIGHUP},
                                      {"INT", SIGINT},
                                      {"QUIT", SIGQUIT},
                                      {"ABRT", SIGABRT},
                                      {"KILL", SIGKILL},
                                      {"USR1", SIGUSR1},
                                      {"USR2", SIGUSR2},
                                      {"TERM", SIGTERM},
                                      {"CONT", SIGCONT},
                                      {"STOP", SIGSTOP},
                                      {"SEGV", SIGSEGV}};
    std::string_view name = text;
    if (name.starts_with("SIG")) name.remove_prefix(3);
    int value = 0;
    const auto [at, failure] = std::from_chars(name.data(), name.data() + name.size(), value);
    const bool is_number = failure == std::errc() && at == name.data() + name.size();
    for (const Named& known : names)
        if (known.name == name || (is_number && known.number == value)) return known.number;
    return bad(
        fmt::format("'{}' is no signal this sends: KILL, TERM, INT, STOP, CONT, USR1, ...", text));
}

std::string help_text() {
    std::string text =
        "Whole clusters on one machine: routers, shards, config servers.\n\n"
        "  tessera VERB [flags]\n\n";
    for (const Verb& verb : all_verbs())
        text += fmt::format("  {:<9} {}\n", verb.name, verb.help);
    return text +
           "\n`tessera help VERB` lists its flags. TAGs name processes: router-1, shard-1-2, a "
           "port; "
           "or sets\nof them: router, config, shard, shard-1, primary, secondary, arbiter, "
           "running, "
           "down, all.\nSeveral mean those that all of them name: tessera kill shard-1 primary.\n\n"
           "  tessera mongod ... and tessera mongos ... run one process; see tessera mongod "
           "--help.\n";
}

std::string help_text(std::string_view name) {
    for (const Verb& verb : all_verbs()) {
        if (verb.name != name) continue;
        std::string text =
            fmt::format("tessera {} {}\n\n{}.\n\n", verb.name, verb.words, verb.help);
        for (const Flag& flag : flag_table) {
            if (!takes(flag.verbs, name)) continue;
            std::string left =
                fmt::format("  --{}{}{}", flag.name, flag.value.empty() ? "" : " ", flag.value);
            if (flag.letter != 0) left += fmt::format(", -{}", flag.letter);
            text += fmt::format("{:<24} {}\n", left, flag.help);
        }
        return text;
    }
    return {};
}

}  // namespace tessera::launcher
