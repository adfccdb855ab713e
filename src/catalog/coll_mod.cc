// SPDX-License-Identifier: Apache-2.0
//
// collMod: which options change, checked by the same code as create and createIndexes.
#include <algorithm>

#include "bson/builder.h"
#include "bson/compare.h"
#include "bson/json.h"
#include "catalog/index_spec.h"
#include "catalog/limits.h"
#include "catalog/member_catalog.h"

namespace tessera::catalog {
namespace {

using bson::Element;
using bson::Value;

// Fields any command may carry; they are dealt with elsewhere.
bool is_generic(std::string_view name) {
    for (const char* generic : {"collMod",
                                "writeConcern",
                                "comment",
                                "lsid",
                                "txnNumber",
                                "maxTimeMS",
                                "apiVersion",
                                "apiStrict",
                                "apiDeprecationErrors",
                                "readConcern",
                                "databaseVersion",
                                "shardVersion"}) {
        if (name == generic) return true;
    }
    return name.starts_with('$');
}

bool is_on(const Value& value) {
    return value.is_boolean() ? value.as_bool() : value.is_number() && value.to_double() != 0;
}

// A document with one field set to a value, or taken out when the value is missing.
bson::Document with_field(bson::View document, std::string_view name, const Value& value) {
    bson::Builder builder;
    bool is_written = false;
    for (const Element& field : document) {
        if (field.name != name) {
            builder.append(field);
        } else {
            builder.append(name, value);
            is_written = true;
        }
    }
    if (!is_written) builder.append(name, value);
    return std::move(builder).finish();
}

class Modification {
public:
    Modification(CollectionMetadata& metadata, bson::Builder& reply)
        : metadata_(metadata), reply_(reply) {}

    Status run(bson::View command) {
        for (const Element& field : command) {
            if (is_generic(field.name)) continue;
            TRY_OK(one(field));
        }
        return ok();
    }

private:
    Status one(const Element& field) {
        const std::string_view name = field.name;
        if (name == "index") {
            if (!field.value.is_object()) return wrong_type("collMod.index", field.value, "object");
            return index(field.value.as_view());
        }
        if (name == "validator" || name == "validationLevel" || name == "validationAction" ||
            name == "changeStreamPreAndPostImages") {
            metadata_.options = with_field(metadata_.options, name, field.value);
            return ok();
        }
        if (name == "cappedSize" || name == "cappedMax") return capped(field);
        if (name == "viewOn" || name == "pipeline") {
            return Error(ErrorCode::invalid_options,
                         "option not supported on a collection: " + std::string(name));
        }
        for (const char* unsupported : {"timeseries", "expireAfterSeconds", "dryRun"}) {
            if (name != unsupported) continue;
            return Error(ErrorCode::not_implemented,
                         "The option '" + std::string(name) + "' of collMod is not supported");
        }
        return Error(location(40415),
                     "BSON field 'collMod." + std::string(name) + "' is an unknown field.");
    }

    static Error wrong_type(std::string_view field, const Value& value, std::string_view expected) {
        return {ErrorCode::type_mismatch,
                "BSON field '" + std::string(field) + "' is the wrong type '" +
                    std::string(bson::type_name(value.type())) + "', expected type '" +
                    std::string(expected) + "'"};
    }

    Status capped(const Element& field) {
        if (!metadata_.options.view()["capped"].is_truthy() ||
            !metadata_.options.view().has("capped")) {
            return Error(ErrorCode::invalid_options, "Collection must be capped.");
        }
        if (!field.value.is_number()) {
            return wrong_type("collMod." + std::string(field.name), field.value, "long");
        }
        const bson::Document number = bson::make("n", field.value.to_int64());
        metadata_.options =
            with_field(metadata_.options, field.name == "cappedSize" ? "size" : "max", number["n"]);
        return ok();
    }

    Result<IndexMetadata*> find_index(bson::View request) {
        const Value name = request["name"];
        const Value pattern = request["keyPattern"];
        if (name.is_missing() == pattern.is_missing()) {
            return Error(ErrorCode::invalid_options,
                         name.is_missing() ? "must specify either index name or key pattern"
                                           : "Cannot specify both key pattern and name.");
        }
        if (!name.is_missing() && !name.is_string()) {
            return wrong_type("collMod.index.name", name, "string");
        }
        if (!pattern.is_missing() && !pattern.is_object()) {
            return wrong_type("collMod.index.keyPattern", pattern, "object");
        }
        IndexMetadata* found = nullptr;
        for (IndexMetadata& index : metadata_.indexes) {
            const bool is_it = name.is_string() ? index.spec["name"].as_string() == name.as_string()
                                                : bson::compare(index.spec["key"].as_view(),
                                                                pattern.as_view()) == 0;
            if (!is_it) continue;
            if (found != nullptr) {
                return Error(ErrorCode::ambiguous_index_key_pattern,
                             "index keyPattern " + bson::to_json(pattern, bson::JsonMode::message) +
                                 " matches 2 "
                                 "indexes, must use index name. Conflicting indexes:" +
                                 bson::to_json(found->spec, bson::JsonMode::message) + ", " +
                                 bson::to_json(index.spec, bson::JsonMode::message));
            }
            found = &index;
        }
        if (found != nullptr) return found;
        const std::string what = name.is_string() ? std::string(name.as_string())
                                                  : bson::to_json(pattern, bson::JsonMode::message);
        return Error(ErrorCode::index_not_found,
                     "cannot find index " + what + " for ns " + metadata_.ns.to_string());
    }

    Status index(bson::View request) {
        TRY(IndexMetadata* const found, find_index(request));
        bool has_change = false;
        for (const Element& field : request) {
            if (field.name == "name" || field.name == "keyPattern") continue;
            has_change = true;
            if (field.name == "expireAfterSeconds") {
                TRY_OK(expiry(*found, field));
            } else if (field.name == "hidden") {
                TRY_OK(hidden(*found, field));
            } else if (field.name == "unique" || field.name == "prepareUnique") {
                return Error(ErrorCode::not_implemented,
                             "collMod of the index option '" + std::string(field.name) +
                                 "' is not supported");
            } else {
                return Error(location(40415),
                             "BSON field 'collMod.index." + std::string(field.name) +
                                 "' is an unknown field.");
            }
        }
        if (!has_change) {
            return Error(ErrorCode::invalid_options,
                         "no expireAfterSeconds, hidden, unique, or prepareUnique field");
        }
        return ok();
    }

    Status expiry(IndexMetadata& index, const Element& field) {
        if (!field.value.is_number()) {
            return wrong_type("collMod.index.expireAfterSeconds", field.value, "safeInt");
        }
        const std::int64_t seconds = field.value.to_int64();
        if (seconds < 0 || seconds > limits::expire_after_seconds_max) {
            return Error(
                ErrorCode::invalid_options,
                "TTL index 'expireAfterSeconds' option must be within an acceptable range, "
                "try a different value than " +
                    std::to_string(seconds));
        }
        if (index.spec["name"].as_string() == "_id_") {
            return Error(ErrorCode::invalid_options, "the _id field does not support TTL indexes");
        }
        if (index.spec["key"].as_view().count() != 1) {
            return Error(
                ErrorCode::invalid_options,
                "TTL indexes are single-field indexes, compound indexes do not support TTL");
        }
        const Value old = index.spec["expireAfterSeconds"];
        if (!old.is_missing()) reply_.append("expireAfterSeconds_old", old.to_int64());
        reply_.append("expireAfterSeconds_new", seconds);
        index.spec = with_field(index.spec, "expireAfterSeconds", field.value);
        return ok();
    }

    Status hidden(IndexMetadata& index, const Element& field) {
        if (!field.value.is_boolean() && !field.value.is_number()) {
            return wrong_type("collMod.index.hidden", field.value, "bool");
        }
        if (index.spec["name"].as_string() == "_id_") {
            return Error(ErrorCode::bad_value, "can't hide _id index");
        }
        const bool is_hidden = is_on(field.value);
        const bool was_hidden = is_on(index.spec["hidden"]);
        if (is_hidden == was_hidden) return ok();
        reply_.append("hidden_old", was_hidden).append("hidden_new", is_hidden);
        const bson::Document flag = bson::make("hidden", true);
        index.spec = with_field(index.spec, "hidden", is_hidden ? flag["hidden"] : Value());
        return ok();
    }

    CollectionMetadata& metadata_;
    bson::Builder& reply_;
};

}  // namespace

Result<CollModResult> MemberCatalog::coll_mod(storage::Transaction& transaction,
                                              Collection& base,
                                              bson::View command) {
    auto& collection = static_cast<StoredCollection&>(base);
    TRY(auto metadata, read_metadata(transaction, collection));
    CollModResult result;
    bson::Builder old;
    old.append("uuid", collection.uuid()).append_all(metadata.options);
    result.old_options = std::move(old).finish();
    bson::Builder reply;
    TRY_OK(Modification(metadata, reply).run(command));
    TRY(const CollectionOptions checked, parse_collection_options(metadata.ns, metadata.options));
    metadata.options = checked.document;
    TRY_OK(write_metadata(transaction, metadata));
    result.reply = std::move(reply).finish();
    result.change = replace(std::move(metadata), {}, {}, {});
    return result;
}

}  // namespace tessera::catalog
