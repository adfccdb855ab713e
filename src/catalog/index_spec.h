// SPDX-License-Identifier: Apache-2.0
//
// Checks of index specifications, with MongoDB's messages.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "base/namespace.h"
#include "base/result.h"
#include "bson/view.h"

namespace tessera::catalog {

/// Checks one spec of createIndexes on its own and gives it in its stored form: {v, key, name,
/// rest}.
Result<bson::Document> normalize_index_spec(const Namespace& ns, bson::View spec);

/// Compares a normalized spec with those a collection has. Returns whether an identical index is
/// there already; fails with IndexOptionsConflict (85), IndexKeySpecsConflict (86) or
/// CannotCreateIndex (67: too many).
Result<bool> check_against_existing(const Namespace& ns,
                                    bson::View spec,
                                    const std::vector<bson::View>& existing);

/// Whether these filter documents are accepted as a partial index's.
Status check_partial_filter(bson::View filter);

/// {v: 2, key: {_id: 1}, name: "_id_"}.
bson::Document id_index_spec();

}  // namespace tessera::catalog
