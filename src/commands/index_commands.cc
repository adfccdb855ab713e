// SPDX-License-Identifier: Apache-2.0
//
// createIndexes and dropIndexes on a member. An index on a collection that has documents is built
// beside its readers and writers (catalog/index_build.h). On a standalone the command drives the
// build slice by slice on the workers, giving others a turn in between, and the build ends with it.
// In a replica set the command begins the build and waits; replication sees to the rest on every
// member, whoever is primary then (replication/driver_builds.cc), and a createIndexes that is sent
// again joins the build.
#include "commands/index_commands.h"

#include <algorithm>
#include <set>

#include "base/log.h"
#include "bson/json.h"
#include "catalog/index.h"
#include "catalog/index_build.h"
#include "commands/ddl_execution.h"
#include "commands/placement.h"
#include "commands/support.h"
#include "commands/write_execution.h"
#include "replication/index_builds.h"
#include "storage/data_directory.h"

namespace tessera::commands {
namespace {

using replication::WriteUnit;
using Locks = std::vector<catalog::CollectionLock>;

constexpr Duration build_progress_interval = 50ms;
constexpr int steps_between_disk_checks = 64;

// What createIndexes has to do, as of one look at the collection.
struct Plan {
    std::vector<bson::Document> specs;  // Checked; not there and not repeated.
    bool must_wait = false;             // Somebody else builds one of them:
    catalog::IndexBuildPtr other;       // this build, unless it is about to begin again.
    bool is_empty = false;              // The collection has no documents.
};

catalog::IndexBuildPtr build_of(Member& member,
                                const catalog::Collection& collection,
                                bson::View spec) {
    for (const catalog::IndexBuildPtr& build : member.catalog->builds())
        if (build->collection() == collection.uuid() &&
            build->has_index(spec["name"].as_string()))
            return build;
    return nullptr;
}

Result<Plan> make_plan(Member& member,
                       const Namespace& ns,
                       const std::vector<bson::View>& specs) {
    Plan plan;
    const catalog::CollectionLock lock = member.catalog->lock_shared(ns);
    if (!lock)
        return Error(ErrorCode::namespace_not_found, "collection dropped during index build");
    for (const bson::View spec : specs) {
        TRY(auto checked, member.catalog->check_index(*lock, spec));
        if (checked.is_being_built) {
            plan.must_wait = true;
            plan.other = build_of(member, *lock, checked.spec);
        }
        const bool is_repeated = std::ranges::any_of(
            plan.specs, [&](const auto& it) { return it.view() == checked.spec.view(); });
        if (!checked.exists_already && !is_repeated) plan.specs.push_back(std::move(checked.spec));
    }
    TRY(const auto transaction, member.engine->begin());
    TRY(const bool has_any, transaction->open_cursor(*lock->record_table())->next());
    plan.is_empty = !has_any;
    return plan;
}

// Under the exclusive lock: another createIndexes may have been quicker.
Status check_still_new(Member& member,
                       const catalog::Collection& collection,
                       const std::vector<bson::Document>& specs) {
    for (const bson::Document& spec : specs) {
        TRY(const auto checked, member.catalog->check_index(collection, spec));
        if (checked.exists_already || checked.is_being_built)
            return Error(ErrorCode::index_already_exists, "built by another command");
    }
    return {};
}

void show_progress(Member& member, Invocation& invocation, const catalog::IndexBuild& build) {
    member.operations.set_progress(
        *invocation.operation,
        {"Index Build: scanning collection", build.done(), build.total()});
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
        if (checked.is_being_built)
            return Error(ErrorCode::index_already_exists, "built by another command");
        return replication::create_index(unit, *member.catalog, *locks[0], checked.spec);
    });
}

// A build of its own: on a standalone, or in a database that is not replicated. It ends with its
// command, however that ends.
class OwnBuild {
public:
    OwnBuild(Member& member, Invocation& invocation, Namespace ns)
        : member_(member), invocation_(invocation), ns_(std::move(ns)) {}
    OwnBuild(const OwnBuild&) = delete;
    OwnBuild& operator=(const OwnBuild&) = delete;
    ~OwnBuild() {
        if (build_)
            member_.catalog->abort_build(
                *build_, Error(ErrorCode::index_build_aborted, "its command has ended"));
    }

    Status start(const std::vector<bson::Document>& specs) {
        TRY_OK(check_build_disk(member_));
        return ddl([&](WriteUnit& unit, Locks& locks) -> Result<OpTime> {
            TRY_OK(check_still_new(member_, *locks[0], specs));
            TRY(build_, member_.catalog->begin_build(*locks[0], unit.make_uuid(), specs));
            return OpTime();
        });
    }

    /// Returns whether everything is in the indexes.
    Result<bool> step() {
        TRY_OK(invocation_.operation->check(member_.clock));
        if (++steps_ % steps_between_disk_checks == 0) TRY_OK(check_build_disk(member_));
        TRY(const bool is_filled, member_.catalog->fill_step(*build_));
        show_progress(member_, invocation_, *build_);
        return is_filled;
    }

    Status commit() {
        return ddl([&](WriteUnit& unit, Locks& locks) -> Result<OpTime> {
            TRY(auto change,
                member_.catalog->finish_build(unit.transaction(), *locks[0], build_, {}));
            TRY(const OpTime at, unit.commit());
            change.published();
            return at;
        });
    }

private:
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

async::Task<Status> run_own_build(Member& member,
                                  Invocation& invocation,
                                  Namespace ns,
                                  std::vector<bson::Document> specs) {
    OwnBuild build(member, invocation, std::move(ns));
    Status status = build.start(specs);
    while (status) {
        async::resume_on turn(member.workers);
        co_await turn;
        const auto is_filled = build.step();
        if (!is_filled) status = is_filled.error();
        if (is_filled && *is_filled) break;
    }
    if (status) status = build.commit();
    co_return status;
}

// ---- In a replica set: begun here, seen to its end by replication -------------------------------

Result<catalog::IndexBuildPtr> start_in_set(Member& member,
                                            Invocation& invocation,
                                            const Namespace& ns,
                                            const replication::NewBuild& what) {
    TRY_OK(check_build_disk(member));
    while (true) {
        TRY_OK(invocation.operation->check(member.clock));
        TRY_OK(replication::ensure_build_records(*member.replication, *member.engine,
                                                 member.clock));
        catalog::IndexBuildPtr build;
        const auto started = [&]() -> Result<OpTime> {
            const catalog::CollectionLock lock = member.catalog->lock_exclusive(ns);
            if (!lock)
                return Error(ErrorCode::namespace_not_found,
                             "collection dropped during index build");
            TRY_OK(check_still_new(member, *lock, what.specs));
            TRY(auto unit,
                WriteUnit::begin(*member.replication, *member.engine, member.clock));
            return replication::start_index_build(unit, *lock, what, build);
        }();
        if (started) {
            invocation.last_write = std::max(invocation.last_write, *started);
            member.replication->drive_build(build);
            return build;
        }
        if (build) member.catalog->abort_build(*build, started.error());
        if (started.error().code() != ErrorCode::write_conflict) return started.error();
    }
}

// A build that fails for a moment on its way is begun again under the same id.
catalog::IndexBuildPtr successor_of(Member& member, const catalog::IndexBuild& ended) {
    for (const catalog::IndexBuildPtr& build : member.catalog->builds())
        if (build->id() == ended.id()) return build;
    return nullptr;
}

// Waits for a build's end. Whoever is killed or out of time gives the build up, if it is theirs;
// a primary that steps down leaves it to the next.
async::Task<Status> await_build(Member& member,
                                Invocation& invocation,
                                catalog::IndexBuildPtr build,
                                bool is_ours) {
    while (true) {
        const auto ticket = member.replication->builds_changed().ticket();
        if (build->has_ended()) {
            auto next = successor_of(member, *build);
            if (next == nullptr) break;
            build = std::move(next);
            continue;
        }
        const Status status = invocation.operation->check(member.clock);
        if (!status) {
            const ErrorCode code = status.error().code();
            const bool is_wanted =
                code == ErrorCode::interrupted || code == ErrorCode::max_time_ms_expired;
            if (is_ours && is_wanted) (void)member.replication->abort_build(*build, status.error());
            co_return status;
        }
        show_progress(member, invocation, *build);
        const Instant again = member.clock.now() + build_progress_interval;
        co_await member.replication->builds_changed().wait(
            member.clock, again, ticket, invocation.operation->cancellation);
    }
    CO_TRY_OK(build->check());
    // Committed, here or by the next primary.
    CO_TRY_OK(member.replication->check_writable(build->ns()));
    answer_after_newest_write(member, invocation);
    co_return Status();
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

// What createIndexes says of a commitQuorum. Fails where it cannot be kept.
Result<replication::CommitQuorum> parse_quorum(Member& member, bson::View body) {
    const bson::Value value = body["commitQuorum"];
    TRY(auto quorum, replication::CommitQuorum::parse(value));
    if (value.is_missing()) return quorum;
    if (!member.replication->is_replica_set())
        return Error(ErrorCode::bad_value, "Standalones can't specify commitQuorum");
    TRY_OK(member.replication->check_satisfiable(quorum));
    return quorum;
}

}  // namespace

// Better the build fails than whoever writes when the disk is full.
Status check_build_disk(const Member& member) {
    if (!member.engine->is_durable()) return {};
    const std::uint64_t free = storage::free_disk_bytes(member.process.db_path);
    const auto needed =
        static_cast<std::uint64_t>(member.parameters.index_build_disk_mb_min.load()) * 1024 * 1024;
    if (free >= needed) return {};
    return Error(ErrorCode::out_of_disk_space,
                 "available disk space of " + std::to_string(free) +
                     " bytes is less than required minimum of " + std::to_string(needed) +
                     ": free disk space, or lower indexBuildMinAvailableDiskSpaceMB");
}

async::Task<Status> create_indexes(Member& member, Invocation& invocation) {
    async::resume_on hop(member.workers);
    co_await hop;
    Namespace ns;
    CO_TRY(const auto specs, parse_create(member, invocation, ns));
    CO_TRY(const auto quorum, parse_quorum(member, invocation.request.body));
    const bool is_in_set = member.replication->is_replica_set() && ns.is_replicated();
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
        if (plan.must_wait && plan.other && is_in_set) {
            CO_TRY_OK(co_await await_build(member, invocation, plan.other, false));
            continue;
        }
        if (plan.must_wait) {
            async::sleep_until pause(member.clock, member.clock.now() + build_progress_interval);
            co_await pause;
            continue;
        }
        if (plan.specs.empty()) break;
        Status built;
        if (plan.is_empty) {
            for (const bson::Document& spec : plan.specs)
                if (built) built = create_on_empty(member, invocation, ns, spec);
        } else if (is_in_set) {
            const replication::NewBuild what{std::move(plan.specs), quorum};
            auto begun = start_in_set(member, invocation, ns, what);
            built = begun ? Status() : Status(begun.error());
            if (begun) built = co_await await_build(member, invocation, *begun, true);
        } else {
            built = co_await run_own_build(member, invocation, ns, std::move(plan.specs));
        }
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
        if (member.replication->is_replica_set()) quorum.append_to(reply);
    } else {
        reply.append("note", "all indexes already exist");
    }
    co_return Status();
}

namespace {

// Aborts the builds of indexes that are to be dropped. Returns whether there was one.
Result<bool> abort_builds(Member& member,
                          const catalog::Collection& collection,
                          const bson::Value& index) {
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
        const Error why(ErrorCode::index_build_aborted,
                        "Index build " + build->id().to_string() + " aborted by dropIndexes");
        has_any = true;
        // A build of its own: its command sees that and does the rest.
        const bool is_in_set = member.replication->is_replica_set() && build->ns().is_replicated();
        if (!is_in_set) {
            build->abort(why);
        } else {
            TRY_OK(member.replication->abort_build(*build, why));
        }
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
    TRY(const bool has_aborted, abort_builds(member, *collection, index));
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

// ---- Between members, and for operators ---------------------------------------------------------

async::Task<Status> vote_commit_index_build(Member& member, Invocation& invocation) {
    CO_TRY(const bson::Document fields,
           co_await member.replication->on_vote_commit_build(
               bson::Document(invocation.request.body)));
    invocation.reply.append_all(fields);
    co_return Status();
}

Status set_index_commit_quorum(Member& member, Invocation& invocation) {
    const Request& request = invocation.request;
    TRY_OK(request.check_known_fields("setIndexCommitQuorum", {"indexNames", "commitQuorum"}));
    TRY(const Namespace ns, request.collection());
    invocation.ns = ns;
    if (!member.replication->is_replica_set())
        return Error(ErrorCode::no_replication_enabled,
                     "This node was not started with replication enabled.");
    const bson::Value names = request.body["indexNames"];
    if (!names.is_array() || request.body["commitQuorum"].is_missing())
        return Error(ErrorCode::idl_failed_to_parse,
                     "setIndexCommitQuorum needs indexNames, an array, and commitQuorum");
    TRY(const auto quorum, parse_quorum(member, request.body));
    std::set<std::string_view> wanted;
    for (const bson::Element& each : names.as_view())
        if (each.value.is_string()) wanted.insert(each.value.as_string());
    for (const auto& build : member.catalog->builds()) {
        std::set<std::string_view> built;
        for (const auto& index : build->indexes()) built.insert(index->name());
        if (build->ns() != ns || built != wanted) continue;
        TRY_OK(replication::change_commit_quorum(*member.replication, *member.engine, member.clock,
                                                 build->id(), quorum));
        answer_after_newest_write(member, invocation);
        member.replication->builds_changed().notify();
        return {};
    }
    return Error(ErrorCode::index_not_found,
                 "Cannot find an index build on collection '" + ns.to_string() +
                     "' with the provided index names");
}

}  // namespace tessera::commands
