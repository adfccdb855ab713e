// SPDX-License-Identifier: Apache-2.0
//
// SortPattern: {a: 1, b: -1} and the keys by which documents are sorted. A document's key is the
// least (in the pattern's order) of the compound keys an index on the pattern would hold for it.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "bson/arena.h"
#include "bson/view.h"

namespace tessera::query {

class SortPattern {
public:
    struct Part {
        std::vector<std::string> path;
        bool is_descending = false;
    };
    /// Fails with 15973 ff. as $sort does.
    static Result<SortPattern> parse(bson::View pattern);

    std::size_t size() const { return parts_.size(); }
    const std::vector<Part>& parts() const { return parts_; }
    /// Writes size() values, views of the document. Fails with BadValue on parallel arrays.
    Status make_key(bson::View document, bson::Value* key) const;
    /// Compares two keys of size() values.
    int compare(const bson::Value* one, const bson::Value* two) const;
    bson::Document to_bson() const;

private:
    std::vector<Part> parts_;
};

}  // namespace tessera::query
