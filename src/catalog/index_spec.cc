// SPDX-License-Identifier: Apache-2.0
#include "catalog/index_spec.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "bson/builder.h"
#include "bson/compare.h"
#include "bson/json.h"
#include "catalog/expressions.h"
#include "catalog/limits.h"

namespace tessera::catalog {
namespace {

using bson::Element;
using bson::Value;

constexpr std::array known_fields = {"v",
                                     "key",
                                     "name",
                                     "unique",
                                     "sparse",
                                     "hidden",
                                     "background",
                                     "expireAfterSeconds",
                                     "partialFilterExpression",
                                     "collation",
                                     "storageEngine",
                                     "prepareUnique",
                                     "ns",
                                     "dropDups",
                                     "clustered",
                                     "weights",
                                     "default_language",
                                     "language_override",
                                     "textIndexVersion",
                                     "2dsphereIndexVersion",
                                     "bits",
                                     "min",
                                     "max",
                                     "bucketSize",
                                     "wildcardProjection",
                                     "columnstoreProjection"};
// Fields of kinds of index we do not have.
constexpr std::array foreign_fields = {"clustered",
                                       "weights",
                                       "default_language",
                                       "language_override",
                                       "textIndexVersion",
                                       "2dsphereIndexVersion",
                                       "bits",
                                       "min",
                                       "max",
                                       "bucketSize",
                                       "wildcardProjection",
                                       "columnstoreProjection"};

std::string shown(bson::View document) {
    return bson::to_json(document, bson::JsonMode::message);
}

Error cannot_create(std::string reason) {
    return {ErrorCode::cannot_create_index, std::move(reason)};
}
Error wrong_type(std::string_view field, const Value& value, std::string_view expected) {
    return {ErrorCode::type_mismatch,
            "The field '" + std::string(field) + "' must be " + std::string(expected) +
                ", but got " + std::string(bson::type_name(value.type()))};
}

bool is_flag(const Value& value) {
    return value.is_boolean() || value.is_number();
}
bool is_on(const Value& value) {
    return value.is_boolean() ? value.as_bool() : value.is_number() && value.to_double() != 0;
}

bool is_id_key(bson::View key) {
    if (key.count() != 1 || key.front().name != "_id") return false;
    return key.front().value.is_number() && key.front().value.to_double() > 0;
}

Status check_key_name(std::string_view name) {
    if (name.empty()) return cannot_create("Index keys cannot be an empty field.");
    if (name.front() == '.' || name.back() == '.' || name.find("..") != std::string_view::npos) {
        return cannot_create("Index keys cannot contain an empty field.");
    }
    if (name == "$**" || name.ends_with(".$**")) {
        return Error(ErrorCode::not_implemented, "Wildcard indexes are not supported");
    }
    for (std::size_t at = 0; at != std::string_view::npos;) {
        if (name[at] == '$' && !name.substr(at).starts_with("$id") &&
            !name.substr(at).starts_with("$ref") && !name.substr(at).starts_with("$db")) {
            return cannot_create(
                "Index key contains an illegal field name: field name starts with "
                "'$'.");
        }
        at = name.find('.', at);
        if (at != std::string_view::npos) ++at;
    }
    return ok();
}

// Returns whether the field is hashed.
Result<bool> check_key_kind(const Value& value, std::int64_t version) {
    if (value.is_number()) {
        const double number = value.to_double();
        if (number == 0) return cannot_create("Values in the index key pattern cannot be 0.");
        if (std::isnan(number))
            return cannot_create("Values in the index key pattern cannot be NaN.");
        return false;
    }
    if (!value.is_string()) {
        return cannot_create("Values in v:" + std::to_string(version) +
                             " index key pattern cannot be of type " +
                             std::string(bson::type_name(value.type())) +
                             ". Only numbers > 0, numbers < 0, and strings are allowed.");
    }
    const std::string_view kind = value.as_string();
    if (kind == "hashed") return true;
    for (const char* foreign : {"text",
                                "2dsphere",
                                "2d",
                                "columnstore",
                                "queryable_encrypted_range",
                                "wildcard",
                                "2dsphere_bucket"}) {
        if (kind == foreign) {
            return Error(ErrorCode::not_implemented,
                         "Indexes of type '" + std::string(kind) + "' are not supported");
        }
    }
    if (kind.empty())
        return cannot_create("Values in the index key pattern cannot be empty strings.");
    return cannot_create("Unknown index plugin '" + std::string(kind) + "'");
}

Status check_key(bson::View key, bool is_unique, std::int64_t version) {
    if (key.is_empty()) return cannot_create("Index keys cannot be empty.");
    std::size_t hashed = 0;
    std::vector<std::string_view> names;
    for (const Element& field : key) {
        TRY_OK(check_key_name(field.name));
        TRY(const bool is_hashed, check_key_kind(field.value, version));
        hashed += is_hashed ? 1 : 0;
        if (std::ranges::find(names, field.name) != names.end()) {
            return Error(ErrorCode::bad_value,
                         "The field '" + std::string(field.name) +
                             "' appears multiple times in the index key "
                             "pattern " +
                             shown(key));
        }
        names.push_back(field.name);
    }
    if (names.size() > limits::index_fields_max) {
        return Error(location(13103), "too many compound keys");
    }
    if (hashed > 1) {
        return Error(location(31303),
                     "A maximum of one index field is allowed to be hashed but "
                     "found " +
                         std::to_string(hashed) + " for 'key' " + shown(key));
    }
    if (hashed == 1 && is_unique) {
        return Error(location(16764),
                     "Currently hashed indexes cannot guarantee uniqueness. Use a "
                     "regular index.");
    }
    return ok();
}

Status check_expiry(const bson::Document& document) {
    const bson::View spec = document;
    const Value seconds = spec["expireAfterSeconds"];
    if (seconds.is_missing()) return ok();
    const std::string suffix = ". Index spec: " + shown(spec);
    if (!seconds.is_number()) {
        return cannot_create(
            "TTL index 'expireAfterSeconds' option must be numeric, but received a "
            "type of '" +
            std::string(bson::type_name(seconds.type())) + "'" + suffix);
    }
    if (seconds.to_int64() < 0) {
        return cannot_create("TTL index 'expireAfterSeconds' option cannot be less than 0" +
                             suffix);
    }
    if (seconds.to_int64() > limits::expire_after_seconds_max) {
        return cannot_create(
            "TTL index 'expireAfterSeconds' option must be within an acceptable "
            "range, try a different value than " +
            std::to_string(seconds.to_int64()) + suffix);
    }
    if (spec["key"].as_view().count() != 1) {
        return cannot_create(
            "TTL indexes are single-field indexes, compound indexes do not support "
            "TTL" +
            suffix);
    }
    return ok();
}

Status check_name(bson::View spec) {
    const Value name = spec["name"];
    if (name.is_missing()) {
        return Error(ErrorCode::failed_to_parse,
                     "The 'name' field is a required property of an index specification");
    }
    if (!name.is_string()) return wrong_type("name", name, "a string");
    const std::string_view text = name.as_string();
    if (text.empty()) return cannot_create("index name cannot be empty");
    if (text == "*") return Error(ErrorCode::bad_value, "The index name '*' is not valid.");
    if (text.find('\0') != std::string_view::npos) {
        return cannot_create("index name cannot contain NUL bytes");
    }
    if (text.size() > limits::index_name_bytes_max) {
        return cannot_create("index name is too long: " + std::to_string(text.size()) + " bytes");
    }
    return ok();
}

Status check_field(const Element& field) {
    const std::string_view name = field.name;
    const Value& value = field.value;
    if (std::ranges::find(foreign_fields, name) != foreign_fields.end()) {
        return Error(ErrorCode::not_implemented,
                     "The index option '" + std::string(name) + "' is not supported");
    }
    if (name == "unique" || name == "sparse" || name == "hidden" || name == "background" ||
        name == "prepareUnique" || name == "dropDups") {
        if (!is_flag(value)) {
            return Error(ErrorCode::type_mismatch,
                         "The field '" + std::string(name) + "' has value " + std::string(name) +
                             ": " + bson::to_json(value, bson::JsonMode::message) +
                             ", which is not convertible to bool");
        }
        if (name == "prepareUnique" && is_on(value)) {
            return Error(ErrorCode::not_implemented,
                         "The index option 'prepareUnique' is not supported");
        }
    } else if (name == "partialFilterExpression") {
        if (!value.is_object()) return wrong_type(name, value, "an object");
        TRY_OK(check_partial_filter(value.as_view()));
    } else if (name == "collation") {
        if (!value.is_object()) return wrong_type(name, value, "an object");
        TRY_OK(query::check_collation(value));
    } else if (name == "storageEngine") {
        if (!value.is_object()) return wrong_type(name, value, "an object");
        if (!value.as_view().is_empty()) {
            return Error(ErrorCode::not_implemented,
                         "The index option 'storageEngine' is not supported");
        }
    } else if (name == "v") {
        if (!value.is_number()) return wrong_type(name, value, "a number");
        const std::int64_t version = value.to_int64();
        if (version != 1 && version != 2) {
            return cannot_create("Invalid index specification; cannot create an index with v=" +
                                 std::to_string(version));
        }
    }
    return ok();
}

Status check_id_index(bson::View spec) {
    for (const Element& field : spec) {
        const bool is_allowed = field.name == "v" || field.name == "key" || field.name == "name" ||
                                field.name == "ns" || field.name == "collation" ||
                                field.name == "background";
        // {_id: 1, unique: true} is what old tools send.
        const bool is_harmless = field.name == "unique" && is_on(field.value);
        if (field.name == "hidden" && is_on(field.value)) {
            return Error(ErrorCode::bad_value, "can't hide _id index");
        }
        if (is_allowed || is_harmless || field.name == "hidden") continue;
        return Error(
            ErrorCode::invalid_index_specification_option,
            "The field '" + std::string(field.name) +
                "' is not valid for an _id index specification. Specification: " + shown(spec));
    }
    return ok();
}

Status check_spec(bson::View spec) {
    for (const Element& field : spec) {
        if (std::ranges::find(known_fields, field.name) == known_fields.end()) {
            return Error(
                ErrorCode::invalid_index_specification_option,
                "The field '" + std::string(field.name) +
                    "' is not valid for an index specification. Specification: " + shown(spec));
        }
    }
    const Value key = spec["key"];
    if (key.is_missing()) {
        return Error(ErrorCode::failed_to_parse,
                     "The 'key' field is a required property of an index specification");
    }
    if (!key.is_object()) return wrong_type("key", key, "an object");
    TRY_OK(check_name(spec));
    for (const Element& field : spec)
        TRY_OK(check_field(field));
    const std::int64_t version = spec["v"].is_missing() ? 2 : spec["v"].to_int64();
    TRY_OK(check_key(key.as_view(), is_on(spec["unique"]), version));
    if (is_id_key(key.as_view())) return check_id_index(spec);
    if (is_on(spec["sparse"]) && spec.has("partialFilterExpression")) {
        return cannot_create("cannot mix \"partialFilterExpression\" and \"sparse\" options");
    }
    return ok();
}

// The parts of a spec that make an index what it is.
bool is_same_index(bson::View one, bson::View two) {
    const auto same_key = [&] {
        return one["key"].as_view() == two["key"].as_view() ||
               bson::compare(one["key"].as_view(), two["key"].as_view()) == 0;
    };
    return same_key() && is_on(one["unique"]) == is_on(two["unique"]) &&
           is_on(one["sparse"]) == is_on(two["sparse"]) &&
           bson::equal(one["partialFilterExpression"], two["partialFilterExpression"]) &&
           one.has("partialFilterExpression") == two.has("partialFilterExpression");
}

bool has_same_options(bson::View one, bson::View two) {
    const Value a = one["expireAfterSeconds"];
    const Value b = two["expireAfterSeconds"];
    if (a.is_missing() != b.is_missing()) return false;
    return a.is_missing() || bson::equal(a, b);
}

}  // namespace

bson::Document id_index_spec() {
    const bson::Document key = bson::make("_id", 1);
    return bson::make("v", 2, "key", key, "name", "_id_");
}

Status check_partial_filter(bson::View filter) {
    TRY(const query::Filter parsed, parse_filter(filter));
    // Walks the tree; nesting is bounded by the parser.
    const auto check = [](const auto& self, const query::Node& node, bool is_top) -> Status {
        using Kind = query::NodeKind;
        switch (node.kind) {
            case Kind::conjunction:
            case Kind::disjunction:
                for (const query::Node& child : node.children)
                    TRY_OK(self(self, child, false));
                return ok();
            case Kind::equal:
            case Kind::less:
            case Kind::less_or_equal:
            case Kind::greater:
            case Kind::greater_or_equal:
            case Kind::exists:
            case Kind::type:
            case Kind::in:
                if (node.kind != Kind::in || node.regexes.empty()) return ok();
                break;
            default:
                break;
        }
        (void)is_top;
        bson::Builder builder;
        node.serialize(builder);
        const bson::Document source = std::move(builder).finish();
        return cannot_create("Expression not supported in partial index: " +
                             bson::to_json(source, bson::JsonMode::message));
    };
    return check(check, parsed.root(), true);
}

Result<bson::Document> normalize_index_spec(const Namespace& ns, bson::View spec) {
    if (Status status = check_spec(spec); !status) {
        const bool is_plain = status.error().code() == location(16764);
        if (is_plain) return std::move(status).error();
        // The name and the version stand where the reference puts them: the version at the end.
        bson::Builder with_version;
        with_version.append_all(spec);
        const bool needs_version =
            !spec.has("v") && status.error().code() == ErrorCode::cannot_create_index;
        if (needs_version) with_version.append("v", 2);
        const bson::Document subject = std::move(with_version).finish();
        return status.error().with_prefix("Error in specification " + shown(subject) +
                                          " :: caused by :: ");
    }
    if (is_id_key(spec["key"].as_view())) return id_index_spec();
    if (is_on(spec["unique"]) && ns.is_oplog()) {
        return cannot_create("cannot create an index on the oplog");
    }
    bson::Builder builder;
    builder.append_integer("v", spec["v"].is_missing() ? 2 : spec["v"].to_int64());
    builder.append("key", spec["key"]).append("name", spec["name"]);
    for (const Element& field : spec) {
        const std::string_view name = field.name;
        if (name == "v" || name == "key" || name == "name" || name == "ns" || name == "dropDups" ||
            name == "collation" || name == "storageEngine" || name == "prepareUnique") {
            continue;
        }
        const bool is_flag_field = name == "unique" || name == "sparse" || name == "hidden";
        if (is_flag_field && !is_on(field.value)) continue;
        if (is_flag_field || name == "background") {
            builder.append(name, is_on(field.value));
        } else {
            builder.append(field);
        }
    }
    bson::Builder original;
    original.append_all(spec);
    if (!spec.has("v")) original.append("v", 2);
    TRY_OK(check_expiry(std::move(original).finish()));
    return std::move(builder).finish();
}

Result<bool> check_against_existing(const Namespace& ns,
                                    bson::View spec,
                                    const std::vector<bson::View>& existing) {
    const std::string_view name = spec["name"].as_string();
    for (const bson::View other : existing) {
        if (!is_same_index(spec, other)) continue;
        const bool has_same_name = other["name"].as_string() == name;
        const bool is_equal = has_same_options(spec, other);
        if (has_same_name && is_equal) return true;
        const std::string requested =
            ". Requested index: " + shown(spec) + ", existing index: " + shown(other);
        if (has_same_name) {
            return Error(ErrorCode::index_options_conflict,
                         "An equivalent index already exists with the same name but different "
                         "options" +
                             requested);
        }
        if (!is_equal) {
            return Error(
                ErrorCode::index_options_conflict,
                "An equivalent index already exists with a different name and options" + requested);
        }
        return Error(ErrorCode::index_options_conflict,
                     "Index already exists with a different name: " +
                         std::string(other["name"].as_string()));
    }
    for (const bson::View other : existing) {
        if (other["name"].as_string() != name) continue;
        return Error(ErrorCode::index_key_specs_conflict,
                     "An existing index has the same name as the requested index. When index names "
                     "are not specified, they are auto generated and can cause conflicts. Please "
                     "refer to our documentation. Requested index: " +
                         shown(spec) + ", existing index: " + shown(other));
    }
    if (existing.size() >= limits::indexes_max) {
        return cannot_create("add index fails, too many indexes for " + ns.to_string() +
                             " key:" + shown(spec["key"].as_view()));
    }
    return false;
}

}  // namespace tessera::catalog
