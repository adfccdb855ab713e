// SPDX-License-Identifier: Apache-2.0
//
// One binary, three programs: called as mongod or mongos (or told so by its first word) it is one
// process of a cluster; called as anything else, the launcher.
#include <string>
#include <string_view>
#include <vector>

#include "launcher/launcher.h"
#include "server/program.h"

/// jemalloc's options (jemalloc(3), TUNING). Fourteen processes share a laptop, so few arenas, and
/// what a burst freed goes back to the system within ten seconds.
extern "C" {
// NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables): jemalloc says so.
extern const char* malloc_conf;
const char* malloc_conf = "narenas:4,dirty_decay_ms:10000,muzzy_decay_ms:0,tcache_max:196608";
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)
}

namespace {

using tessera::server::Program;

bool is_program(std::string_view path, std::string_view name) {
    return path.substr(path.find_last_of('/') + 1) == name;
}

}  // namespace

int main(int argc, char** argv) {
    std::vector<std::string> words(argv, argv + argc);
    if (words.empty()) words.emplace_back("tessera");
    if (words.size() > 1 && (words[1] == "mongod" || words[1] == "mongos"))
        words.erase(words.begin());
    if (is_program(words[0], "mongod"))
        return tessera::server::run_program(Program::mongod, std::move(words));
    if (is_program(words[0], "mongos"))
        return tessera::server::run_program(Program::mongos, std::move(words));
    return tessera::launcher::run(words);
}
