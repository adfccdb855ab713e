// SPDX-License-Identifier: Apache-2.0
#include "sharding/sharding_state.h"

#include <algorithm>

#include "bson/builder.h"
#include "sharding/limits.h"

namespace tessera::sharding {
namespace {

std::string database_of(const std::string& ns) {
    return ns.substr(0, ns.find('.'));
}

}  // namespace

bool is_sender_behind(const Error& error) {
    const auto details = error.details();
    if (details.empty()) return false;
    const bson::View fields(details.data());
    if (error.code() == ErrorCode::stale_config) {
        const auto info = routing::StaleConfigInfo::parse(fields);
        // Who thinks that nothing is owned here may know of a last chunk that has left.
        return info && info->wanted && info->received.version().placement.major != 0 &&
               info->received.version().is_older_than(info->wanted->version());
    }
    if (error.code() != ErrorCode::stale_db_version) return false;
    const auto info = routing::StaleDatabaseInfo::parse(fields);
    return info && info->wanted && info->received.is_older_than(*info->wanted);
}

Result<ShardIdentity> ShardIdentity::parse(bson::View document) {
    ShardIdentity result;
    const bson::Value name = document["shardName"];
    const bson::Value cluster = document["clusterId"];
    const bson::Value address = document["configsvrConnectionString"];
    if (!name.is_string() || cluster.type() != bson::Type::object_id || !address.is_string())
        return Error(ErrorCode::no_such_key, "a shardIdentity document lacks its fields");
    result.name = name.as_string();
    result.cluster = cluster.as_object_id();
    TRY(result.config_servers, SetAddress::parse(address.as_string()));
    return result;
}

bson::Document ShardIdentity::to_document() const {
    return bson::make("_id",
                      "shardIdentity",
                      "shardName",
                      name,
                      "clusterId",
                      cluster,
                      "configsvrConnectionString",
                      config_servers.to_string());
}

// One request that uses a collection.
struct ShardingState::InUse {
    routing::ChunkMap::Pointer chunks;
    bool is_write = false;
};

Status ShardingState::set_identity(ShardIdentity identity) {
    const std::lock_guard lock(mutex_);
    if (identity_ && (identity_->cluster != identity.cluster || identity_->name != identity.name))
        return Error(ErrorCode::manual_intervention_required,
                     "this shard already belongs to another cluster, as " + identity_->name);
    identity_ = std::move(identity);
    return {};
}

std::optional<ShardIdentity> ShardingState::identity() const {
    const std::lock_guard lock(mutex_);
    return identity_;
}

bool ShardingState::is_blocked(const Collection& collection, Access access) const {
    if (collection.section == Section::none || clock_.now() >= collection.section_until)
        return false;
    return blocks(collection.section, access);
}

bool ShardingState::blocks(Section section, Access access) {
    if (access == Access::read) return section == Section::reads_too;
    return section == Section::writes || section == Section::reads_too;
}

bool ShardingState::is_database_blocked(const std::string& ns, Access access) const {
    if (database_sections_.empty()) return false;
    const auto at = database_sections_.find(database_of(ns));
    return at != database_sections_.end() && blocks(at->second, access);
}

// Without versions reads see what there is, and writes of clients wait: a section does not begin
// under them, and what they wrote in one would be left behind.
bool ShardingState::is_blocked_for(const std::string& ns,
                                   const ReceivedVersions& received,
                                   const Collection& collection,
                                   Access access) const {
    const bool is_unsharded = !collection.is_known || collection.chunks == nullptr;
    if (received.is_empty()) {
        if (received.is_internal || access == Access::read || !identity_) return false;
        return is_recovering_ || is_blocked(collection, access) ||
               (is_unsharded && database_sections_.contains(database_of(ns)));
    }
    return is_blocked(collection, access) ||
           (received.database && is_database_blocked(ns, access));
}

Status ShardingState::check_database(const std::string& ns,
                                     const ReceivedVersions& received) const {
    if (!received.database) return {};
    routing::StaleDatabaseInfo info;
    info.db = database_of(ns);
    info.received = *received.database;
    const auto known = databases_.find(info.db);
    if (known == databases_.end() || !known->second.entry)
        return info.to_error("the version of database " + info.db + " is not known here yet");
    info.wanted = known->second.entry->version;
    if (*info.wanted != info.received || known->second.entry->primary != identity_->name)
        return info.to_error("version mismatch for database " + info.db);
    return {};
}

Status ShardingState::check_collection(const std::string& ns,
                                       const ReceivedVersions& received,
                                       const Collection& collection) const {
    if (!received.shard) return {};
    routing::StaleConfigInfo info;
    info.ns = ns;
    info.received = *received.shard;
    info.shard = identity_->name;
    if (!collection.is_known)
        return info.to_error("the placement of " + ns + " is not known here yet");
    if (received.shard->is_ignored()) return {};
    info.wanted = collection.chunks
                      ? routing::ShardVersion(collection.chunks->version_of(identity_->name))
                      : routing::ShardVersion::unsharded();
    if (!routing::is_compatible(info.received, *info.wanted))
        return info.to_error("version mismatch detected for " + ns);
    return {};
}

std::shared_ptr<const routing::KeyRanges> ShardingState::owned(Collection& collection) const {
    if (!collection.owned && collection.chunks && identity_)
        collection.owned =
            std::make_shared<routing::KeyRanges>(collection.chunks->ranges_of(identity_->name));
    return collection.owned;
}

std::shared_ptr<void> ShardingState::use(Collection& collection, Access access) {
    auto& uses = collection.in_use;
    if (uses.size() >= collection.prune_at) {
        std::erase_if(uses, [](const auto& each) { return each.expired(); });
        collection.prune_at = std::max<std::size_t>(64, uses.size() * 2);
    }
    auto token = std::make_shared<InUse>();
    token->chunks = collection.chunks;
    token->is_write = access == Access::write;
    uses.push_back(token);
    return token;
}

Result<CollectionPlacement> ShardingState::check(const std::string& ns,
                                                 const ReceivedVersions& received,
                                                 Access access) {
    const std::lock_guard lock(mutex_);
    CollectionPlacement placement;
    Collection& collection = collections_[ns];
    const bool is_blocked_now = is_blocked_for(ns, received, collection, access);
    if (received.is_empty() && !is_blocked_now) {
        // Straight from a client or from inside: sees everything; its writes are counted, so that a
        // critical section does not begin under them.
        placement.chunks = collection.is_known ? collection.chunks : nullptr;
        // What it would change beyond what is owned here would go with the orphans.
        placement.is_filtered = access == Access::write && !received.is_internal;
        if (placement.is_filtered) placement.owned = owned(collection);
        placement.in_use = use(collection, access);
        return placement;
    }
    if (!identity_)
        return Error(ErrorCode::sharding_state_not_initialized,
                     "Cannot accept sharding commands if sharding state has not been initialized "
                     "with a shardIdentity document");
    if (is_recovering_ || is_blocked_now) {
        routing::StaleConfigInfo info;
        info.ns = ns;
        if (received.shard) info.received = *received.shard;
        info.shard = identity_->name;
        return info.to_error("migration commit in progress for " + ns);
    }
    TRY_OK(check_database(ns, received));
    TRY_OK(check_collection(ns, received, collection));
    placement.chunks = collection.chunks;
    placement.is_filtered = received.shard.has_value();
    placement.owned = owned(collection);
    placement.in_use = use(collection, access);
    return placement;
}

async::Task<Status> ShardingState::refresh(std::string ns, Instant deadline) {
    const std::string db = database_of(ns);
    routing::RefreshRequest request;
    request.collection = ns;
    request.database = db;
    for (;;) {
        std::uint64_t began = 0;
        {
            const std::lock_guard lock(mutex_);
            began = ++moment_;
        }
        cache_.mark_stale(request);
        auto info = co_await cache_.get(ns, deadline);
        if (!info && info.error().code() != ErrorCode::namespace_not_found)
            co_return std::move(info).error();
        const std::lock_guard lock(mutex_);
        take_over(ns, info, began);
        // Forgotten meanwhile: what was read may be what is to be forgotten.
        const bool is_known = collections_[ns].is_known && databases_[db].entry;
        if (!info || is_known || clock_.now() >= deadline) co_return Status();
    }
}

// Refreshes may end in another order than they began: a read of one collection takes long, and
// meanwhile a shorter one has shown that its database has moved. Nor does an older version, which
// config servers that have just elected a primary may show once more, replace a newer one.
void ShardingState::take_over(const std::string& ns,
                              const Result<routing::RoutingInfo>& info,
                              std::uint64_t began) {
    Database& database = databases_[database_of(ns)];
    Collection& collection = collections_[ns];
    if (began < std::max(database.forgotten, all_forgotten_)) return;
    if (began > database.learned) {
        database.learned = began;
        if (!info)
            database.entry.reset();
        else if (!database.entry || !info->database.version.is_older_than(database.entry->version))
            database.entry = info->database;
    }
    if (began < collection.learned) return;
    collection.learned = began;
    if (!info) return collection.forget(began);
    const bool is_older = collection.is_known && collection.chunks && info->chunks &&
                          info->chunks->version().is_older_than(collection.chunks->version());
    if (!is_older) collection.set_chunks(info->chunks);
    collection.is_known = true;
}

async::Task<void> ShardingState::recover(std::string ns, Error error, Instant deadline) {
    if (error.code() == ErrorCode::sharding_state_not_initialized) co_return;
    const Instant until = std::min(deadline, clock_.now() + limits::config_read);
    for (;;) {
        const auto ticket = changed_.ticket();
        Instant section_until = until;
        {
            const std::lock_guard lock(mutex_);
            const Collection& collection = collections_[ns];
            const bool is_unsharded = !collection.is_known || collection.chunks == nullptr;
            if (!is_recovering_ && !is_blocked(collection, Access::write) &&
                !(is_unsharded && database_sections_.contains(database_of(ns))))
                break;
            section_until = std::min(until, collection.section_until);
        }
        const auto outcome = co_await changed_.wait(clock_, section_until, ticket);
        if (outcome != async::Notification::Outcome::notified && clock_.now() >= until) co_return;
    }
    // The router may be the one that is behind: then nothing is to be learned.
    if (is_sender_behind(error)) co_return;
    // What fails here shows in the router's next attempt.
    [[maybe_unused]] const Status status = co_await refresh(ns, until);
}

void ShardingState::enter_critical_section(const std::string& ns, Section section, Instant until) {
    const std::lock_guard lock(mutex_);
    Collection& collection = collections_[ns];
    collection.section = section;
    collection.section_until = until;
}

void ShardingState::leave_critical_section(const std::string& ns) {
    {
        const std::lock_guard lock(mutex_);
        Collection& collection = collections_[ns];
        collection.section = Section::none;
        collection.section_until = async::no_deadline;
    }
    changed_.notify();
}

bool ShardingState::is_in_critical_section(const std::string& ns) const {
    const std::lock_guard lock(mutex_);
    const auto at = collections_.find(ns);
    return at != collections_.end() && is_blocked(at->second, Access::write);
}

bool ShardingState::is_readable(const std::string& ns) const {
    const std::lock_guard lock(mutex_);
    if (is_recovering_ || is_database_blocked(ns, Access::read)) return false;
    const auto at = collections_.find(ns);
    return at == collections_.end() || !is_blocked(at->second, Access::read);
}

async::Task<Status> ShardingState::await_readable(std::string ns, Instant deadline) {
    for (;;) {
        const auto ticket = changed_.ticket();
        if (is_readable(ns)) co_return Status();
        // A section that ends by itself notifies nobody.
        const Instant until = std::min(deadline, clock_.now() + limits::migration_poll_max);
        co_await changed_.wait(clock_, until, ticket);
        if (clock_.now() >= deadline)
            co_return Error(ErrorCode::exceeded_time_limit,
                            "a change of the placement of " + ns + " did not end in time");
    }
}

Status ShardingState::begin_change(const std::string& ns,
                                   Section section,
                                   Instant until,
                                   Term term) {
    const std::lock_guard lock(mutex_);
    Collection& collection = collections_[ns];
    const bool is_left_behind = term != term_uninitialized &&
                                collection.section_until != async::no_deadline &&
                                collection.section_term <= term;
    if ((is_blocked(collection, Access::write) && !is_left_behind) ||
        is_database_blocked(ns, Access::write))
        return Error(ErrorCode::conflicting_operation_in_progress,
                     "another change of the placement of " + ns + " is in progress");
    collection.section = section;
    collection.section_until = until;
    collection.section_term = term;
    return {};
}

void ShardingState::end_change(const std::string& ns, Term term) {
    {
        const std::lock_guard lock(mutex_);
        Collection& collection = collections_[ns];
        if (collection.section_until == async::no_deadline) return;  // A migration's.
        if (collection.section_term > term) return;
        collection.section = Section::none;
        collection.section_until = async::no_deadline;
    }
    changed_.notify();
}

Status ShardingState::begin_database_section(const std::string& db) {
    const std::lock_guard lock(mutex_);
    for (const auto& [ns, collection] : collections_) {
        const bool is_sharded = collection.is_known && collection.chunks != nullptr;
        if (database_of(ns) != db || is_sharded || !is_blocked(collection, Access::write)) continue;
        return Error(ErrorCode::conflicting_operation_in_progress,
                     "another change of the placement of " + ns + " is in progress");
    }
    database_sections_[db] = Section::writes;
    return {};
}

void ShardingState::enter_database_section(const std::string& db, Section section) {
    {
        const std::lock_guard lock(mutex_);
        database_sections_[db] = section;
    }
    changed_.notify();
}

void ShardingState::leave_database_section(const std::string& db) {
    {
        const std::lock_guard lock(mutex_);
        database_sections_.erase(db);
    }
    changed_.notify();
}

async::Task<Status> ShardingState::drain_database(std::string db,
                                                  Access access,
                                                  Instant deadline) {
    for (;;) {
        bool is_in_use = false;
        {
            const std::lock_guard lock(mutex_);
            for (const auto& [ns, collection] : collections_) {
                if (database_of(ns) != db) continue;
                for (const auto& each : collection.in_use)
                    if (const auto use = each.lock();
                        use && !use->chunks && (use->is_write || access == Access::read))
                        is_in_use = true;
            }
        }
        if (!is_in_use) co_return Status();
        if (clock_.now() >= deadline)
            co_return Error(ErrorCode::exceeded_time_limit,
                            "requests of database " + db + " did not end in time");
        async::sleep_until wait(clock_, clock_.now() + limits::migration_poll_min);
        co_await wait;
    }
}

async::Task<Status> ShardingState::drain_writes(std::string ns, Instant deadline) {
    for (;;) {
        bool is_writing = false;
        {
            const std::lock_guard lock(mutex_);
            for (const auto& each : collections_[ns].in_use)
                if (const auto use = each.lock(); use && use->is_write) is_writing = true;
        }
        if (!is_writing) co_return Status();
        if (clock_.now() >= deadline)
            co_return Error(ErrorCode::exceeded_time_limit,
                            "writes of " + ns + " did not end in time");
        async::sleep_until wait(clock_, clock_.now() + limits::migration_poll_min);
        co_await wait;
    }
}

async::Task<Status> ShardingState::await_primary_shard(std::string ns,
                                                       routing::DatabaseVersion expected,
                                                       Instant deadline) {
    for (;;) {
        CO_TRY_OK(co_await refresh(ns, deadline));
        const auto entry = known_database(database_of(ns));
        if (entry && entry->version == expected) co_return Status();
        const bool may_be_old = !entry || entry->version.is_older_than(expected);
        if (!may_be_old || clock_.now() >= deadline) {
            routing::StaleDatabaseInfo info;
            info.db = database_of(ns);
            info.received = expected;
            if (entry) info.wanted = entry->version;
            co_return info.to_error("version mismatch for database " + info.db);
        }
        async::sleep_until wait(clock_, clock_.now() + limits::discovery_pause_min);
        co_await wait;
    }
}

routing::ChunkMap::Pointer ShardingState::known(const std::string& ns) const {
    const std::lock_guard lock(mutex_);
    const auto at = collections_.find(ns);
    return at == collections_.end() || !at->second.is_known ? nullptr : at->second.chunks;
}

std::optional<routing::DatabaseEntry> ShardingState::known_database(const std::string& db) const {
    const std::lock_guard lock(mutex_);
    const auto at = databases_.find(db);
    if (at == databases_.end()) return std::nullopt;
    return at->second.entry;
}

bool ShardingState::is_range_in_use(const std::string& ns, const routing::Range& range) const {
    const std::lock_guard lock(mutex_);
    const auto at = collections_.find(ns);
    if (at == collections_.end() || !identity_) return false;
    for (const auto& each : at->second.in_use) {
        const auto use = each.lock();
        if (!use || !use->chunks) continue;
        const auto& key = use->chunks->key();
        const auto low = key.encode_bound(range.min);
        const auto high = key.encode_bound(range.max);
        if (!low || !high) continue;
        const auto [first, last] = use->chunks->chunks_overlapping({*low, *high});
        for (std::size_t i = first; i < last; ++i)
            if (use->chunks->chunks()[i]->shard == identity_->name) return true;
    }
    return false;
}

void ShardingState::forget(const std::string& ns) {
    cache_.forget(ns);
    const std::lock_guard lock(mutex_);
    collections_[ns].forget(++moment_);
}

void ShardingState::forget_database(const std::string& db) {
    cache_.forget_database(db);
    const std::lock_guard lock(mutex_);
    Database& database = databases_[db];
    database.entry.reset();
    database.forgotten = ++moment_;
    for (auto& [ns, collection] : collections_)
        if (database_of(ns) == db) collection.forget(moment_);
}

void ShardingState::forget_all() {
    cache_.forget_all();
    {
        const std::lock_guard lock(mutex_);
        databases_.clear();
        database_sections_.clear();
        all_forgotten_ = ++moment_;
        for (auto& [ns, collection] : collections_) {
            collection.forget(moment_);
            collection.section = Section::none;
        }
    }
    changed_.notify();
}

void ShardingState::set_recovering(bool is_recovering) {
    {
        const std::lock_guard lock(mutex_);
        is_recovering_ = is_recovering;
    }
    changed_.notify();
}

bool ShardingState::is_recovering() const {
    const std::lock_guard lock(mutex_);
    return is_recovering_;
}

}  // namespace tessera::sharding
