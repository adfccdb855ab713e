// SPDX-License-Identifier: Apache-2.0
#include "query/plan/index_range.h"

#include <algorithm>

namespace tessera::query {
namespace {

/// Sorts after everything that starts with what stands before it.
constexpr char after = '\xfe';

std::string encode_value(const bson::Value& value, bool is_descending) {
    bson::KeyBuilder builder(bson::Ordering{is_descending ? 1U : 0U});
    builder.append(value);
    return std::string(builder.key());
}

}  // namespace

IndexRange::IndexRange(const std::vector<Intervals>& bounds,
                       bson::Ordering ordering,
                       bool is_forward)
    : is_forward_(is_forward) {
    encode(bounds, ordering);
    make_range();
}

IndexRange::IndexRange(std::string low, std::string high, bool is_forward)
    : is_forward_(is_forward), low_(std::move(low)), high_(std::move(high)) {
    is_empty_ = low_ >= high_;
}

void IndexRange::encode(const std::vector<Intervals>& bounds, bson::Ordering ordering) {
    for (std::size_t i = 0; i < bounds.size(); ++i) {
        const bool is_descending = ordering.is_descending(i);
        Field field;
        for (const Interval& interval : bounds[i]) {
            Encoded encoded{encode_value(interval.start, is_descending),
                            encode_value(interval.end, is_descending),
                            interval.has_start,
                            interval.has_end};
            if (is_descending) {
                std::swap(encoded.low, encoded.high);
                std::swap(encoded.has_low, encoded.has_high);
            }
            field.push_back(std::move(encoded));
        }
        if (is_descending) std::reverse(field.begin(), field.end());
        is_empty_ = is_empty_ || field.empty();
        fields_.push_back(std::move(field));
    }
    // Points, then at most one range, then anything.
    bool is_over = false;
    for (std::size_t i = 0; i < bounds.size(); ++i) {
        if (is_all(bounds[i])) {
            is_over = true;
        } else if (is_over || bounds[i].size() != 1) {
            is_simple_ = false;
        } else {
            is_over = !bounds[i][0].is_point();
        }
    }
    if (!is_simple_ || is_empty_) return;
    while (!fields_.empty() && is_all(bounds[fields_.size() - 1]))
        fields_.pop_back();
}

void IndexRange::make_range() {
    if (is_empty_) return;
    append_lows(low_, 0);
    append_highs(high_, 0);
}

/// Appends the least a key may have from `field` on.
void IndexRange::append_lows(std::string& key, std::size_t field) const {
    for (; field < fields_.size(); ++field) {
        const Encoded& first = fields_[field].front();
        key += first.low;
        if (!first.has_low) {
            key += after;
            return;
        }
    }
}

/// Appends the most a key may have from `field` on: every key within is below.
void IndexRange::append_highs(std::string& key, std::size_t field) const {
    for (; field < fields_.size(); ++field) {
        const Encoded& last = fields_[field].back();
        key += last.high;
        if (!last.has_high) return;
    }
    key += after;
}

IndexRange::Verdict IndexRange::check(std::string_view fields) {
    if (is_simple_) {
        const bool is_inside = is_forward_ ? fields < high_ : fields >= low_;
        return is_inside ? Verdict::inside : Verdict::done;
    }
    return is_forward_ ? check_forward(fields) : check_backward(fields);
}

IndexRange::Verdict IndexRange::check_forward(std::string_view fields) {
    std::size_t offset = 0;
    for (std::size_t i = 0; i < fields_.size(); ++i) {
        const std::string_view value =
            fields.substr(offset, bson::field_length(fields.substr(offset)));
        const Field& field = fields_[i];
        // The first interval that does not end before the value.
        const auto at = std::lower_bound(
            field.begin(), field.end(), value, [](const Encoded& interval, std::string_view key) {
                const int order = interval.high.compare(key);
                return order < 0 || (order == 0 && !interval.has_high);
            });
        if (at == field.end()) {
            if (i == 0) return Verdict::done;
            target_.assign(fields.substr(0, offset));
            target_ += after;
            return Verdict::seek;
        }
        const int order = value.compare(at->low);
        if (order < 0 || (order == 0 && !at->has_low)) {
            target_.assign(fields.substr(0, offset));
            target_ += at->low;
            if (at->has_low) {
                append_lows(target_, i + 1);
            } else {
                target_ += after;
            }
            return Verdict::seek;
        }
        offset += value.size();
    }
    return Verdict::inside;
}

IndexRange::Verdict IndexRange::check_backward(std::string_view fields) {
    std::size_t offset = 0;
    for (std::size_t i = 0; i < fields_.size(); ++i) {
        const std::string_view value =
            fields.substr(offset, bson::field_length(fields.substr(offset)));
        const Field& field = fields_[i];
        // Past the last interval that does not start after the value.
        const auto end = std::lower_bound(
            field.begin(), field.end(), value, [](const Encoded& interval, std::string_view key) {
                const int order = interval.low.compare(key);
                return order < 0 || (order == 0 && interval.has_low);
            });
        if (end == field.begin()) {
            if (i == 0) return Verdict::done;
            target_.assign(fields.substr(0, offset));
            return Verdict::seek;
        }
        const Encoded& interval = *(end - 1);
        const int order = value.compare(interval.high);
        if (order > 0 || (order == 0 && !interval.has_high)) {
            target_.assign(fields.substr(0, offset));
            target_ += interval.high;
            if (interval.has_high) append_highs(target_, i + 1);
            return Verdict::seek;
        }
        offset += value.size();
    }
    return Verdict::inside;
}

}  // namespace tessera::query
