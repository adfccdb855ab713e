// SPDX-License-Identifier: Apache-2.0
//
// The keys of an index that lie within bounds, in one direction, as bytes. Where the bounds are one
// contiguous range it takes a comparison a key; otherwise keys outside are skipped by seeking to
// the next that can lie within.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bson/key.h"
#include "query/plan/interval.h"

namespace tessera::query {

class IndexRange {
public:
    enum class Verdict : std::uint8_t { inside, seek, done };

    IndexRange(const std::vector<Intervals>& bounds, bson::Ordering ordering, bool is_forward);
    /// The keys from `low` to before `high`.
    IndexRange(std::string low, std::string high, bool is_forward);

    /// Whether the bounds hold no key at all.
    bool is_empty() const { return is_empty_; }
    /// Whether it is one contiguous range.
    bool is_simple() const { return is_simple_; }
    /// Where to seek first, in the direction of the scan.
    const std::string& start() const { return is_forward_ ? low_ : high_; }
    /// Judges a key (an entry's fields); for seek, target() is where to go on.
    Verdict check(std::string_view fields);
    const std::string& target() const { return target_; }

private:
    /// In the order of key bytes.
    struct Encoded {
        std::string low;
        std::string high;
        bool has_low;
        bool has_high;
    };
    using Field = std::vector<Encoded>;

    void encode(const std::vector<Intervals>& bounds, bson::Ordering ordering);
    void make_range();
    void append_lows(std::string& key, std::size_t field) const;
    void append_highs(std::string& key, std::size_t field) const;
    Verdict check_forward(std::string_view fields);
    Verdict check_backward(std::string_view fields);

    bool is_forward_;
    bool is_simple_ = true;
    bool is_empty_ = false;
    std::string low_;
    std::string high_;
    std::vector<Field> fields_;
    std::string target_;
};

}  // namespace tessera::query
