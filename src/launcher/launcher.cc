// SPDX-License-Identifier: Apache-2.0
#include "launcher/launcher.h"

#include <fmt/format.h>

namespace tessera::launcher {

int run(const std::vector<std::string>& words) {
    const std::string verb = words.size() > 1 ? words[1] : "help";
    fmt::print(stderr, "tessera: '{}' is no verb\n", verb);
    return 2;
}

}  // namespace tessera::launcher
