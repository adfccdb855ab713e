// SPDX-License-Identifier: Apache-2.0
//
// The operators on arrays: $push, $addToSet, $pop, $pull, $pullAll.
#include <algorithm>

#include <fmt/format.h>

#include "bson/builder.h"
#include "bson/compare.h"
#include "query/update/messages.h"
#include "query/update/raw.h"
#include "query/update/tree.h"

namespace tessera::query {

using bson::Value;
using bson::View;

namespace {

Error bad_value(std::string reason) {
    return {ErrorCode::bad_value, std::move(reason)};
}

std::vector<Value> elements_of(const Value& array) {
    std::vector<Value> result;
    if (!array.is_array()) return result;
    for (const auto& element : array.as_view())
        result.push_back(element.value);
    return result;
}

Outcome set_array(const std::vector<Value>& values, const Value& old, bson::Arena& arena) {
    std::string bytes;
    const std::size_t start = raw::open(bytes);
    for (std::size_t i = 0; i < values.size(); ++i)
        raw::put(bytes, raw::IndexName(i), values[i]);
    raw::close(bytes, start);
    if (old.is_array() && old.bytes() == bytes) return {};
    return {Outcome::Kind::set, arena.make_array(View(bytes.data())), nullptr};
}

Value at_path(const Value& value, std::string_view path) {
    if (!value.is_object()) return {};
    return value.as_view().at_path(path);
}

void sort_values(std::vector<Value>& values, const Value& sort) {
    if (!sort.is_object()) {
        const bool is_descending = sort.to_int64() < 0;
        std::stable_sort(values.begin(), values.end(), [=](const Value& a, const Value& b) {
            return is_descending ? bson::compare(b, a) < 0 : bson::compare(a, b) < 0;
        });
        return;
    }
    const View pattern = sort.as_view();
    const Value null = bson::Arena::make_null();
    std::stable_sort(values.begin(), values.end(), [&](const Value& a, const Value& b) {
        for (const auto& key : pattern) {
            Value one = at_path(a, key.name);
            Value two = at_path(b, key.name);
            if (one.is_missing()) one = null;
            if (two.is_missing()) two = null;
            const int order = bson::compare(one, two);
            if (order != 0) return key.value.to_int64() < 0 ? order > 0 : order < 0;
        }
        return false;
    });
}

void slice_values(std::vector<Value>& values, std::int64_t slice) {
    const auto size = static_cast<std::int64_t>(values.size());
    if (slice >= 0) {
        if (slice < size) values.resize(static_cast<std::size_t>(slice));
    } else if (slice > -size) {
        values.erase(values.begin(), values.end() + slice);
    }
}

Result<Outcome> run_push(const Modifier& modifier,
                         const Value& old,
                         const std::string& field,
                         const ModifierContext& context) {
    if (!old.is_missing() && !old.is_array()) {
        return bad_value(
            fmt::format("The field '{}' must be an array but is of type {} in document {}",
                        field,
                        bson::type_name(old.type()),
                        show_id(context.document)));
    }
    const bool is_plain = !modifier.slice && modifier.sort.is_missing();
    const std::vector<Value>& added = modifier.values;
    if (is_plain && old.is_array()) {
        if (added.empty()) return Outcome{};
        const std::int64_t size =
            modifier.position ? static_cast<std::int64_t>(old.as_view().count()) : 0;
        if (!modifier.position || *modifier.position >= size) {
            return Outcome{Outcome::Kind::append, {}, &added};
        }
    }
    std::vector<Value> values = elements_of(old);
    const auto size = static_cast<std::int64_t>(values.size());
    std::int64_t place = modifier.position.value_or(size);
    place = place < 0 ? std::max<std::int64_t>(size + place, 0) : std::min(place, size);
    values.insert(values.begin() + place, added.begin(), added.end());
    if (!modifier.sort.is_missing()) sort_values(values, modifier.sort);
    if (modifier.slice) slice_values(values, *modifier.slice);
    return set_array(values, old, *context.arena);
}

Result<Outcome> run_add_to_set(const Modifier& modifier,
                               const Value& old,
                               const std::string& field,
                               const ModifierContext& context) {
    if (!old.is_missing() && !old.is_array()) {
        return bad_value(fmt::format(
            "Cannot apply $addToSet to non-array field. Field named '{}' has non-array type {}",
            field,
            bson::type_name(old.type())));
    }
    std::vector<Value> values = elements_of(old);
    for (const Value& value : modifier.values) {
        const bool is_there = std::any_of(values.begin(), values.end(), [&](const Value& other) {
            return bson::equal(value, other);
        });
        if (!is_there) values.push_back(value);
    }
    return set_array(values, old, *context.arena);
}

Result<Outcome> run_pop(const Modifier& modifier,
                        const Value& old,
                        const std::string& field,
                        const ModifierContext& context) {
    if (!old.is_array()) {
        return Error(ErrorCode::type_mismatch,
                     fmt::format("Path '{}' contains an element of non-array type '{}'",
                                 field,
                                 bson::type_name(old.type())));
    }
    std::vector<Value> values = elements_of(old);
    if (values.empty()) return Outcome{};
    if (modifier.operand.to_int64() < 0) {
        values.erase(values.begin());
    } else {
        values.pop_back();
    }
    return set_array(values, old, *context.arena);
}

Result<bool> is_pulled(const Modifier& modifier,
                       const Value& value,
                       const ModifierContext& context) {
    if (modifier.kind == ModifierKind::pull_all) {
        return std::any_of(modifier.values.begin(), modifier.values.end(), [&](const Value& other) {
            return bson::equal(value, other);
        });
    }
    if (!modifier.filter) return bson::equal(value, modifier.operand);
    if (!modifier.is_document_filter) return modifier.filter->matches_value(value, *context.match);
    if (!value.is_object()) return false;
    return modifier.filter->matches(value.as_view(), *context.match);
}

Result<Outcome> run_pull(const Modifier& modifier,
                         const Value& old,
                         const ModifierContext& context) {
    if (!old.is_array()) {
        return bad_value(
            fmt::format("Cannot apply {} to a non-array value", name_of(modifier.kind)));
    }
    std::vector<Value> kept;
    for (const auto& element : old.as_view()) {
        TRY(const bool is_gone, is_pulled(modifier, element.value, context));
        if (!is_gone) kept.push_back(element.value);
    }
    return set_array(kept, old, *context.arena);
}

}  // namespace

Result<Outcome> run_array_modifier(const Modifier& modifier,
                                   const Value& old,
                                   const std::string& field,
                                   const ModifierContext& context) {
    switch (modifier.kind) {
        case ModifierKind::push:
            return run_push(modifier, old, field, context);
        case ModifierKind::add_to_set:
            return run_add_to_set(modifier, old, field, context);
        case ModifierKind::pop:
            if (old.is_missing()) return Outcome{};
            return run_pop(modifier, old, field, context);
        case ModifierKind::pull:
        case ModifierKind::pull_all:
            if (old.is_missing()) return Outcome{};
            return run_pull(modifier, old, context);
        default:
            break;
    }
    ENSURE(false);
    return Outcome{};
}

}  // namespace tessera::query
