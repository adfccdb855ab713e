// SPDX-License-Identifier: Apache-2.0
//
// ValueMap: an open-addressing hash table from values (equal as the BSON order says) to numbers
// 0, 1, 2 ... in order of first appearance: sets, groups, joins.
#pragma once

#include <cstdint>
#include <vector>

#include "bson/compare.h"
#include "bson/value.h"

namespace tessera::query {

class ValueMap {
public:
    static constexpr std::uint32_t none = 0xffffffff;

    /// Returns the number of the key, none when it is not there.
    std::uint32_t find(const bson::Value& key) const {
        if (table_.empty()) return none;
        return table_[position(key, bson::hash(key))];
    }
    struct Inserted {
        std::uint32_t number;
        bool is_new;
    };
    /// Returns the key's number, a new one when it was not there. The key is not copied: where it
    /// is new, replace_key() can give it memory of its own.
    Inserted insert(const bson::Value& key) {
        if ((keys_.size() + 1) * 2 > table_.size()) grow();
        const std::uint64_t hash = bson::hash(key);
        const std::size_t at = position(key, hash);
        if (table_[at] != none) return {table_[at], false};
        table_[at] = static_cast<std::uint32_t>(keys_.size());
        keys_.push_back(key);
        hashes_.push_back(hash);
        return {table_[at], true};
    }
    void replace_key(std::uint32_t number, const bson::Value& same) { keys_[number] = same; }
    const std::vector<bson::Value>& keys() const { return keys_; }
    std::size_t size() const { return keys_.size(); }
    /// Bytes of the table itself.
    std::size_t memory() const { return table_.size() * 4 + keys_.size() * 24; }
    void clear() {
        table_.clear();
        keys_.clear();
        hashes_.clear();
    }

private:
    std::size_t position(const bson::Value& key, std::uint64_t hash) const {
        const std::size_t mask = table_.size() - 1;
        std::size_t at = (hash ^ hash >> 32) & mask;
        while (table_[at] != none &&
               !(hashes_[table_[at]] == hash && bson::compare(keys_[table_[at]], key) == 0))
            at = (at + 1) & mask;
        return at;
    }
    void grow() {
        table_.assign(table_.empty() ? 16 : table_.size() * 2, none);
        const std::size_t mask = table_.size() - 1;
        for (std::uint32_t i = 0; i < keys_.size(); ++i) {
            std::size_t at = (hashes_[i] ^ hashes_[i] >> 32) & mask;
            while (table_[at] != none)
                at = (at + 1) & mask;
            table_[at] = i;
        }
    }

    std::vector<std::uint32_t> table_;  // Size: a power of two, at most half full.
    std::vector<bson::Value> keys_;
    std::vector<std::uint64_t> hashes_;
};

}  // namespace tessera::query
