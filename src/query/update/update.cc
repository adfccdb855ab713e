// SPDX-License-Identifier: Apache-2.0
#include "query/update/update.h"

#include <algorithm>

#include <fmt/format.h>

#include "bson/builder.h"
#include "bson/compare.h"
#include "bson/json.h"
#include "bson/validate.h"
#include "query/update/apply.h"
#include "query/update/diff.h"
#include "query/update/messages.h"
#include "query/update/parser.h"
#include "query/update/raw.h"

namespace tessera::query {

using bson::Type;
using bson::Value;
using bson::View;

namespace {

bool is_prefix_path(std::string_view above, std::string_view path) {
    return path.starts_with(above) && (path.size() == above.size() || path[above.size()] == '.');
}

bool overlaps(std::string_view one, std::string_view two) {
    return is_prefix_path(one, two) || is_prefix_path(two, one);
}

bool is_same(const Value& one, const Value& two) {
    return one.type() == two.type() && one.bytes() == two.bytes();
}

Status check_size(View document) {
    const std::uint32_t size = document.size();
    if (size > bson::internal_bytes_max) {
        const bson::Element first = document.front();
        return Error(ErrorCode::bson_object_too_large,
                     fmt::format("BSONObj size: {} (0x{:X}) is invalid. Size must be between 0 and "
                                 "{}(16MB) First element: {}: {}",
                                 size,
                                 size,
                                 bson::internal_bytes_max,
                                 first.name,
                                 bson::to_json(first.value, bson::JsonMode::message)));
    }
    if (size > bson::document_bytes_max) {
        return Error(location(17419),
                     fmt::format("Resulting document after update is larger than {}",
                                 bson::document_bytes_max));
    }
    return {};
}

Status check_id(const Value& id) {
    const bool is_bad = id.is_array() || id.type() == Type::regex || id.type() == Type::undefined;
    if (!is_bad) return {};
    return Error(ErrorCode::invalid_id_field,
                 fmt::format("The '_id' value cannot be of type {}", bson::type_name(id.type())));
}

/// "_id: 9", or that the field is gone.
Error altered(std::string_view path, const Value& after) {
    if (after.is_missing()) {
        return {ErrorCode::immutable_field,
                fmt::format("After applying the update, the (immutable) field '{}' was found to "
                            "have been removed",
                            path)};
    }
    return {ErrorCode::immutable_field,
            fmt::format("After applying the update, the (immutable) field '{}' was found to have "
                        "been altered to {}: {}",
                        path,
                        path,
                        bson::to_json(after, bson::JsonMode::message))};
}

bson::Document wrap_diff(const std::string& diff_elements) {
    std::string out;
    out.reserve(diff_elements.size() + 32);
    const std::size_t start = raw::open(out);
    raw::put_header(out, Type::int32, "$v");
    const std::int32_t version = 2;
    out.append(reinterpret_cast<const char*>(&version), sizeof version);
    raw::put_header(out, Type::object, "diff");
    const std::size_t inner = raw::open(out);
    out.append(diff_elements);
    raw::close(out, inner);
    raw::close(out, start);
    return bson::Document::adopt(std::move(out));
}

/// Moves _id to the front, or puts one there.
bson::Document with_id_first(View document, const Value& new_id) {
    const Value id = document["_id"];
    const bool is_first = !id.is_missing() && document.front().name == "_id";
    if (is_first || (id.is_missing() && new_id.is_missing())) return bson::Document(document);
    std::string out;
    out.reserve(document.size() + 32);
    const std::size_t start = raw::open(out);
    raw::put(out, "_id", id.is_missing() ? new_id : id);
    for (const auto& element : document) {
        if (element.name != "_id") raw::put(out, element.name, element.value);
    }
    raw::close(out, start);
    return bson::Document::adopt(std::move(out));
}

/// A stored Timestamp(0, 0) at the top level of a replacement means "now".
bool has_zero_timestamp(View document) {
    return std::any_of(document.begin(), document.end(), [](const auto& element) {
        return element.value.type() == Type::timestamp && element.value.as_timestamp().is_null();
    });
}

bson::Document with_timestamps(View document, Timestamp timestamp) {
    bson::Builder out;
    for (const auto& element : document) {
        const bool is_zero =
            element.value.type() == Type::timestamp && element.value.as_timestamp().is_null();
        if (is_zero && element.name != "_id") {
            out.append(element.name, timestamp);
        } else {
            out.append(element);
        }
    }
    return std::move(out).finish();
}

}  // namespace

bool UpdateResult::may_affect(std::string_view path) const {
    if (is_noop) return false;
    if (is_everything_changed) return true;
    const std::string_view top = path.substr(0, path.find('.'));
    return std::any_of(changed_fields.begin(),
                       changed_fields.end(),
                       [top](const std::string& field) { return field == top; });
}

Update::Update() = default;
Update::Update(Update&&) noexcept = default;
Update& Update::operator=(Update&&) noexcept = default;
Update::~Update() = default;

Result<Update> Update::parse(const Value& update, const UpdateOptions& options) {
    Update result;
    UpdateParser parser(result, options);
    if (update.is_array()) {
        result.form_ = UpdateForm::pipeline;
        result.source_ = std::make_unique<bson::Document>(update.as_view());
        TRY_OK(parser.parse_pipeline(result.source_->view()));
        return result;
    }
    if (!update.is_object()) {
        return Error(ErrorCode::failed_to_parse,
                     "Update argument must be either an object or an array");
    }
    result.source_ = std::make_unique<bson::Document>(update.as_view());
    const View document = result.source_->view();
    if (!document.is_empty() && document.front().name.starts_with('$')) {
        TRY_OK(parser.parse_array_filters());
        TRY_OK(parser.parse_operators(document));
        return result;
    }
    result.form_ = UpdateForm::replacement;
    if (options.is_multi) {
        return Error(ErrorCode::failed_to_parse,
                     "multi update is not supported for replacement-style update");
    }
    if (!options.array_filters.is_missing() && options.array_filters.is_array() &&
        !options.array_filters.as_view().is_empty()) {
        return Error(ErrorCode::failed_to_parse,
                     "arrayFilters may not be specified for replacement-style updates");
    }
    TRY_OK(UpdateParser::check_replacement(document));
    return result;
}

Result<UpdateResult> Update::apply(View before,
                                   const ApplyOptions& options,
                                   UpdateContext& context) const {
    if (form_ == UpdateForm::replacement) return replace(before, options);
    if (form_ == UpdateForm::pipeline) return transform(before, options);
    context.arena.clear();
    UpdateApplier applier(*this, options, context, before, false);
    std::string out;
    out.reserve(before.size() + 128);
    std::vector<Change> changes;
    TRY_OK(applier.run(before, out, changes));
    UpdateResult result;
    for (const Change& change : changes) {
        if (change.kind == Change::Kind::none) continue;
        result.is_noop = false;
        result.changed_fields.emplace_back(change.field());
    }
    if (result.is_noop) return result;
    const View after(out.data());
    const auto check_immutable = [&](std::string_view immutable) -> Status {
        const auto changed = std::find_if(paths_.begin(), paths_.end(), [&](const auto& path) {
            return overlaps(path, immutable);
        });
        if (changed == paths_.end()) return {};
        if (is_same(before.at_path(immutable), after.at_path(immutable))) return {};
        return Error(ErrorCode::immutable_field,
                     fmt::format("Performing an update on the path '{}' would modify the immutable "
                                 "field '{}'",
                                 *changed,
                                 immutable));
    };
    TRY_OK(check_immutable("_id"));
    for (const std::string& path : options.immutable_paths)
        TRY_OK(check_immutable(path));
    TRY_OK(check_size(after));
    if (options.wants_oplog) {
        std::string diff;
        UpdateApplier::write_diff(changes, out, diff);
        result.oplog = wrap_diff(diff);
    }
    result.after = bson::Document::adopt(std::move(out));
    return result;
}

Result<UpdateResult> Update::replace(View before, const ApplyOptions& options) const {
    const View replacement = source_->view();
    const Value old_id = before["_id"];
    const Value new_id = replacement["_id"];
    if (!new_id.is_missing() && !old_id.is_missing() && !bson::equal(new_id, old_id)) {
        return altered("_id", new_id);
    }
    UpdateResult result;
    result.after = with_id_first(replacement, old_id);
    // Equal ids of different number types (1, 1.0): the stored one stays.
    if (!new_id.is_missing() && !is_same(new_id, old_id)) {
        bson::Builder out;
        out.append("_id", old_id);
        for (const auto& element : replacement) {
            if (element.name != "_id") out.append(element);
        }
        result.after = std::move(out).finish();
    }
    if (has_zero_timestamp(result.after)) {
        result.after = with_timestamps(result.after, options.timestamp);
    }
    for (const std::string& path : options.immutable_paths) {
        const Value now = result.after.view().at_path(path);
        if (!bson::equal(before.at_path(path), now)) return altered(path, now);
    }
    result.is_noop = before == result.after.view();
    if (result.is_noop) {
        result.after = bson::Document();
        return result;
    }
    TRY_OK(check_size(result.after));
    result.is_everything_changed = true;
    if (options.wants_oplog) result.oplog = result.after;
    return result;
}

Result<UpdateResult> Update::transform(View before, const ApplyOptions& options) const {
    ENSURE(transform_ != nullptr);
    TRY(bson::Document made, transform_->apply(before));
    UpdateResult result;
    const Value old_id = before["_id"];
    const Value new_id = made["_id"];
    if (!new_id.is_missing() && !bson::equal(old_id, new_id)) return altered("_id", new_id);
    for (const std::string& path : options.immutable_paths) {
        const Value now = made.view().at_path(path);
        if (!bson::equal(before.at_path(path), now)) return altered(path, now);
    }
    result.after = with_id_first(made, old_id);
    TRY_OK(check_nesting(result.after.view().as_object_value(), 0));
    TRY_OK(check_size(result.after));
    ComputedDiff diff = compute_diff(before, result.after);
    result.is_noop = diff.is_equal;
    if (result.is_noop) {
        result.after = bson::Document();
        return result;
    }
    result.is_everything_changed = true;
    if (!options.wants_oplog) return result;
    if (diff.diff) {
        const View elements = diff.diff->view();
        result.oplog = wrap_diff(std::string(elements.data() + 4, elements.size() - 5));
    } else {
        result.oplog = result.after;
    }
    return result;
}

// --- Upsert ------------------------------------------------------------------------------------

namespace {

struct Equality {
    std::string_view path;
    Value value;
};

/// The equalities every match must satisfy: at the top and under $and.
Status find_equalities(const Node& node, std::vector<Equality>& out) {
    if (node.kind == NodeKind::conjunction) {
        for (const Node& child : node.children)
            TRY_OK(find_equalities(child, out));
        return {};
    }
    if (node.kind != NodeKind::equal) return {};
    const std::string_view path = node.path.dotted();
    for (const Equality& other : out) {
        if (other.path == path) {
            return Error(
                ErrorCode::not_single_value_field,
                fmt::format("cannot infer query fields to set, path '{}' is matched twice", path));
        }
        if (overlaps(other.path, path)) {
            return Error(ErrorCode::not_single_value_field,
                         fmt::format("cannot infer query fields to set, both paths '{}' and '{}' "
                                     "are matched",
                                     other.path,
                                     path));
        }
    }
    out.push_back({path, node.operand});
    return {};
}

/// Builds a document of dotted paths; `equalities` is sorted by path.
void put_equalities(const std::vector<Equality>& equalities,
                    std::size_t from,
                    std::size_t to,
                    std::size_t depth,
                    std::string& out) {
    const std::size_t start = raw::open(out);
    const auto part = [&](std::size_t i) {
        const std::string_view rest = equalities[i].path.substr(depth);
        return rest.substr(0, rest.find('.'));
    };
    for (std::size_t i = from; i < to;) {
        const std::string_view name = part(i);
        std::size_t end = i + 1;
        while (end < to && part(end) == name)
            ++end;
        if (equalities[i].path.size() == depth + name.size()) {
            raw::put(out, name, equalities[i].value);
        } else {
            raw::put_header(out, Type::object, name);
            put_equalities(equalities, i, end, depth + name.size() + 1, out);
        }
        i = end;
    }
    raw::close(out, start);
}

}  // namespace

Result<bson::Document> Update::make_upsert(const Filter& query,
                                           const Value& new_id,
                                           const ApplyOptions& options,
                                           UpdateContext& context) const {
    std::vector<Equality> equalities;
    if (form_ == UpdateForm::replacement) {
        // Only _id is taken from the query; whatever else it says is replaced.
        std::vector<Equality> all;
        (void)find_equalities(query.root(), all).has_value();
        for (const Equality& equality : all) {
            if (equality.path == "_id") equalities.push_back(equality);
        }
    } else {
        TRY_OK(find_equalities(query.root(), equalities));
    }
    std::sort(equalities.begin(), equalities.end(), [](const Equality& a, const Equality& b) {
        if ((a.path == "_id") != (b.path == "_id")) return a.path == "_id";
        return a.path < b.path;
    });
    std::string base;
    put_equalities(equalities, 0, equalities.size(), 0, base);
    const View seed(base.data());

    bson::Document made;
    if (form_ == UpdateForm::replacement) {
        const Value wanted = seed["_id"];
        const Value given = (*source_)["_id"];
        if (!wanted.is_missing() && !given.is_missing() && !bson::equal(wanted, given)) {
            return altered("_id", given);
        }
        made = with_id_first(source_->view(), wanted.is_missing() ? new_id : wanted);
        if (has_zero_timestamp(made)) made = with_timestamps(made, options.timestamp);
    } else if (form_ == UpdateForm::pipeline) {
        ENSURE(transform_ != nullptr);
        TRY(made, transform_->apply(seed));
        const Value wanted = seed["_id"];
        if (!wanted.is_missing() && !bson::equal(wanted, made["_id"])) {
            return altered("_id", made["_id"]);
        }
    } else {
        context.arena.clear();
        ApplyOptions inserting = options;
        inserting.matched_index = -1;
        UpdateApplier applier(*this, inserting, context, seed, true);
        std::string out;
        std::vector<Change> changes;
        TRY_OK(applier.run(seed, out, changes));
        const Value wanted = seed["_id"];
        if (!wanted.is_missing() && !is_same(wanted, View(out.data())["_id"])) {
            return Error(ErrorCode::immutable_field,
                         "Performing an update on the path '_id' would modify the immutable field "
                         "'_id'");
        }
        made = bson::Document::adopt(std::move(out));
    }
    made = with_id_first(made, new_id);
    TRY_OK(check_id(made["_id"]));
    TRY_OK(check_nesting(made.view().as_object_value(), 0));
    TRY_OK(check_size(made));
    return made;
}

}  // namespace tessera::query
