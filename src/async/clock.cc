// SPDX-License-Identifier: Apache-2.0
#include "async/clock.h"

#include "base/assert.h"

namespace tessera::async {

void sleep_until::await_suspend(std::coroutine_handle<> waiting) {
    Executor* executor = Executor::current();
    ASSERT(executor != nullptr);
    clock_.call_at(due_, *executor, [waiting] { waiting.resume(); });
}

}  // namespace tessera::async
