// SPDX-License-Identifier: Apache-2.0
#include "catalog/collection_mutex.h"

namespace tessera::catalog {
namespace {

// Locks of this thread, of any collection.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): each thread's own.
thread_local int held = 0;

void note_given_back() {
    if (held > 0) --held;
}

}  // namespace

void CollectionMutex::lock() {
    if (!inside_.try_lock()) {
        {
            std::lock_guard lock(gate_);
            waiting_.fetch_add(1);
        }
        inside_.lock();
        {
            std::lock_guard lock(gate_);
            waiting_.fetch_sub(1);
            ++turns_;
        }
        opened_.notify_all();
    }
    ++held;
}

bool CollectionMutex::try_lock() {
    if (!inside_.try_lock()) return false;
    ++held;
    return true;
}

void CollectionMutex::unlock() {
    note_given_back();
    inside_.unlock();
}

void CollectionMutex::lock_shared() {
    if (held == 0 && is_gate_closed()) {
        std::unique_lock lock(gate_);
        const std::uint64_t seen = turns_;
        opened_.wait(lock, [&] { return turns_ != seen || !is_gate_closed(); });
    }
    inside_.lock_shared();
    ++held;
}

bool CollectionMutex::try_lock_shared() {
    if (held == 0 && is_gate_closed()) return false;
    if (!inside_.try_lock_shared()) return false;
    ++held;
    return true;
}

void CollectionMutex::unlock_shared() {
    note_given_back();
    inside_.unlock_shared();
}

}  // namespace tessera::catalog
