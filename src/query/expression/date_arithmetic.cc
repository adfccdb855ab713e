// SPDX-License-Identifier: Apache-2.0
//
// $dateAdd, $dateSubtract, $dateDiff, $dateTrunc: in units of a calendar, on a zone's wall clock.
#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "query/expression/date.h"
#include "query/expression/date_units.h"
#include "query/expression/node.h"

namespace tessera::query::expression {

namespace {

constexpr std::int64_t day_milliseconds = 86'400'000;

std::int64_t floor_divide(std::int64_t value, std::int64_t by) {
    return value / by - (value % by < 0 ? 1 : 0);
}

constexpr std::array<std::pair<std::string_view, DateUnit>, 9> units = {{
    {"year", DateUnit::year},
    {"quarter", DateUnit::quarter},
    {"month", DateUnit::month},
    {"week", DateUnit::week},
    {"day", DateUnit::day},
    {"hour", DateUnit::hour},
    {"minute", DateUnit::minute},
    {"second", DateUnit::second},
    {"millisecond", DateUnit::millisecond},
}};

std::int64_t months_in(DateUnit unit) {
    return unit == DateUnit::year ? 12 : unit == DateUnit::quarter ? 3 : 1;
}
bool is_calendar(DateUnit unit) {
    return unit <= DateUnit::month;
}
std::int64_t length_of(DateUnit unit) {
    switch (unit) {
        case DateUnit::week:
            return 7 * day_milliseconds;
        case DateUnit::day:
            return day_milliseconds;
        case DateUnit::hour:
            return 3'600'000;
        case DateUnit::minute:
            return 60'000;
        case DateUnit::second:
            return 1000;
        default:
            return 1;
    }
}
std::int64_t month_number(std::int64_t wall) {
    const DateParts parts = parts_of(wall);
    return parts.year * 12 + parts.month - 1;
}

}  // namespace

std::optional<DateUnit> parse_unit(std::string_view text) {
    for (const auto& [name, unit] : units)
        if (name == text) return unit;
    return std::nullopt;
}

Result<WallTime> add_to_date(WallTime date,
                             DateUnit unit,
                             std::int64_t amount,
                             const TimeZone& zone) {
    const Error overflow(location(5166406), "$dateAdd overflowed");
    constexpr std::int64_t milliseconds_max = 1LL << 58;
    if (is_calendar(unit)) {
        std::int64_t months = 0;
        if (__builtin_mul_overflow(amount, months_in(unit), &months) ||
            months > 12 * 300'000'000LL || months < -12 * 300'000'000LL)
            return overflow;
        const std::int64_t wall = zone.to_wall(date);
        const DateParts parts = parts_of(wall);
        const std::int64_t target = parts.year * 12 + parts.month - 1 + months;
        const std::int64_t year = floor_divide(target, 12);
        const auto month = static_cast<int>(target - year * 12) + 1;
        const std::int64_t days =
            days_from_civil(year, month, std::min(parts.day, days_in_month(year, month)));
        const std::int64_t time_of_day =
            wall - floor_divide(wall, day_milliseconds) * day_milliseconds;
        std::int64_t result = 0;
        if (__builtin_mul_overflow(days, day_milliseconds, &result) ||
            __builtin_add_overflow(result, time_of_day, &result))
            return overflow;
        return zone.from_wall(result);
    }
    std::int64_t by = 0;
    std::int64_t result = 0;
    if (__builtin_mul_overflow(amount, length_of(unit), &by)) return overflow;
    if (unit == DateUnit::day || unit == DateUnit::week) {
        if (__builtin_add_overflow(zone.to_wall(date), by, &result) || result > milliseconds_max ||
            result < -milliseconds_max)
            return overflow;
        return zone.from_wall(result);
    }
    if (__builtin_add_overflow(date.milliseconds, by, &result)) return overflow;
    return WallTime{result};
}

namespace {

/// Monday 1 ... Sunday 7; 0 when the text is no weekday.
int parse_weekday(std::string_view text) {
    constexpr std::string_view names[] = {
        "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"};
    std::string lower(text);
    for (char& c : lower)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    for (int i = 0; i < 7; ++i)
        if (lower == names[i] || lower == names[i].substr(0, 3)) return i + 1;
    return 0;
}

struct UnitArgument {
    std::optional<DateUnit> unit;  // None: the result is null.
};
Result<UnitArgument> unit_argument(std::string_view name, const Value& value) {
    if (value.is_nullish()) return UnitArgument{};
    if (!value.is_string())
        return failure(
            5439013,
            fmt::format("{} requires 'unit' to be a string, but got {}", name, type_text(value)));
    const auto unit = parse_unit(value.as_string());
    if (!unit)
        return Error(
            ErrorCode::failed_to_parse,
            fmt::format("{} parameter 'unit' value cannot be recognized as a time unit: {}",
                        name,
                        value.as_string()));
    return UnitArgument{unit};
}
/// The weekday of a 'startOfWeek' argument; Sunday without one; 0 for null.
Result<int> weekday_argument(std::string_view name, const Value& value) {
    if (is_absent(value)) return 7;
    if (value.is_nullish()) return 0;
    const int weekday = value.is_string() ? parse_weekday(value.as_string()) : 0;
    if (weekday == 0)
        return failure(5439015,
                       fmt::format("{} parameter 'startOfWeek' value cannot be recognized "
                                   "as a day of a week",
                                   name));
    return weekday;
}

Result<Value> shift_date(Evaluation& evaluation, Args args, std::string_view name, int sign) {
    TRY(const UnitArgument unit, unit_argument(name, args[1]));
    TRY(const auto zone, zone_argument(evaluation, args[3]));
    if (args[0].is_nullish() || !unit.unit || args[2].is_nullish() || !zone) return null();
    if (args[0].type() != Type::date && args[0].type() != Type::timestamp &&
        args[0].type() != Type::object_id)
        return failure(5166403,
                       fmt::format("{} requires startDate to be convertible to a date", name));
    TRY(const WallTime date, date_argument(args[0]));
    if (!args[2].is_number() || !args[2].is_integral())
        return failure(5166405, fmt::format("{} expects integer amount of time units", name));
    const std::int64_t amount = args[2].to_int64();
    if (amount == INT64_MIN) return failure(5976500, "invalid amount");
    TRY(const WallTime result, add_to_date(date, *unit.unit, sign * amount, *zone));
    return evaluation.arena().make(result);
}
Result<Value> date_add(Evaluation& evaluation, Args args) {
    return shift_date(evaluation, args, "$dateAdd", 1);
}
Result<Value> date_subtract(Evaluation& evaluation, Args args) {
    return shift_date(evaluation, args, "$dateSubtract", -1);
}

/// Which unit since 1970 a wall clock is in.
std::int64_t unit_number(std::int64_t wall, DateUnit unit, int start_of_week) {
    if (is_calendar(unit)) return floor_divide(month_number(wall), months_in(unit));
    if (unit == DateUnit::week) {
        // 1970-01-01 was a Thursday (4): days counted from the first start of a week before it.
        const std::int64_t shift = (4 - start_of_week + 7) % 7;
        return floor_divide(floor_divide(wall, day_milliseconds) + shift, 7);
    }
    return floor_divide(wall, length_of(unit));
}

Result<Value> date_diff(Evaluation& evaluation, Args args) {
    TRY(const UnitArgument unit, unit_argument("$dateDiff", args[2]));
    TRY(const auto zone, zone_argument(evaluation, args[3]));
    TRY(const int start_of_week, weekday_argument("$dateDiff", args[4]));
    if (args[0].is_nullish() || args[1].is_nullish() || !unit.unit || !zone || start_of_week == 0)
        return null();
    TRY(const WallTime from, date_argument(args[0]));
    TRY(const WallTime to, date_argument(args[1]));
    std::int64_t result = 0;
    if (*unit.unit >= DateUnit::hour) {
        // Hours and less are counted on the zone's clock, but along real time.
        const std::int64_t offset = zone->offset_at(from);
        const std::int64_t length = length_of(*unit.unit);
        result = floor_divide(to.milliseconds + offset, length) -
                 floor_divide(from.milliseconds + offset, length);
    } else {
        result = unit_number(zone->to_wall(to), *unit.unit, start_of_week) -
                 unit_number(zone->to_wall(from), *unit.unit, start_of_week);
    }
    return evaluation.arena().make(result);
}

Result<Value> date_trunc(Evaluation& evaluation, Args args) {
    TRY(const UnitArgument unit, unit_argument("$dateTrunc", args[1]));
    TRY(const auto zone, zone_argument(evaluation, args[3]));
    TRY(const int start_of_week, weekday_argument("$dateTrunc", args[4]));
    std::int64_t bin = 1;
    if (!is_absent(args[2])) {
        if (args[2].is_nullish()) return null();
        if (!args[2].is_number() || !args[2].is_integral())
            return failure(5439017, "$dateTrunc requires 'binSize' to be a 64-bit integer");
        bin = args[2].to_int64();
        if (bin < 1) return failure(5439018, "$dateTrunc requires 'binSize' to be greater than 0");
        if (bin > 100'000'000'000)
            return failure(5439018, "$dateTrunc requires 'binSize' to be at most 100000000000");
    }
    if (args[0].is_nullish() || !unit.unit || !zone || start_of_week == 0) return null();
    TRY(const WallTime date, date_argument(args[0]));
    // Bins are counted from 2000-01-01T00:00 on the zone's wall clock (the manual).
    const std::int64_t wall = zone->to_wall(date);
    const std::int64_t reference_days = days_from_civil(2000, 1, 1);
    Arena& arena = evaluation.arena();
    if (is_calendar(*unit.unit)) {
        const std::int64_t length = months_in(*unit.unit) * bin;
        const std::int64_t months = floor_divide(month_number(wall) - 2000 * 12, length) * length;
        return arena.make(zone->from_wall(days_from_civil(2000, months + 1, 1) * day_milliseconds));
    }
    std::int64_t reference = reference_days * day_milliseconds;
    if (*unit.unit == DateUnit::week) {
        // The first start of a week on or after 2000-01-01, a Saturday (6).
        reference += (start_of_week - 6 + 7) % 7 * day_milliseconds;
    }
    std::int64_t length = 0;
    if (__builtin_mul_overflow(length_of(*unit.unit), bin, &length))
        return failure(5439018, "$dateTrunc binSize is too large");
    if (*unit.unit >= DateUnit::hour) {
        const WallTime reference_utc = zone->from_wall(reference);
        const std::int64_t since = date.milliseconds - reference_utc.milliseconds +
                                   (zone->offset_at(date) - zone->offset_at(reference_utc));
        const std::int64_t start = floor_divide(since, length) * length;
        return arena.make(WallTime{date.milliseconds - (since - start)});
    }
    return arena.make(zone->from_wall(reference + floor_divide(wall - reference, length) * length));
}

constexpr Parameter shift_parameters[] = {
    {"startDate", true}, {"unit", true}, {"amount", true}, {"timezone"}};
constexpr Parameter diff_parameters[] = {
    {"startDate", true}, {"endDate", true}, {"unit", true}, {"timezone"}, {"startOfWeek"}};
constexpr Parameter trunc_parameters[] = {
    {"date", true}, {"unit", true}, {"binSize"}, {"timezone"}, {"startOfWeek"}};
constexpr NamedFunction named[] = {
    {"$dateAdd", shift_parameters, date_add, {5166400, 5166401, 5166402}},
    {"$dateSubtract", shift_parameters, date_subtract, {5166400, 5166401, 5166402}},
    {"$dateDiff", diff_parameters, date_diff, {5166301, 5166302, 5166303}},
    {"$dateTrunc", trunc_parameters, date_trunc, {5439007, 5439008, 5439009}},
};

}  // namespace

OperatorTable date_arithmetic_operators() {
    return {{}, named, {}};
}

}  // namespace tessera::query::expression
