// SPDX-License-Identifier: Apache-2.0
//
// The engine in memory: same semantics, no file, no thread, no clock; deterministic. For the
// simulator, tests and throw-away clusters.
#pragma once

#include <memory>

#include "storage/engine.h"

namespace tessera::storage::memory {

/// What a simulator may do to it beyond the contract.
class MemoryEngine : public Engine {
public:
    /// As if the process was killed and started again: logged tables as of the last
    /// flush_journal(), unlogged ones as of the last checkpoint. Requires: no transaction is open.
    virtual void crash() = 0;
    /// From now on nothing reaches the disk, though it seems to, until crash(): so that what runs
    /// can end in order and yet leave what kill -9 would at this moment.
    virtual void lose_disk() = 0;
};

struct Options {
    /// Behaves as if it had a disk: keeps what crash() needs to go back to. Otherwise everything is
    /// durable at once and crash() must not be called.
    bool is_durable = false;
};

std::unique_ptr<MemoryEngine> open(const Options& options = {});

}  // namespace tessera::storage::memory
