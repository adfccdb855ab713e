// SPDX-License-Identifier: Apache-2.0
//
// Documents as text: Extended JSON 2 for logs and tests, and the shell-like form error messages
// use.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "bson/view.h"

namespace tessera::bson {

enum class JsonMode {
    relaxed,    // Extended JSON 2, relaxed: {"a":1,"b":{"$date":"..."}}
    canonical,  // Extended JSON 2, canonical: {"a":{"$numberInt":"1"}}
    message,    // As MongoDB's error messages show values: { _id: 1, s: "x", d: new Date(5) }
};
std::string to_json(View document, JsonMode mode = JsonMode::relaxed);
std::string to_json(const Value& value, JsonMode mode = JsonMode::relaxed);

/// Parses Extended JSON (either mode; also the legacy {"$date": "ISO"} and unquoted-free plain
/// JSON). Fails with FailedToParse.
Result<Document> from_json(std::string_view text);

}  // namespace tessera::bson
