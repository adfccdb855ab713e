// SPDX-License-Identifier: Apache-2.0
#include "routing/versions.h"

#include <limits>

namespace tessera::routing {
namespace {

// {e: zero, t: 0, v: Timestamp(max, max)}: no collection can reach that placement.
constexpr Placement ignored_placement{std::numeric_limits<std::uint32_t>::max(),
                                      std::numeric_limits<std::uint32_t>::max()};

Error wrong_field(std::string_view what, std::string_view field) {
    return {ErrorCode::type_mismatch,
            std::string(what) + " has a missing or mistyped field '" + std::string(field) + "'"};
}

}  // namespace

bool ChunkVersion::is_older_than(const ChunkVersion& other) const {
    if (generation == other.generation) return placement < other.placement;
    return generation.timestamp < other.generation.timestamp;
}

std::string ChunkVersion::to_string() const {
    return std::to_string(placement.major) + "|" + std::to_string(placement.minor) + "||" +
           generation.epoch.to_hex() + "||Timestamp(" +
           std::to_string(generation.timestamp.seconds) + ", " +
           std::to_string(generation.timestamp.increment) + ")";
}

ShardVersion ShardVersion::ignored() {
    ChunkVersion version;
    version.placement = ignored_placement;
    return version;
}

bool ShardVersion::is_ignored() const {
    return version_.generation == Generation{} && version_.placement == ignored_placement;
}

Result<ShardVersion> ShardVersion::parse(const bson::Value& value) {
    if (!value.is_object() && !value.is_array()) return wrong_field("shardVersion", "shardVersion");
    const bson::View fields = value.as_view();
    const bool is_named = fields.has("e");
    const bson::Value epoch = fields[is_named ? "e" : "1"];
    const bson::Value timestamp = fields[is_named ? "t" : "2"];
    const bson::Value placement = fields[is_named ? "v" : "0"];
    if (epoch.type() != bson::Type::object_id) return wrong_field("shardVersion", "e");
    if (timestamp.type() != bson::Type::timestamp) return wrong_field("shardVersion", "t");
    if (placement.type() != bson::Type::timestamp) return wrong_field("shardVersion", "v");
    ChunkVersion version;
    version.generation = {epoch.as_object_id(), timestamp.as_timestamp()};
    version.placement = Placement::of(placement.as_timestamp());
    return ShardVersion(version);
}

void ShardVersion::append_to(bson::Builder& out, std::string_view name) const {
    auto object = out.object(name);
    object.append("e", version_.generation.epoch);
    object.append("t", version_.generation.timestamp);
    object.append("v", version_.placement.as_timestamp());
}

bool is_compatible(const ShardVersion& received, const ShardVersion& wanted) {
    if (received.is_ignored()) return true;
    return received.version().generation == wanted.version().generation &&
           received.version().placement.major == wanted.version().placement.major;
}

Result<DatabaseVersion> DatabaseVersion::parse(const bson::Value& value) {
    if (!value.is_object()) return wrong_field("databaseVersion", "databaseVersion");
    const bson::View fields = value.as_view();
    const bson::Value uuid = fields["uuid"];
    const bson::Value timestamp = fields["timestamp"];
    const bson::Value last_mod = fields["lastMod"];
    if (uuid.type() != bson::Type::binary || uuid.as_binary().bytes.size() != 16) {
        return wrong_field("databaseVersion", "uuid");
    }
    if (timestamp.type() != bson::Type::timestamp)
        return wrong_field("databaseVersion", "timestamp");
    if (!last_mod.is_number()) return wrong_field("databaseVersion", "lastMod");
    DatabaseVersion version;
    std::memcpy(version.uuid.bytes.data(), uuid.as_binary().bytes.data(), 16);
    version.timestamp = timestamp.as_timestamp();
    version.last_mod = static_cast<std::int32_t>(last_mod.to_int64());
    return version;
}

void DatabaseVersion::append_to(bson::Builder& out, std::string_view name) const {
    auto object = out.object(name);
    object.append("uuid", uuid);
    object.append("timestamp", timestamp);
    object.append("lastMod", last_mod);
}

Error StaleConfigInfo::to_error(std::string_view reason) const {
    bson::Builder fields;
    fields.append("ns", ns);
    received.append_to(fields, "vReceived");
    if (wanted) wanted->append_to(fields, "vWanted");
    fields.append("shardId", shard);
    return {ErrorCode::stale_config, std::string(reason), std::move(fields).finish().release()};
}

Result<StaleConfigInfo> StaleConfigInfo::parse(bson::View fields) {
    if (const bson::Value nested = fields["errInfo"]; nested.is_object()) fields = nested.as_view();
    StaleConfigInfo info;
    if (!fields["ns"].is_string()) return wrong_field("StaleConfig", "ns");
    info.ns = fields["ns"].as_string();
    TRY(info.received, ShardVersion::parse(fields["vReceived"]));
    if (fields.has("vWanted")) {
        TRY(info.wanted, ShardVersion::parse(fields["vWanted"]));
    }
    if (fields["shardId"].is_string()) info.shard = fields["shardId"].as_string();
    return info;
}

Error StaleDatabaseInfo::to_error(std::string_view reason) const {
    bson::Builder fields;
    fields.append("db", db);
    received.append_to(fields, "vReceived");
    if (wanted) wanted->append_to(fields, "vWanted");
    return {ErrorCode::stale_db_version, std::string(reason), std::move(fields).finish().release()};
}

Result<StaleDatabaseInfo> StaleDatabaseInfo::parse(bson::View fields) {
    if (const bson::Value nested = fields["errInfo"]; nested.is_object()) fields = nested.as_view();
    StaleDatabaseInfo info;
    if (!fields["db"].is_string()) return wrong_field("StaleDbVersion", "db");
    info.db = fields["db"].as_string();
    TRY(info.received, DatabaseVersion::parse(fields["vReceived"]));
    if (fields.has("vWanted")) {
        TRY(info.wanted, DatabaseVersion::parse(fields["vWanted"]));
    }
    return info;
}

}  // namespace tessera::routing
