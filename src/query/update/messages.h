// SPDX-License-Identifier: Apache-2.0
//
// What several parts of updates need: pieces of error messages, the check of nesting.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "bson/view.h"

namespace tessera::query {

/// "{s: "x"}".
std::string show_element(std::string_view name, const bson::Value& value);
/// "{_id: 1}", or without the braces.
std::string show_id(bson::View document, bool has_braces = true);

/// Fails with Overflow when a value, standing `levels` deep in a document, nests past the limit of
/// stored documents.
Status check_nesting(const bson::Value& value, std::size_t levels);

}  // namespace tessera::query
