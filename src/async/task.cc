// SPDX-License-Identifier: Apache-2.0
#include "async/task.h"

#include "async/detached.h"

namespace tessera::async {

namespace {
detail::Detached run(Task<void> task) { co_await std::move(task); }
}  // namespace

void spawn(Executor& executor, Task<void> task) {
    detail::start(executor, run(std::move(task)));
}

}  // namespace tessera::async
