// SPDX-License-Identifier: Apache-2.0
//
// A thread with an event loop of its own: sockets pinned to it, an Executor to everybody else.
// Asio is behind Impl (asio_loop.h), so that nobody who includes this compiles it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "async/executor.h"

namespace tessera::net {

class Loop : public async::Executor {
public:
    /// Starts the thread, which bears the name (at most 15 characters).
    explicit Loop(std::string name);
    /// As stop(). Whatever has sockets on it must have gone.
    ~Loop() override;
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    void post(std::function<void()> work) override;
    /// Ends the thread after the handler that runs; what waits is dropped. Not from its own thread.
    void stop();

    struct Impl;
    Impl& impl() { return *impl_; }

private:
    std::unique_ptr<Impl> impl_;
};

}  // namespace tessera::net
