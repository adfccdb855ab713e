// SPDX-License-Identifier: Apache-2.0
#include "replication/read_write_concern.h"

#include <limits>

namespace tessera::replication {
namespace {

constexpr int members_max = 50;

Status parse_w(const bson::Value& value, consensus::WriteConcern& concern) {
    if (value.is_string()) {
        concern.w = std::string(value.as_string());
        return {};
    }
    if (!value.is_number())
        return Error(ErrorCode::failed_to_parse, "w has to be a number, a string or a document");
    const std::int64_t number = value.to_int64();
    if (number < 0 || number > members_max)
        return Error(ErrorCode::failed_to_parse,
                     "w has to be a non-negative number and not greater than 50; found: " +
                         std::to_string(number));
    concern.w = static_cast<int>(number);
    return {};
}

std::string_view to_string(Provenance provenance) {
    switch (provenance) {
        case Provenance::client_supplied: return "clientSupplied";
        case Provenance::implicit_default: return "implicitDefault";
        case Provenance::custom_default: return "customDefault";
    }
    return "";
}

Result<ReadLevel> parse_level(const bson::Value& value) {
    const std::string_view text = value.is_string() ? value.as_string() : std::string_view();
    for (const ReadLevel level : {ReadLevel::local, ReadLevel::available, ReadLevel::majority,
                                  ReadLevel::linearizable, ReadLevel::snapshot})
        if (text == to_string(level)) return level;
    return Error(ErrorCode::failed_to_parse,
                 "readConcern.level must be either 'local', 'majority', 'linearizable', "
                 "'available', or 'snapshot'");
}

}  // namespace

bson::Document WriteConcern::to_bson() const {
    bson::Builder builder;
    if (const auto* number = std::get_if<int>(&concern.w))
        builder.append("w", *number);
    else
        builder.append("w", std::get<std::string>(concern.w));
    if (concern.journal) builder.append("j", *concern.journal);
    builder.append_integer("wtimeout", to_milliseconds(timeout));
    if (provenance != Provenance::client_supplied)
        builder.append("provenance", to_string(provenance));
    else
        builder.append("provenance", "clientSupplied");
    return std::move(builder).finish();
}

Result<WriteConcern> WriteConcern::parse(bson::View document) {
    WriteConcern result;
    result.provenance = Provenance::client_supplied;
    if (document.is_empty()) return result;
    result.concern.w = 1;  // A concern given without w means w:1 ({j: true}, {wtimeout: 5}).
    for (const bson::Element& element : document) {
        const bson::Value& value = element.value;
        if (element.name == "w") {
            TRY_OK(parse_w(value, result.concern));
        } else if (element.name == "j" || element.name == "fsync") {
            if (!value.is_boolean() && !value.is_number() && !value.is_nullish())
                return Error(ErrorCode::failed_to_parse,
                             std::string(element.name) + " must be numeric or a boolean value");
            if (!value.is_nullish()) result.concern.journal = value.is_truthy();
        } else if (element.name == "wtimeout") {
            if (!value.is_number() && !value.is_nullish())
                return Error(ErrorCode::failed_to_parse, "wtimeout must be a number");
            result.timeout = std::chrono::milliseconds(
                std::min<std::int64_t>(value.to_int64(), std::numeric_limits<int>::max()));
        } else if (element.name != "provenance" && element.name != "getLastError") {
            return Error(ErrorCode::failed_to_parse,
                         "unrecognized write concern field: " + std::string(element.name));
        }
    }
    return result;
}

std::string_view to_string(ReadLevel level) {
    switch (level) {
        case ReadLevel::local: return "local";
        case ReadLevel::available: return "available";
        case ReadLevel::majority: return "majority";
        case ReadLevel::linearizable: return "linearizable";
        case ReadLevel::snapshot: return "snapshot";
    }
    return "";
}

Result<ReadConcern> ReadConcern::parse(bson::View document) {
    ReadConcern result;
    result.provenance = Provenance::client_supplied;
    for (const bson::Element& element : document) {
        const bson::Value& value = element.value;
        if (element.name == "level") {
            TRY(result.level, parse_level(value));
        } else if (element.name == "afterClusterTime" || element.name == "atClusterTime") {
            if (value.type() != bson::Type::timestamp)
                return Error(ErrorCode::type_mismatch,
                             "\"" + std::string(element.name) +
                                 "\" had the wrong type. Expected timestamp, found " +
                                 std::string(type_name(value.type())));
            (element.name == "afterClusterTime" ? result.after_cluster_time
                                                : result.at_cluster_time) = value.as_timestamp();
        } else if (element.name == "afterOpTime") {
            if (!value.is_object() || !value.as_view().has("ts"))
                return Error(ErrorCode::failed_to_parse, "afterOpTime is not an optime");
            result.after_optime = OpTime{value.as_view()["ts"].as_timestamp(),
                                         value.as_view()["t"].to_int64()};
        } else if (element.name != "provenance") {
            return Error(ErrorCode::invalid_options,
                         "Unrecognized option in readConcern: " + std::string(element.name));
        }
    }
    if (!result.at_cluster_time.is_null() && result.level != ReadLevel::snapshot)
        return Error(ErrorCode::invalid_options,
                     "readConcern.atClusterTime is only supported for level 'snapshot'");
    if (!result.after_cluster_time.is_null() && result.level == ReadLevel::linearizable)
        return Error(ErrorCode::invalid_options,
                     "linearizable read concern can't be used with afterClusterTime");
    return result;
}

}  // namespace tessera::replication
