// SPDX-License-Identifier: Apache-2.0
#include "routing/chunk.h"

#include "bson/builder.h"
#include "bson/json.h"

namespace tessera::routing {
namespace {

using bson::Type;
using bson::Value;

/// Reads fields of a config document; remembers the first that is wrong.
class Fields {
public:
    Fields(std::string_view what, bson::View document) : what_(what), document_(document) {}

    Value required(std::string_view name, Type type) {
        const Value value = document_[name];
        if (value.type() == type) return value;
        note(name, value);
        return {};
    }
    Value optional(std::string_view name, Type type) {
        const Value value = document_[name];
        if (value.is_missing() || value.type() == type) return value;
        note(name, value);
        return {};
    }
    std::string text(std::string_view name) {
        const Value value = required(name, Type::string);
        return value.is_missing() ? std::string() : std::string(value.as_string());
    }
    bson::Document object(std::string_view name) {
        const Value value = required(name, Type::object);
        return value.is_missing() ? bson::Document() : bson::Document(value.as_view());
    }
    Timestamp timestamp(std::string_view name) {
        const Value value = required(name, Type::timestamp);
        return value.is_missing() ? Timestamp{} : value.as_timestamp();
    }
    bson::ObjectId object_id(std::string_view name) {
        const Value value = required(name, Type::object_id);
        return value.is_missing() ? bson::ObjectId{} : value.as_object_id();
    }
    bson::Uuid uuid(std::string_view name) {
        const Value value = required(name, Type::binary);
        bson::Uuid uuid;
        if (value.is_missing()) return uuid;
        if (value.as_binary().bytes.size() != uuid.bytes.size()) {
            note(name, value);
            return uuid;
        }
        std::memcpy(uuid.bytes.data(), value.as_binary().bytes.data(), uuid.bytes.size());
        return uuid;
    }
    bool flag(std::string_view name, bool otherwise) {
        const Value value = optional(name, Type::boolean);
        return value.is_missing() ? otherwise : value.as_bool();
    }
    std::optional<std::int64_t> number(std::string_view name) {
        const Value value = document_[name];
        if (value.is_missing()) return std::nullopt;
        if (value.is_number()) return value.to_int64();
        note(name, value);
        return std::nullopt;
    }
    Status status() const {
        if (error_) return *error_;
        return ok();
    }

private:
    void note(std::string_view name, const Value& value) {
        if (error_) return;
        const std::string field = std::string(what_) + " field '" + std::string(name) + "'";
        if (value.is_missing()) {
            error_ = Error(ErrorCode::no_such_key, "missing " + field);
        } else {
            error_ =
                Error(ErrorCode::type_mismatch,
                      field + " has the wrong type " + std::string(bson::type_name(value.type())));
        }
    }

    std::string_view what_;
    bson::View document_;
    std::optional<Error> error_;
};

}  // namespace

Result<DatabaseEntry> DatabaseEntry::parse(bson::View document) {
    Fields fields("config.databases", document);
    DatabaseEntry entry;
    entry.name = fields.text("_id");
    entry.primary = fields.text("primary");
    TRY_OK(fields.status());
    TRY(entry.version, DatabaseVersion::parse(document["version"]));
    const Value moved = fields.optional("movedAt", Type::timestamp);
    TRY_OK(fields.status());
    if (!moved.is_missing()) entry.moved_at = moved.as_timestamp();
    return entry;
}

bson::Document DatabaseEntry::to_document() const {
    bson::Builder document;
    document.append("_id", name);
    document.append("primary", primary);
    version.append_to(document, "version");
    if (!moved_at.is_null()) document.append("movedAt", moved_at);
    return std::move(document).finish();
}

Result<CollectionEntry> CollectionEntry::parse(bson::View document) {
    Fields fields("config.collections", document);
    CollectionEntry entry;
    entry.ns = fields.text("_id");
    entry.uuid = fields.uuid("uuid");
    entry.generation = {fields.object_id("lastmodEpoch"), fields.timestamp("timestamp")};
    const Value modified = fields.optional("lastmod", Type::date);
    if (!modified.is_missing()) entry.last_modified = modified.as_date();
    const bson::Document key = fields.object("key");
    entry.is_unique = fields.flag("unique", false);
    entry.no_balance = fields.flag("noBalance", false);
    entry.allow_migrations =
        fields.flag("allowMigrations", true) && fields.flag("permitMigrations", true);
    entry.chunk_bytes_max = fields.number("maxChunkSizeBytes");
    const Value collation = fields.optional("defaultCollation", Type::object);
    if (!collation.is_missing()) entry.default_collation = bson::Document(collation.as_view());
    TRY_OK(fields.status());
    TRY(entry.key, ShardKeyPattern::parse(key));
    return entry;
}

bson::Document CollectionEntry::to_document() const {
    bson::Builder document;
    document.append("_id", ns);
    document.append("lastmodEpoch", generation.epoch);
    document.append("lastmod", last_modified);
    document.append("timestamp", generation.timestamp);
    document.append("uuid", uuid);
    document.append("key", key.document());
    if (!default_collation.is_empty()) document.append("defaultCollation", default_collation);
    document.append("unique", is_unique);
    document.append("noBalance", no_balance);
    if (chunk_bytes_max) document.append("maxChunkSizeBytes", *chunk_bytes_max);
    if (!allow_migrations) document.append("allowMigrations", false);
    return std::move(document).finish();
}

Result<ShardName> Chunk::shard_at(Timestamp at) const {
    for (const ChunkHistory& entry : history) {
        if (entry.valid_after <= at) return entry.shard;
    }
    if (history.empty()) return shard;
    return Error(ErrorCode::stale_chunk_history,
                 "Cannot find the shard that owned the chunk " + to_string(range) +
                     " at cluster time " + at.to_string() +
                     ": its history does not go back so far");
}

Result<Chunk> Chunk::make(const ShardKeyPattern& pattern, Range range) {
    Chunk chunk;
    TRY(chunk.min_key, pattern.encode_bound(range.min));
    TRY(chunk.max_key, pattern.encode_bound(range.max));
    if (chunk.min_key >= chunk.max_key) {
        return Error(ErrorCode::bad_value, "The range " + to_string(range) + " is empty");
    }
    chunk.range = std::move(range);
    return chunk;
}

Result<Chunk> Chunk::parse(const ShardKeyPattern& pattern, bson::View document) {
    Fields fields("config.chunks", document);
    Range range{fields.object("min"), fields.object("max")};
    const bson::ObjectId id = fields.object_id("_id");
    ShardName shard = fields.text("shard");
    const Timestamp lastmod = fields.timestamp("lastmod");
    const Value since = fields.optional("onCurrentShardSince", Type::timestamp);
    const Value history = fields.optional("history", Type::array);
    const bool is_jumbo = fields.flag("jumbo", false);
    const auto estimated = fields.number("estimatedDataSizeBytes");
    TRY_OK(fields.status());
    TRY(Chunk chunk, make(pattern, std::move(range)));
    chunk.id = id;
    chunk.shard = std::move(shard);
    chunk.placement = Placement::of(lastmod);
    if (!since.is_missing()) chunk.on_shard_since = since.as_timestamp();
    chunk.is_jumbo = is_jumbo;
    chunk.estimated_bytes = estimated;
    if (history.is_missing()) return chunk;
    for (const auto& element : history.as_view()) {
        if (!element.value.is_object()) {
            return Error(ErrorCode::type_mismatch, "config.chunks history holds no object");
        }
        Fields entry("config.chunks history", element.value.as_view());
        chunk.history.push_back({entry.timestamp("validAfter"), entry.text("shard")});
        TRY_OK(entry.status());
    }
    return chunk;
}

bson::Document Chunk::to_document(const bson::Uuid& collection) const {
    bson::Builder document;
    document.append("_id", id);
    document.append("uuid", collection);
    document.append("min", range.min);
    document.append("max", range.max);
    document.append("shard", shard);
    document.append("lastmod", placement.as_timestamp());
    if (!on_shard_since.is_null()) document.append("onCurrentShardSince", on_shard_since);
    if (estimated_bytes) document.append("estimatedDataSizeBytes", *estimated_bytes);
    if (is_jumbo) document.append("jumbo", true);
    auto entries = document.array("history");
    for (const ChunkHistory& entry : history) {
        auto object = entries.object();
        object.append("validAfter", entry.valid_after);
        object.append("shard", entry.shard);
    }
    entries.done();
    return std::move(document).finish();
}

}  // namespace tessera::routing
