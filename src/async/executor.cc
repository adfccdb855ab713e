// SPDX-License-Identifier: Apache-2.0
#include "async/executor.h"

namespace tessera::async {

namespace {
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): each thread's own.
thread_local Executor* current_executor = nullptr;
}

Executor* Executor::current() { return current_executor; }

Executor::Scope::Scope(Executor& executor) : outer_(current_executor) {
    current_executor = &executor;
}
Executor::Scope::~Scope() { current_executor = outer_; }

}  // namespace tessera::async
