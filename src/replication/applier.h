// SPDX-License-Identifier: Apache-2.0
//
// Applies entries of the oplog to this member's data, in their order. Entries are written to the
// oplog in the same storage transaction as their effect, each at its own timestamp, so a reader
// sees a prefix of the log and a crash keeps one. Many entries share a transaction; a command has
// one of its own. Synchronous; one thread at a time.
#pragma once

#include <atomic>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "replication/oplog.h"
#include "replication/oplog_entry.h"
#include "storage/engine.h"

namespace tessera::replication {

enum class ApplyMode {
    /// On data that is exactly as the log before the entries says; what is there already is
    /// overwritten, what is missing is skipped and logged.
    exact,
    /// On data cloned while the entries were made: what they name may be gone or there already.
    /// Fails with InitialSyncFailure where the clone may lack something.
    over_clone,
};

class Applier {
public:
    /// Called with each index build that an entry begins; is to see to the rest of it elsewhere.
    /// Must not block.
    using DriveBuild = std::function<void(const catalog::IndexBuildPtr&)>;

    Applier(catalog::Catalog& catalog, storage::Engine& engine, DriveBuild drive)
        : catalog_(catalog), engine_(engine), drive_build_(std::move(drive)) {}

    /// Applies `entries`. With `oplog` each is also written there, and readers see it from then on.
    Status apply(std::span<const bson::Document> entries, ApplyMode mode, Oplog* oplog);

    /// The wall-clock time of the newest entry applied.
    WallTime last_wall() const { return last_wall_.load(); }
    /// From any thread.
    AppliedCounts counts() const;

private:
    struct Group;
    using Entries = std::span<const ParsedEntry>;

    Status apply_group(Entries entries, ApplyMode mode, Oplog* oplog);
    Status try_group(Entries entries, ApplyMode mode, Oplog* oplog);
    Status apply_one(Group& group, const ParsedEntry& entry, ApplyMode mode);
    Status apply_crud(Group& group, const ParsedEntry& entry, ApplyMode mode);
    Status apply_insert(Group& group, catalog::Collection& collection, bson::View document);
    Status apply_update(Group& group,
                        catalog::Collection& collection,
                        const ParsedEntry& entry,
                        ApplyMode mode);
    Status apply_remove(Group& group, catalog::Collection& collection, const ParsedEntry& entry);
    Status apply_nested(Group& group, const ParsedEntry& entry, ApplyMode mode);
    Status keep_session(Group& group, const ParsedEntry& entry);
    Status keep_image(Group& group, const ParsedEntry& entry, bool is_post, bson::View image);
    catalog::Collection* collection_of(Group& group, const ParsedEntry& entry);

    Status apply_command(const ParsedEntry& entry, ApplyMode mode, Oplog* oplog);
    Status try_command(const ParsedEntry& entry, ApplyMode mode, Oplog* oplog);
    Status run_create(const ParsedEntry& entry, ApplyMode mode, Oplog* oplog);
    Status run_drop(const ParsedEntry& entry, Oplog* oplog);
    Status run_rename(const ParsedEntry& entry, ApplyMode mode, Oplog* oplog);
    Status run_create_index(const ParsedEntry& entry, Oplog* oplog);
    Status run_start_build(const ParsedEntry& entry, ApplyMode mode, Oplog* oplog);
    Status run_commit_build(const ParsedEntry& entry, Oplog* oplog);
    Status run_abort_build(const ParsedEntry& entry, Oplog* oplog);
    Result<bool> commit_present_build(const ParsedEntry& entry,
                                      const Namespace& ns,
                                      Oplog* oplog);
    Status note_build(const ParsedEntry& entry, const catalog::NotedBuild& what, Oplog* oplog);
    Status build_anew(const ParsedEntry& entry, const Namespace& ns, Oplog* oplog);
    Status run_drop_index(const ParsedEntry& entry, Oplog* oplog);
    Status run_coll_mod(const ParsedEntry& entry, Oplog* oplog);
    Result<std::unique_ptr<storage::Transaction>> begin(const ParsedEntry& entry, Oplog* oplog);
    Status only_log(const ParsedEntry& entry, Oplog* oplog);

    catalog::Catalog& catalog_;
    storage::Engine& engine_;
    const DriveBuild drive_build_;
    std::atomic<WallTime> last_wall_{};
    std::atomic<std::int64_t> inserts_{0};
    std::atomic<std::int64_t> updates_{0};
    std::atomic<std::int64_t> removes_{0};
    std::atomic<std::int64_t> commands_{0};
};

}  // namespace tessera::replication
