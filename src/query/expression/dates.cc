// SPDX-License-Identifier: Apache-2.0
//
// Parts of dates: $year ..., $dateToParts, $dateFromParts, and parts of timestamps.
#include <fmt/format.h>

#include "query/expression/date.h"
#include "query/expression/node.h"

namespace tessera::query::expression {
namespace {

using Read = Value (*)(const DateParts&, Arena&);

Result<Value> part(Evaluation& evaluation, Args args, Read read) {
    TRY(const auto zone, zone_argument(evaluation, args[1]));
    if (!zone || args[0].is_nullish()) return null();
    TRY(const WallTime date, date_argument(args[0]));
    return read(parts_of(zone->to_wall(date)), evaluation.arena());
}

#define DATE_PART(function, type, field)                                         \
    Result<Value> function(Evaluation& evaluation, Args args) {                  \
        return part(evaluation, args, [](const DateParts& parts, Arena& arena) { \
            return arena.make(static_cast<type>(parts.field));                   \
        });                                                                      \
    }
DATE_PART(year, std::int32_t, year)
DATE_PART(month, std::int32_t, month)
DATE_PART(day_of_month, std::int32_t, day)
DATE_PART(hour, std::int32_t, hour)
DATE_PART(minute, std::int32_t, minute)
DATE_PART(second, std::int32_t, second)
DATE_PART(millisecond, std::int32_t, millisecond)
DATE_PART(day_of_year, std::int32_t, day_of_year)
DATE_PART(day_of_week, std::int32_t, day_of_week)
DATE_PART(iso_day_of_week, std::int32_t, iso_day_of_week)
DATE_PART(iso_week, std::int32_t, iso_week)
DATE_PART(iso_week_year, std::int64_t, iso_year)
DATE_PART(week, std::int32_t, week)
#undef DATE_PART

/// {$year: <date>}, {$year: [<date>]} or {$year: {date: <date>, timezone: <zone>}}.
class PartNode final : public Node {
public:
    PartNode(Run run, NodePtr date, NodePtr zone)
        : run_(run), date_(std::move(date)), zone_(std::move(zone)) {}
    Result<Value> evaluate(Evaluation& evaluation) const override {
        Value args[2];
        TRY(args[0], date_->evaluate(evaluation));
        args[1] = absent();
        if (zone_) {
            TRY(args[1], zone_->evaluate(evaluation));
        }
        return run_(evaluation, Args(args, 2));
    }
    void add_children(std::vector<NodePtr*>& out) override {
        out.push_back(&date_);
        if (zone_) out.push_back(&zone_);
    }
    bool is_foldable() const override { return true; }

private:
    Run run_;
    NodePtr date_;
    NodePtr zone_;
};

constexpr Function parts[] = {
    {"$year", 1, 1, year},
    {"$month", 1, 1, month},
    {"$dayOfMonth", 1, 1, day_of_month},
    {"$hour", 1, 1, hour},
    {"$minute", 1, 1, minute},
    {"$second", 1, 1, second},
    {"$millisecond", 1, 1, millisecond},
    {"$dayOfYear", 1, 1, day_of_year},
    {"$dayOfWeek", 1, 1, day_of_week},
    {"$isoDayOfWeek", 1, 1, iso_day_of_week},
    {"$isoWeek", 1, 1, iso_week},
    {"$isoWeekYear", 1, 1, iso_week_year},
    {"$week", 1, 1, week},
};

Result<NodePtr> parse_part(Parser& parser, std::string_view name, const Value& argument) {
    Run run = nullptr;
    for (const Function& function : parts)
        if (function.name == name) run = function.run;
    Value date = argument;
    Value zone;
    if (argument.is_object() &&
        (argument.as_view().is_empty() || !argument.as_view().front().name.starts_with('$'))) {
        date = Value();
        for (const auto& element : argument.as_view()) {
            if (element.name == "date")
                date = element.value;
            else if (element.name == "timezone")
                zone = element.value;
            else
                return failure(
                    40535, fmt::format("unrecognized option to {}: \"{}\"", name, element.name));
        }
        if (date.is_missing())
            return failure(
                40539,
                fmt::format(
                    "missing 'date' argument to {}, provided: {}", name, type_text(argument)));
    } else if (argument.is_array()) {
        const auto values = elements(argument);
        if (values.size() != 1)
            return failure(40536,
                           fmt::format("{} accepts exactly one argument if given an array, "
                                       "but was given {}",
                                       name,
                                       values.size()));
        date = values[0];
    }
    TRY(NodePtr date_node, parser.operand(date));
    NodePtr zone_node;
    if (!zone.is_missing()) {
        TRY(zone_node, parser.operand(zone));
    }
    return NodePtr(std::make_unique<PartNode>(run, std::move(date_node), std::move(zone_node)));
}

Result<Value> date_to_parts(Evaluation& evaluation, Args args) {
    TRY(const auto zone, zone_argument(evaluation, args[1]));
    bool is_iso = false;
    if (!is_absent(args[2])) {
        if (args[2].is_nullish()) return null();
        if (!args[2].is_boolean())
            return failure(
                40521,
                fmt::format("iso8601 must evaluate to a bool, found {}", type_text(args[2])));
        is_iso = args[2].as_bool();
    }
    if (!zone || args[0].is_nullish()) return null();
    TRY(const WallTime date, date_argument(args[0]));
    const DateParts p = parts_of(zone->to_wall(date));
    bson::Builder builder;
    if (is_iso) {
        builder.append("isoWeekYear", static_cast<std::int32_t>(p.iso_year));
        builder.append("isoWeek", p.iso_week).append("isoDayOfWeek", p.iso_day_of_week);
    } else {
        builder.append("year", static_cast<std::int32_t>(p.year));
        builder.append("month", p.month).append("day", p.day);
    }
    builder.append("hour", p.hour).append("minute", p.minute);
    builder.append("second", p.second).append("millisecond", p.millisecond);
    const bson::Document document = std::move(builder).finish();
    return evaluation.arena().make_object(document.view());
}

enum : std::size_t {
    at_year,
    at_iso_year,
    at_month,
    at_iso_week,
    at_day,
    at_iso_day,
    at_hour,
    at_minute,
    at_second,
    at_millisecond,
    at_zone,
    parts_count
};
constexpr Parameter from_parts_parameters[] = {{"year"},
                                               {"isoWeekYear"},
                                               {"month"},
                                               {"isoWeek"},
                                               {"day"},
                                               {"isoDayOfWeek"},
                                               {"hour"},
                                               {"minute"},
                                               {"second"},
                                               {"millisecond"},
                                               {"timezone"}};

Result<Value> date_from_parts(Evaluation& evaluation, Args args) {
    std::int64_t numbers[parts_count] = {1970, 1970, 1, 1, 1, 1, 0, 0, 0, 0, 0};
    const bool is_iso = !is_absent(args[at_iso_year]);
    if (is_iso == !is_absent(args[at_year])) {
        if (is_iso)
            return failure(40489,
                           "$dateFromParts does not allow mixing natural dates with ISO "
                           "dates");
        return failure(40516,
                       "$dateFromParts requires either 'year' or 'isoWeekYear' to be "
                       "present");
    }
    const std::size_t forbidden[2] = {is_iso ? at_month : at_iso_week,
                                      is_iso ? at_day : at_iso_day};
    for (const std::size_t i : forbidden)
        if (!is_absent(args[i]))
            return failure(is_iso ? 40525 : 40489,
                           "$dateFromParts does not allow mixing natural dates with ISO dates");
    TRY(const auto zone, zone_argument(evaluation, args[at_zone]));
    if (!zone) return null();
    for (std::size_t i = 0; i < at_zone; ++i) {
        if (is_absent(args[i])) continue;
        if (args[i].is_nullish()) return null();
        if (!args[i].is_number() || !args[i].is_integral())
            return failure(40515,
                           fmt::format("'{}' must evaluate to an integer, found {} with "
                                       "value: {}",
                                       from_parts_parameters[i].name,
                                       type_text(args[i]),
                                       args[i].to_double()));
        numbers[i] = args[i].to_int64();
        if (i <= at_iso_year) {
            if (numbers[i] < 1 || numbers[i] > 9999)
                return failure(40523,
                               fmt::format("'{}' must evaluate to an integer in the range 1 "
                                           "to 9999, found {}",
                                           from_parts_parameters[i].name,
                                           numbers[i]));
        } else if (i <= at_minute && (numbers[i] < -32768 || numbers[i] > 32767)) {
            return failure(31034,
                           fmt::format("'{}' must evaluate to a value in the range [-32768, "
                                       "32767]; value {} is not in range",
                                       from_parts_parameters[i].name,
                                       numbers[i]));
        } else if (numbers[i] < INT32_MIN * std::int64_t{1000} ||
                   numbers[i] > INT32_MAX * std::int64_t{1000}) {
            return failure(31095,
                           fmt::format("'{}' is out of range", from_parts_parameters[i].name));
        }
    }
    std::int64_t days = 0;
    if (is_iso) {
        // Week 1 holds January 4th.
        const std::int64_t fourth = days_from_civil(numbers[at_iso_year], 1, 4);
        const std::int64_t monday = fourth - ((fourth + 3) % 7 + 7) % 7;
        days = monday + (numbers[at_iso_week] - 1) * 7 + numbers[at_iso_day] - 1;
    } else {
        days = days_from_civil(numbers[at_year], numbers[at_month], numbers[at_day]);
    }
    const std::int64_t wall = days * 86'400'000 + numbers[at_hour] * 3'600'000 +
                              numbers[at_minute] * 60'000 + numbers[at_second] * 1000 +
                              numbers[at_millisecond];
    return evaluation.arena().make(zone->from_wall(wall));
}

Result<Value> timestamp_part(Evaluation& evaluation,
                             Args args,
                             std::string_view name,
                             bool wants_seconds) {
    if (args[0].is_nullish()) return null();
    if (args[0].type() != Type::timestamp)
        return failure(
            wants_seconds ? 5687301 : 5687302,
            fmt::format("Argument to {} must be a timestamp, but is {}", name, type_text(args[0])));
    const Timestamp timestamp = args[0].as_timestamp();
    return evaluation.arena().make(
        std::int64_t{wants_seconds ? timestamp.seconds : timestamp.increment});
}
Result<Value> timestamp_second(Evaluation& evaluation, Args args) {
    return timestamp_part(evaluation, args, "$tsSecond", true);
}
Result<Value> timestamp_increment(Evaluation& evaluation, Args args) {
    return timestamp_part(evaluation, args, "$tsIncrement", false);
}

constexpr Function functions[] = {{"$tsSecond", 1, 1, timestamp_second},
                                  {"$tsIncrement", 1, 1, timestamp_increment}};
constexpr Parameter to_parts_parameters[] = {{"date", true}, {"timezone"}, {"iso8601"}};
constexpr NamedFunction named[] = {
    {"$dateToParts", to_parts_parameters, date_to_parts, {40524, 40520, 40522}},
    {"$dateFromParts", from_parts_parameters, date_from_parts, {40519, 40518, 40516}},
};
constexpr Form forms[] = {
    {"$year", parse_part},
    {"$month", parse_part},
    {"$dayOfMonth", parse_part},
    {"$hour", parse_part},
    {"$minute", parse_part},
    {"$second", parse_part},
    {"$millisecond", parse_part},
    {"$dayOfYear", parse_part},
    {"$dayOfWeek", parse_part},
    {"$isoDayOfWeek", parse_part},
    {"$isoWeek", parse_part},
    {"$isoWeekYear", parse_part},
    {"$week", parse_part},
};

}  // namespace

OperatorTable date_operators() {
    return {functions, named, forms};
}

}  // namespace tessera::query::expression
