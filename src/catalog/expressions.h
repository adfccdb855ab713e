// SPDX-License-Identifier: Apache-2.0
//
// Filters as the catalog needs them: validators and partial indexes, with $expr, without variables.
#pragma once

#include "base/result.h"
#include "query/match/filter.h"

namespace tessera::catalog {

Result<query::Filter> parse_filter(bson::View filter);

}  // namespace tessera::catalog
