// SPDX-License-Identifier: Apache-2.0
//
// The part of a filter that a stage still has to ask.
#pragma once

#include <optional>

#include "query/plan/plan.h"

namespace tessera::query {

class Residual {
public:
    Residual(const Filter& whole, const std::vector<const Node*>& demands) {
        if (!demands.empty()) filter_ = whole.subset(demands);
    }
    bool is_empty() const { return !filter_; }
    Result<bool> matches(bson::View document, MatchContext& context) const {
        if (!filter_) return true;
        return filter_->matches(document, context);
    }

private:
    std::optional<Filter> filter_;
};

}  // namespace tessera::query
