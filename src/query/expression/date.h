// SPDX-License-Identifier: Apache-2.0
//
// Calendar arithmetic and time zones: UTC offsets ("+05:30") and Olson names, which are read from
// the system's zone files (TZif, RFC 8536) and kept by the Evaluation that asked last.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"
#include "bson/value.h"

namespace tessera::query {
class Evaluation;
}

namespace tessera::query::expression {

/// Days since 1970-01-01 of a proleptic Gregorian date; the month may be any number.
std::int64_t days_from_civil(std::int64_t year, std::int64_t month, std::int64_t day);

/// A moment as a wall clock shows it.
struct DateParts {
    std::int64_t year = 1970;
    int month = 1;
    int day = 1;
    int hour = 0;
    int minute = 0;
    int second = 0;
    int millisecond = 0;
    int day_of_year = 1;
    int day_of_week = 1;      // Sunday 1.
    int iso_day_of_week = 1;  // Monday 1.
    std::int64_t iso_year = 1970;
    int iso_week = 1;
    int week = 0;  // Weeks begin on Sundays; days before the first Sunday are in week 0.
};
/// Of milliseconds on a wall clock (no zone applied).
DateParts parts_of(std::int64_t wall_milliseconds);
int days_in_month(std::int64_t year, int month);

struct ZoneFile;

class TimeZone {
public:
    TimeZone() = default;  // UTC.
    /// Fails with 40485 on a name that is neither an offset nor a known zone.
    static Result<TimeZone> parse(std::string_view name);

    /// Milliseconds to add to UTC.
    std::int64_t offset_at(WallTime utc) const;
    std::int64_t to_wall(WallTime utc) const {
        const WallTime within{clamped(utc.milliseconds)};
        return within.milliseconds + offset_at(within);
    }
    /// The moment a wall clock here shows `wall`; the earlier of two; past a gap by its length.
    WallTime from_wall(std::int64_t wall) const;
    bool is_utc() const { return !file_ && fixed_ == 0; }

private:
    /// The last days an int64 can tell stand for what lies beyond them, so that sums stay in range.
    static std::int64_t clamped(std::int64_t milliseconds) {
        constexpr std::int64_t far =
            std::numeric_limits<std::int64_t>::max() - std::int64_t{4} * 86'400'000;
        return std::clamp(milliseconds, -far, far);
    }

    std::int64_t fixed_ = 0;
    std::shared_ptr<const ZoneFile> file_;  // Shared by copies of this zone.
};

/// The zone an optional 'timezone' argument names; none when it is nullish (the result is null).
Result<std::optional<TimeZone>> zone_argument(Evaluation& evaluation, const bson::Value& value);
/// The date a value stands for: date, timestamp, objectId. Fails with 16006.
Result<WallTime> date_argument(const bson::Value& value);

/// Parses an ISO 8601 date or a date and time. Without a zone in the text, `zone` is meant.
Result<WallTime> parse_date(std::string_view text, const TimeZone& zone, bool has_zone_argument);

}  // namespace tessera::query::expression
