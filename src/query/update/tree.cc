// SPDX-License-Identifier: Apache-2.0
#include "query/update/tree.h"

#include <algorithm>

#include <fmt/format.h>

namespace tessera::query {

std::string_view name_of(ModifierKind kind) {
    switch (kind) {
        case ModifierKind::set:
            return "$set";
        case ModifierKind::set_on_insert:
            return "$setOnInsert";
        case ModifierKind::unset:
            return "$unset";
        case ModifierKind::increment:
            return "$inc";
        case ModifierKind::multiply:
            return "$mul";
        case ModifierKind::minimum:
            return "$min";
        case ModifierKind::maximum:
            return "$max";
        case ModifierKind::current_date:
        case ModifierKind::current_timestamp:
            return "$currentDate";
        case ModifierKind::rename_to:
            return "$rename";
        case ModifierKind::push:
            return "$push";
        case ModifierKind::add_to_set:
            return "$addToSet";
        case ModifierKind::pop:
            return "$pop";
        case ModifierKind::pull:
            return "$pull";
        case ModifierKind::pull_all:
            return "$pullAll";
        case ModifierKind::bit:
            return "$bit";
    }
    return "";
}

bool Modifier::creates(bool is_insert) const {
    switch (kind) {
        case ModifierKind::unset:
        case ModifierKind::pop:
        case ModifierKind::pull:
        case ModifierKind::pull_all:
            return false;
        case ModifierKind::set_on_insert:
            return is_insert;
        default:
            return true;
    }
}

bool UpdateNode::creates(bool is_insert) const {
    if (is_leaf()) return modifier->creates(is_insert);
    return std::any_of(children.begin(), children.end(), [is_insert](const auto& child) {
        return child->creates(is_insert);
    });
}

bool is_created_before(std::string_view one, std::string_view two) {
    const std::int32_t first = array_index(one);
    const std::int32_t second = array_index(two);
    if (first >= 0 || second >= 0) {
        if (first >= 0 && second >= 0) return first < second;
        return first >= 0;  // Numbers stand first, or the order would have circles.
    }
    return one < two;
}

Result<std::shared_ptr<const UpdateNode>> merge(const std::shared_ptr<const UpdateNode>& one,
                                                const std::shared_ptr<const UpdateNode>& two,
                                                const std::string& path) {
    if (one->is_leaf() || two->is_leaf()) {
        return Error(ErrorCode::conflicting_update_operators,
                     fmt::format("Update created a conflict at '{}'", path));
    }
    auto result = std::make_shared<UpdateNode>(*one);
    for (const auto& child : two->children) {
        const auto at = std::find_if(result->children.begin(),
                                     result->children.end(),
                                     [&](const auto& other) { return other->name == child->name; });
        if (at == result->children.end()) {
            result->children.push_back(child);
            continue;
        }
        TRY(*at, merge(*at, child, fmt::format("{}.{}", path, child->name)));
    }
    std::stable_sort(
        result->children.begin(), result->children.end(), [](const auto& a, const auto& b) {
            return is_created_before(a->name, b->name);
        });
    return std::shared_ptr<const UpdateNode>(std::move(result));
}

}  // namespace tessera::query
