// SPDX-License-Identifier: Apache-2.0
//
// The lock of a namespace: many readers or one writer, and neither starves. std::shared_mutex lets
// readers in as long as one of them is inside, so that a steady stream of them keeps a DDL out for
// ever. Here a writer that waits closes a gate before readers that come; it opens when that writer
// has got in, and those who waited there come before the next writer.
//
// A thread that holds any such lock passes the gate. Else two readers, each inside one collection
// and at the gate of the other's, and the two writers they wait for would wait for one another:
//   1. A holds X, B holds Y; writer V waits for X, W for Y.
//   2. A wants Y too and stands behind W, who waits for B; B wants X and stands behind V.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <shared_mutex>

namespace tessera::catalog {

/// For std::shared_lock and std::unique_lock. A thread gives back what it took itself.
class CollectionMutex {
public:
    void lock();
    bool try_lock();
    void unlock();
    void lock_shared();
    /// Also fails while a writer waits.
    bool try_lock_shared();
    void unlock_shared();

private:
    bool is_gate_closed() const { return waiting_.load() > 0; }

    std::shared_mutex inside_;
    std::atomic<int> waiting_{0};  // Writers; changed under gate_, and looked at without it.
    std::mutex gate_;              // Guards what follows.
    std::condition_variable opened_;
    std::uint64_t turns_ = 0;  // How many writers that had to wait have got in.
};

}  // namespace tessera::catalog
