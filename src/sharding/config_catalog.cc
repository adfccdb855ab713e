// SPDX-License-Identifier: Apache-2.0
#include "sharding/config_catalog.h"

#include <algorithm>

#include "base/log.h"
#include "bson/builder.h"
#include "bson/json.h"
#include "sharding/limits.h"

namespace tessera::sharding {
namespace {

constexpr std::string_view drop_operation = "dropCollection";

bson::Document drop_id(const std::string& ns) {
    return bson::make("namespace", ns, "operationType", drop_operation);
}

Error no_such_shard(const ShardName& name) {
    return {ErrorCode::shard_not_found, "Shard '" + name + "' does not exist"};
}

bson::Document id_of(std::string_view id) {
    return bson::make("_id", id);
}

// The document with fields replaced or added.
bson::Document with_fields(bson::View document, bson::View fields) {
    bson::Builder result;
    for (const bson::Element& each : document)
        if (!fields.has(each.name)) result.append(each);
    for (const bson::Element& each : fields)
        if (!each.value.is_null()) result.append(each);
    return std::move(result).finish();
}

std::string lower(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) {
        return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    });
    return text;
}

}  // namespace

async::Task<Status> ConfigCatalog::initialize() {
    const auto permit = co_await changes_.acquire();
    for (const char* name : {"shards",
                             "databases",
                             "collections",
                             "chunks",
                             "tags",
                             "settings",
                             "mongos",
                             "changelog",
                             "actionlog",
                             "system.sharding_ddl_coordinators",
                             "version"})
        CO_TRY_OK(store_.ensure_collection(config_ns(name)));
    const bson::Document id = bson::make("_id", 1);
    CO_TRY(const auto version, store_.find_one(config_ns("version"), id));
    if (version) co_return Status();
    co_return co_await store_.put(config_ns("version"),
                                  bson::make("_id", 1, "clusterId", new_id()));
}

Result<bson::ObjectId> ConfigCatalog::cluster_id() const {
    const bson::Document id = bson::make("_id", 1);
    TRY(const auto version, store_.find_one(config_ns("version"), id));
    if (!version)
        return Error(ErrorCode::not_yet_initialized, "the cluster's identity is not made yet");
    return (*version)["clusterId"].as_object_id();
}

bson::ObjectId ConfigCatalog::new_id() {
    const std::lock_guard lock(ids_mutex_);
    return ids_.next(store_.wall_time());
}

bson::Uuid ConfigCatalog::new_uuid() {
    const std::lock_guard lock(ids_mutex_);
    return bson::make_uuid(random_);
}

routing::Generation ConfigCatalog::new_generation() {
    return {new_id(), now()};
}

// ---- Reading -----------------------------------------------------------------------------------

Result<std::vector<ShardEntry>> ConfigCatalog::shards() const {
    TRY(const auto documents, store_.find(config_ns("shards"), {}));
    std::vector<ShardEntry> result;
    for (const bson::Document& each : documents) {
        ShardEntry entry;
        if (!each["_id"].is_string() || !each["host"].is_string()) continue;
        entry.name = each["_id"].as_string();
        TRY(entry.address, SetAddress::parse(each["host"].as_string()));
        entry.is_draining = each["draining"].is_truthy();
        if (const bson::Value tags = each["tags"]; tags.is_array())
            for (const bson::Element& tag : tags.as_view())
                if (tag.value.is_string()) entry.zones.emplace_back(tag.value.as_string());
        entry.document = each;
        result.push_back(std::move(entry));
    }
    std::sort(result.begin(), result.end(), [](const ShardEntry& one, const ShardEntry& two) {
        return one.name < two.name;
    });
    return result;
}

Result<ShardEntry> ConfigCatalog::shard(const ShardName& name) const {
    TRY(auto all, shards());
    for (ShardEntry& each : all)
        if (each.name == name) return std::move(each);
    return no_such_shard(name);
}

Result<std::vector<routing::DatabaseEntry>> ConfigCatalog::databases() const {
    TRY(const auto documents, store_.find(config_ns("databases"), {}));
    std::vector<routing::DatabaseEntry> result;
    for (const bson::Document& each : documents) {
        TRY(auto entry, routing::DatabaseEntry::parse(each));
        result.push_back(std::move(entry));
    }
    return result;
}

Result<std::optional<routing::DatabaseEntry>> ConfigCatalog::database(const std::string& db) const {
    TRY(const auto found, store_.find_one(config_ns("databases"), id_of(db)));
    if (!found) return std::optional<routing::DatabaseEntry>();
    TRY(auto entry, routing::DatabaseEntry::parse(*found));
    return std::optional<routing::DatabaseEntry>(std::move(entry));
}

Result<std::vector<routing::CollectionEntry>> ConfigCatalog::collections() const {
    TRY(const auto documents, store_.find(config_ns("collections"), {}));
    std::vector<routing::CollectionEntry> result;
    for (const bson::Document& each : documents) {
        TRY(auto entry, routing::CollectionEntry::parse(each));
        result.push_back(std::move(entry));
    }
    return result;
}

Result<std::optional<routing::CollectionEntry>> ConfigCatalog::collection(
    const std::string& ns) const {
    TRY(const auto found, store_.find_one(config_ns("collections"), id_of(ns)));
    if (!found) return std::optional<routing::CollectionEntry>();
    TRY(auto entry, routing::CollectionEntry::parse(*found));
    return std::optional<routing::CollectionEntry>(std::move(entry));
}

Result<routing::ChunkMap::Pointer> ConfigCatalog::chunks(const std::string& ns) const {
    TRY(auto entry, collection(ns));
    if (!entry)
        return Error(ErrorCode::namespace_not_sharded, "Collection " + ns + " is not sharded.");
    TRY(const auto documents, store_.find(config_ns("chunks"), bson::make("uuid", entry->uuid)));
    return routing::ChunkMap::make(std::move(*entry), documents);
}

Result<routing::Zones> ConfigCatalog::zones(const routing::CollectionEntry& collection) const {
    TRY(const auto tags, store_.find(config_ns("tags"), bson::make("ns", collection.ns)));
    return routing::Zones::parse(collection.key, tags);
}

// ---- Shards ------------------------------------------------------------------------------------

async::Task<Status> ConfigCatalog::add_shard(ShardName name, SetAddress address) {
    const auto permit = co_await changes_.acquire();
    bson::Document document =
        bson::make("_id", name, "host", address.to_string(), "state", 1, "topologyTime", now());
    co_return co_await store_.put(config_ns("shards"), std::move(document));
}

async::Task<Status> ConfigCatalog::set_draining(ShardName name, bool is_draining) {
    const auto permit = co_await changes_.acquire();
    CO_TRY(const ShardEntry entry, shard(name));
    bson::Builder fields;
    if (is_draining)
        fields.append("draining", true);
    else
        fields.append_null("draining");
    bson::Document changed = with_fields(entry.document, std::move(fields).finish());
    co_return co_await store_.put(config_ns("shards"), std::move(changed));
}

async::Task<Status> ConfigCatalog::remove_shard(ShardName name) {
    const auto permit = co_await changes_.acquire();
    CO_TRY(const auto all, shards());
    std::vector<DocumentWrite> writes;
    writes.push_back(config_removal("shards", id_of(name)));
    // The others learn from a newer topologyTime that the list has changed.
    for (const ShardEntry& each : all) {
        if (each.name == name) continue;
        const bson::Document fields = bson::make("topologyTime", now());
        writes.push_back(config_put("shards", with_fields(each.document, fields)));
        break;
    }
    co_return co_await store_.apply(std::move(writes));
}

async::Task<Status> ConfigCatalog::add_shard_to_zone(ShardName name, std::string zone) {
    const auto permit = co_await changes_.acquire();
    CO_TRY(const ShardEntry entry, shard(name));
    if (std::find(entry.zones.begin(), entry.zones.end(), zone) != entry.zones.end())
        co_return Status();
    bson::Builder fields;
    {
        auto tags = fields.array("tags");
        for (const std::string& each : entry.zones)
            tags.append(each);
        tags.append(zone);
    }
    bson::Document changed = with_fields(entry.document, std::move(fields).finish());
    co_return co_await store_.put(config_ns("shards"), std::move(changed));
}

async::Task<Status> ConfigCatalog::remove_shard_from_zone(ShardName name, std::string zone) {
    const auto permit = co_await changes_.acquire();
    CO_TRY(const ShardEntry entry, shard(name));
    if (std::find(entry.zones.begin(), entry.zones.end(), zone) == entry.zones.end())
        co_return Status();
    CO_TRY(const auto all, shards());
    bool is_elsewhere = false;
    for (const ShardEntry& each : all)
        if (each.name != name &&
            std::find(each.zones.begin(), each.zones.end(), zone) != each.zones.end())
            is_elsewhere = true;
    CO_TRY(const auto used, store_.find(config_ns("tags"), bson::make("tag", zone)));
    if (!is_elsewhere && !used.empty())
        co_return Error(ErrorCode::zone_still_in_use,
                        "The shard '" + name + "' is the only shard of the zone '" + zone +
                            "', which ranges of collections use");
    bson::Builder fields;
    {
        auto tags = fields.array("tags");
        for (const std::string& each : entry.zones)
            if (each != zone) tags.append(each);
    }
    bson::Document changed = with_fields(entry.document, std::move(fields).finish());
    co_return co_await store_.put(config_ns("shards"), std::move(changed));
}

async::Task<Status> ConfigCatalog::update_zone_key_range(std::string ns,
                                                         routing::Range range,
                                                         std::optional<std::string> zone) {
    const auto permit = co_await changes_.acquire();
    if (zone) {
        CO_TRY(const auto all, shards());
        const bool exists = std::any_of(all.begin(), all.end(), [&](const ShardEntry& each) {
            return std::find(each.zones.begin(), each.zones.end(), *zone) != each.zones.end();
        });
        if (!exists)
            co_return Error(ErrorCode::zone_not_found, "zone " + *zone + " does not exist");
    }
    CO_TRY(const auto entry, collection(ns));
    // Before the collection is sharded its key is not known: the range's own fields stand for it.
    routing::ShardKeyPattern key;
    if (entry) {
        key = entry->key;
    } else {
        bson::Builder pattern;
        for (const bson::Element& each : range.min.view())
            pattern.append(each.name, 1);
        CO_TRY(key, routing::ShardKeyPattern::parse(std::move(pattern).finish()));
    }
    CO_TRY(const auto tags, store_.find(config_ns("tags"), bson::make("ns", ns)));
    CO_TRY(const routing::Zones before, routing::Zones::parse(key, tags));
    std::vector<DocumentWrite> writes;
    if (zone) {
        CO_TRY(const routing::Zones after, before.with(key, range, *zone));
        CO_TRY(range.min, key.extend_bound(range.min));
        CO_TRY(range.max, key.extend_bound(range.max));
        for (const routing::ZoneRange& each : after.ranges())
            if (each.range.min.view() == range.min.view())
                writes.push_back(config_put("tags", routing::zone_document(ns, each)));
    } else {
        CO_TRY(const routing::Zones after, before.without(key, range));
        for (const routing::ZoneRange& each : before.ranges()) {
            const bool stays = std::any_of(
                after.ranges().begin(), after.ranges().end(), [&](const routing::ZoneRange& kept) {
                    return kept.min_key == each.min_key;
                });
            if (stays) continue;
            const bson::Document document = routing::zone_document(ns, each);
            writes.push_back(config_removal("tags", bson::make("_id", document["_id"])));
        }
    }
    co_return co_await store_.apply(std::move(writes));
}

// ---- Databases and collections -----------------------------------------------------------------

async::Task<Result<routing::DatabaseEntry>> ConfigCatalog::create_database(std::string db,
                                                                           ShardName primary) {
    const auto permit = co_await changes_.acquire();
    CO_TRY(const auto all, databases());
    for (const routing::DatabaseEntry& each : all) {
        if (each.name == db) co_return each;
        if (lower(each.name) == lower(db))
            co_return Error(ErrorCode::database_differ_case,
                            "can't have 2 databases that just differ on case have: " + each.name +
                                " want to add: " + db);
    }
    CO_TRY([[maybe_unused]] const ShardEntry entry, shard(primary));
    routing::DatabaseEntry made;
    made.name = db;
    made.primary = primary;
    made.version = {new_uuid(), now(), 1};
    CO_TRY_OK(co_await store_.put(config_ns("databases"), made.to_document()));
    co_return made;
}

async::Task<Status> ConfigCatalog::drop_database(std::string db) {
    const auto permit = co_await changes_.acquire();
    std::vector<DocumentWrite> writes;
    writes.push_back(config_removal("databases", id_of(db)));
    co_return co_await store_.apply(std::move(writes));
}

namespace {

// Whether the database is where the move takes it, by that move or a later one that found it there.
bool has_moved(const routing::DatabaseEntry& entry, const DatabaseCommit& move) {
    return entry.primary == move.to && entry.version.uuid == move.expected.uuid &&
           entry.version.timestamp == move.expected.timestamp &&
           entry.version.last_mod > move.expected.last_mod;
}

}  // namespace

async::Task<Status> ConfigCatalog::commit_move_primary(DatabaseCommit move) {
    const auto permit = co_await changes_.acquire();
    CO_TRY(auto entry, database(move.db));
    if (!entry)
        co_return Error(ErrorCode::namespace_not_found, "database " + move.db + " not found");
    if (has_moved(*entry, move)) co_return co_await confirm();
    if (entry->version != move.expected || entry->primary != move.from) {
        routing::StaleDatabaseInfo info;
        info.db = move.db;
        info.received = move.expected;
        info.wanted = entry->version;
        co_return info.to_error("database " + move.db + " has changed since the move began");
    }
    CO_TRY(const ShardEntry to, shard(move.to));
    if (to.is_draining)
        co_return Error(ErrorCode::shard_not_found, "Shard '" + move.to + "' is draining");
    entry->primary = move.to;
    entry->moved_at = now();
    ++entry->version.last_mod;
    co_return co_await store_.put(config_ns("databases"), entry->to_document());
}

async::Task<Result<bool>> ConfigCatalog::resolve_move_primary(DatabaseCommit move) {
    const auto permit = co_await changes_.acquire();
    CO_TRY(auto entry, database(move.db));
    if (!entry) {
        CO_TRY_OK(co_await confirm());
        co_return false;
    }
    if (has_moved(*entry, move)) {
        CO_TRY_OK(co_await confirm());
        co_return true;
    }
    if (entry->version != move.expected) {
        CO_TRY_OK(co_await confirm());
        co_return false;
    }
    // A commit that is still on its way finds another version than it expects.
    ++entry->version.last_mod;
    CO_TRY_OK(co_await store_.put(config_ns("databases"), entry->to_document()));
    co_return false;
}

async::Task<Status> ConfigCatalog::create_collection(routing::CollectionEntry entry,
                                                     std::vector<routing::Chunk> chunks) {
    const auto permit = co_await changes_.acquire();
    std::vector<DocumentWrite> writes;
    for (const routing::Chunk& each : chunks)
        writes.push_back(config_put("chunks", each.to_document(entry.uuid)));
    writes.push_back(config_put("collections", entry.to_document()));
    co_return co_await store_.apply(std::move(writes));
}

// All that is known of a collection.
Status ConfigCatalog::remove_collection(const std::string& ns,
                                        std::vector<DocumentWrite>& writes) const {
    TRY(const auto entry, collection(ns));
    if (entry) {
        writes.push_back(config_removal("collections", id_of(ns)));
        const bson::Document of_collection = bson::make("uuid", entry->uuid);
        TRY(const auto chunks, store_.find(config_ns("chunks"), of_collection));
        for (const bson::Document& each : chunks)
            writes.push_back(config_removal("chunks", bson::make("_id", each["_id"])));
    }
    TRY(const auto tags, store_.find(config_ns("tags"), bson::make("ns", ns)));
    for (const bson::Document& each : tags)
        writes.push_back(config_removal("tags", bson::make("_id", each["_id"])));
    return {};
}

async::Task<Status> ConfigCatalog::drop_collection(std::string ns) {
    const auto permit = co_await changes_.acquire();
    std::vector<DocumentWrite> writes;
    CO_TRY_OK(remove_collection(ns, writes));
    const bson::Document note = bson::make("_id", drop_id(ns));
    writes.push_back(config_removal(ddl_coordinators_ns().collection, note));
    co_return co_await store_.apply(std::move(writes));
}

async::Task<Status> ConfigCatalog::note_drop(routing::CollectionEntry entry) {
    const auto permit = co_await changes_.acquire();
    co_return co_await store_.put(
        ddl_coordinators_ns(),
        bson::make("_id", drop_id(entry.ns), "ns", entry.ns, "uuid", entry.uuid));
}

async::Task<Status> ConfigCatalog::forget_drop(std::string ns) {
    const auto permit = co_await changes_.acquire();
    co_return co_await store_.remove(ddl_coordinators_ns(), bson::make("_id", drop_id(ns)));
}

Result<std::vector<std::pair<std::string, bson::Uuid>>> ConfigCatalog::noted_drops() const {
    TRY(const auto found,
        store_.find(ddl_coordinators_ns(), bson::make("_id.operationType", drop_operation)));
    std::vector<std::pair<std::string, bson::Uuid>> result;
    for (const bson::Document& each : found) {
        if (!each["ns"].is_string())
            return Error(ErrorCode::no_such_key, "a drop's document lacks its fields");
        TRY(const bson::Uuid uuid, bson::uuid_in(each["uuid"]));
        result.emplace_back(each["ns"].as_string(), uuid);
    }
    return result;
}

async::Task<Status> ConfigCatalog::set_collection_fields(std::string ns, bson::Document fields) {
    const auto permit = co_await changes_.acquire();
    CO_TRY(const auto found, store_.find_one(config_ns("collections"), id_of(ns)));
    if (!found)
        co_return Error(ErrorCode::namespace_not_sharded, "Collection " + ns + " is not sharded.");
    co_return co_await store_.put(config_ns("collections"), with_fields(*found, fields));
}

// ---- Chunks ------------------------------------------------------------------------------------

async::Task<Status> ConfigCatalog::apply_changes(const routing::ChunkMap& map,
                                                 routing::ChunkChanges changes) {
    // A change that would break chunks-cover-once is not written.
    CO_TRY([[maybe_unused]] const auto after, routing::applied(map, changes));
    std::vector<DocumentWrite> writes;
    for (const bson::ObjectId& each : changes.removed)
        writes.push_back(config_removal("chunks", bson::make("_id", each)));
    for (const routing::Chunk& each : changes.put)
        writes.push_back(config_put("chunks", each.to_document(map.collection().uuid)));
    co_return co_await store_.apply(std::move(writes));
}

async::Task<Status> ConfigCatalog::split(std::string ns,
                                         routing::Range range,
                                         std::vector<bson::Document> points) {
    const auto permit = co_await changes_.acquire();
    CO_TRY(const auto map, chunks(ns));
    auto changes = [&] {
        const std::lock_guard lock(ids_mutex_);
        const routing::IdContext context{ids_, store_.wall_time()};
        return routing::split_chunk(*map, range, points, context);
    }();
    if (!changes) co_return std::move(changes).error();
    co_return co_await apply_changes(*map, std::move(*changes));
}

async::Task<Status> ConfigCatalog::merge(std::string ns, routing::Range range) {
    const auto permit = co_await changes_.acquire();
    CO_TRY(const auto map, chunks(ns));
    CO_TRY(auto changes, routing::merge_chunks(*map, range));
    if (changes.is_empty()) co_return Status();
    co_return co_await apply_changes(*map, std::move(changes));
}

async::Task<Status> ConfigCatalog::merge_all_on_shard(std::string ns,
                                                      ShardName name,
                                                      std::size_t limit) {
    const auto permit = co_await changes_.acquire();
    CO_TRY([[maybe_unused]] const ShardEntry entry, shard(name));
    CO_TRY(const auto map, chunks(ns));
    CO_TRY(const routing::Zones ranges, zones(map->collection()));
    std::vector<routing::Key> boundaries;
    for (const routing::ZoneRange& each : ranges.ranges()) {
        boundaries.push_back(each.min_key);
        boundaries.push_back(each.max_key);
    }
    std::sort(boundaries.begin(), boundaries.end());
    const auto window =
        std::chrono::duration_cast<std::chrono::seconds>(limits::history_window).count();
    const Timestamp at = now();
    const Timestamp settled{at.seconds - static_cast<std::uint32_t>(window), 0};
    CO_TRY(auto changes, routing::merge_all_on_shard(*map, name, settled, limit, boundaries));
    if (changes.is_empty()) co_return Status();
    co_return co_await apply_changes(*map, std::move(changes));
}

async::Task<Status> ConfigCatalog::clear_jumbo(std::string ns, routing::Range range) {
    const auto permit = co_await changes_.acquire();
    CO_TRY(const auto map, chunks(ns));
    const routing::Chunk* const chunk = map->chunk_with(range);
    if (chunk == nullptr)
        co_return Error(ErrorCode::bad_value,
                        "no chunk of " + ns + " has the bounds " + routing::to_string(range));
    if (!chunk->is_jumbo) co_return Status();
    routing::ChunkChanges changes;
    changes.placement = map->version().placement;
    ++changes.placement.minor;
    routing::Chunk cleared = *chunk;
    cleared.is_jumbo = false;
    cleared.placement = changes.placement;
    changes.put.push_back(std::move(cleared));
    co_return co_await apply_changes(*map, std::move(changes));
}

// What was read here is acted upon only when a majority has it: this primary may be about to lose
// what it has written last.
async::Task<Status> ConfigCatalog::confirm() {
    const Instant until = store_.majority_deadline();
    co_return co_await store_.await_majority(store_.last_applied(), until);
}

async::Task<Status> ConfigCatalog::commit_move(MoveCommit move) {
    const auto permit = co_await changes_.acquire();
    CO_TRY(const auto map, chunks(move.ns));
    if (!(map->collection().generation == move.generation))
        co_return Error(ErrorCode::stale_epoch,
                        "Collection " + move.ns + " was dropped and made again during the move");
    if (map->owns_range(move.to, move.range)) co_return co_await confirm();
    CO_TRY(const routing::Key key, map->key().encode_bound(move.range.min));
    const routing::Chunk& chunk = map->chunk_of(key);
    if (chunk.placement != move.expected)
        co_return Error(ErrorCode::conflicting_operation_in_progress,
                        "Chunk " + routing::to_string(move.range) + " of " + move.ns +
                            " has changed since the move began");
    // After every write of the donor and the recipient that came with the request, before every
    // write of whoever reads the new placement here.
    const Timestamp at = now();
    auto changes = [&] {
        const std::lock_guard lock(ids_mutex_);
        const routing::IdContext context{ids_, store_.wall_time()};
        const routing::MoveRequest request{move.range, move.from, move.to, at, Timestamp()};
        return routing::move_range(*map, request, context);
    }();
    if (!changes) co_return std::move(changes).error();
    co_return co_await apply_changes(*map, std::move(*changes));
}

async::Task<Result<bool>> ConfigCatalog::resolve_move(MoveCommit move) {
    const auto permit = co_await changes_.acquire();
    auto loaded = chunks(move.ns);
    if (!loaded && loaded.error().code() != ErrorCode::namespace_not_sharded)
        co_return std::move(loaded).error();
    if (!loaded || !((*loaded)->collection().generation == move.generation)) {
        CO_TRY_OK(co_await confirm());
        co_return false;
    }
    const routing::ChunkMap& map = **loaded;
    CO_TRY(const routing::Key key, map.key().encode_bound(move.range.min));
    const routing::Chunk& chunk = map.chunk_of(key);
    if (chunk.shard != move.from || chunk.placement != move.expected) {
        CO_TRY_OK(co_await confirm());
        co_return chunk.shard != move.from;
    }
    // Raise the version: a commit that is still on its way finds another than it expects.
    routing::ChunkChanges changes;
    changes.placement = map.version().placement;
    ++changes.placement.minor;
    routing::Chunk raised = chunk;
    raised.placement = changes.placement;
    changes.put.push_back(std::move(raised));
    CO_TRY_OK(co_await apply_changes(map, std::move(changes)));
    co_return false;
}

async::Task<void> ConfigCatalog::log_change(std::string collection,
                                            std::string what,
                                            std::string ns,
                                            bson::Document details) {
    const WallTime at = store_.wall_time();
    const std::string server = host_.to_string();
    const std::string id = server + "-" + std::to_string(at.milliseconds) + "-" + new_id().to_hex();
    bson::Document entry = bson::make("_id",
                                      id,
                                      "server",
                                      server,
                                      "shard",
                                      config_shard,
                                      "clientAddr",
                                      "",
                                      "time",
                                      at,
                                      "what",
                                      what,
                                      "ns",
                                      ns,
                                      "details",
                                      details);
    const auto status = co_await store_.put(config_ns(collection), std::move(entry));
    if (!status)
        log::warning(log::Component::sharding,
                     9000401,
                     "A change could not be recorded",
                     {{"what", what}, {"error", status.error()}});
}

}  // namespace tessera::sharding
