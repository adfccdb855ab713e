// SPDX-License-Identifier: Apache-2.0
//
// The profiler's settings, and which finished operations it keeps (system.profile) or tells of in
// the log ("Slow query"). slowms and sampleRate are the process's; level and filter a database's.
// Thread-safe. While nothing is profiled an operation costs one relaxed load.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/time.h"
#include "bson/view.h"
#include "query/expression/compiler.h"
#include "query/match/filter.h"

namespace tessera::commands {

inline constexpr std::string_view profile_collection = "system.profile";
inline constexpr std::int64_t profile_bytes_max = 1024 * 1024;

/// A match expression over the profile's documents.
struct ProfileFilter {
    bson::Document expression;
    std::unique_ptr<query::AggregationCompiler> expressions;
    query::Filter compiled;
    static Result<std::shared_ptr<const ProfileFilter>> parse(bson::View expression);
};

struct ProfileSettings {
    int level = 0;
    std::shared_ptr<const ProfileFilter> filter;  // Null: none. Shared by copies of the settings.
};

/// What the start-up flags say, for databases that were not told otherwise.
struct ProfileDefaults {
    int level = 0;
    std::int64_t slow_ms = 100;
    double sample_rate = 1.0;
    std::string filter;  // Extended JSON; empty: none.
};

class Profiler {
public:
    /// Fails with BadValue, naming the flag. Call before the first operation.
    Status set_defaults(const ProfileDefaults& defaults);

    ProfileSettings settings(std::string_view db) const;
    void set(std::string_view db, ProfileSettings settings);
    /// The database was dropped: it has the defaults again.
    void forget(std::string_view db);

    std::atomic<std::int64_t> slow_ms{100};
    std::atomic<double> sample_rate{1.0};

    /// Whether some database has a level or a filter.
    bool is_watching() const { return is_watching_.load(std::memory_order_relaxed); }
    bool is_slow(Duration taken) const {
        return to_microseconds(taken) > slow_ms.load(std::memory_order_relaxed) * 1000;
    }
    /// Whether operation_verdict() could keep or tell of an operation. For every operation: cheap.
    bool is_of_interest(Duration taken) const { return is_slow(taken) || is_watching(); }

    struct Verdict {
        bool is_kept = false;    // In system.profile.
        bool is_logged = false;  // In the log.
    };
    /// `draw`: a random number in [0, 1), for sampling; `document`: makes the profile's document,
    /// asked for only when a filter has to see it.
    Verdict verdict(std::string_view db,
                    Duration taken,
                    double draw,
                    const std::function<bson::View()>& document) const;

private:
    void look_again();  // Requires the lock.

    std::atomic<bool> is_watching_{false};
    mutable std::mutex mutex_;  // Guards what follows.
    ProfileSettings defaults_;
    std::map<std::string, ProfileSettings, std::less<>> databases_;  // Those told otherwise.
};

}  // namespace tessera::commands
