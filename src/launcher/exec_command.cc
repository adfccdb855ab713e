// SPDX-License-Identifier: Apache-2.0
//
// `tessera exec -- COMMAND`: runs it with MONGODB_URI set, against the cluster that runs; where
// there is none, against one made for it and deleted afterwards. Its exit code is the command's.
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/clusters.h"
#include "launcher/files.h"
#include "launcher/status.h"
#include "launcher/verbs.h"

namespace tessera::launcher {
namespace {

constexpr int exit_not_found = 127;

int run_command(const std::vector<std::string>& words, const Topology& topology) {
    const Node& router = *topology.of_role(Role::router)[0];
    const pid_t child = ::fork();
    if (child < 0) return exit_code::failed;
    if (child == 0) {
        const std::string uri = topology.uri();
        ::setenv("MONGODB_URI", uri.c_str(), 1);
        ::setenv("MONGODB_URL", uri.c_str(), 1);
        ::setenv("MONGODB_HOSTPORT", router.address().to_string().c_str(), 1);
        std::vector<char*> argv;
        for (const std::string& word : words)
            argv.push_back(const_cast<char*>(word.c_str()));
        argv.push_back(nullptr);
        ::execvp(argv[0], argv.data());
        fmt::print(stderr, "tessera: cannot run {}: {}\n", words[0], std::strerror(errno));
        std::_Exit(exit_not_found);
    }
    // Ctrl-C is the command's to handle.
    std::signal(SIGINT, SIG_IGN);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    std::signal(SIGINT, SIG_DFL);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool is_running(const Topology& topology) {
    const Health health = read_status(topology).health;
    return health == Health::healthy || health == Health::degraded;
}

}  // namespace

int run_exec(const Arguments& arguments) {
    Progress progress(arguments.quiet);
    if (arguments.after_dashes.empty())
        return complain(
            progress, {ErrorCode::bad_value, "exec needs a command: tessera exec -- COMMAND ..."});
    Arguments lookup = arguments;
    const auto existing = find_cluster(lookup);
    if (existing && is_running(*existing)) return run_command(arguments.after_dashes, *existing);

    Arguments up = arguments;
    up.verb = "up";
    up.quiet = true;
    const bool is_own = up.directory.empty() && up.name.empty() && up.words.empty();
    if (is_own) {
        std::string pattern = "/tmp/tessera-exec-XXXXXX";
        if (::mkdtemp(pattern.data()) == nullptr)
            return complain(progress, {ErrorCode::internal_error, "cannot make a folder in /tmp"});
        up.directory = pattern;
        up.any_port = !up.port && up.port_offset == 0;
        up.is_ephemeral = true;
    }
    const int saved_output = ::dup(STDOUT_FILENO);
    ::dup2(STDERR_FILENO, STDOUT_FILENO);  // The command's output alone is the result.
    const int started = run_up(up);
    std::fflush(stdout);
    ::dup2(saved_output, STDOUT_FILENO);
    ::close(saved_output);
    if (started != exit_code::clean) return started;
    Arguments again = up;
    const auto topology = find_cluster(again);
    if (!topology) return complain(progress, topology.error());
    const int code = run_command(arguments.after_dashes, *topology);
    Arguments down = again;
    down.quiet = true;
    down.words.clear();
    down.directory = topology->directory;
    const int stopped = run_down(down);
    return code != exit_code::clean ? code : stopped;
}

}  // namespace tessera::launcher
