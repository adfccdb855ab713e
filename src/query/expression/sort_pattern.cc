// SPDX-License-Identifier: Apache-2.0
#include "query/expression/sort_pattern.h"

#include <fmt/format.h>

#include "bson/builder.h"
#include "bson/compare.h"
#include "bson/json.h"
#include "query/expression/node.h"

namespace tessera::query {

using bson::Arena;
using bson::Type;
using bson::Value;
using bson::View;

namespace {

constexpr std::size_t parts_max = 32;

/// Where one part of the key stands while a document is walked.
struct Position {
    Value value;
    std::span<const std::string> rest;
};

bool is_index(std::string_view name, std::size_t& index) {
    if (name.empty() || name.size() > 9 || (name.size() > 1 && name[0] == '0')) return false;
    index = 0;
    for (const char c : name) {
        if (c < '0' || c > '9') return false;
        index = index * 10 + static_cast<std::size_t>(c - '0');
    }
    return true;
}

/// Follows the path through objects, up to an array that must be expanded or to its end.
void follow(Position& position) {
    while (!position.rest.empty()) {
        if (position.value.is_object()) {
            position.value = position.value.as_view()[position.rest[0]];
        } else {
            if (position.value.is_array()) return;
            position.value = Value();
        }
        position.rest = position.rest.subspan(1);
    }
}

class KeyMaker {
public:
    KeyMaker(const SortPattern& pattern, Value* best) : pattern_(pattern), best_(best) {}

    Status expand(std::vector<Position>& positions) {
        const Value* array = nullptr;
        for (Position& position : positions) {
            follow(position);
            if (!position.value.is_array()) continue;
            if (position.rest.data() == done_) continue;
            if (array && array->bytes().data() != position.value.bytes().data())
                return Error(ErrorCode::bad_value,
                             "cannot sort with keys that are parallel arrays");
            array = &position.value;
        }
        if (!array) {
            keep(positions);
            return {};
        }
        const Value expanded = *array;
        bool is_empty = true;
        for (const auto& element : expanded.as_view()) {
            is_empty = false;
            TRY_OK(descend(positions, expanded, &element.value));
        }
        if (is_empty) TRY_OK(descend(positions, expanded, nullptr));
        return {};
    }

private:
    /// Puts an element of the array in its place in every part that reached the array.
    Status descend(const std::vector<Position>& positions,
                   const Value& array,
                   const Value* element) {
        std::vector<Position> next = positions;
        for (Position& position : next) {
            if (!position.value.is_array() || position.rest.data() == done_ ||
                position.value.bytes().data() != array.bytes().data())
                continue;
            std::size_t index = 0;
            if (!position.rest.empty() && is_index(position.rest[0], index)) {
                position.value = array.as_view()[position.rest[0]];
                position.rest = position.rest.subspan(1);
                if (position.rest.empty() && !position.value.is_array()) mark_done(position);
                continue;
            }
            if (!element) {
                position.value = position.rest.empty() ? Value(Type::undefined, "", 0) : Value();
                mark_done(position);
            } else if (position.rest.empty()) {
                position.value = *element;
                mark_done(position);  // Arrays in arrays are values.
            } else {
                position.value = element->is_object() ? *element : Value();
            }
        }
        return expand(next);
    }
    static void mark_done(Position& position) {
        position.rest = std::span<const std::string>(done_, std::size_t{0});
    }
    void keep(const std::vector<Position>& positions) {
        std::vector<Value> key;
        for (const Position& position : positions)
            key.push_back(position.value.is_missing() ? Arena::make_null() : position.value);
        if (has_best_ && pattern_.compare(key.data(), best_) >= 0) return;
        has_best_ = true;
        for (std::size_t i = 0; i < key.size(); ++i)
            best_[i] = key[i];
    }

    static const std::string done_[1];  // Its address marks a part whose value is final.
    const SortPattern& pattern_;
    Value* best_;
    bool has_best_ = false;
};
const std::string KeyMaker::done_[1];

}  // namespace

Result<SortPattern> SortPattern::parse(View pattern) {
    using expression::failure;
    SortPattern result;
    for (const auto& element : pattern) {
        Part part;
        if (element.value.is_object()) {
            const View meta = element.value.as_view();
            if (!meta.is_empty() && meta.front().name == "$meta")
                return Error(ErrorCode::not_implemented, "sorting by $meta is not supported");
            return failure(17312, "$meta is the only expression supported by $sort right now");
        }
        if (!element.value.is_number())
            return failure(15974,
                           fmt::format("Illegal key in $sort specification: {}: {}",
                                       element.name,
                                       to_json(element.value, bson::JsonMode::message)));
        const double direction = element.value.to_double();
        if (direction != 1 && direction != -1)
            return failure(15975,
                           "$sort key ordering must be 1 (for ascending) or -1 (for "
                           "descending)");
        part.is_descending = direction < 0;
        if (element.name == "$randVal") {  // $sample's key, on its way to a merger.
            part.path.emplace_back(element.name);
        } else {
            TRY(part.path, expression::split_path(element.name));
        }
        result.parts_.push_back(std::move(part));
    }
    if (result.parts_.empty()) return failure(15976, "$sort stage must have at least one sort key");
    if (result.parts_.size() > parts_max) return failure(13103, "too many compound keys");
    return result;
}

Status SortPattern::make_key(View document, Value* key) const {
    std::vector<Position> positions;
    bool has_array = false;
    for (std::size_t i = 0; i < parts_.size(); ++i) {
        // Without arrays a key is found without allocating.
        Position position{document.as_object_value(), parts_[i].path};
        follow(position);
        has_array = has_array || position.value.is_array();
        key[i] = position.value.is_missing() ? Arena::make_null() : position.value;
    }
    if (!has_array) return {};
    for (const Part& part : parts_)
        positions.push_back({document.as_object_value(), part.path});
    return KeyMaker(*this, key).expand(positions);
}

int SortPattern::compare(const Value* one, const Value* two) const {
    for (std::size_t i = 0; i < parts_.size(); ++i)
        if (const int order = bson::compare(one[i], two[i]); order != 0)
            return parts_[i].is_descending ? -order : order;
    return 0;
}

bson::Document SortPattern::to_bson() const {
    bson::Builder builder;
    for (const Part& part : parts_) {
        std::string path;
        for (const auto& name : part.path)
            path += path.empty() ? name : "." + name;
        builder.append(path, std::int32_t{part.is_descending ? -1 : 1});
    }
    return std::move(builder).finish();
}

}  // namespace tessera::query
