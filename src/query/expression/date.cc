// SPDX-License-Identifier: Apache-2.0
#include "query/expression/date.h"

#include <fmt/format.h>

#include "query/expression/node.h"

namespace tessera::query::expression {

namespace {

constexpr std::int64_t day_milliseconds = 86'400'000;

std::int64_t floor_divide(std::int64_t value, std::int64_t by) {
    return value / by - (value % by < 0 ? 1 : 0);
}
bool is_leap(std::int64_t year) {
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

int iso_weeks_in(std::int64_t year) {
    const std::int64_t first = days_from_civil(year, 1, 1);
    const auto weekday = static_cast<int>(((first + 3) % 7 + 7) % 7);  // Monday 0.
    return weekday == 3 || (weekday == 2 && is_leap(year)) ? 53 : 52;
}

}  // namespace

// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": days_from_civil, civil_from_days.
std::int64_t days_from_civil(std::int64_t year, std::int64_t month, std::int64_t day) {
    year += floor_divide(month - 1, 12);
    month = month - 1 - floor_divide(month - 1, 12) * 12 + 1;
    if (month <= 2) --year;
    const std::int64_t era = floor_divide(year, 400);
    const std::int64_t year_of_era = year - era * 400;
    const std::int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5;
    const std::int64_t day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468 + day - 1;
}

int days_in_month(std::int64_t year, int month) {
    constexpr int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

DateParts parts_of(std::int64_t wall) {
    DateParts parts;
    const std::int64_t days = floor_divide(wall, day_milliseconds);
    auto rest = static_cast<int>(wall - days * day_milliseconds);
    parts.millisecond = rest % 1000;
    rest /= 1000;
    parts.second = rest % 60;
    parts.minute = rest / 60 % 60;
    parts.hour = rest / 3600;
    const std::int64_t shifted = days + 719468;
    const std::int64_t era = floor_divide(shifted, 146097);
    const std::int64_t day_of_era = shifted - era * 146097;
    const std::int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    const std::int64_t day_of_year =
        day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const std::int64_t month = (5 * day_of_year + 2) / 153;
    parts.day = static_cast<int>(day_of_year - (153 * month + 2) / 5 + 1);
    parts.month = static_cast<int>(month < 10 ? month + 3 : month - 9);
    parts.year = year_of_era + era * 400 + (parts.month <= 2 ? 1 : 0);
    parts.day_of_year = static_cast<int>(days - days_from_civil(parts.year, 1, 1)) + 1;
    const auto weekday = static_cast<int>(((days + 4) % 7 + 7) % 7);  // Sunday 0.
    parts.day_of_week = weekday + 1;
    parts.iso_day_of_week = weekday == 0 ? 7 : weekday;
    parts.week = (parts.day_of_year + 6 - weekday) / 7;
    int week = (parts.day_of_year - parts.iso_day_of_week + 10) / 7;
    parts.iso_year = parts.year;
    if (week < 1) {
        --parts.iso_year;
        week = iso_weeks_in(parts.iso_year);
    } else if (week > iso_weeks_in(parts.year)) {
        ++parts.iso_year;
        week = 1;
    }
    parts.iso_week = week;
    return parts;
}

Result<std::optional<TimeZone>> zone_argument(Evaluation& evaluation, const Value& value) {
    if (is_absent(value)) return std::optional<TimeZone>(TimeZone());
    if (value.is_nullish()) return std::optional<TimeZone>();
    if (!value.is_string())
        return failure(
            40517, fmt::format("timezone must evaluate to a string, found {}", type_text(value)));
    Evaluation::Zone& kept = evaluation.kept_zone();
    if (!kept.zone || kept.name != value.as_string()) {
        TRY(TimeZone zone, TimeZone::parse(value.as_string()));
        kept.name = value.as_string();
        kept.zone = std::make_shared<const TimeZone>(std::move(zone));
    }
    return std::optional<TimeZone>(*kept.zone);
}

Result<WallTime> date_argument(const Value& value) {
    switch (value.type()) {
        case Type::date:
            return value.as_date();
        case Type::timestamp:
            return WallTime{std::int64_t{value.as_timestamp().seconds} * 1000};
        case Type::object_id: {
            const auto id = value.as_object_id().bytes;
            const std::uint32_t seconds = std::uint32_t{id[0]} << 24 | std::uint32_t{id[1]} << 16 |
                                          std::uint32_t{id[2]} << 8 | std::uint32_t{id[3]};
            return WallTime{std::int64_t{seconds} * 1000};
        }
        default:
            return failure(
                16006, fmt::format("can't convert from BSON type {} to Date", type_text(value)));
    }
}

namespace {

/// Reads the text of a date from the front.
class Reader {
public:
    explicit Reader(std::string_view text) : text_(text) {}
    bool number(std::size_t digits_min, std::size_t digits_max, std::int64_t& out) {
        std::size_t count = 0;
        out = 0;
        while (count < digits_max && count < text_.size() && text_[count] >= '0' &&
               text_[count] <= '9')
            out = out * 10 + (text_[count++] - '0');
        if (count < digits_min) return false;
        text_.remove_prefix(count);
        digits = count;
        return true;
    }
    bool skip(char c) {
        if (text_.empty() || text_.front() != c) return false;
        text_.remove_prefix(1);
        return true;
    }
    char peek() const { return text_.empty() ? '\0' : text_.front(); }
    bool is_done() const { return text_.empty(); }
    std::string_view rest() const { return text_; }
    std::size_t digits = 0;

private:
    std::string_view text_;
};

}  // namespace

Result<WallTime> parse_date(std::string_view text, const TimeZone& zone, bool has_zone_argument) {
    const Error bad(
        ErrorCode::conversion_failure,
        fmt::format("Error parsing date string '{}'; it is not an ISO 8601 date", text));
    Reader in(text);
    const bool is_negative = in.skip('-');
    std::int64_t year = 0;
    std::int64_t month = 1;
    std::int64_t day = 1;
    if (!in.number(4, 4, year)) return bad;
    if (is_negative) year = -year;
    if (in.skip('-') || in.skip('/')) {
        if (!in.number(1, 2, month)) return bad;
        if ((in.skip('-') || in.skip('/')) && !in.number(1, 2, day)) return bad;
    } else if (!(in.number(2, 2, month) && in.number(2, 2, day))) {
        return bad;
    }
    std::int64_t hour = 0;
    std::int64_t minute = 0;
    std::int64_t second = 0;
    std::int64_t millisecond = 0;
    if (in.skip('T') || in.skip('t') || in.skip(' ')) {
        if (!in.number(1, 2, hour)) return bad;
        if (in.skip(':') && !in.number(2, 2, minute)) return bad;
        if (in.skip(':') && !in.number(2, 2, second)) return bad;
        if (in.skip('.') || in.skip(',')) {
            if (!in.number(1, 9, millisecond)) return bad;
            for (std::size_t i = in.digits; i < 3; ++i)
                millisecond *= 10;
            for (std::size_t i = in.digits; i > 3; --i)
                millisecond /= 10;
        }
    }
    if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 24 || minute > 59 || second > 59)
        return bad;
    const std::int64_t wall = days_from_civil(year, month, day) * day_milliseconds +
                              hour * 3'600'000 + minute * 60'000 + second * 1000 + millisecond;
    while (in.skip(' ')) {
    }
    if (in.is_done()) return zone.from_wall(wall);
    if (has_zone_argument)
        return Error(ErrorCode::conversion_failure,
                     fmt::format("you cannot pass in a date/time string with time zone information "
                                 "('{}') together with a timezone argument",
                                 in.rest()));
    const std::string_view name = in.rest();
    if (name == "Z" || name == "z" || name == "GMT" || name == "UTC") return WallTime{wall};
    auto parsed = TimeZone::parse(name);
    if (!parsed) return bad;
    return parsed->from_wall(wall);
}

}  // namespace tessera::query::expression
