// SPDX-License-Identifier: Apache-2.0
//
// Counters that serverStatus and top show. Each is written where it happens, without locks.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "base/namespace.h"
#include "base/time.h"
#include "bson/builder.h"

namespace tessera::commands {

using Counter = std::atomic<std::int64_t>;

struct OpCounters {
    Counter insert{0};
    Counter query{0};
    Counter update{0};
    Counter remove{0};
    Counter getmore{0};
    Counter command{0};
};

struct LatencyCounter {
    Counter microseconds{0};
    Counter operations{0};
    void add(Duration taken) {
        microseconds.fetch_add(to_microseconds(taken), std::memory_order_relaxed);
        operations.fetch_add(1, std::memory_order_relaxed);
    }
};

/// How long operations on a namespace took: a bin ends where it is twice as long as its beginning,
/// with half steps between 2048 us and about a second.
class LatencyHistogram {
public:
    void add(std::int64_t microseconds);
    /// {histogram: [{micros, count}, ...]?, latency, ops}
    void append(std::string_view name, bool with_bins, bson::Builder& out) const;

private:
    static constexpr std::size_t bins = 51;
    static std::int64_t lower_bound(std::size_t bin);
    static std::size_t bin_of(std::int64_t microseconds);

    std::int64_t latency_ = 0;
    std::int64_t operations_ = 0;
    std::array<std::uint32_t, bins> counts_{};
};
enum class LatencyKind : std::uint8_t { reads, writes, commands };

/// What `top` shows of one namespace.
struct TopEntry {
    enum Kind { total, read_lock, write_lock, queries, getmore, insert, update, remove, commands,
                kind_count };
    std::array<std::int64_t, kind_count> microseconds{};
    std::array<std::int64_t, kind_count> counts{};
    std::array<LatencyHistogram, 3> latencies;  // By LatencyKind.
};

class Metrics {
public:
    OpCounters operations;
    LatencyCounter reads;
    LatencyCounter writes;
    LatencyCounter command_latency;
    Counter documents_inserted{0};
    Counter documents_updated{0};
    Counter documents_deleted{0};
    Counter documents_returned{0};
    Counter keys_scanned{0};
    Counter documents_scanned{0};
    Counter collection_scans{0};
    Counter sorts_in_memory{0};
    Counter write_conflicts{0};
    Counter ttl_passes{0};
    Counter ttl_deleted{0};
    Counter retried_commands{0};
    Counter retried_statements{0};
    Counter asserts_user{0};
    Counter requests{0};
    Counter bytes_in{0};
    Counter bytes_out{0};
    Counter write_concern_timeouts{0};

    struct Finished {
        TopEntry::Kind kind = TopEntry::commands;
        LatencyKind latency = LatencyKind::commands;
        bool is_write = false;
        Duration taken{};
    };
    void note(const Namespace& ns, const Finished& operation);
    /// $collStats' latencyStats.
    void append_latency(const Namespace& ns, bool with_bins, bson::Builder& out) const;
    void append_top(bson::Builder& totals) const;
    void forget(const Namespace& ns);

    /// "metrics.commands.<name>": {failed, total}.
    void note_command(std::string_view name, bool failed);
    void append_commands(bson::Builder& out) const;

private:
    static constexpr std::size_t namespaces_max = 10'000;

    mutable std::mutex mutex_;  // Guards what follows.
    std::map<std::string, TopEntry> top_;
    struct CommandCount {
        std::int64_t total = 0;
        std::int64_t failed = 0;
    };
    std::map<std::string, CommandCount, std::less<>> commands_;
};

}  // namespace tessera::commands
