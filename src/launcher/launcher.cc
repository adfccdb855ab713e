// SPDX-License-Identifier: Apache-2.0
#include "launcher/launcher.h"

#include <fmt/format.h>

#include "launcher/arguments.h"
#include "launcher/verbs.h"

namespace tessera::launcher {
namespace {

constexpr std::string_view version = "0.1.0";
constexpr std::string_view compatible_with = "7.0.14";

int run_help(const Arguments& arguments) {
    if (arguments.words.empty()) {
        fmt::print("{}", help_text());
        return exit_code::clean;
    }
    const std::string text = help_text(arguments.words[0]);
    if (text.empty()) {
        fmt::print(
            stderr, "tessera: '{}' is no verb; `tessera help` lists them\n", arguments.words[0]);
        return exit_code::bad_usage;
    }
    fmt::print("{}", text);
    return exit_code::clean;
}

int run_version(const Arguments& arguments) {
    if (arguments.json)
        fmt::print("{{\"version\":\"{}\",\"serverVersion\":\"{}\"}}\n", version, compatible_with);
    else
        fmt::print("tessera {} (speaks as MongoDB {})\n", version, compatible_with);
    return exit_code::clean;
}

}  // namespace

int run(const std::vector<std::string>& words) {
    auto parsed = parse_arguments({words.begin() + (words.empty() ? 0 : 1), words.end()});
    if (!parsed) {
        fmt::print(stderr, "tessera: {}\n", parsed.error().reason());
        return exit_code::bad_usage;
    }
    Arguments& arguments = *parsed;
    const std::string& verb = arguments.verb;
    if (verb == "up") return run_up(arguments);
    if (verb == "down") return run_down(std::move(arguments));
    if (verb == "status") return run_status(std::move(arguments));
    if (verb == "start") return run_start(std::move(arguments));
    if (verb == "stop") return run_stop(std::move(arguments));
    if (verb == "restart") return run_restart(std::move(arguments));
    if (verb == "kill" || verb == "freeze" || verb == "thaw") return run_kill(std::move(arguments));
    if (verb == "health") return run_health(std::move(arguments));
    if (verb == "logs") return run_logs(std::move(arguments));
    if (verb == "uri") return run_uri(std::move(arguments));
    if (verb == "env") return run_env(std::move(arguments));
    if (verb == "exec") return run_exec(arguments);
    if (verb == "list") return run_list(arguments);
    if (verb == "destroy") return run_destroy(std::move(arguments));
    if (verb == "version") return run_version(arguments);
    return run_help(arguments);
}

}  // namespace tessera::launcher
