// SPDX-License-Identifier: Apache-2.0
//
// ShardingState: what a shard knows about itself and about what it owns. Commands ask it before
// they touch a collection (a thin PlacementGate in commands passes the questions on): is the
// version the router sent still right, and which documents may be shown. Critical sections block
// writes, then reads, of a collection while a migration commits. Any thread; questions are answered
// from memory and never wait.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "async/event.h"
#include "routing/ownership.h"
#include "routing/targeting.h"
#include "sharding/routing_cache.h"
#include "sharding/shard_registry.h"

namespace tessera::sharding {

/// admin.system.version {_id: "shardIdentity"}.
struct ShardIdentity {
    ShardName name;
    bson::ObjectId cluster;
    SetAddress config_servers;
    static Result<ShardIdentity> parse(bson::View document);
    bson::Document to_document() const;
};

struct ReceivedVersions {
    std::optional<routing::ShardVersion> shard;
    std::optional<routing::DatabaseVersion> database;
    bool is_empty() const { return !shard && !database; }
    /// Sent by a member of the cluster: without versions it is part of an operation that has
    /// blocked the collection itself.
    bool is_internal = false;
};

/// How a request sees a collection, fixed when it begins. Keeps its ranges from being deleted, and
/// a critical section from beginning under a write, until it goes.
struct CollectionPlacement {
    routing::ChunkMap::Pointer chunks;  // Null: unsharded, or a request without versions.
    std::shared_ptr<const routing::KeyRanges> owned;  // This shard's part of them.
    bool is_filtered = false;  // The request came through a router: orphans are hidden.
    std::shared_ptr<void> in_use;
};

/// Whether a refusal says that only the sender's placement is out of date.
bool is_sender_behind(const Error& error);

class ShardingState {
public:
    ShardingState(async::Clock& clock, RoutingCache& cache) : clock_(clock), cache_(cache) {}

    /// Set once by addShard or from disk; ManualInterventionRequired on another cluster.
    Status set_identity(ShardIdentity identity);
    std::optional<ShardIdentity> identity() const;

    enum class Access { read, write };
    /// Fails with StaleConfig (13388), StaleDbVersion (249), ShardingStateNotInitialized (203);
    /// with StaleConfig also while a critical section blocks this kind of access.
    Result<CollectionPlacement> check(const std::string& ns,
                                      const ReceivedVersions& received,
                                      Access access);
    /// After a refusal: waits for a critical section to end, then learns what the config servers
    /// say.
    async::Task<void> recover(std::string ns, Error error, Instant deadline);
    /// Reads placement anew from the config servers and takes it over.
    async::Task<Status> refresh(std::string ns, Instant deadline);

    /// direct_writes: only those of clients that did not come through a router.
    enum class Section { none, direct_writes, writes, reads_too };
    /// Begins or deepens a critical section of a namespace. `until`: ends by itself then.
    void enter_critical_section(const std::string& ns, Section section, Instant until);
    void leave_critical_section(const std::string& ns);
    bool is_in_critical_section(const std::string& ns) const;
    /// Begins a section of one collection for a change of its placement by the config primary of
    /// `term`, who makes one such change of a database at a time: a section it or one before it
    /// began is taken over, since nobody is at it any more. Without a term: a shard's own change,
    /// which takes nothing over. Fails with
    /// ConflictingOperationInProgress (117) while the collection or its database is in another one.
    Status begin_change(const std::string& ns,
                        Section section,
                        Instant until,
                        Term term = term_uninitialized);
    /// Ends what begin_change() began, by that config primary or one before it, and nothing else.
    void end_change(const std::string& ns, Term term = term_uninitialized);
    /// Begins a critical section of a database's unsharded collections; the same failure when one
    /// of them is in a section of its own.
    Status begin_database_section(const std::string& db);
    /// Deepens it, or begins it where nothing else can be in the way (a new primary).
    void enter_database_section(const std::string& db, Section section);
    void leave_database_section(const std::string& db);
    /// Waits until no write (no request at all: `Access::read`) of the database's unsharded
    /// collections that began before the section still runs. Fails at the deadline.
    async::Task<Status> drain_database(std::string db, Access access, Instant deadline);
    /// Whether no section blocks reads of the namespace; waits until it is so.
    bool is_readable(const std::string& ns) const;
    async::Task<Status> await_readable(std::string ns, Instant deadline);
    /// Waits until no write that began before the section still runs. Fails at the deadline.
    async::Task<Status> drain_writes(std::string ns, Instant deadline);

    /// Waits until the config servers show this version of the namespace's database, and this shard
    /// as its primary shard: a config primary that has just been elected may show what its
    /// predecessor told to all a little later. Fails with StaleDbVersion (249).
    async::Task<Status> await_primary_shard(std::string ns,
                                            routing::DatabaseVersion expected,
                                            Instant deadline);
    /// What is known now; null when unsharded or not known.
    routing::ChunkMap::Pointer known(const std::string& ns) const;
    std::optional<routing::DatabaseEntry> known_database(const std::string& db) const;
    /// Whether a request still uses a map in which this shard owned part of the range.
    bool is_range_in_use(const std::string& ns, const routing::Range& range) const;

    /// What is known is asked for again.
    void forget(const std::string& ns);
    void forget_database(const std::string& db);
    void forget_all();
    /// While set, every request with versions is refused: a new primary has not yet read which
    /// migrations it inherits.
    void set_recovering(bool is_recovering);
    bool is_recovering() const;

private:
    struct InUse;
    struct Collection {
        bool is_known = false;
        routing::ChunkMap::Pointer chunks;
        // What this shard owns of them: worked out for a map's first request, for all its requests.
        std::shared_ptr<const routing::KeyRanges> owned;
        void set_chunks(routing::ChunkMap::Pointer map) {
            if (chunks != map) owned = nullptr;
            chunks = std::move(map);
        }
        Section section = Section::none;
        Instant section_until = async::no_deadline;  // Set: of begin_change().
        Term section_term = term_uninitialized;
        std::vector<std::weak_ptr<InUse>> in_use;
        std::size_t prune_at = 64;
        std::uint64_t learned = 0;  // The moment when that refresh began, or it was forgotten.
        void forget(std::uint64_t moment) {
            is_known = false;
            set_chunks(nullptr);
            learned = moment;
        }
    };
    struct Database {
        std::optional<routing::DatabaseEntry> entry;
        std::uint64_t learned = 0;    // As a collection's.
        std::uint64_t forgotten = 0;  // With all its collections.
    };
    void take_over(const std::string& ns,
                   const Result<routing::RoutingInfo>& info,
                   std::uint64_t began);
    Status check_database(const std::string& ns, const ReceivedVersions& received) const;
    Status check_collection(const std::string& ns,
                            const ReceivedVersions& received,
                            const Collection& collection) const;
    static bool blocks(Section section, Access access);
    bool is_blocked(const Collection& collection, Access access) const;
    bool is_database_blocked(const std::string& ns, Access access) const;
    bool is_blocked_for(const std::string& ns,
                        const ReceivedVersions& received,
                        const Collection& collection,
                        Access access) const;
    static std::shared_ptr<void> use(Collection& collection, Access access);
    std::shared_ptr<const routing::KeyRanges> owned(Collection& collection) const;

    async::Clock& clock_;
    RoutingCache& cache_;
    async::Notification changed_;
    mutable std::mutex mutex_;  // Guards what follows.
    std::optional<ShardIdentity> identity_;
    bool is_recovering_ = false;
    std::map<std::string, Collection> collections_;
    std::map<std::string, Database> databases_;
    /// Counts refreshes that begin and entries that are forgotten. What a refresh has read is as
    /// old as its beginning, and takes the place only of what is older.
    std::uint64_t moment_ = 0;
    std::uint64_t all_forgotten_ = 0;
    std::map<std::string, Section> database_sections_;
};

}  // namespace tessera::sharding
