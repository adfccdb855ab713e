// SPDX-License-Identifier: Apache-2.0
#include "routing/merge.h"

#include <limits>

#include "bson/builder.h"
#include "bson/compare.h"

namespace tessera::routing {
namespace {

constexpr std::string_view sort_key_field = "$sortKey";

bson::Document without_sort_key(const bson::Document& document) {
    if (!document.view().has(sort_key_field)) return document;
    bson::Builder builder;
    for (const auto& element : document.view()) {
        if (element.name != sort_key_field) builder.append(element);
    }
    return std::move(builder).finish();
}

}  // namespace

CursorMerge::CursorMerge(bson::View sort, std::size_t remotes) : remotes_(remotes) {
    for (const auto& element : sort) {
        const bool is_meta = element.value.is_object();
        descending_.push_back(is_meta || element.value.to_double() < 0);
    }
}

Status CursorMerge::add_batch(std::size_t remote,
                              std::vector<bson::Document> batch,
                              bool is_exhausted) {
    ENSURE(remote < remotes_.size());
    Remote& from = remotes_[remote];
    for (bson::Document& document : batch) {
        bytes_ += document.size();
        Item& item = from.items.emplace_back();
        item.document = std::move(document);
        if (descending_.empty()) continue;
        item.sort_key = item.document[sort_key_field];
        ENSURE(item.sort_key.is_array());
    }
    from.is_open = from.is_open && !is_exhausted;
    return ok();
}

void CursorMerge::close(std::size_t remote) {
    remotes_[remote].is_open = false;
}

bool CursorMerge::is_before(const Item& one, const Item& two) const {
    const bson::View a = one.sort_key.as_view();
    const bson::View b = two.sort_key.as_view();
    auto left = a.begin();
    auto right = b.begin();
    for (const bool is_descending : descending_) {
        if (left == a.end() || right == b.end()) break;
        const int order = bson::compare(left->value, right->value);
        if (order != 0) return is_descending ? order > 0 : order < 0;
        ++left;
        ++right;
    }
    return false;
}

bool CursorMerge::is_ready() const {
    bool has_any = false;
    for (const Remote& remote : remotes_) {
        if (!remote.items.empty()) {
            has_any = true;
        } else if (remote.is_open && !descending_.empty()) {
            return false;
        }
    }
    return has_any;
}

bson::Document CursorMerge::next() {
    ASSERT(is_ready());
    // Ties go to the lower remote, so that a merge can be repeated.
    std::size_t best = remotes_.size();
    for (std::size_t i = 0; i < remotes_.size(); ++i) {
        const std::size_t at = descending_.empty() ? (next_remote_ + i) % remotes_.size() : i;
        if (remotes_[at].items.empty()) continue;
        const bool is_better = best == remotes_.size() ||
                               is_before(remotes_[at].items.front(), remotes_[best].items.front());
        if (is_better) best = at;
        if (descending_.empty()) break;
    }
    Remote& from = remotes_[best];
    last_remote_ = best;
    next_remote_ = best;
    bson::Document result = std::move(from.items.front().document);
    from.items.pop_front();
    bytes_ -= result.size();
    return descending_.empty() ? std::move(result) : without_sort_key(result);
}

bool CursorMerge::is_exhausted() const {
    for (const Remote& remote : remotes_) {
        if (remote.is_open || !remote.items.empty()) return false;
    }
    return true;
}

std::vector<std::size_t> CursorMerge::starved() const {
    std::vector<std::size_t> result;
    for (std::size_t i = 0; i < remotes_.size(); ++i) {
        if (remotes_[i].is_open && remotes_[i].items.empty()) result.push_back(i);
    }
    return result;
}

std::optional<std::int64_t> shard_limit(std::int64_t skip, std::int64_t limit) {
    if (limit <= 0) return std::nullopt;
    if (skip > std::numeric_limits<std::int64_t>::max() - limit) return std::nullopt;
    return skip + limit;
}

}  // namespace tessera::routing
