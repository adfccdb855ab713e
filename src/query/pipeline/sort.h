// SPDX-License-Identifier: Apache-2.0
//
// $sort, with a limit when $limit follows: it then keeps no more than that many documents.
#pragma once

#include "query/expression/sort_pattern.h"
#include "query/pipeline/stage.h"

namespace tessera::query {

class Sort final : public Stage {
public:
    Sort(const bson::Value& spec, SortPattern pattern, std::size_t memory_max)
        : Stage("$sort", spec), pattern_(std::move(pattern)), memory_max_(memory_max) {}
    Result<Batch> next() override;
    bool add_dependencies(Dependencies& dependencies) const override;
    const SortPattern& pattern() const { return pattern_; }
    /// Only the first `limit` documents are wanted.
    void set_limit(std::int64_t limit) { limit_ = static_cast<std::size_t>(limit); }

private:
    /// Values of its key are in the document (or are static).
    struct Entry {
        std::size_t arrival;
        std::unique_ptr<char[]> document;
        std::vector<bson::Value> key;
    };
    Status load();
    Status add(bson::View document);
    bool is_before(const Entry& one, const Entry& two) const;

    SortPattern pattern_;
    std::size_t memory_max_;
    std::size_t limit_ = SIZE_MAX;
    bool is_loaded_ = false;
    std::vector<Entry> entries_;  // A heap, the last on top, while limit_ is reached.
    std::size_t memory_ = 0;
    std::size_t arrivals_ = 0;
    std::size_t at_ = 0;
    std::vector<bson::Value> key_;
};

}  // namespace tessera::query
