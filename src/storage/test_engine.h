// SPDX-License-Identifier: Apache-2.0
//
// Engines for tests: a directory that goes away, and both kinds behind one parameter.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "storage/engine.h"
#include "storage/memory/open.h"
#include "storage/wiredtiger/open.h"

namespace tessera::storage {

class TemporaryDirectory {
public:
    TemporaryDirectory() {
        std::string name = (std::filesystem::temp_directory_path() / "tessera-XXXXXX").string();
        path_ = ::mkdtemp(name.data());
    }
    ~TemporaryDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    const std::string& path() const { return path_; }

private:
    std::string path_;
};

enum class EngineKind { wiredtiger, memory };

inline std::unique_ptr<Engine> open_test_engine(EngineKind kind, const std::string& path) {
    if (kind == EngineKind::memory) {
        memory::Options options;
        options.is_durable = true;
        return memory::open(options);
    }
    wiredtiger::Options options;
    options.cache_bytes = 64 * 1024 * 1024;
    options.checkpoint_interval = Duration::zero();
    auto engine = wiredtiger::open(path, options);
    ASSERT(engine.has_value());
    return std::move(engine).value();
}

}  // namespace tessera::storage
