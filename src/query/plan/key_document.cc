// SPDX-License-Identifier: Apache-2.0
#include "query/plan/key_document.h"

#include <algorithm>

namespace tessera::query {

KeyDocument::KeyDocument(const IndexInfo& index, const std::vector<std::string>& paths)
    : index_(index) {
    const auto is_wanted = [&](std::size_t field) {
        return paths.empty() ||
               std::find(paths.begin(), paths.end(), index.paths[field].dotted()) != paths.end();
    };
    for (std::size_t i = 0; i < index.paths.size(); ++i) {
        if (!is_wanted(i)) continue;
        // After the last field with the longest common start.
        std::size_t place = fields_.size();
        std::size_t longest = 0;
        for (std::size_t k = 0; k < fields_.size(); ++k) {
            const Path& one = index.paths[fields_[k]];
            const Path& two = index.paths[i];
            std::size_t common = 0;
            while (common < one.size() && common < two.size() &&
                   one[common].name == two[common].name) {
                ++common;
            }
            if (common == 0 || common < longest) continue;
            longest = common;
            place = k + 1;
        }
        fields_.insert(fields_.begin() + static_cast<std::ptrdiff_t>(place), i);
    }
}

Result<bson::View> KeyDocument::make(const Row& row) {
    arena_.clear();
    values_.clear();
    bytes_.clear();
    TRY_OK(bson::decode_key(row.key, row.type_bits, index_.ordering, arena_, values_));
    ENSURE(values_.size() >= index_.paths.size());
    has_null_ = std::any_of(fields_.begin(), fields_.end(), [&](std::size_t field) {
        return values_[field].is_nullish();
    });
    {
        bson::Builder builder(bytes_);
        write(builder, 0, fields_.size(), 0);
    }
    return bson::View(bytes_.data());
}

/// Writes fields [begin, end), which share their first `depth` components.
void KeyDocument::write(bson::Builder& out, std::size_t begin, std::size_t end, std::size_t depth) {
    while (begin < end) {
        const Path& path = index_.paths[fields_[begin]];
        if (path.size() == depth + 1) {
            out.append(path[depth].name, values_[fields_[begin]]);
            ++begin;
            continue;
        }
        std::size_t group = begin + 1;
        while (group < end && index_.paths[fields_[group]].size() > depth + 1 &&
               index_.paths[fields_[group]][depth].name == path[depth].name) {
            ++group;
        }
        bson::Builder nested = out.object(path[depth].name);
        write(nested, begin, group, depth + 1);
        begin = group;
    }
}

}  // namespace tessera::query
