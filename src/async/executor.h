// SPDX-License-Identifier: Apache-2.0
//
// Where code runs. An Executor runs posted functions one after the other (a strand: a network
// thread's loop, the control thread, one virtual thread of the simulator) or on several threads (a
// worker pool). Code that waits comes back on the executor it waited on, so the data of a strand
// needs no lock. Executor::current() is set while a function of that executor runs.
#pragma once

#include <coroutine>
#include <functional>

#include "base/time.h"

namespace tessera::async {

class Executor {
public:
    virtual ~Executor() = default;

    /// Runs `work` later, on this executor; may be called from any thread. Work posted after the
    /// executor has shut down is dropped.
    virtual void post(std::function<void()> work) = 0;

    /// The executor whose work the calling thread is running; null outside of any.
    static Executor* current();

protected:
    /// Sets current() for as long as it lives; for implementations.
    class Scope {
    public:
        explicit Scope(Executor& executor);
        ~Scope();
        Scope(const Scope&) = delete;
        Scope& operator=(const Scope&) = delete;

    private:
        Executor* outer_;
    };
};

/// co_await resume_on(executor): goes on there, always by way of its queue, so that it also gives
/// others a turn when it is there already.
class resume_on {
public:
    explicit resume_on(Executor& executor) : executor_(executor) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiting) {
        executor_.post([waiting] { waiting.resume(); });
    }
    void await_resume() const noexcept {}

private:
    Executor& executor_;
};

}  // namespace tessera::async
