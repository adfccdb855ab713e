// SPDX-License-Identifier: Apache-2.0
//
// The server's malloc is jemalloc (docs/decisions/0007); this sets it up, before main().
#include <jemalloc/jemalloc.h>
#include <sys/mman.h>

#include <atomic>
#include <cstddef>
#include <string>

/// jemalloc's options (jemalloc(3), TUNING). Fourteen processes share a laptop, so few arenas, and
/// what a burst freed goes back to the system within ten seconds.
// NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables): what jemalloc wants.
extern "C" {
extern const char* malloc_conf;
const char* malloc_conf = "narenas:4,dirty_decay_ms:10000,muzzy_decay_ms:0,tcache_max:196608";
}

namespace {

// A process that has grown this far holds data and goes on growing: a third of a bulk insert's CPU
// were faults on fresh pages, one by one. From here on pages are taken a step of growth at a time,
// unless so much is asked for at once that not all of it need be used.
constexpr std::size_t small_process_bytes = std::size_t{64} << 20;
constexpr std::size_t step_bytes = std::size_t{2} << 20;
constexpr std::size_t sure_bytes = 2 * step_bytes;

std::atomic<std::size_t> grown_bytes = 0;
extent_hooks_t* plain_hooks = nullptr;

// Must not allocate (jemalloc(3), arena.<i>.extent_hooks).
void* grow(extent_hooks_t* /*hooks*/,
           void* wanted,
           std::size_t size,
           std::size_t alignment,
           bool* is_zero,
           bool* is_committed,
           unsigned arena) {
    void* const begin = plain_hooks->alloc(
        plain_hooks, wanted, size, alignment, is_zero, is_committed, arena);
    if (begin == nullptr) return nullptr;
    const std::size_t before = grown_bytes.fetch_add(size, std::memory_order_relaxed);
    if (before >= small_process_bytes && size <= sure_bytes)
        ::madvise(begin, size, MADV_POPULATE_WRITE);
    return begin;
}

extent_hooks_t growing_hooks;

[[gnu::constructor]] void set_up_allocator() {
    unsigned arenas = 0;
    std::size_t size = sizeof(arenas);
    if (mallctl("opt.narenas", &arenas, &size, nullptr, 0) != 0) return;
    for (unsigned arena = 0; arena < arenas; ++arena) {
        const std::string prefix = "arena." + std::to_string(arena);
        extent_hooks_t* hooks = nullptr;
        size = sizeof(hooks);
        if (mallctl((prefix + ".extent_hooks").c_str(), &hooks, &size, nullptr, 0) != 0) return;
        if (plain_hooks == nullptr) {
            plain_hooks = hooks;
            growing_hooks = *hooks;
            growing_hooks.alloc = grow;
        }
        hooks = &growing_hooks;
        mallctl((prefix + ".extent_hooks").c_str(), nullptr, nullptr, &hooks, sizeof(hooks));
        std::size_t step = step_bytes;
        mallctl((prefix + ".retain_grow_limit").c_str(), nullptr, nullptr, &step, sizeof(step));
    }
}

}  // namespace
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)
