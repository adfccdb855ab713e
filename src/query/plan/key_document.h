// SPDX-License-Identifier: Apache-2.0
//
// Documents made from index keys, for covered projections and for filters asked of keys.
#pragma once

#include <string>
#include <vector>

#include "bson/arena.h"
#include "bson/view.h"
#include "query/plan/stage.h"

namespace tessera::query {

class KeyDocument {
public:
    /// The fields of `paths` that the index has; all of them when `paths` is empty.
    KeyDocument(const IndexInfo& index, const std::vector<std::string>& paths);

    /// Makes the document of a row's key; the view is valid until the next call.
    Result<bson::View> make(const Row& row);
    /// Whether a value of the last key was null: then the field may as well be absent.
    bool has_null() const { return has_null_; }

private:
    void write(bson::Builder& out, std::size_t begin, std::size_t end, std::size_t depth);

    const IndexInfo& index_;
    std::vector<std::size_t> fields_;  // Grouped so that those under one object are neighbours.
    bson::Arena arena_;
    std::vector<bson::Value> values_;
    std::string bytes_;
    bool has_null_ = false;
};

}  // namespace tessera::query
