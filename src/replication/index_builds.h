// SPDX-License-Identifier: Apache-2.0
//
// Two-phase index builds of a replica set, what of them is written. A build is begun, finished or
// given up by one unit of the primary each, which holds
//   - the oplog's {startIndexBuild}, {commitIndexBuild} or {abortIndexBuild}
//   - the collection's metadata (Catalog::note_build), so that no restart forgets the build
//   - its document in config.system.indexBuilds: how many members must be done before it is
//     finished (commitQuorum), and which have said that they are (commitReadyMembers)
// so whoever becomes primary knows all of it. Who does what when: driver_builds.cc.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "bson/ids.h"
#include "catalog/catalog.h"
#include "consensus/config.h"
#include "replication/write_unit.h"

namespace tessera::replication {

inline const Namespace builds_ns{"config", "system.indexBuilds"};

/// Which members must be done before a primary finishes a build. It always must be itself.
struct CommitQuorum {
    /// A number of data-bearing members, "votingMembers", "majority", or a mode of the
    /// configuration (settings.getLastErrorModes).
    std::variant<int, std::string> members = std::string("votingMembers");

    /// Fails with TypeMismatch or FailedToParse. A missing value is the default.
    static Result<CommitQuorum> parse(const bson::Value& value);
    void append_to(bson::Builder& out) const;
    /// Fails with UnsatisfiableCommitQuorum (278) when all members together would not do, with
    /// UnknownReplWriteConcern (79) when there is no such mode.
    Status check_satisfiable(const consensus::ReplicaSetConfig& config) const;
    /// Whether `ready` are enough.
    bool is_met(const consensus::ReplicaSetConfig& config,
                const std::vector<HostAndPort>& ready) const;
};

/// A document of config.system.indexBuilds.
struct BuildRecord {
    CommitQuorum quorum;
    std::vector<HostAndPort> ready;
};
/// Nothing where the build has none.
Result<std::optional<BuildRecord>> read_build_record(catalog::Catalog& catalog,
                                                     storage::Engine& engine,
                                                     const bson::Uuid& id);

/// Makes config.system.indexBuilds where it is missing. As primary.
Status ensure_build_records(Replication& replication,
                            storage::Engine& engine,
                            async::Clock& clock);

// ---- The units: fresh ones, no positions reserved, under the collection's exclusive lock --------

struct NewBuild {
    std::vector<bson::Document> specs;  // Checked.
    CommitQuorum quorum;
};
/// Begins a build that others may write beside. `build` is set as soon as there is one; without a
/// result the caller aborts it once it has let go of the lock.
Result<OpTime> start_index_build(WriteUnit& unit,
                                 catalog::Collection& collection,
                                 const NewBuild& what,
                                 catalog::IndexBuildPtr& build);
/// Finishes a build whose fill is done.
Result<OpTime> commit_index_build(WriteUnit& unit,
                                  storage::Engine& engine,
                                  catalog::Collection& collection,
                                  const catalog::IndexBuildPtr& build);
/// Gives a build up, on every member.
Result<OpTime> abort_index_build(WriteUnit& unit,
                                 storage::Engine& engine,
                                 catalog::Collection& collection,
                                 const catalog::IndexBuild& build,
                                 const Error& cause);

// ---- Changes of a record, each in a unit of its own. As primary. Without a record: nothing ------
Status add_ready_member(Replication& replication,
                        storage::Engine& engine,
                        async::Clock& clock,
                        const bson::Uuid& id,
                        const HostAndPort& host);
Status change_commit_quorum(Replication& replication,
                            storage::Engine& engine,
                            async::Clock& clock,
                            const bson::Uuid& id,
                            const CommitQuorum& quorum);
/// Removes the records of builds that no collection has: those of collections dropped meanwhile.
Status remove_orphaned_records(Replication& replication,
                               storage::Engine& engine,
                               async::Clock& clock);

}  // namespace tessera::replication
