// SPDX-License-Identifier: Apache-2.0
//
// The oplog's description of what an update changed ("$v: 2" diffs; reference/protocol.md 2.2).
//
// Of a document, in this order: d {field: false} removed, u {field: value} changed in place (or
// appended, when absent), i {field: value} appended in order, s<field>: a diff below. Of an array:
// a: true, l: the new length, then u<index>: value and s<index>: a diff below, ascending. Applying
// one twice gives what applying it once does.
#pragma once

#include <optional>

#include "base/result.h"
#include "bson/view.h"

namespace tessera::query {

/// Returns the diff between two documents; nothing when they are equal as bytes, or when no diff
/// expresses it in fewer bytes than `after` takes (see `is_equal`): log the whole document then.
struct ComputedDiff {
    bool is_equal = false;
    std::optional<bson::Document> diff;
};
ComputedDiff compute_diff(bson::View before, bson::View after);

/// Applies a diff (the value of `diff`, not the whole {$v: 2, diff}). Fails with FailedToParse on
/// a malformed one, with BSONObjectTooLarge when the result exceeds what a document may have.
Result<bson::Document> apply_diff(bson::View document, bson::View diff);

/// Applies an update oplog entry's `o`: {$v: 2, diff: {...}} or a replacement document.
Result<bson::Document> apply_oplog_update(bson::View document, bson::View entry);

}  // namespace tessera::query
