// SPDX-License-Identifier: Apache-2.0
//
// createIndexes and dropIndexes on a member. An index on a collection that has documents is built
// beside its readers and writers (catalog/index_build.h): the command drives the build slice by
// slice on the workers, giving others a turn in between, and takes an oplog position only to begin
// it and to commit it. A build ends with its command: killed, stepped down or dropped, it is
// aborted.
#include "commands/index_commands.h"

#include <algorithm>

#include "base/log.h"
#include "bson/json.h"
#include "catalog/index.h"
#include "catalog/index_build.h"
#include "commands/ddl_execution.h"
#include "commands/placement.h"
#include "commands/support.h"
#include "commands/write_execution.h"
#include "storage/data_directory.h"

namespace tessera::commands {
namespace {

using replication::WriteUnit;
using Locks = std::vector<catalog::CollectionLock>;

constexpr Duration other_build_poll = 20ms;
constexpr int steps_between_disk_checks = 64;

// What createIndexes has to do, as of one look at the collection.
struct Plan {
    std::vector<bson::Document> specs;  // Checked; not there and not repeated.
    bool must_wait = false;             // Somebody else builds one of them.
    bool is_empty = false;              // The collection has no documents.
};

Result<Plan> make_plan(Member& member,
                       const Namespace& ns,
                       const std::vector<bson::View>& specs) {
    Plan plan;
    const catalog::CollectionLock lock = member.catalog->lock_shared(ns);
    if (!lock)
        return Error(ErrorCode::namespace_not_found, "collection dropped during index build");
    for (const bson::View spec : specs) {
        TRY(auto checked, member.catalog->check_index(*lock, spec));
        plan.must_wait |= checked.is_being_built;
        const bool is_repeated = std::ranges::any_of(
            plan.specs, [&](const auto& it) { return it.view() == checked.spec.view(); });
        if (!checked.exists_already && !is_repeated) plan.specs.push_back(std::move(checked.spec));
    }
    TRY(const auto transaction, member.engine->begin());
    TRY(const bool has_any, transaction->open_cursor(*lock->record_table())->next());
    plan.is_empty = !has_any;
    return plan;
}

Status create_on_empty(Member& member,
                       Invocation& invocation,
                       const Namespace& ns,
                       bson::View spec) {
    return run_ddl(member, invocation, {ns}, [&](WriteUnit& unit, Locks& locks) -> Result<OpTime> {
        if (!locks[0])
            return Error(ErrorCode::namespace_not_found, "collection dropped during index build");
        TRY(const auto checked, member.catalog->check_index(*locks[0], spec));
        if (checked.exists_already) return OpTime();
        return replication::create_index(unit, *member.catalog, *locks[0], checked.spec);
    });
}

// One build and its end, however the command ends.
class Build {
public:
    Build(Member& member, Invocation& invocation, Namespace ns)
        : member_(member), invocation_(invocation), ns_(std::move(ns)) {}
    Build(const Build&) = delete;
    Build& operator=(const Build&) = delete;
    ~Build() {
        if (build_ && !build_->has_ended())
            member_.catalog->abort_build(
                *build_, Error(ErrorCode::index_build_aborted, "its command has ended"));
    }

    Status start(const std::vector<bson::Document>& specs) {
        TRY_OK(check_disk());
        return ddl([&](WriteUnit& unit, Locks& locks) -> Result<OpTime> {
            if (!build_) {
                // Another createIndexes may have been quicker.
                for (const bson::Document& spec : specs) {
                    TRY(const auto checked, member_.catalog->check_index(*locks[0], spec));
                    if (checked.exists_already || checked.is_being_built)
                        return Error(ErrorCode::index_already_exists, "built by another command");
                }
            }
            return replication::start_index_build(
                unit, *member_.catalog, *locks[0], specs, build_);
        });
    }

    /// Returns whether everything is in the indexes.
    Result<bool> step() {
        TRY_OK(invocation_.operation->check(member_.clock));
        if (++steps_ % steps_between_disk_checks == 0) TRY_OK(check_disk());
        TRY(const bool is_filled, member_.catalog->fill_step(*build_));
        member_.operations.set_progress(
            *invocation_.operation,
            {"Index Build: scanning collection", build_->done(), build_->total()});
        return is_filled;
    }

    Status commit() {
        return ddl([&](WriteUnit& unit, Locks& locks) -> Result<OpTime> {
            return replication::commit_index_build(unit, *member_.catalog, *locks[0], build_);
        });
    }

    /// Takes it away here, and tells the secondaries where that is still ours to do.
    Status fail(const Error& cause) {
        if (!build_ || build_->has_ended()) return cause;
        member_.catalog->abort_build(*build_, cause);
        log::info(log::Component::index,
                  20649,
                  "Index build: failed",
                  {{"buildUUID", build_->id().to_string()},
                   {"namespace", ns_.to_string()},
                   {"error", cause}});
        if (!member_.replication->check_writable(ns_)) return cause;
        auto unit = WriteUnit::begin(*member_.replication, *member_.engine, member_.clock);
        if (!unit) return cause;
        const auto logged = replication::log_index_build_abort(*unit, *build_, cause);
        if (logged && invocation_.last_write < *logged) invocation_.last_write = *logged;
        return cause;
    }

private:
    // Better this command fails than whoever writes when the disk is full.
    Status check_disk() const {
        if (!member_.engine->is_durable()) return {};
        const std::uint64_t free = storage::free_disk_bytes(member_.process.db_path);
        const auto needed =
            static_cast<std::uint64_t>(member_.parameters.index_build_disk_mb_min.load()) *
            1024 * 1024;
        if (free >= needed) return {};
        return Error(ErrorCode::out_of_disk_space,
                     "available disk space of " + std::to_string(free) +
                         " bytes is less than required minimum of " + std::to_string(needed) +
                         ": free disk space, or lower indexBuildMinAvailableDiskSpaceMB");
    }

    Status ddl(const DdlBody& body) {
        return run_ddl(
            member_, invocation_, {ns_}, [&](WriteUnit& unit, Locks& locks) -> Result<OpTime> {
                if (!locks[0])
                    return Error(ErrorCode::index_build_aborted, "collection dropped");
                return body(unit, locks);
            });
    }

    Member& member_;
    Invocation& invocation_;
    const Namespace ns_;
    int steps_ = 0;
    catalog::IndexBuildPtr build_;  // Also the collection's while it runs.
};

async::Task<Status> run_build(Member& member,
                              Invocation& invocation,
                              Namespace ns,
                              std::vector<bson::Document> specs) {
    Build build(member, invocation, std::move(ns));
    Status status = build.start(specs);
    while (status) {
        async::resume_on turn(member.workers);
        co_await turn;
        const auto is_filled = build.step();
        if (!is_filled) status = is_filled.error();
        if (is_filled && *is_filled) break;
    }
    if (status) status = build.commit();
    if (!status) status = build.fail(status.error());
    co_return status;
}

Result<std::vector<bson::View>> parse_create(Member& member,
                                             Invocation& invocation,
                                             Namespace& ns) {
    const Request& request = invocation.request;
    TRY_OK(request.check_known_fields(
        "createIndexes", {"indexes", "v", "commitQuorum", "ignoreUnknownIndexOptions"}));
    TRY(ns, request.collection());
    invocation.ns = ns;
    TRY(auto specs, request.documents("indexes"));
    if (specs.empty())
        return Error(ErrorCode::bad_value, "Must specify at least one index to create");
    if (member.catalog->find_view(ns))
        return Error(ErrorCode::command_not_supported_on_view, "Cannot create indexes on a view");
    TRY([[maybe_unused]] const Placement placement, check_placement(member, request, ns, true));
    return specs;
}

}  // namespace

async::Task<Status> create_indexes(Member& member, Invocation& invocation) {
    async::resume_on hop(member.workers);
    co_await hop;
    Namespace ns;
    CO_TRY(const auto specs, parse_create(member, invocation, ns));
    const bool was_there = member.catalog->find(ns) != nullptr;
    CO_TRY_OK(ensure_collection(member, invocation, ns));
    const auto collection = member.catalog->find(ns);
    if (!collection) co_return Error(ErrorCode::namespace_not_found, "collection dropped");
    const auto before = static_cast<std::int64_t>(collection->indexes().size());
    bool has_new = false;
    while (true) {
        CO_TRY_OK(invocation.operation->check(member.clock));
        CO_TRY(Plan plan, make_plan(member, ns, specs));
        has_new |= !plan.specs.empty();
        if (plan.must_wait) {
            async::sleep_until pause(member.clock, member.clock.now() + other_build_poll);
            co_await pause;
            continue;
        }
        if (plan.specs.empty()) break;
        if (plan.is_empty) {
            for (const bson::Document& spec : plan.specs)
                CO_TRY_OK(create_on_empty(member, invocation, ns, spec));
            break;
        }
        const Status built = co_await run_build(member, invocation, ns, std::move(plan.specs));
        if (built) break;
        if (built.error().code() != ErrorCode::index_already_exists) co_return built;
    }
    const auto now = member.catalog->find(ns);
    if (!now) co_return Error(ErrorCode::namespace_not_found, "collection dropped");
    bson::Builder& reply = invocation.reply;
    append_count(reply, "numIndexesBefore", before);
    append_count(reply, "numIndexesAfter", static_cast<std::int64_t>(now->indexes().size()));
    if (has_new) {
        reply.append("createdCollectionAutomatically", !was_there);
        if (member.replication->is_replica_set()) reply.append("commitQuorum", "votingMembers");
    } else {
        reply.append("note", "all indexes already exist");
    }
    co_return Status();
}

namespace {

// Aborts the builds of indexes that are to be dropped. Returns whether there was one.
bool abort_builds(Member& member, const catalog::Collection& collection, const bson::Value& index) {
    const auto is_meant = [&](const catalog::Index& built) {
        if (index.is_string() && index.as_string() == "*") return true;
        if (index.is_string()) return built.name() == index.as_string();
        if (index.is_object()) return built.spec()["key"].as_view() == index.as_view();
        if (!index.is_array()) return false;
        for (const bson::Element& each : index.as_view())
            if (each.value.is_string() && built.name() == each.value.as_string()) return true;
        return false;
    };
    bool has_any = false;
    for (const auto& build : member.catalog->builds()) {
        if (build->collection() != collection.uuid()) continue;
        if (!std::ranges::any_of(build->indexes(), [&](const auto& it) { return is_meant(*it); }))
            continue;
        // Its command sees that and does the rest.
        build->abort(Error(ErrorCode::index_build_aborted,
                           "Index build " + build->id().to_string() + " aborted by dropIndexes"));
        has_any = true;
    }
    return has_any;
}

// The names dropIndexes means: "*", a name, names, or a key pattern.
Result<std::vector<std::string>> names_to_drop(const catalog::Collection& collection,
                                               const bson::Value& index) {
    std::vector<std::string> names;
    if (index.is_string() && index.as_string() == "*") {
        for (const auto& each : collection.indexes())
            if (each->name() != "_id_") names.push_back(each->name());
        return names;
    }
    if (index.is_string()) {
        names.emplace_back(index.as_string());
    } else if (index.is_array()) {
        for (const bson::Element& each : index.as_view())
            if (each.value.is_string()) names.emplace_back(each.value.as_string());
    } else if (index.is_object()) {
        for (const auto& each : collection.indexes())
            if (each->spec()["key"].as_view() == index.as_view()) names.push_back(each->name());
        if (names.empty())
            return Error(
                ErrorCode::index_not_found,
                "can't find index with key: " + bson::to_json(index, bson::JsonMode::message));
    } else {
        return Error(ErrorCode::type_mismatch,
                     "BSON field 'dropIndexes.index' is the wrong type '" +
                         std::string(type_name(index.type())) +
                         "', expected types '[string, object, array]'");
    }
    for (const std::string& name : names) {
        if (name == "_id_") return Error(ErrorCode::invalid_options, "cannot drop _id index");
        bool is_there = false;
        for (const auto& each : collection.indexes())
            is_there |= each->name() == name;
        if (!is_there)
            return Error(ErrorCode::index_not_found, "index not found with name [" + name + "]");
    }
    return names;
}

}  // namespace

Status drop_indexes(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    TRY_OK(request.check_known_fields("dropIndexes", {"index"}));
    TRY(const Namespace ns, request.collection());
    invocation.ns = ns;
    // Of a sharded collection every owner drops it, and one that has done so is not asked again.
    const bool is_unsharded =
        request.shard_version.is_empty() || !request.database_version.is_empty();
    Placement placement;
    if (is_unsharded) {
        TRY(placement, check_placement(member, request, ns, true));
    }
    const auto collection = member.catalog->find(ns);
    if (!collection) return Error(ErrorCode::namespace_not_found, "ns not found " + ns.to_string());
    const bson::Value index = request.body["index"];
    if (index.is_missing())
        return Error(ErrorCode::idl_failed_to_parse,
                     "BSON field 'dropIndexes.index' is missing but a required field");
    const auto was = static_cast<std::int64_t>(collection->indexes().size());
    const bool has_aborted = abort_builds(member, *collection, index);
    const auto found = names_to_drop(*collection, index);
    // A build was what was meant, and nothing else.
    if (!found && found.error().code() == ErrorCode::index_not_found && has_aborted) {
        append_count(invocation.reply, "nIndexesWas", was);
        return {};
    }
    TRY_OK(found);
    const std::vector<std::string>& names = *found;
    for (const std::string& name : names) {
        TRY_OK(
            run_ddl(member, invocation, {ns}, [&](WriteUnit& unit, Locks& locks) -> Result<OpTime> {
                if (!locks[0]) return Error(ErrorCode::namespace_not_found, "ns not found");
                return replication::drop_index(unit, *member.catalog, *locks[0], name);
            }));
    }
    member.cursors.kill_namespace(ns);
    append_count(invocation.reply, "nIndexesWas", was);
    if (index.is_string() && index.as_string() == "*")
        invocation.reply.append("msg", "non-_id indexes dropped for collection");
    return {};
}


}  // namespace tessera::commands
