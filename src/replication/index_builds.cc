// SPDX-License-Identifier: Apache-2.0
#include "replication/index_builds.h"

#include <algorithm>

#include "catalog/index_build.h"
#include "consensus/write_concern.h"
#include "replication/ddl.h"
#include "replication/limits.h"

namespace tessera::replication {

using consensus::ReplicaSetConfig;

// ---- CommitQuorum -------------------------------------------------------------------------------

Result<CommitQuorum> CommitQuorum::parse(const bson::Value& value) {
    CommitQuorum result;
    if (value.is_missing()) return result;
    if (value.is_string()) {
        result.members = std::string(value.as_string());
        return result;
    }
    if (!value.is_number())
        return Error(ErrorCode::type_mismatch,
                     "BSON field 'commitQuorum' is the wrong type '" +
                         std::string(bson::type_name(value.type())) +
                         "', expected a number or a string");
    const std::int64_t number = value.to_int64();
    if (number < 0 || number > limits::commit_quorum_max)
        return Error(ErrorCode::failed_to_parse,
                     "commitQuorum has to be a non-negative number not greater than " +
                         std::to_string(limits::commit_quorum_max));
    result.members = static_cast<int>(number);
    return result;
}

void CommitQuorum::append_to(bson::Builder& out) const {
    if (const int* number = std::get_if<int>(&members)) {
        out.append("commitQuorum", *number);
    } else {
        out.append("commitQuorum", std::get<std::string>(members));
    }
}

namespace {

consensus::WriteConcern as_write_concern(const CommitQuorum& quorum) {
    consensus::WriteConcern concern;
    concern.w = quorum.members;
    concern.journal = false;
    return concern;
}

// So many of the voters that hold data.
bool have_voters(const ReplicaSetConfig& config,
                 const std::vector<HostAndPort>& ready,
                 int wanted) {
    const auto count = std::ranges::count_if(config.members, [&](const auto& member) {
        return member.is_voter() && member.is_data_bearing() &&
               std::ranges::find(ready, member.host) != ready.end();
    });
    return count >= wanted;
}

}  // namespace

Status CommitQuorum::check_satisfiable(const ReplicaSetConfig& config) const {
    if (members == decltype(members)(std::string("votingMembers"))) return {};
    Status status = consensus::check_satisfiable(as_write_concern(*this), config);
    if (status || status.error().code() != ErrorCode::unsatisfiable_write_concern) return status;
    return Error(ErrorCode::unsatisfiable_commit_quorum,
                 "Commit quorum cannot be satisfied with the current replica set configuration: " +
                     status.error().reason());
}

bool CommitQuorum::is_met(const ReplicaSetConfig& config,
                          const std::vector<HostAndPort>& ready) const {
    if (const auto* mode = std::get_if<std::string>(&members)) {
        if (*mode == "votingMembers")
            return have_voters(config, ready, config.writable_voter_count());
        if (*mode == "majority") return have_voters(config, ready, config.write_majority_count());
    }
    // As if being done were an entry that they have.
    const OpTime done{{1, 1}, 1};
    consensus::ReplicationProgress progress;
    progress.config = &config;
    for (const auto& member : config.members) {
        if (std::ranges::find(ready, member.host) == ready.end()) continue;
        progress.positions.push_back({member.id, done, done});
        progress.self = member.id;  // The primary is among them, or nothing is finished anyway.
    }
    return consensus::is_satisfied(as_write_concern(*this), done, progress);
}

// ---- Records ------------------------------------------------------------------------------------

namespace {

struct Found {
    bson::RecordId id;
    bson::Document document;
};

Result<std::optional<Found>> find_record(catalog::Collection* records,
                                         storage::Transaction& transaction,
                                         const bson::Uuid& id) {
    if (records == nullptr) return std::optional<Found>();
    const bson::Document key = bson::make("_id", id);
    TRY(const auto found, records->find_by_id(transaction, key["_id"]));
    if (!found) return std::optional<Found>();
    return std::optional(Found{found->id, bson::Document(found->document)});
}

Result<bool> has_record(catalog::Collection* records,
                        storage::Engine& engine,
                        const bson::Uuid& id) {
    TRY(const auto transaction, engine.begin());
    TRY(const auto found, find_record(records, *transaction, id));
    return found.has_value();
}

// {<command>: collection, indexBuildUUID, indexes: [spec, ...]}
bson::Builder build_entry(std::string_view command, const catalog::IndexBuild& build) {
    bson::Builder object;
    object.append(command, build.ns().collection).append("indexBuildUUID", build.id());
    auto list = object.array("indexes");
    for (const auto& index : build.metadata())
        list.append(index.spec);
    return object;
}

// The last entry of a build's end: what its record says is of no use any more.
Status remove_record(WriteUnit& unit, catalog::Collection& records, const bson::Uuid& id) {
    TRY(const auto found, find_record(&records, unit.transaction(), id));
    // Nobody but a build's end removes it, and that is under the collection's exclusive lock.
    ENSURE(found.has_value());
    return unit.remove(records, found->id, found->document, no_statement);
}

// Changes one field of a record, where there is one and it is not so already.
template <class Change>
Status change_record(Replication& replication,
                     storage::Engine& engine,
                     async::Clock& clock,
                     const bson::Uuid& id,
                     Change change) {
    for (int attempt = 1;; ++attempt) {
        const auto records = replication.catalog().lock_shared(builds_ns);
        TRY(auto unit, WriteUnit::begin(replication, engine, clock));
        TRY(const auto found, find_record(records.collection(), unit.transaction(), id));
        if (!found) return {};
        const std::optional<bson::Document> field = change(found->document.view());
        if (!field) return {};
        const std::string_view name = field->view().front().name;
        const bool is_new = !found->document.view().has(name);
        bson::Builder after;
        for (const bson::Element& each : found->document.view())
            if (each.name != name) after.append(each);
        after.append_all(*field);
        bson::Builder entry;
        entry.append("$v", 2);
        entry.object("diff").append(is_new ? "i" : "u", *field);
        const bson::Document new_document = std::move(after).finish();
        const bson::Document what = std::move(entry).finish();
        Status status = unit.update(*records, {found->id, found->document, new_document, what});
        if (status) {
            const auto committed = unit.commit();
            if (committed) return {};
            status = committed.error();
        }
        if (status.error().code() != ErrorCode::write_conflict ||
            attempt == limits::build_record_attempts)
            return status;
    }
}

}  // namespace

Result<std::optional<BuildRecord>> read_build_record(catalog::Catalog& catalog,
                                                     storage::Engine& engine,
                                                     const bson::Uuid& id) {
    const auto records = catalog.lock_shared(builds_ns);
    TRY(const auto transaction, engine.begin());
    TRY(const auto found, find_record(records.collection(), *transaction, id));
    if (!found) return std::optional<BuildRecord>();
    BuildRecord record;
    TRY(record.quorum, CommitQuorum::parse(found->document["commitQuorum"]));
    const bson::Value ready = found->document["commitReadyMembers"];
    if (!ready.is_array()) return std::optional(record);
    for (const bson::Element& each : ready.as_view()) {
        if (!each.value.is_string()) continue;
        TRY(auto host, HostAndPort::parse(each.value.as_string()));
        record.ready.push_back(std::move(host));
    }
    return std::optional(record);
}

Status ensure_build_records(Replication& replication,
                            storage::Engine& engine,
                            async::Clock& clock) {
    catalog::Catalog& catalog = replication.catalog();
    if (catalog.find(builds_ns)) return {};
    const catalog::CollectionLock lock = catalog.lock_exclusive(builds_ns);
    if (lock) return {};
    TRY(auto unit, WriteUnit::begin(replication, engine, clock));
    TRY_OK(unit.reserve(1));
    TRY([[maybe_unused]] const OpTime at, create_collection(unit, catalog, builds_ns, {}));
    return {};
}

Status add_ready_member(Replication& replication,
                        storage::Engine& engine,
                        async::Clock& clock,
                        const bson::Uuid& id,
                        const HostAndPort& host) {
    const std::string name = host.to_string();
    const auto change = [&](bson::View record) -> std::optional<bson::Document> {
        bson::Builder field;
        {
            auto list = field.array("commitReadyMembers");
            const bson::Value present = record["commitReadyMembers"];
            if (present.is_array()) {
                for (const bson::Element& each : present.as_view()) {
                    if (each.value.is_string() && each.value.as_string() == name)
                        return std::nullopt;
                    list.append(each.value);
                }
            }
            list.append(name);
        }
        return std::move(field).finish();
    };
    return change_record(replication, engine, clock, id, change);
}

Status change_commit_quorum(Replication& replication,
                            storage::Engine& engine,
                            async::Clock& clock,
                            const bson::Uuid& id,
                            const CommitQuorum& quorum) {
    const auto change = [&](bson::View) -> std::optional<bson::Document> {
        bson::Builder field;
        quorum.append_to(field);
        return std::move(field).finish();
    };
    return change_record(replication, engine, clock, id, change);
}

Status remove_orphaned_records(Replication& replication,
                               storage::Engine& engine,
                               async::Clock& clock) {
    catalog::Catalog& catalog = replication.catalog();
    const auto records = catalog.lock_shared(builds_ns);
    if (!records) return {};
    std::vector<bson::Uuid> ids;
    {
        TRY(const auto transaction, engine.begin());
        const auto cursor = transaction->open_cursor(*records->record_table());
        TRY(bool is_there, cursor->rewind());
        while (is_there) {
            if (const auto id = bson::uuid_of(bson::View(cursor->value().data())["_id"]))
                ids.push_back(*id);
            TRY(is_there, cursor->next());
        }
    }
    // A build is in progress before its record can be read, and on record before that ends.
    for (const auto& build : catalog.builds())
        std::erase(ids, build->id());
    for (const auto& [collection, build] : catalog.noted_builds())
        std::erase(ids, build.id);
    for (const bson::Uuid& id : ids) {
        TRY(auto unit, WriteUnit::begin(replication, engine, clock));
        TRY(const auto found, find_record(records.collection(), unit.transaction(), id));
        if (!found) continue;
        TRY_OK(unit.remove(*records, found->id, found->document, no_statement));
        TRY([[maybe_unused]] const OpTime at, unit.commit());
    }
    return {};
}

// ---- Units --------------------------------------------------------------------------------------

Result<OpTime> start_index_build(WriteUnit& unit,
                                 catalog::Collection& collection,
                                 const NewBuild& what,
                                 catalog::IndexBuildPtr& build) {
    catalog::Catalog& catalog = unit.catalog();
    const auto records = catalog.lock_shared(builds_ns);
    if (!records)
        return Error(ErrorCode::namespace_not_found, builds_ns.to_string() + " was dropped");
    TRY(build, catalog.begin_build(collection, unit.make_uuid(), what.specs));
    TRY_OK(unit.reserve(2));
    bson::Builder record;
    record.append("_id", build->id()).append("collectionUUID", build->collection());
    what.quorum.append_to(record);
    {
        auto names = record.array("indexNames");
        for (const bson::Document& spec : what.specs)
            names.append(spec["name"].as_string());
    }
    const bson::Document document = std::move(record).finish();
    TRY_OK(unit.insert(*records, document, no_statement));
    TRY_OK(unit.use_next_position());
    TRY(auto change,
        catalog.note_build(unit.transaction(), collection, {build->id(), what.specs}));
    const bson::Document entry = build_entry("startIndexBuild", *build).finish();
    TRY_OK(unit.command(collection.ns(), collection.uuid(), entry, {}));
    TRY(const OpTime at, unit.commit());
    change.published();
    return at;
}

Result<OpTime> commit_index_build(WriteUnit& unit,
                                  storage::Engine& engine,
                                  catalog::Collection& collection,
                                  const catalog::IndexBuildPtr& build) {
    catalog::Catalog& catalog = unit.catalog();
    const auto records = catalog.lock_shared(builds_ns);
    TRY(const bool is_recorded, has_record(records.collection(), engine, build->id()));
    TRY_OK(unit.reserve(is_recorded ? 2 : 1));
    TRY_OK(unit.use_next_position());
    TRY(auto change,
        catalog.finish_build(
            unit.transaction(), collection, build, unit.next_position().timestamp));
    const bson::Document entry = build_entry("commitIndexBuild", *build).finish();
    TRY_OK(unit.command(collection.ns(), collection.uuid(), entry, {}));
    if (is_recorded) TRY_OK(remove_record(unit, *records, build->id()));
    TRY(const OpTime at, unit.commit());
    change.published();
    return at;
}

Result<OpTime> abort_index_build(WriteUnit& unit,
                                 storage::Engine& engine,
                                 catalog::Collection& collection,
                                 const catalog::IndexBuild& build,
                                 const Error& cause) {
    catalog::Catalog& catalog = unit.catalog();
    const auto records = catalog.lock_shared(builds_ns);
    TRY(const bool is_recorded, has_record(records.collection(), engine, build.id()));
    TRY_OK(unit.reserve(is_recorded ? 2 : 1));
    TRY_OK(unit.use_next_position());
    TRY(auto change, catalog.forget_build(unit.transaction(), collection, build.id(), cause));
    bson::Builder object = build_entry("abortIndexBuild", build);
    object.object("cause")
        .append("ok", false)
        .append("code", static_cast<std::int32_t>(cause.code()))
        .append("codeName", code_name(cause.code()))
        .append("errmsg", cause.reason());
    const bson::Document entry = std::move(object).finish();
    TRY_OK(unit.command(build.ns(), build.collection(), entry, {}));
    if (is_recorded) TRY_OK(remove_record(unit, *records, build.id()));
    TRY(const OpTime at, unit.commit());
    change.published();
    return at;
}

}  // namespace tessera::replication
