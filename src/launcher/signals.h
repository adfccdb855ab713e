// SPDX-License-Identifier: Apache-2.0
//
// Ctrl-C and SIGTERM as a descriptor to wait on, so that work in progress ends in order.
#pragma once

namespace tessera::launcher {

class Signals {
public:
    /// Holds SIGINT, SIGTERM and SIGHUP back from this thread and those it makes.
    Signals();
    ~Signals();
    Signals(const Signals&) = delete;
    Signals& operator=(const Signals&) = delete;

    /// Readable when one has come.
    int descriptor() const { return descriptor_; }
    /// Takes one that has come; 0 when there is none.
    int take();

private:
    int descriptor_ = -1;
};

}  // namespace tessera::launcher
