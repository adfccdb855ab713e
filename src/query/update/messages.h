// SPDX-License-Identifier: Apache-2.0
//
// Pieces of the messages of update errors.
#pragma once

#include <string>
#include <string_view>

#include "bson/view.h"

namespace tessera::query {

/// "{s: "x"}".
std::string show_element(std::string_view name, const bson::Value& value);
/// "{_id: 1}", or without the braces.
std::string show_id(bson::View document, bool has_braces = true);

}  // namespace tessera::query
