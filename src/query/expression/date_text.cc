// SPDX-License-Identifier: Apache-2.0
//
// $dateToString and $dateFromString.
#include <array>

#include <fmt/format.h>

#include "query/expression/date.h"
#include "query/expression/node.h"
#include "query/expression/text.h"

namespace tessera::query::expression {
namespace {

constexpr std::array<std::string_view, 12> month_names = {"January",
                                                          "February",
                                                          "March",
                                                          "April",
                                                          "May",
                                                          "June",
                                                          "July",
                                                          "August",
                                                          "September",
                                                          "October",
                                                          "November",
                                                          "December"};

std::string offset_text(std::int64_t milliseconds) {
    const std::int64_t minutes = (milliseconds < 0 ? -milliseconds : milliseconds) / 60'000;
    return fmt::format("{}{:02}{:02}", milliseconds < 0 ? '-' : '+', minutes / 60, minutes % 60);
}

Status append_year(std::int64_t year, std::string& out) {
    if (year < 0 || year > 9999)
        return failure(18537,
                       fmt::format("Could not convert date to string: date component was outside "
                                   "the supported range of 0-9999: {}",
                                   year));
    out += fmt::format("{:04}", year);
    return {};
}

/// A numeric field's value and width; width 0: no such field.
struct NumberField {
    int value;
    int width;
};
NumberField number_field(char what, const DateParts& p) {
    switch (what) {
        case 'm':
            return {p.month, 2};
        case 'd':
            return {p.day, 2};
        case 'H':
            return {p.hour, 2};
        case 'M':
            return {p.minute, 2};
        case 'S':
            return {p.second, 2};
        case 'L':
            return {p.millisecond, 3};
        case 'j':
            return {p.day_of_year, 3};
        case 'w':
            return {p.day_of_week, 1};
        case 'u':
            return {p.iso_day_of_week, 1};
        case 'U':
            return {p.week, 2};
        case 'V':
            return {p.iso_week, 2};
        default:
            return {0, 0};
    }
}

/// Writes what '%' and `what` stand for.
Status append_field(char what, const DateParts& p, std::int64_t offset, std::string& out) {
    const std::string_view month = month_names[static_cast<std::size_t>(p.month - 1)];
    switch (what) {
        case '%':
            out.push_back('%');
            return {};
        case 'Y':
            return append_year(p.year, out);
        case 'G':
            return append_year(p.iso_year, out);
        case 'z':
            out += offset_text(offset);
            return {};
        case 'Z':
            out += std::to_string(offset / 60'000);
            return {};
        case 'b':
            out += month.substr(0, 3);
            return {};
        case 'B':
            out += month;
            return {};
        default:
            break;
    }
    const NumberField number = number_field(what, p);
    if (number.width == 0)
        return failure(18536, fmt::format("Invalid format character '%{}' in format string", what));
    out += fmt::format("{:0{}}", number.value, number.width);
    return {};
}

Result<std::string> format_date(std::string_view format, WallTime date, const TimeZone& zone) {
    const std::int64_t offset = zone.offset_at(date);
    const DateParts parts = parts_of(date.milliseconds + offset);
    std::string out;
    for (std::size_t i = 0; i < format.size(); ++i) {
        if (format[i] != '%') {
            out.push_back(format[i]);
            continue;
        }
        if (++i == format.size()) return failure(18535, "Unmatched '%' at end of format string");
        TRY_OK(append_field(format[i], parts, offset, out));
    }
    return out;
}

Result<Value> date_to_string(Evaluation& evaluation, Args args) {
    const Value& date = args[0];
    TRY(const auto zone, zone_argument(evaluation, args[2]));
    std::string_view format =
        zone && zone->is_utc() ? "%Y-%m-%dT%H:%M:%S.%LZ" : "%Y-%m-%dT%H:%M:%S.%L";
    const Value on_null = is_absent(args[3]) ? null() : args[3];
    if (!is_absent(args[1])) {
        if (args[1].is_nullish()) return on_null;
        if (!args[1].is_string())
            return failure(18533,
                           fmt::format("$dateToString requires that 'format' be a string, "
                                       "found: {} with value {}",
                                       type_text(args[1]),
                                       type_text(args[1])));
        format = args[1].as_string();
    }
    if (!zone) return null();
    if (date.is_nullish()) return on_null;
    TRY(const WallTime moment, date_argument(date));
    TRY(const std::string text, format_date(format, moment, *zone));
    return evaluation.arena().make(std::string_view(text));
}

/// Reads a date by a format of $dateFromString.
class FormatReader {
public:
    FormatReader(std::string_view text, std::string_view format) : text_(text), format_(format) {}

    /// Fills what the format names.
    Status read() {
        while (!format_.empty()) {
            const char c = format_.front();
            format_.remove_prefix(1);
            if (c != '%') {
                if (text_.empty() || text_.front() != c) return mismatch();
                text_.remove_prefix(1);
                continue;
            }
            if (format_.empty()) return failure(18535, "Unmatched '%' at end of format string");
            const char what = format_.front();
            format_.remove_prefix(1);
            TRY_OK(field(what));
        }
        if (!text_.empty()) return mismatch();
        return {};
    }

    Result<WallTime> date(const TimeZone& zone, bool has_zone_argument) const {
        std::int64_t days = 0;
        if (is_iso_) {
            const std::int64_t fourth = days_from_civil(year_, 1, 4);
            days = fourth - ((fourth + 3) % 7 + 7) % 7 + (iso_week_ - 1) * 7 + iso_day_ - 1;
        } else if (day_of_year_ > 0) {
            days = days_from_civil(year_, 1, 1) + day_of_year_ - 1;
        } else {
            if (month_ < 1 || month_ > 12 || day_ < 1 || day_ > 31) return mismatch();
            days = days_from_civil(year_, month_, day_);
        }
        const std::int64_t wall = days * 86'400'000 + hour_ * 3'600'000 + minute_ * 60'000 +
                                  second_ * 1000 + millisecond_;
        if (!offset_) return zone.from_wall(wall);
        if (has_zone_argument)
            return Error(ErrorCode::conversion_failure,
                         "you cannot pass in a date/time string with GMT offset together with a "
                         "timezone argument");
        return WallTime{wall - *offset_};
    }

private:
    Error mismatch() const {
        return Error(ErrorCode::conversion_failure,
                     "Error parsing date string; the string does not match the format");
    }
    Status number(std::size_t digits_max, std::int64_t& out) {
        std::size_t count = 0;
        out = 0;
        while (count < digits_max && count < text_.size() && text_[count] >= '0' &&
               text_[count] <= '9')
            out = out * 10 + (text_[count++] - '0');
        if (count == 0) return mismatch();
        text_.remove_prefix(count);
        return {};
    }
    Status field(char what) {
        switch (what) {
            case '%':
                if (text_.empty() || text_.front() != '%') return mismatch();
                text_.remove_prefix(1);
                return {};
            case 'Y':
                return number(4, year_);
            case 'G':
                is_iso_ = true;
                return number(4, year_);
            case 'm':
                return number(2, month_);
            case 'd':
                return number(2, day_);
            case 'H':
                return number(2, hour_);
            case 'M':
                return number(2, minute_);
            case 'S':
                return number(2, second_);
            case 'L':
                return number(3, millisecond_);
            case 'j':
                return number(3, day_of_year_);
            case 'u':
                return number(1, iso_day_);
            case 'V':
                return number(2, iso_week_);
            case 'b':
            case 'B':
                return month_name(what == 'B');
            case 'z':
            case 'Z':
                return offset(what == 'Z');
            default:
                return failure(
                    18536, fmt::format("Invalid format character '%{}' in format string", what));
        }
    }
    Status month_name(bool is_full) {
        for (std::size_t i = 0; i < month_names.size(); ++i) {
            const std::string_view name = is_full ? month_names[i] : month_names[i].substr(0, 3);
            if (!text_.starts_with(name)) continue;
            month_ = static_cast<std::int64_t>(i) + 1;
            text_.remove_prefix(name.size());
            return {};
        }
        return mismatch();
    }
    Status offset(bool in_minutes) {
        if (!text_.empty() && text_.front() == 'Z') {
            text_.remove_prefix(1);
            offset_ = 0;
            return {};
        }
        if (text_.empty() || (text_.front() != '+' && text_.front() != '-')) return mismatch();
        const bool is_negative = text_.front() == '-';
        text_.remove_prefix(1);
        std::int64_t value = 0;
        std::int64_t minutes = 0;
        TRY_OK(number(in_minutes ? 4 : 2, value));
        if (!in_minutes) {
            if (!text_.empty() && text_.front() == ':') text_.remove_prefix(1);
            TRY_OK(number(2, minutes));
            value = value * 60 + minutes;
        }
        offset_ = (is_negative ? -value : value) * 60'000;
        return {};
    }

    std::string_view text_;
    std::string_view format_;
    std::int64_t year_ = 1970;
    std::int64_t month_ = 1;
    std::int64_t day_ = 1;
    std::int64_t hour_ = 0;
    std::int64_t minute_ = 0;
    std::int64_t second_ = 0;
    std::int64_t millisecond_ = 0;
    std::int64_t day_of_year_ = 0;
    bool is_iso_ = false;
    std::int64_t iso_week_ = 1;
    std::int64_t iso_day_ = 1;
    std::optional<std::int64_t> offset_;  // Milliseconds.
};

enum : std::size_t { at_text, at_zone, at_format, at_on_null, at_on_error };

Result<WallTime> read_date(Args args, const TimeZone& zone) {
    const std::string_view text = args[at_text].as_string();
    const bool has_zone = !is_absent(args[at_zone]);
    if (is_absent(args[at_format])) return parse_date(text, zone, has_zone);
    FormatReader reader(text, args[at_format].as_string());
    TRY_OK(reader.read());
    return reader.date(zone, has_zone);
}

Result<Value> date_from_string(Evaluation& evaluation, Args args) {
    TRY(const auto zone, zone_argument(evaluation, args[at_zone]));
    if (!is_absent(args[at_format])) {
        if (args[at_format].is_nullish()) return null();
        if (!args[at_format].is_string())
            return failure(40684,
                           fmt::format("$dateFromString requires that 'format' be a string, "
                                       "found: {}",
                                       type_text(args[at_format])));
    }
    const Value& text = args[at_text];
    if (text.is_nullish()) return is_absent(args[at_on_null]) ? null() : args[at_on_null];
    if (!zone) return null();
    if (!text.is_string()) {
        if (!is_absent(args[at_on_error])) return args[at_on_error];
        return Error(
            ErrorCode::conversion_failure,
            fmt::format("$dateFromString requires that 'dateString' be a string, found: {} "
                        "with value {}",
                        type_text(text),
                        type_text(text)));
    }
    auto date = read_date(args, *zone);
    if (date) return evaluation.arena().make(*date);
    if (!is_absent(args[at_on_error]) && date.error().code() == ErrorCode::conversion_failure)
        return args[at_on_error];
    return std::move(date).error();
}

constexpr Parameter to_parameters[] = {{"date", true}, {"format"}, {"timezone"}, {"onNull"}};
constexpr Parameter from_parameters[] = {
    {"dateString", true}, {"timezone"}, {"format"}, {"onNull"}, {"onError"}};
constexpr NamedFunction named[] = {
    {"$dateToString", to_parameters, date_to_string, {18629, 18534, 18628}},
    {"$dateFromString", from_parameters, date_from_string, {40540, 40541, 40542}},
};

}  // namespace

std::string date_to_iso(WallTime date) {
    const DateParts p = parts_of(date.milliseconds);
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
                       p.year,
                       p.month,
                       p.day,
                       p.hour,
                       p.minute,
                       p.second,
                       p.millisecond);
}

OperatorTable date_text_operators() {
    return {{}, named, {}};
}

}  // namespace tessera::query::expression
