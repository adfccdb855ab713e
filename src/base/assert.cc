// SPDX-License-Identifier: Apache-2.0
#include "base/assert.h"

#include <cstdlib>

#include "base/log.h"

namespace tessera {

void assertion_failed(const char* expression, const char* file, int line) {
    log::write(log::Severity::fatal, log::Component::control, 9000001, "Assertion failed",
               {{"expression", expression}, {"file", file}, {"line", line}});
    std::abort();
}

void ensure_failed(const char* expression, const char* file, int line) {
    log::error(log::Component::command, 9000002, "A request broke an invariant and was failed",
               {{"expression", expression}, {"file", file}, {"line", line}});
}

}  // namespace tessera
