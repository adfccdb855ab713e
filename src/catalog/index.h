// SPDX-License-Identifier: Apache-2.0
//
// One index of a collection.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "bson/view.h"

namespace tessera::query {
struct IndexInfo;
}

namespace tessera::catalog {

class Index {
public:
    virtual ~Index() = default;
    virtual const std::string& name() const = 0;
    /// As listIndexes shows it: {v: 2, key: {...}, name: "...", ...}.
    virtual bson::View spec() const = 0;
    virtual bool is_multikey() const = 0;
    virtual bool is_unique() const = 0;
    virtual bool is_hidden() const = 0;
    /// Of a TTL index.
    virtual std::optional<std::int64_t> expire_after_seconds() const = 0;
    /// How often it was used since the start, for $indexStats.
    virtual std::int64_t accesses() const = 0;
    /// What the planner knows of it.
    virtual const query::IndexInfo& info() const = 0;
};

}  // namespace tessera::catalog
