// SPDX-License-Identifier: Apache-2.0
//
// Batch: documents on their way between two stages, in one byte string, so that a stage writes its
// results in place and a filter drops documents without moving bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bson/builder.h"
#include "bson/view.h"

namespace tessera::query {

class Batch {
public:
    std::size_t size() const { return offsets_.size(); }
    bool is_empty() const { return offsets_.empty(); }
    /// Valid until the batch grows.
    bson::View operator[](std::size_t i) const { return bson::View(bytes_.data() + offsets_[i]); }
    std::size_t bytes() const { return bytes_.size(); }

    /// No batch follows this one.
    bool is_last = false;

    void append(bson::View document) {
        offsets_.push_back(bytes_.size());
        bytes_.append(document.bytes());
    }
    /// Where the next document is to be written; begin() it before, with a Builder on bytes().
    std::string& begin() {
        offsets_.push_back(bytes_.size());
        return bytes_;
    }
    /// Takes the document begun last back.
    void cancel() {
        bytes_.resize(offsets_.back());
        offsets_.pop_back();
    }
    /// Keeps the documents for which `keep(i)`.
    template <class Keep>
    void filter(const Keep& keep) {
        std::size_t kept = 0;
        for (std::size_t i = 0; i < offsets_.size(); ++i)
            if (keep(i)) offsets_[kept++] = offsets_[i];
        offsets_.resize(kept);
    }
    void truncate(std::size_t count) {
        if (count < offsets_.size()) offsets_.resize(count);
    }
    void drop_front(std::size_t count) {
        offsets_.erase(offsets_.begin(), offsets_.begin() + static_cast<std::ptrdiff_t>(count));
    }

private:
    std::string bytes_;
    std::vector<std::size_t> offsets_;
};

}  // namespace tessera::query
