// SPDX-License-Identifier: Apache-2.0
#include "commands/metrics.h"

namespace tessera::commands {

std::int64_t LatencyHistogram::lower_bound(std::size_t bin) {
    // 0, 2, 4 ... 1024; 2048, 3072, 4096, 6144 ... 786432; 1048576, 2097152 ...
    constexpr std::size_t halves_begin = 11;  // 2048.
    constexpr std::size_t halves_end = halves_begin + 2 * 9;
    if (bin < halves_begin) return bin == 0 ? 0 : std::int64_t{1} << bin;
    if (bin >= halves_end) return std::int64_t{1} << (20 + bin - halves_end);
    const std::size_t step = bin - halves_begin;
    const std::int64_t whole = std::int64_t{1} << (11 + step / 2);
    return step % 2 == 0 ? whole : whole + whole / 2;
}

std::size_t LatencyHistogram::bin_of(std::int64_t microseconds) {
    std::size_t low = 0;
    std::size_t high = bins;  // Invariant: lower_bound(low) <= microseconds < lower_bound(high).
    while (high - low > 1) {
        const std::size_t middle = (low + high) / 2;
        (lower_bound(middle) <= microseconds ? low : high) = middle;
    }
    return low;
}

void LatencyHistogram::add(std::int64_t microseconds) {
    latency_ += microseconds;
    ++operations_;
    ++counts_[bin_of(microseconds)];
}

void LatencyHistogram::append(std::string_view name, bool with_bins, bson::Builder& out) const {
    bson::Builder object = out.object(name);
    if (with_bins) {
        auto list = object.array("histogram");
        for (std::size_t bin = 0; bin < bins; ++bin) {
            if (counts_[bin] == 0) continue;
            list.object()
                .append("micros", lower_bound(bin))
                .append("count", std::int64_t{counts_[bin]});
        }
    }
    object.append("latency", latency_).append("ops", operations_);
}

void Metrics::append_latency(const Namespace& ns, bool with_bins, bson::Builder& out) const {
    const std::lock_guard lock(mutex_);
    const auto found = top_.find(ns.to_string());
    static const TopEntry nothing;
    const TopEntry& entry = found == top_.end() ? nothing : found->second;
    std::size_t kind = 0;
    for (const std::string_view name : {"reads", "writes", "commands"})
        entry.latencies[kind++].append(name, with_bins, out);
    nothing.latencies[0].append("transactions", with_bins, out);  // There are none.
}

void Metrics::note(const Namespace& ns, const Finished& operation) {
    const std::lock_guard lock(mutex_);
    if (top_.size() >= namespaces_max && !top_.contains(ns.to_string())) return;
    TopEntry& entry = top_[ns.to_string()];
    for (const auto each :
         {TopEntry::total,
          operation.kind,
          operation.is_write ? TopEntry::write_lock : TopEntry::read_lock}) {
        entry.microseconds[each] += to_microseconds(operation.taken);
        ++entry.counts[each];
    }
    entry.latencies[static_cast<std::size_t>(operation.latency)].add(
        to_microseconds(operation.taken));
}

void Metrics::forget(const Namespace& ns) {
    const std::lock_guard lock(mutex_);
    top_.erase(ns.to_string());
}

void Metrics::append_top(bson::Builder& totals) const {
    static constexpr std::array<std::string_view, TopEntry::kind_count> names = {"total",
                                                                                 "readLock",
                                                                                 "writeLock",
                                                                                 "queries",
                                                                                 "getmore",
                                                                                 "insert",
                                                                                 "update",
                                                                                 "remove",
                                                                                 "commands"};
    totals.append("note", "all times in microseconds");
    const std::lock_guard lock(mutex_);
    for (const auto& [ns, entry] : top_) {
        bson::Builder each = totals.object(ns);
        for (std::size_t kind = 0; kind < names.size(); ++kind) {
            bson::Builder pair = each.object(names[kind]);
            pair.append_integer("time", entry.microseconds[kind]);
            pair.append_integer("count", entry.counts[kind]);
        }
    }
}

void Metrics::note_command(std::string_view name, bool failed) {
    const std::lock_guard lock(mutex_);
    auto found = commands_.find(name);
    if (found == commands_.end())
        found = commands_.emplace(std::string(name), CommandCount()).first;
    ++found->second.total;
    if (failed) ++found->second.failed;
}

void Metrics::append_commands(bson::Builder& out) const {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, count] : commands_) {
        bson::Builder each = out.object(name);
        each.append("failed", count.failed).append("total", count.total);
    }
}

}  // namespace tessera::commands
