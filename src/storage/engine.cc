// SPDX-License-Identifier: Apache-2.0
#include "storage/engine.h"

namespace tessera::storage {

void Transaction::add(const TallyPtr& tally, std::int64_t count, std::int64_t bytes) {
    for (Difference& difference : differences_) {
        if (difference.tally != tally) continue;
        difference.count += count;
        difference.bytes += bytes;
        return;
    }
    differences_.push_back({tally, count, bytes});
}

Transaction::Difference Transaction::pending(const TallyPtr& tally) const {
    for (const Difference& difference : differences_) {
        if (difference.tally == tally) return difference;
    }
    return {};
}

void Transaction::settle() {
    for (const Difference& difference : differences_) {
        difference.tally->count.fetch_add(difference.count, std::memory_order_relaxed);
        difference.tally->bytes.fetch_add(difference.bytes, std::memory_order_relaxed);
    }
    differences_.clear();
}

}  // namespace tessera::storage
