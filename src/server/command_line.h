// SPDX-License-Identifier: Apache-2.0
//
// From the words of a command line, and of the configuration file they may name, to Settings.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "server/settings.h"

namespace tessera::server {

enum class Action { run, help, version, shut_down };

struct CommandLine {
    Action action = Action::run;
    Settings settings;
    std::vector<std::string> warnings;  // One for each option that is accepted without effect.
};

/// `argv` with the program's name first. `allows_open_bind`: whether the environment permits
/// addresses other machines reach, though nobody has to authenticate. Fails with BadValue or
/// FailedToParse; the process then ends with exit_code::bad_options.
Result<CommandLine> parse_command_line(Program program,
                                       std::vector<std::string> argv,
                                       bool allows_open_bind);

/// The name of the variable, and of the server parameter, that permit it.
inline constexpr const char* open_bind_variable = "TESSERA_ALLOW_NON_LOOPBACK_WITHOUT_AUTH";
inline constexpr std::string_view local_sockets_parameter = "localSockets";
inline constexpr std::string_view open_bind_parameter = "allowNonLoopbackWithoutAuth";

}  // namespace tessera::server
