// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

#include "query/expression/date.h"

namespace tessera::query::expression {

enum class DateUnit { year, quarter, month, week, day, hour, minute, second, millisecond };
std::optional<DateUnit> parse_unit(std::string_view text);
/// Moves a date by a number of units on the zone's wall clock. Fails when it leaves the calendar.
Result<WallTime> add_to_date(WallTime date,
                             DateUnit unit,
                             std::int64_t amount,
                             const TimeZone& zone);

}  // namespace tessera::query::expression
