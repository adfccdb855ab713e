// SPDX-License-Identifier: Apache-2.0
#include "commands/metrics.h"

namespace tessera::commands {

void Metrics::note(const Namespace& ns, TopEntry::Kind kind, bool is_write, Duration taken) {
    const std::lock_guard lock(mutex_);
    if (top_.size() >= namespaces_max && !top_.contains(ns.to_string())) return;
    TopEntry& entry = top_[ns.to_string()];
    for (const auto each :
         {TopEntry::total, kind, is_write ? TopEntry::write_lock : TopEntry::read_lock}) {
        entry.microseconds[each] += to_microseconds(taken);
        ++entry.counts[each];
    }
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
