// SPDX-License-Identifier: Apache-2.0
//
// Opens the durable engine: WiredTiger 11.3.1 on a data directory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/time.h"
#include "storage/engine.h"

namespace tessera::storage::wiredtiger {

struct Options {
    /// 0: default_cache_bytes().
    std::uint64_t cache_bytes = 0;
    /// Zero: no background checkpoints (tests take their own).
    Duration checkpoint_interval = limits::checkpoint_interval;
    /// Blocks of collections: "snappy", "zstd", "zlib" or "none". Journal likewise.
    std::string block_compressor = "snappy";
    std::string journal_compressor = "snappy";
};

/// Half of (memory - 1 GiB), as mongod takes, but at least 256 MiB and at most 1 GiB: a laptop
/// holds a cluster, whose launcher gives each member less. --wiredTigerCacheSizeGB overrules it.
std::uint64_t default_cache_bytes();

/// Opens or makes the engine in `path`, which must exist. Recovers from a crash by itself: a
/// journal whose tail is damaged is taken up to its last intact record. Fails with FileNotOpen's
/// like when the directory is unusable, and with a sentence naming the file when it is corrupt.
/// Takes the checkpoint thread and the journal along; destroying the engine takes a last checkpoint
/// and closes.
Result<std::unique_ptr<Engine>> open(const std::string& path, const Options& options);

}  // namespace tessera::storage::wiredtiger
