// SPDX-License-Identifier: Apache-2.0
//
// A namespace's lock starves nobody. Every wait here has an end of its own, so that a lock that is
// not fair fails the test and does not hang it.
#include "catalog/collection_mutex.h"

#include <chrono>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace tessera::catalog {
namespace {

using namespace std::chrono_literals;

constexpr auto patience = 30s;

template <class Condition>
bool wait_until(Condition condition) {
    std::mutex mutex;
    std::condition_variable never;
    std::unique_lock lock(mutex);
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        never.wait_for(lock, 100us);
    }
    return true;
}

// What another thread, which holds nothing, would get.
bool can_read(CollectionMutex& mutex) {
    bool result = false;
    std::thread([&] {
        result = mutex.try_lock_shared();
        if (result) mutex.unlock_shared();
    }).join();
    return result;
}

TEST(CollectionMutex, AWriterThatWaitsComesBeforeReadersThatComeLater) {
    CollectionMutex mutex;
    mutex.lock_shared();
    EXPECT_TRUE(can_read(mutex));
    std::atomic<bool> has_written{false};
    std::thread writer([&] {
        mutex.lock();
        has_written = true;
        mutex.unlock();
    });
    EXPECT_TRUE(wait_until([&] { return !can_read(mutex); }));
    EXPECT_FALSE(has_written);
    mutex.unlock_shared();
    writer.join();
    EXPECT_TRUE(has_written);
    EXPECT_TRUE(can_read(mutex));
}

TEST(CollectionMutex, WhoHoldsALockDoesNotStandBehindAWriter) {
    CollectionMutex mutex;
    CollectionMutex other;
    other.lock_shared();
    std::atomic<bool> is_inside{false};
    std::atomic<bool> may_go{false};
    std::thread reader([&] {
        mutex.lock_shared();
        is_inside = true;
        EXPECT_TRUE(wait_until([&] { return may_go.load(); }));
        mutex.unlock_shared();
    });
    ASSERT_TRUE(wait_until([&] { return is_inside.load(); }));
    std::thread writer([&] {
        mutex.lock();
        mutex.unlock();
    });
    EXPECT_TRUE(wait_until([&] { return !can_read(mutex); }));
    // This thread holds the other collection's lock.
    EXPECT_TRUE(mutex.try_lock_shared());
    mutex.unlock_shared();
    may_go = true;
    reader.join();
    writer.join();
    other.unlock_shared();
}

TEST(CollectionMutex, AStreamOfReadersKeepsNoWriterOut) {
    CollectionMutex mutex;
    std::atomic<bool> has_written{false};
    std::atomic<bool> is_over{false};
    std::atomic<int> inside{0};
    std::vector<std::thread> readers;
    for (int i = 0; i < 4; ++i) {
        readers.emplace_back([&] {
            while (!is_over) {
                mutex.lock_shared();
                ++inside;
                // Nobody leaves while nobody else is in, unless a writer closed the gate.
                wait_until([&] { return inside > 1 || is_over || !can_read(mutex); });
                --inside;
                mutex.unlock_shared();
            }
        });
    }
    EXPECT_TRUE(wait_until([&] { return inside > 1; }));
    std::thread writer([&] {
        mutex.lock();
        has_written = true;
        mutex.unlock();
    });
    EXPECT_TRUE(wait_until([&] { return has_written.load(); }));
    is_over = true;
    for (std::thread& reader : readers)
        reader.join();
    writer.join();
}

TEST(CollectionMutex, AStreamOfWritersKeepsNoReaderOut) {
    CollectionMutex mutex;
    std::atomic<bool> is_over{false};
    std::atomic<int> reads{0};
    std::vector<std::thread> writers;
    for (int i = 0; i < 3; ++i) {
        writers.emplace_back([&] {
            while (!is_over) {
                mutex.lock();
                mutex.unlock();
            }
        });
    }
    std::thread reader([&] {
        for (int i = 0; i < 100 && !is_over; ++i) {
            mutex.lock_shared();
            ++reads;
            mutex.unlock_shared();
        }
    });
    EXPECT_TRUE(wait_until([&] { return reads == 100; }));
    is_over = true;
    for (std::thread& writer : writers)
        writer.join();
    reader.join();
}

}  // namespace
}  // namespace tessera::catalog
