// SPDX-License-Identifier: Apache-2.0
//
// TZif files (RFC 8536, version 2 and up): transitions as 64-bit seconds, then a POSIX TZ string
// for the time after the last of them.
#include <algorithm>
#include <cctype>
#include <vector>

#include <fmt/format.h>

#include "base/zone_file.h"
#include "query/expression/date.h"
#include "query/expression/node.h"

namespace tessera::query::expression {

/// One rule of a POSIX TZ string: "M3.2.0/2", "J60", "59".
struct ZoneRule {
    char kind = 'M';
    int month = 0;
    int week = 0;
    int day = 0;
    std::int64_t time = 7200;  // Seconds of the local day.

    /// Seconds since 1970 at which it falls in `year`, on the clock of the offset before it.
    std::int64_t in_year(std::int64_t year) const {
        std::int64_t days = 0;
        if (kind == 'M') {
            const std::int64_t first = days_from_civil(year, month, 1);
            const auto weekday = static_cast<int>(((first + 4) % 7 + 7) % 7);
            int date = 1 + (day - weekday + 7) % 7 + (week - 1) * 7;
            while (date > days_in_month(year, month))
                date -= 7;
            days = first + date - 1;
        } else {
            const bool has_leap_day = days_in_month(year, 2) == 29;
            days = days_from_civil(year, 1, 1) + day - (kind == 'J' ? 1 : 0);
            if (kind == 'J' && has_leap_day && day >= 60) ++days;
        }
        return days * 86400 + time;
    }
};

struct ZoneFile {
    std::vector<std::int64_t> times;
    std::vector<std::int64_t> offsets;  // After times[i], seconds.
    std::int64_t first_offset = 0;      // Before times[0].
    // After the last transition.
    bool has_footer = false;
    bool has_daylight = false;
    std::int64_t standard = 0;
    std::int64_t daylight = 0;
    ZoneRule start;
    ZoneRule end;

    std::int64_t offset_at(std::int64_t seconds) const {
        if (times.empty() || seconds >= times.back()) {
            if (!has_footer) return times.empty() ? first_offset : offsets.back();
            if (!has_daylight) return standard;
            const std::int64_t year = parts_of((seconds + standard) * 1000).year;
            const std::int64_t from = start.in_year(year) - standard;
            const std::int64_t to = end.in_year(year) - daylight;
            const bool is_daylight =
                from < to ? seconds >= from && seconds < to : seconds >= from || seconds < to;
            return is_daylight ? daylight : standard;
        }
        const auto after = std::upper_bound(times.begin(), times.end(), seconds);
        if (after == times.begin()) return first_offset;
        return offsets[static_cast<std::size_t>(after - times.begin()) - 1];
    }
};

namespace {

class Bytes {
public:
    explicit Bytes(std::string_view bytes) : bytes_(bytes) {}
    std::int64_t integer(std::size_t size) {
        if (bytes_.size() < size) {
            is_bad_ = true;
            return 0;
        }
        std::uint64_t value = bytes_[0] < 0 ? ~std::uint64_t{0} : 0;
        for (std::size_t i = 0; i < size; ++i)
            value = value << 8 | static_cast<unsigned char>(bytes_[i]);
        bytes_.remove_prefix(size);
        return static_cast<std::int64_t>(value);
    }
    void skip(std::int64_t count) {
        if (count < 0 || static_cast<std::size_t>(count) > bytes_.size())
            is_bad_ = true;
        else
            bytes_.remove_prefix(static_cast<std::size_t>(count));
    }
    std::string_view rest() const { return bytes_; }
    bool is_bad() const { return is_bad_; }

private:
    std::string_view bytes_;
    bool is_bad_ = false;
};

struct Header {
    std::int64_t utc_count, standard_count, leap_count, time_count, type_count, char_count;
};
Header read_header(Bytes& in) {
    in.skip(20);  // "TZif", version, reserved.
    Header header{};
    header.utc_count = in.integer(4);
    header.standard_count = in.integer(4);
    header.leap_count = in.integer(4);
    header.time_count = in.integer(4);
    header.type_count = in.integer(4);
    header.char_count = in.integer(4);
    return header;
}

/// Parses POSIX TZ text: name, offset, and the rules of daylight saving.
class Footer {
public:
    explicit Footer(std::string_view text) : text_(text) {}
    bool parse(ZoneFile& zone) {
        name();
        zone.standard = -time();
        zone.has_footer = true;
        if (text_.empty()) return true;
        name();
        zone.daylight = zone.standard + 3600;
        if (!text_.empty() && text_[0] != ',') zone.daylight = -time();
        if (!rule(zone.start) || !rule(zone.end)) return false;
        zone.has_daylight = true;
        return true;
    }

private:
    void name() {
        if (!text_.empty() && text_[0] == '<') {
            text_.remove_prefix(std::min(text_.size(), text_.find('>') + 1));
            return;
        }
        while (!text_.empty() && std::isalpha(static_cast<unsigned char>(text_[0])))
            text_.remove_prefix(1);
    }
    int number() {
        int value = 0;
        while (!text_.empty() && text_[0] >= '0' && text_[0] <= '9' && value < 100'000) {
            value = value * 10 + (text_[0] - '0');
            text_.remove_prefix(1);
        }
        return value;
    }
    bool skip(char c) {
        if (text_.empty() || text_[0] != c) return false;
        text_.remove_prefix(1);
        return true;
    }
    std::int64_t time() {
        const bool is_negative = skip('-');
        if (!is_negative) skip('+');
        std::int64_t seconds = number() * std::int64_t{3600};
        if (skip(':')) seconds += number() * std::int64_t{60};
        if (skip(':')) seconds += number();
        return is_negative ? -seconds : seconds;
    }
    bool rule(ZoneRule& out) {
        if (!skip(',')) return false;
        if (skip('M')) {
            out.kind = 'M';
            out.month = number();
            skip('.');
            out.week = number();
            skip('.');
            out.day = number();
            if (out.month < 1 || out.month > 12 || out.week < 1 || out.week > 5) return false;
        } else {
            out.kind = skip('J') ? 'J' : 'D';
            out.day = number();
        }
        if (skip('/')) out.time = time();
        return true;
    }
    std::string_view text_;
};

std::shared_ptr<const ZoneFile> parse_file(std::string_view bytes) {
    if (!bytes.starts_with("TZif")) return nullptr;
    Bytes in(bytes);
    const Header first = read_header(in);
    in.skip(first.time_count * 5 + first.type_count * 6 + first.char_count + first.leap_count * 8 +
            first.standard_count + first.utc_count);
    const Header header = read_header(in);
    auto zone = std::make_shared<ZoneFile>();
    if (header.time_count > 100'000 || header.type_count > 256) return nullptr;
    for (std::int64_t i = 0; i < header.time_count; ++i)
        zone->times.push_back(in.integer(8));
    std::vector<std::size_t> types;
    for (std::int64_t i = 0; i < header.time_count; ++i)
        types.push_back(static_cast<std::size_t>(in.integer(1) & 0xff));
    std::vector<std::int64_t> offsets;
    for (std::int64_t i = 0; i < header.type_count; ++i) {
        offsets.push_back(in.integer(4));
        in.skip(2);
    }
    in.skip(header.char_count + header.leap_count * 12 + header.standard_count + header.utc_count);
    if (in.is_bad() || offsets.empty()) return nullptr;
    for (const std::size_t type : types) {
        if (type >= offsets.size()) return nullptr;
        zone->offsets.push_back(offsets[type]);
    }
    zone->first_offset = offsets[0];
    std::string_view footer = in.rest();
    if (footer.size() >= 2 && footer.front() == '\n') {
        footer = footer.substr(1, footer.find('\n', 1) - 1);
        if (!footer.empty() && !Footer(footer).parse(*zone)) return nullptr;
    }
    return zone;
}

/// "+hh", "+hhmm", "+hh:mm" as milliseconds.
std::optional<std::int64_t> parse_offset(std::string_view text) {
    if (text.size() < 3 || (text[0] != '+' && text[0] != '-')) return std::nullopt;
    std::string digits;
    for (std::size_t i = 1; i < text.size(); ++i) {
        if (text[i] == ':' && i == 3 && text.size() == 6) continue;
        if (text[i] < '0' || text[i] > '9') return std::nullopt;
        digits.push_back(text[i]);
    }
    if (digits.size() != 2 && digits.size() != 4) return std::nullopt;
    const std::int64_t hours = (digits[0] - '0') * 10 + digits[1] - '0';
    const std::int64_t minutes = digits.size() == 4 ? (digits[2] - '0') * 10 + digits[3] - '0' : 0;
    const std::int64_t result = (hours * 60 + minutes) * 60'000;
    return text[0] == '-' ? -result : result;
}

}  // namespace

Result<TimeZone> TimeZone::parse(std::string_view name) {
    TimeZone zone;
    if (name == "UTC" || name == "GMT" || name == "Z") return zone;
    if (const auto offset = parse_offset(name)) {
        zone.fixed_ = *offset;
        return zone;
    }
    zone.file_ = parse_file(read_zone_file(name));
    if (!zone.file_)
        return failure(40485, fmt::format("unrecognized time zone identifier: \"{}\"", name));
    return zone;
}

std::int64_t TimeZone::offset_at(WallTime utc) const {
    if (!file_) return fixed_;
    const std::int64_t seconds = utc.milliseconds / 1000 - (utc.milliseconds % 1000 < 0 ? 1 : 0);
    return file_->offset_at(seconds) * 1000;
}

WallTime TimeZone::from_wall(std::int64_t wall) const {
    wall = clamped(wall);
    if (!file_) return {wall - fixed_};
    constexpr std::int64_t day = 86'400'000;
    const std::int64_t before = offset_at({wall - day});
    const std::int64_t after = offset_at({wall + day});
    if (offset_at({wall - before}) == before) return {wall - before};
    if (offset_at({wall - after}) == after) return {wall - after};
    return {wall - before};  // In a gap: the clock has jumped past it.
}

}  // namespace tessera::query::expression
