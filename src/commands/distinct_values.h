// SPDX-License-Identifier: Apache-2.0
//
// What distinct gathers, the same on members and routers.
#pragma once

#include <cstddef>
#include <set>
#include <string_view>

#include "base/result.h"
#include "bson/arena.h"
#include "bson/builder.h"
#include "bson/compare.h"

namespace tessera::commands {

/// Distinct values, each once, in their order; no more of them than a reply holds.
class DistinctValues {
public:
    /// Fails with 17217 beyond what a reply holds.
    Status add(const bson::Value& value) {
        if (values_.contains(value)) return {};
        values_.insert(arena_.copy(value));
        if (arena_.used() > bytes_max) return Error(location(17217), "distinct too big, 16mb cap");
        return {};
    }
    /// Values at the path: an array's elements rather than the array itself.
    Status add_at(const bson::Value& value, std::string_view path) {
        if (path.empty()) {
            if (!value.is_array()) return value.is_missing() ? Status() : add(value);
            for (const bson::Element& each : value.as_view())
                TRY_OK(add(each.value));
            return {};
        }
        const std::size_t dot = path.find('.');
        const std::string_view first = path.substr(0, dot);
        const std::string_view rest =
            dot == std::string_view::npos ? std::string_view() : path.substr(dot + 1);
        if (value.is_object()) return add_at(value.as_view()[first], rest);
        if (!value.is_array()) return {};
        if (const bson::Value indexed = value.as_view()[first]; !indexed.is_missing())
            TRY_OK(add_at(indexed, rest));
        for (const bson::Element& each : value.as_view())
            if (each.value.is_object()) TRY_OK(add_at(each.value, path));
        return {};
    }
    void append(bson::Builder& reply) const {
        auto list = reply.array("values");
        for (const bson::Value& value : values_)
            list.append(value);
    }

private:
    static constexpr std::size_t bytes_max = 16 * 1024 * 1024;

    struct Less {
        bool operator()(const bson::Value& one, const bson::Value& two) const {
            return bson::compare(one, two) < 0;
        }
    };
    bson::Arena arena_;
    std::set<bson::Value, Less> values_;
};

}  // namespace tessera::commands
