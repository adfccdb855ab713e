// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "bson/view.h"
#include "query/match/filter.h"

namespace tessera::query {

/// Says why `document` does not match a validator: errInfo.details of DocumentValidationFailure.
/// Requires: it does not match.
bson::Document describe_failure(const Filter& validator,
                                bson::View document,
                                MatchContext& context);

}  // namespace tessera::query
