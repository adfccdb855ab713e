// SPDX-License-Identifier: Apache-2.0
//
// The set of BSON types that $type and bsonType speak of: codes, aliases, "number", lists of them.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "bson/value.h"

namespace tessera::query {

class TypeSet {
public:
    void add(bson::Type type) { bits_ |= bit(type); }
    void add_numbers();
    bool has(bson::Type type) const { return (bits_ & bit(type)) != 0; }
    bool is_empty() const { return bits_ == 0; }
    /// The types in order of their codes, MinKey first.
    std::vector<bson::Type> types() const;

    /// Parses the operand of $type: a number, an alias, or an array of those. `name` is the
    /// operator's, for messages. Fails with BadValue.
    static Result<TypeSet> parse(const bson::Value& operand, std::string_view name = "$type");
    /// Adds the types of one alias ("int", "number"); false when there is none of that name.
    bool add_alias(std::string_view alias);

private:
    static std::uint32_t bit(bson::Type type) {
        if (type == bson::Type::min_key) return 1U << 30;
        if (type == bson::Type::max_key) return 1U << 31;
        return 1U << static_cast<unsigned>(type);
    }
    std::uint32_t bits_ = 0;
};

}  // namespace tessera::query
