// SPDX-License-Identifier: Apache-2.0
//
// CursorMerge: the documents of one query from several shards, as one stream. With a sort, every
// shard sends each document with $sortKey (an array, one value a sort field, collation applied),
// and the smallest head is next once every open shard has one. Without a sort, whatever is there.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "bson/view.h"

namespace tessera::routing {

class CursorMerge {
public:
    /// `sort` is the query's sort document; empty: unsorted. A field sorts descending at -1 and at
    /// {$meta: ...}. `remotes` shards start open, with nothing received.
    CursorMerge(bson::View sort, std::size_t remotes);

    /// A batch from a remote, in its order. `is_exhausted`: its cursor id was 0. Fails with
    /// InternalError when a sort is on and a document has no array $sortKey.
    Status add_batch(std::size_t remote, std::vector<bson::Document> batch, bool is_exhausted);
    /// The remote gave up (allowPartialResults): what it sent stays.
    void close(std::size_t remote);

    /// Whether next() would give a document.
    bool is_ready() const;
    /// The next document, without $sortKey. Requires: is_ready().
    bson::Document next();
    /// Nothing is left and nothing will come.
    bool is_exhausted() const;
    /// The open remotes that have nothing buffered: with a sort next() waits for all of them,
    /// without for any.
    std::vector<std::size_t> starved() const;
    /// Bytes buffered, for limits.
    std::size_t bytes() const { return bytes_; }
    /// The remote the last document came from.
    std::size_t last_remote() const { return last_remote_; }

private:
    struct Item {
        bson::Document document;
        bson::Value sort_key;  // Points into document.
    };
    struct Remote {
        std::deque<Item> items;
        bool is_open = true;
    };
    bool is_before(const Item& one, const Item& two) const;

    std::vector<bool> descending_;  // By sort field.
    std::vector<Remote> remotes_;
    std::size_t next_remote_ = 0;  // Unsorted: where to look first.
    std::size_t last_remote_ = 0;
    std::size_t bytes_ = 0;
};

/// What to ask of each shard for a query's skip and limit (0: none), so that the router can apply
/// skip and limit itself: limit + skip, no skip; nothing when that overflows.
std::optional<std::int64_t> shard_limit(std::int64_t skip, std::int64_t limit);

/// The router's own skip and limit over the merged stream.
class SkipLimit {
public:
    SkipLimit(std::int64_t skip, std::int64_t limit) : skip_(skip), left_(limit) {
        is_limited_ = limit > 0;
    }
    /// Whether the document that comes now is to be returned.
    bool takes() {
        if (skip_ > 0) {
            --skip_;
            return false;
        }
        if (!is_limited_) return true;
        if (left_ == 0) return false;
        --left_;
        return true;
    }
    bool is_done() const { return is_limited_ && left_ == 0; }

private:
    std::int64_t skip_;
    std::int64_t left_;
    bool is_limited_ = false;
};

}  // namespace tessera::routing
