// SPDX-License-Identifier: Apache-2.0
#include "query/plan/key_generator.h"

#include <algorithm>

#include <fmt/format.h>

#include "bson/hashed.h"
#include "bson/json.h"

namespace tessera::query {

using bson::Type;
using bson::Value;
using bson::View;

namespace {

constexpr std::uint32_t component_max = 31;

/// How far one field's path has been followed.
struct Position {
    Value value;
    std::uint32_t part = 0;  // The next component.
    bool is_final = false;   // An array here is a value, not a list.
};

class Expansion {
public:
    Expansion(const IndexInfo& index, KeySet& out)
        : index_(index), out_(out), builder_(index.ordering) {}

    Status run(View document) {
        std::vector<Position> positions(index_.paths.size());
        for (Position& position : positions)
            position.value = document.as_object_value();
        return expand(positions);
    }

private:
    /// Follows a path through objects, up to an array or to its end.
    void follow(Position& position, const Path& path) {
        while (position.part < path.size()) {
            if (position.value.is_array()) return;
            position.value = position.value.is_object()
                                 ? position.value.as_view()[path[position.part].name]
                                 : Value();
            ++position.part;
        }
    }

    Status expand(std::vector<Position> positions) {
        const char* array = nullptr;
        for (std::size_t i = 0; i < positions.size(); ++i) {
            Position& position = positions[i];
            if (position.is_final) continue;
            follow(position, index_.paths[i]);
            if (!position.value.is_array()) {
                position.is_final = true;
                continue;
            }
            if (name_element(position, index_.paths[i])) {
                --i;  // Follow it further.
                continue;
            }
            const char* const data = position.value.bytes().data();
            if (array != nullptr && array != data) return parallel(positions, i);
            array = data;
        }
        if (array == nullptr) return keep(positions);
        return expand_array(positions, array);
    }

    /// "a.0": the element of that number, where there is one.
    static bool name_element(Position& position, const Path& path) {
        if (position.part >= path.size() || path[position.part].index < 0) return false;
        const Value element = position.value.as_view()[path[position.part].name];
        if (element.is_missing()) return false;
        position.value = element;
        ++position.part;
        return true;
    }

    Status expand_array(const std::vector<Position>& positions, const char* array) {
        View elements;
        for (std::size_t i = 0; i < positions.size(); ++i) {
            if (positions[i].is_final || positions[i].value.bytes().data() != array) continue;
            if (index_.is_hashed(i)) {
                return Error(location(16766),
                             fmt::format("hashed indexes do not currently support array values. "
                                         "Found array at path: {}",
                                         index_.paths[i].dotted()));
            }
            elements = positions[i].value.as_view();
            const std::uint32_t component = std::min(positions[i].part - 1, component_max);
            out_.multikey[i] |= 1U << component;
        }
        bool is_empty = true;
        for (const bson::Element& element : elements) {
            is_empty = false;
            TRY_OK(descend(positions, array, element.value));
        }
        return is_empty ? descend(positions, array, Value()) : ok();
    }

    Status descend(std::vector<Position> positions, const char* array, const Value& element) {
        for (std::size_t i = 0; i < positions.size(); ++i) {
            Position& position = positions[i];
            if (position.is_final || position.value.bytes().data() != array) continue;
            if (position.part < index_.paths[i].size()) {
                position.value = element.is_object() ? element : Value();
                position.is_final = !element.is_object();
            } else {
                position.value = element.is_missing() ? Value(Type::undefined, "", 0) : element;
                position.is_final = true;
            }
        }
        return expand(std::move(positions));
    }

    Status parallel(const std::vector<Position>& positions, std::size_t second) const {
        std::size_t first = 0;
        while (positions[first].is_final)
            ++first;
        return Error(ErrorCode::cannot_index_parallel_arrays,
                     fmt::format("cannot index parallel arrays [{}] [{}]",
                                 last_name(positions[second], second),
                                 last_name(positions[first], first)));
    }

    std::string last_name(const Position& position, std::size_t field) const {
        return index_.paths[field][position.part - 1].name;
    }

    Status keep(const std::vector<Position>& positions) {
        if (index_.is_sparse &&
            std::all_of(positions.begin(), positions.end(), [](const Position& position) {
                return position.value.is_missing();
            })) {
            return ok();
        }
        if (out_.keys.size() >= KeyGenerator::keys_max) {
            return Error(ErrorCode::cannot_create_index,
                         fmt::format("a document has more than {} keys in index {}",
                                     KeyGenerator::keys_max,
                                     index_.name));
        }
        builder_.clear();
        for (std::size_t i = 0; i < positions.size(); ++i) {
            if (index_.is_hashed(i)) {
                const std::int64_t hash = bson::shard_hash(positions[i].value);
                builder_.append(Value(Type::int64, reinterpret_cast<const char*>(&hash), 8));
            } else {
                builder_.append(positions[i].value);
            }
        }
        builder_.finish();
        out_.keys.push_back({std::string(builder_.key()), std::string(builder_.type_bits())});
        return ok();
    }

    const IndexInfo& index_;
    KeySet& out_;
    bson::KeyBuilder builder_;
};

}  // namespace

bool KeySet::is_multikey() const {
    return std::any_of(
        multikey.begin(), multikey.end(), [](std::uint32_t bits) { return bits != 0; });
}

void KeySet::clear() {
    keys.clear();
    multikey.clear();
}

Status KeyGenerator::generate(View document, KeySet& out) const {
    out.keys.clear();
    out.multikey.assign(index_.paths.size(), 0);
    TRY_OK(Expansion(index_, out).run(document));
    if (out.keys.size() < 2) return ok();
    // Keys equal but for their type bits are one key: 1 and 1.0 in one array.
    std::stable_sort(
        out.keys.begin(), out.keys.end(), [](const KeySet::Key& one, const KeySet::Key& two) {
            return one.fields < two.fields;
        });
    const auto end = std::unique(
        out.keys.begin(), out.keys.end(), [](const KeySet::Key& one, const KeySet::Key& two) {
            return one.fields == two.fields;
        });
    out.keys.erase(end, out.keys.end());
    return ok();
}

}  // namespace tessera::query
