// SPDX-License-Identifier: Apache-2.0
#include "routing/shard_key.h"

#include "bson/builder.h"
#include "bson/hashed.h"
#include "bson/json.h"
#include "routing/limits.h"

namespace tessera::routing {
namespace {

using bson::Value;

std::string text_of(bson::View document) {
    return bson::to_json(document, bson::JsonMode::message);
}

Error bad_pattern(bson::View pattern, std::string_view why) {
    return {ErrorCode::bad_value,
            "Unsupported shard key pattern " + text_of(pattern) + ": " + std::string(why)};
}

/// Splits at dots. Fails (empty result) on an empty part or one that starts with $.
std::vector<std::string> split_path(std::string_view path) {
    std::vector<std::string> parts;
    while (true) {
        const std::size_t dot = path.find('.');
        const std::string_view part = path.substr(0, dot);
        if (part.empty() || part.front() == '$') return {};
        parts.emplace_back(part);
        if (dot == std::string_view::npos) return parts;
        path.remove_prefix(dot + 1);
    }
}

/// Whether one path is the other, or above it.
bool is_above_or_same(std::string_view upper, std::string_view lower) {
    return lower.starts_with(upper) && (lower.size() == upper.size() || lower[upper.size()] == '.');
}

/// The value at a field's path, missing where there is none. Fails on an array on the way.
Result<Value> value_at(const ShardKeyPattern::Field& field, bson::View document) {
    Value value;
    for (std::size_t i = 0; i < field.parts.size(); ++i) {
        if (i > 0) {
            if (!value.is_object()) return Value();
            document = value.as_view();
        }
        value = document[field.parts[i]];
        if (value.is_array()) {
            return Error(ErrorCode::shard_key_not_found,
                         "Shard key cannot contain array values or array descendants.");
        }
    }
    return value;
}

/// A shard key's bound: the pattern's names with MinKey or MaxKey each.
bson::Document extreme_bound(const std::vector<ShardKeyPattern::Field>& fields, bool is_max) {
    bson::Builder bound;
    for (const auto& field : fields) {
        if (is_max) {
            bound.append_max_key(field.path);
        } else {
            bound.append_min_key(field.path);
        }
    }
    return std::move(bound).finish();
}

bool has_only(bson::View bound, std::size_t fields, bson::Type type) {
    std::size_t count = 0;
    for (const auto& element : bound) {
        if (element.value.type() != type) return false;
        ++count;
    }
    return count == fields;
}

}  // namespace

Result<ShardKeyPattern> ShardKeyPattern::parse(bson::View pattern) {
    ShardKeyPattern result;
    result.document_ = bson::Document(pattern);
    for (const auto& [name, value] : pattern) {
        Field field;
        field.path = name;
        field.parts = split_path(name);
        if (field.parts.empty())
            return bad_pattern(pattern, "a field name is empty or starts with $");
        for (const Field& other : result.fields_) {
            if (is_above_or_same(other.path, name) || is_above_or_same(name, other.path)) {
                return bad_pattern(pattern, "one field contains another");
            }
        }
        if (value.is_string() && value.as_string() == "hashed") {
            if (result.has_hashed()) return bad_pattern(pattern, "only one field may be hashed");
            field.is_hashed = true;
            result.hashed_ = result.fields_.size();
        } else if (!value.is_number() || value.to_double() != 1.0) {
            return bad_pattern(pattern, "each field must be 1 or \"hashed\"");
        }
        result.fields_.push_back(std::move(field));
    }
    if (result.fields_.empty()) {
        return Error(ErrorCode::bad_value, "Shard key pattern must not be empty");
    }
    if (result.fields_.size() > limits::shard_key_fields) {
        return bad_pattern(pattern, "it has more than 32 fields");
    }
    return result;
}

Status ShardKeyPattern::append_key_of(bson::View document, bson::KeyBuilder& builder) const {
    for (const Field& field : fields_) {
        TRY(const Value value, value_at(field, document));
        if (field.is_hashed) {
            const std::int64_t hash = bson::shard_hash(value);
            builder.append(Value(bson::Type::int64, reinterpret_cast<const char*>(&hash), 8));
        } else {
            builder.append(value);
        }
    }
    builder.finish();
    return ok();
}

Result<Key> ShardKeyPattern::key_of(bson::View document) const {
    bson::KeyBuilder builder;
    TRY_OK(append_key_of(document, builder));
    return Key(builder.key());
}

Result<bson::Document> ShardKeyPattern::key_document_of(bson::View document) const {
    bson::Builder key;
    for (const Field& field : fields_) {
        TRY(const Value value, value_at(field, document));
        if (field.is_hashed) {
            key.append(field.path, bson::shard_hash(value));
        } else if (value.is_missing()) {
            key.append_null(field.path);
        } else {
            key.append(field.path, value);
        }
    }
    return std::move(key).finish();
}

Result<Key> ShardKeyPattern::encode_bound(bson::View bound) const {
    bson::KeyBuilder builder;
    std::size_t field = 0;
    for (const auto& [name, value] : bound) {
        if (field == fields_.size() || name != fields_[field].path) {
            field = no_field;
            break;
        }
        builder.append(value);
        ++field;
    }
    if (field != fields_.size()) {
        return Error(ErrorCode::bad_value,
                     "The bound " + text_of(bound) +
                         " does not have exactly the fields of the shard key " +
                         text_of(document_));
    }
    builder.finish();
    return Key(builder.key());
}

Result<bson::Document> ShardKeyPattern::extend_bound(bson::View prefix, bool with_max) const {
    bson::Builder bound;
    std::size_t field = 0;
    for (const auto& element : prefix) {
        if (field == fields_.size() || element.name != fields_[field].path) {
            return Error(ErrorCode::bad_value,
                         "The bound " + text_of(prefix) + " is not a prefix of the shard key " +
                             text_of(document_));
        }
        bound.append(element);
        ++field;
    }
    for (; field < fields_.size(); ++field) {
        if (with_max) {
            bound.append_max_key(fields_[field].path);
        } else {
            bound.append_min_key(fields_[field].path);
        }
    }
    return std::move(bound).finish();
}

bson::Document ShardKeyPattern::min_bound() const {
    return extreme_bound(fields_, false);
}
bson::Document ShardKeyPattern::max_bound() const {
    return extreme_bound(fields_, true);
}

bool ShardKeyPattern::is_min_bound(bson::View bound) const {
    return has_only(bound, fields_.size(), bson::Type::min_key);
}
bool ShardKeyPattern::is_max_bound(bson::View bound) const {
    return has_only(bound, fields_.size(), bson::Type::max_key);
}

bool ShardKeyPattern::is_prefix_of(bson::View index_key) const {
    std::size_t field = 0;
    for (const auto& [name, value] : index_key) {
        if (field == fields_.size()) break;
        if (name != fields_[field].path) return false;
        const bool is_hashed = value.is_string() && value.as_string() == "hashed";
        if (is_hashed != fields_[field].is_hashed) return false;
        if (!is_hashed && (!value.is_number() || value.to_double() != 1.0)) return false;
        ++field;
    }
    return field == fields_.size();
}

bool ShardKeyPattern::can_guarantee_unique(bson::View index_key) const {
    std::size_t field = 0;
    for (const auto& element : index_key) {
        if (field == fields_.size()) break;
        if (element.name != fields_[field].path) return false;
        ++field;
    }
    return field == fields_.size();
}

bool ShardKeyPattern::touches(std::string_view path) const {
    for (const Field& field : fields_) {
        if (is_above_or_same(field.path, path) || is_above_or_same(path, field.path)) return true;
    }
    return false;
}

std::string to_string(const Range& range) {
    return "[" + text_of(range.min) + ", " + text_of(range.max) + ")";
}

}  // namespace tessera::routing
