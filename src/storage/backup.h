// SPDX-License-Identifier: Apache-2.0
//
// Copying a data directory while the process runs: as long as a Backup lives, the files that hold
// the last checkpoint and the journal after it stay as they are, whatever is written beside them.
// A copy of the directory made meanwhile opens at that checkpoint.
#pragma once

#include <memory>

#include "storage/engine.h"

namespace tessera::storage {

class Backup {
public:
    Backup() = default;
    virtual ~Backup() = default;
    Backup(const Backup&) = delete;
    Backup& operator=(const Backup&) = delete;
};

/// Begins one; one at a time. Null for an engine without files. End it before the engine ends.
Result<std::unique_ptr<Backup>> begin_backup(Engine& engine);

}  // namespace tessera::storage
