// SPDX-License-Identifier: Apache-2.0
#include "catalog/collection_options.h"

#include <algorithm>
#include <array>
#include <initializer_list>

#include "base/log.h"
#include "bson/builder.h"
#include "bson/compare.h"
#include "bson/json.h"
#include "catalog/expressions.h"
#include "catalog/limits.h"
#include "query/match/json_schema.h"

namespace tessera::catalog {
namespace {

using bson::Element;
using bson::Value;

Error wrong_type(const Element& field, std::string_view expected) {
    return {
        ErrorCode::type_mismatch,
        "BSON field 'create." + std::string(field.name) + "' is the wrong type '" +
            std::string(bson::type_name(field.value.type())) + "', expected type" + "" +
            (expected.find(',') == std::string_view::npos ? " '" + std::string(expected) + "'"
                                                          : "s '[" + std::string(expected) + "]'")};
}

bool is_flag(const Value& value) {
    return value.is_boolean() || value.is_number();
}
bool is_set(const Value& value) {
    return value.is_boolean() ? value.as_bool() : value.to_double() != 0;
}

class OptionsParser {
public:
    OptionsParser(const Namespace& ns, CollectionOptions& out) : ns_(ns), out_(out) {}

    Status run(bson::View options) {
        for (const Element& field : options) {
            if (!seen_.insert(field.name)) {
                return Error(
                    location(40413),
                    "BSON field 'create." + std::string(field.name) + "' is a duplicate field");
            }
            TRY_OK(one(field));
        }
        if (out_.is_capped && out_.capped_bytes_max == 0) {
            return Error(ErrorCode::invalid_options,
                         "the 'size' field is required when 'capped' is true");
        }
        if (!out_.is_capped && has_size_) {
            return Error(ErrorCode::invalid_options,
                         "the 'capped' field needs to be true when either the 'size' or 'max' "
                         "fields are present");
        }
        out_.document = std::move(builder_).finish();
        return ok();
    }

private:
    // Names seen; there are few.
    struct Names {
        bool insert(std::string_view name) {
            if (std::ranges::find(names, name) != names.end()) return false;
            names.push_back(name);
            return true;
        }
        std::vector<std::string_view> names;
    };

    Status one(const Element& field) {
        const std::string_view name = field.name;
        const Value& value = field.value;
        if (name == "capped") return capped(field);
        if (name == "size" || name == "max") return size(field);
        if (name == "validator") return validator(field);
        if (name == "validationLevel") return level(field);
        if (name == "validationAction") return action(field);
        if (name == "collation") {
            TRY_OK(query::check_collation(value));
            return ok();  // The simple collation is not kept, as MongoDB does.
        }
        if (name == "autoIndexId") {
            if (!is_flag(value)) return wrong_type(field, "bool, long, int, decimal, double");
            out_.has_id_index = is_set(value);
            if (!out_.has_id_index && ns_.is_replicated()) {
                return Error(ErrorCode::invalid_options,
                             "autoIndexId:false is not allowed for replicated collections");
            }
            builder_.append(name, out_.has_id_index);
            return ok();
        }
        if (name == "changeStreamPreAndPostImages") {
            if (!value.is_object()) return wrong_type(field, "object");
            const Value enabled = value.as_view()["enabled"];
            if (!enabled.is_boolean()) {
                return Error(location(40414),
                             "BSON field 'create.changeStreamPreAndPostImages.enabled' is missing "
                             "but a required field");
            }
            out_.has_pre_images = enabled.as_bool();
            if (out_.has_pre_images && !ns_.is_replicated()) {
                return Error(ErrorCode::invalid_options,
                             "changeStreamPreAndPostImages are not supported for this collection");
            }
            if (out_.has_pre_images) builder_.append(field);
            return ok();
        }
        if (name == "temp" || name == "flags" || name == "storageEngine" ||
            name == "indexOptionDefaults") {
            return plain(field);
        }
        for (const char* unsupported : {"timeseries",
                                        "clusteredIndex",
                                        "encryptedFields",
                                        "expireAfterSeconds",
                                        "recordIdsReplicated"}) {
            if (name != unsupported) continue;
            return Error(ErrorCode::not_implemented,
                         "The option '" + std::string(name) + "' of create is not supported");
        }
        return Error(location(40415),
                     "BSON field 'create." + std::string(name) + "' is an unknown field.");
    }

    Status plain(const Element& field) {
        if (field.name == "temp" || field.name == "flags") {
            if (!is_flag(field.value)) return wrong_type(field, "bool");
        } else if (!field.value.is_object()) {
            return wrong_type(field, "object");
        } else if (!field.value.as_view().is_empty()) {
            return Error(ErrorCode::not_implemented,
                         "The option '" + std::string(field.name) + "' of create is not supported");
        }
        builder_.append(field);
        return ok();
    }

    Status capped(const Element& field) {
        if (!is_flag(field.value)) return wrong_type(field, "bool, long, int, decimal, double");
        out_.is_capped = is_set(field.value);
        if (out_.is_capped) builder_.append(field.name, true);
        return ok();
    }

    Status size(const Element& field) {
        if (!field.value.is_number()) return wrong_type(field, "long, int, decimal, double");
        std::int64_t number = field.value.to_int64();
        if (field.name == "size") {
            has_size_ = true;
            if (number < 1) {
                return Error(ErrorCode::bad_value,
                             "BSON field 'size' value must be >= 1, actual value '" +
                                 std::to_string(number) + "'");
            }
            if (number > std::int64_t{1} << 50) {
                return Error(ErrorCode::bad_value,
                             "BSON field 'size' value must be <= 1125899906842624, actual value '" +
                                 std::to_string(number) + "'");
            }
            // Rounded up to what a capped collection may at least be, and to 256 bytes.
            number = std::max((number + 0xff) & ~std::int64_t{0xff}, limits::capped_bytes_min);
            out_.capped_bytes_max = number;
        } else {
            if (number < 0) number = 0;
            if (number >= std::int64_t{1} << 31) {
                return Error(ErrorCode::bad_value,
                             "max in a capped collection has to be < 2^31 or not set");
            }
            out_.capped_documents_max = number;
            has_size_ = true;
            if (number == 0) return ok();
        }
        builder_.append_integer(field.name, number);
        return ok();
    }

    Status validator(const Element& field) {
        if (!field.value.is_object()) return wrong_type(field, "object");
        if (ns_.db == "admin" || ns_.db == "local" || ns_.db == "config") {
            return Error(ErrorCode::invalid_options,
                         "Document validators are not allowed on collection " + ns_.to_string() +
                             " in the " + ns_.db + " internal database");
        }
        if (ns_.is_system()) {
            return Error(ErrorCode::invalid_options,
                         "Document validators not allowed on system collection " + ns_.to_string());
        }
        const bson::View filter = field.value.as_view();
        TRY(auto parsed, parse_filter(filter));
        if (!filter.is_empty()) {
            out_.validator = std::make_shared<const query::Filter>(std::move(parsed));
            builder_.append(field);
        }
        return ok();
    }

    Status level(const Element& field) {
        if (!field.value.is_string()) return wrong_type(field, "string");
        const std::string_view text = field.value.as_string();
        if (text == "off") {
            out_.validation_level = ValidationLevel::off;
        } else if (text == "moderate") {
            out_.validation_level = ValidationLevel::moderate;
        } else if (text == "strict") {
            out_.validation_level = ValidationLevel::strict;
        } else {
            return unknown_value(field);
        }
        builder_.append(field);
        return ok();
    }

    Status action(const Element& field) {
        if (!field.value.is_string()) return wrong_type(field, "string");
        const std::string_view text = field.value.as_string();
        if (text == "error") {
            out_.validation_action = ValidationAction::error;
        } else if (text == "warn") {
            out_.validation_action = ValidationAction::warn;
        } else {
            return unknown_value(field);
        }
        builder_.append(field);
        return ok();
    }

    static Error unknown_value(const Element& field) {
        return {ErrorCode::bad_value,
                "Enumeration value '" + std::string(field.value.as_string()) +
                    "' for field 'create." + std::string(field.name) + "' is not a valid value."};
    }

    const Namespace& ns_;
    CollectionOptions& out_;
    bson::Builder builder_;
    Names seen_;
    bool has_size_ = false;
};

std::string_view reason_of(query::NodeKind kind) {
    switch (kind) {
        case query::NodeKind::exists:
            return "path does not exist";
        case query::NodeKind::type:
            return "type did not match";
        case query::NodeKind::in:
            return "no matching value found in array";
        case query::NodeKind::regex:
            return "regular expression did not match";
        case query::NodeKind::expression:
            return "$expr did not match";
        default:
            return "comparison failed";
    }
}

// Says why `node` refused the document, in the form of errInfo.details.
void describe(const query::Node& node,
              bson::View document,
              query::MatchContext& context,
              bson::Builder& details) {
    if (node.kind == query::NodeKind::schema) {
        node.schema->describe(document, context, details);
        return;
    }
    details.append("operatorName", query::name_of(node.kind));
    bson::Builder specified;
    node.serialize(specified);
    const bson::Document source = std::move(specified).finish();
    details.append("specifiedAs", source);
    if (!node.is_leaf()) return;
    const Value considered = document.at_path(node.path.dotted());
    if (considered.is_missing()) {
        details.append("reason", "field was missing");
        return;
    }
    details.append("reason", reason_of(node.kind)).append("consideredValue", considered);
}

Error validation_failure(const CollectionOptions& options,
                         bson::View document,
                         query::MatchContext& context) {
    bson::Builder reply;
    {
        auto info = reply.object("errInfo");
        info.append("failingDocumentId", document["_id"]);
        auto details = info.object("details");
        describe(options.validator->root(), document, context, details);
    }
    return {ErrorCode::document_validation_failure,
            "Document failed validation",
            std::string(std::move(reply).finish().bytes())};
}

}  // namespace

Result<CollectionOptions> parse_collection_options(const Namespace& ns, bson::View options) {
    CollectionOptions result;
    TRY_OK(OptionsParser(ns, result).run(options));
    return result;
}

bool are_same_options(const CollectionOptions& one, const CollectionOptions& two) {
    const auto contains = [](bson::View all, bson::View part) {
        return std::ranges::all_of(
            part, [&](const Element& field) { return bson::equal(all[field.name], field.value); });
    };
    return contains(one.document, two.document) && contains(two.document, one.document);
}

Status check_document(const CollectionOptions& options,
                      const Namespace& ns,
                      bson::View document,
                      const bson::View* before) {
    if (!options.validator || options.validation_level == ValidationLevel::off) return ok();
    static thread_local query::MatchContext context;
    TRY(const bool is_valid, options.validator->matches(document, context));
    if (is_valid) return ok();
    if (before != nullptr && options.validation_level == ValidationLevel::moderate) {
        TRY(const bool was_valid, options.validator->matches(*before, context));
        if (!was_valid) return ok();
    }
    const Error error = validation_failure(options, document, context);
    if (options.validation_action == ValidationAction::error) return error;
    log::warning(log::Component::storage,
                 20294,
                 "Document would fail validation",
                 {{"namespace", ns.to_string()},
                  {"errInfo", log::Json{bson::to_json(bson::View(error.details().data()))}}});
    return ok();
}

}  // namespace tessera::catalog
