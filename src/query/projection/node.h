// SPDX-License-Identifier: Apache-2.0
//
// The tree of a projection's paths.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "query/projection/projection.h"

namespace tessera::query {

struct ProjectionNode {
    enum class Kind : std::uint8_t {
        inner,  // Children say what.
        include,
        exclude,
        slice,
        positional,  // Included; the first array on the path keeps its matched element only.
        element_match,
        computed,
        sort_key,
        record_id,
    };

    std::string name;
    Kind kind = Kind::inner;
    std::vector<ProjectionNode> children;            // In the projection's order.
    std::int64_t skip = 0;                           // slice; negative: from the end.
    std::int64_t limit = 0;                          // slice
    std::unique_ptr<Filter> filter;                  // element_match: over {name: element}.
    std::unique_ptr<CompiledExpression> expression;  // computed

    /// Whether this field is written after those the document has.
    bool is_appended() const {
        return kind == Kind::element_match || kind == Kind::computed || kind == Kind::sort_key ||
               kind == Kind::record_id;
    }
    /// Whether something below makes a field that the document need not have.
    bool makes_fields() const;
    bool has_positional() const;
};

}  // namespace tessera::query
